"""The publisher on a real broker: everything arrives, in order per key, with its attributes; and at a rate."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest_asyncio
from aiokafka import AIOKafkaConsumer

import workload
from contracts import decode, topics
from testkit import wait_until
from workload import OrderEvent, Plan


@pytest_asyncio.fixture(scope="module")
async def events() -> list[OrderEvent]:
    plan = Plan(shop="demo", ends_at=datetime(2026, 11, 22, tzinfo=UTC))
    return list(workload.deliveries(workload.lives(workload.load().first(400), plan)))


async def everything(bootstrap_servers: str, count: int) -> list[Any]:
    """So many records of the topic."""
    consumer = AIOKafkaConsumer(topics.ORDERS.name, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    records: list[Any] = []

    async def all_there() -> bool:
        for some in (await consumer.getmany(timeout_ms=100)).values():
            records.extend(some)
        return len(records) >= count

    try:
        await wait_until(all_there, what=f"{count} records")
    finally:
        await consumer.stop()
    return records


async def test_all_events_arrive_in_order_per_key_as_cloud_events(topics: str, events: list[OrderEvent]) -> None:
    seen: list[int] = []
    published = await workload.publish(topics, events, on_progress=seen.append)
    assert published.events == len(events) == seen[-1]
    records = await everything(topics, len(events))
    assert len(records) == len(events)
    sent: dict[bytes, list[tuple[str, bytes]]] = defaultdict(list)
    came: dict[bytes, list[tuple[str, bytes]]] = defaultdict(list)
    for event in events:
        sent[event.key].append((event.id, event.body))
    for record in records:
        headers = dict(record.headers)
        came[record.key].append((headers["ce_id"].decode(), record.value))
        assert headers["ce_specversion"] == b"1.0"
        assert headers["content-type"] == b"application/json"
    assert came == sent


async def test_a_record_decodes_as_the_type_that_its_header_says(topics: str, events: list[OrderEvent]) -> None:
    from contracts.topics import ORDERS  # the fixture has the module's name

    await workload.publish(topics, events[:50])
    for record in await everything(topics, 50):
        kind = dict(record.headers)["ce_type"].decode()
        assert decode(ORDERS.types[kind], record.value).key.encode() == record.key


async def test_at_a_rate_events_leave_at_their_time(topics: str, events: list[OrderEvent]) -> None:
    published = await workload.publish(topics, events[:300], rate=600)
    assert published.events == 300
    assert 0.49 < published.seconds < 5
    assert published.behind_seconds < 5
