"""Speaking to the broker as the ledger's neighbours do."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts import Event, Topic, encode, topics


@dataclass(frozen=True)
class Told:
    """A record of a topic that the ledger writes."""

    type: str
    headers: Mapping[str, str]
    key: str
    body: dict[str, Any]
    raw: bytes


async def publish(bootstrap_servers: str, topic: str, *events: Event, trace: str | None = None) -> None:
    """Publish events in order."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
    await producer.start()
    try:
        for event in events:
            headers = [("ce_type", type(event).type.encode())]
            if trace is not None:
                headers.append(("traceparent", trace.encode()))
            await producer.send_and_wait(topic, encode(event), key=event.key.encode(), headers=headers)
    finally:
        await producer.stop()


async def told(bootstrap_servers: str, count: int, topic: Topic = topics.LEDGER, *, repeats: bool = True) -> list[Told]:
    """The first `count` records of the topic. Without repeats, a place that was seen before is passed over, as every
    reader does: a relay that lost its database between sending and noting it sends again."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    found: list[Told] = []
    seen: set[tuple[str, str]] = set()
    try:
        consumer.assign([TopicPartition(topic.name, n) for n in range(topic.partitions)])
        async with asyncio.timeout(20):
            while len(found) < count:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    for record in batch:
                        headers = {name: value.decode() for name, value in record.headers}
                        place = (headers["ce_lane"], headers["ce_position"])
                        if place in seen and not repeats:
                            continue
                        seen.add(place)
                        key = record.key.decode()
                        found.append(Told(headers["ce_type"], headers, key, json.loads(record.value), record.value))
    finally:
        await consumer.stop()
    return found
