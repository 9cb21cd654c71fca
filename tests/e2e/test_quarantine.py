"""A shop that floods a service with what cannot be applied waits there, alone, until somebody lets it go on."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from testkit import wait_until
from testkit.system import System

Shop = Any

FLOOD = 120
"""A service sets a shop aside at a hundred in a minute."""

SECONDS = 30
"""For what is waited for, beside other tests."""


@pytest_asyncio.fixture
async def admin(system: System) -> AsyncIterator[AIOKafkaProducer]:
    """Who may write any topic: a service that has lost its mind."""
    producer = AIOKafkaProducer(**system.brokers("admin"), acks="all")
    await producer.start()
    yield producer
    await producer.stop()


@pytest.mark.parametrize(
    ("topic", "kind", "services"),
    [
        ("orders", b"order-paid", ("rules", "redemption")),
        ("postings", b"posting-requested", ("ledger",)),
        ("ledger", b"points-changed", ("notifications",)),
    ],
)
async def test_a_shop_that_floods_a_service_waits_until_somebody_lets_it_go_on(
    shop: Shop, admin: AIOKafkaProducer, topic: str, kind: bytes, services: Sequence[str]
) -> None:
    key, headers = f"{shop.id}/anna".encode(), [("ce_type", kind), ("ce_id", b"bad"), ("ce_source", b"/e2e")]
    for sent in [await admin.send(topic, key=key, value=b"{}", headers=headers) for _ in range(FLOOD)]:
        await sent

    async def set_aside() -> bool:
        found = [(await shop.get(f"{service}/waiting"))["quarantines"] for service in services]
        return all(found) and [[q["consumer"], q["reason"]] for [q] in found] == [
            [topic, "100 dead letters within a minute"] for _ in services
        ]

    await wait_until(set_aside, timeout_seconds=SECONDS, what="the shop to be set aside")
    await shop.sell(1_000)
    for service in services:
        await wait_until(lambda s=service: _waits(shop, s), timeout_seconds=SECONDS, what=f"what waits in {service}")
        page = await shop.get(f"{service}/dead-letters", limit=200)
        assert ({letter["code"] for letter in page["dead_letters"]}, page["next"]) == ({"malformed"}, None)
        assert len(page["dead_letters"]) == FLOOD
        letter = await shop.get(f"{service}/dead-letters/{page['dead_letters'][0]['id']}")
        assert (letter["topic"], letter["value"], letter["size_bytes"]) == (topic, "e30=", 2)
        still = await shop.post(f"{service}/dead-letters/{letter['id']}/replay", status=409)
        assert (still["code"], still["reason"]) == ("still_dead", "malformed")
    assert (await shop.balance())["available"] == (0 if topic != "ledger" else 10)
    for service in services:
        assert await _lift(shop, service) == 1
        await wait_until(lambda s=service: _is_empty(shop, s), timeout_seconds=SECONDS, what=f"{service} to go on")
        assert await _lift(shop, service) == 0
    await shop.until_balance(available=10)


async def _waits(shop: Shop, service: str) -> bool:
    return bool((await shop.get(f"{service}/waiting"))["waiting"])


async def _is_empty(shop: Shop, service: str) -> bool:
    found = await shop.get(f"{service}/waiting")
    return (found["quarantines"], found["waiting"], found["next"]) == ([], [], None)


async def _lift(shop: Shop, service: str) -> int:
    answer = await shop.client.delete(shop.path(f"{service}/quarantine"))
    assert answer.status_code == 200, answer.text
    lifted: int = answer.json()["lifted"]
    return lifted
