"""One whole system for the session, and shops to try it with: opened, sold in and looked at through the gateway."""

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from _pytest.nodeid import coerce_node_id
from aiokafka import AIOKafkaProducer

from contracts import Event, encode, topics
from contracts.orders import Cancellation, Line, Order, OrderPaid, Refund, RefundLine, Tender
from testkit import wait_until
from testkit.conformance import conforming
from testkit.system import System

TOPIC_OF = {event: topic.name for topic in topics.ALL for event in topic.events}

ONE_POINT_PER_DOLLAR = {"every-dollar": {"title": "A point for every dollar", "earn": {"points": "1", "per": 100}}}
"""Rules of a shop that asks for no others."""

PROGRAMME = {"on": True, "zone": "America/New_York", "currency": "USD", "shortfall": "forgive", "hold_minutes": 30}

HALF_WITH_POINTS = {"points_per_unit": "10", "step": 1, "maximum_share_percent": "50"}
"""Ten points are worth a dollar and pay half of an order at most."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that are made of the document share one id, whatever their operation; where two files of tests run at a
    time all but one of them would be left out. So their ids are their names."""
    seen = Counter(item.nodeid for item in items)
    for item in items:
        if seen[item.nodeid] > 1:
            item._id = coerce_node_id(f"{item.nodeid.rpartition('::')[0]}::{item.name}")


Opener = Callable[..., Awaitable["Shop"]]


@dataclass
class Shop:
    """A shop, as its platform and its staff see it from outside."""

    id: str
    system: System
    client: httpx.AsyncClient
    producer: Any
    orders: dict[str, Order] = field(default_factory=dict)

    def path(self, rest: str) -> str:
        """A path of this shop."""
        return f"/v1/shops/{self.id}/{rest}"

    async def get(self, rest: str, **query: Any) -> Any:
        """What a GET answers; it must be 200."""
        answer = await self.client.get(self.path(rest), params=query)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
        return answer.json()

    async def post(self, rest: str, body: Any = None, *, status: int = 200, key: str | None = None) -> Any:
        """What a POST answers; it must have that status."""
        headers = {"idempotency-key": key or uuid.uuid4().hex}
        answer = await self.client.post(self.path(rest), json={} if body is None else body, headers=headers)
        assert answer.status_code == status, f"{answer.status_code} {answer.text}"
        return answer.json()

    async def put(self, rest: str, body: Any, *, status: int = 200) -> Any:
        """What a PUT answers; it must have that status."""
        answer = await self.client.put(self.path(rest), json=body)
        assert answer.status_code == status, f"{answer.status_code} {answer.text}"
        return answer.json()

    async def make_rules(self, rules: dict[str, Any], *, since: datetime | None = None) -> None:
        """Make a version of these rules, and activate it for orders placed from now on, or since then."""
        made = await self.post("rule-sets", {"rules": rules})
        beginning = {} if since is None else {"from": since.isoformat()}
        await self.post(f"rule-sets/{made['version']}/activate", beginning)

    async def publish(self, event: Event, *, event_id: str | None = None) -> None:
        """Publish an event as a shop's platform would."""
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", (event_id or uuid.uuid4().hex).encode()),
            ("ce_source", b"/shops/e2e"),
            ("ce_type", event.type.encode()),
            ("content-type", b"application/json"),
        ]
        await self.publish_raw(event.key.encode(), encode(event), headers, topic=TOPIC_OF[type(event)])

    async def publish_raw(
        self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]], *, topic: str = "orders"
    ) -> None:
        """Publish any bytes at all."""
        await self.producer.send_and_wait(topic, key=key, value=value, headers=list(headers))

    async def sell(self, *prices: int, member: str | None = "anna", order: str | None = None, **given: Any) -> Order:
        """An order of lines at these prices, placed and paid just now."""
        now = datetime.now(UTC) - timedelta(minutes=5)
        lines = tuple(
            Line(line=str(number), product=f"p-{number}", quantity=1, unit_price=price)
            for number, price in enumerate(prices, start=1)
        )
        fields: dict[str, Any] = {
            "tenders": (Tender(kind="card", amount=sum(prices)),),
            "placed_at": now,
            "paid_at": now,
            "revision": 1,
            "currency": "USD",
            **given,
        }
        sold = OrderPaid(shop=self.id, order=order or f"o-{uuid.uuid4().hex[:8]}", member=member, lines=lines, **fields)
        await self.tell(sold)
        return sold

    async def change(self, order: Order, event: type[Order], **changes: Any) -> Order:
        """The order's next state."""
        fields = {**order.__dict__, "revision": order.revision + 1, **changes}
        changed = event(**fields)
        await self.tell(changed)
        return changed

    async def tell(self, order: Order) -> None:
        """Publish a state."""
        self.orders[order.order] = order
        await self.publish(order)

    async def balance(self, member: str = "anna") -> dict[str, int]:
        """The member's four buckets."""
        found = await self.get(f"members/{member}/balances")
        (points,) = [balance for balance in found["balances"] if balance["asset"] == "points"]
        return {bucket: points[bucket] for bucket in ("available", "pending", "held", "debt")}

    async def until_balance(self, member: str = "anna", *, within_seconds: float = 20, **wanted: int) -> dict[str, int]:
        """Wait until the member's buckets are these, the others empty."""
        expected = {"available": 0, "pending": 0, "held": 0, "debt": 0, **wanted}

        async def reached() -> dict[str, int]:
            balance = await self.balance(member)
            assert balance == expected
            return balance

        return await wait_until(reached, timeout_seconds=within_seconds, what=f"balance {expected} of {member}")

    async def statement(self, member: str = "anna") -> list[dict[str, Any]]:
        """All entries and refusals, newest first."""
        found: list[dict[str, Any]] = (await self.get(f"members/{member}/entries", limit=200))["entries"]
        return found

    async def sums_are_right(self) -> None:
        """Nothing of this shop's books contradicts itself."""
        after: dict[str, str] = {}
        while after.get("after", "first") is not None:
            checked = await self.get("ledger/check", chains=True, **after)
            assert checked["sum_of_accounts"] == 0
            assert checked["replay_mismatches"] == checked["seq_gaps"] == checked["book_mismatches"] == 0
            assert checked["chain_breaks"] == 0
            after = {"after": checked["next"]}

    def cart(self, *prices: int, channel: str = "online") -> dict[str, Any]:
        """A cart of lines at these prices."""
        return {
            "channel": channel,
            "currency": "USD",
            "lines": [
                {"product": f"p-{number}", "quantity": 1, "unit_price": price}
                for number, price in enumerate(prices, start=1)
            ],
        }


def refund_of(number: int, *lines: RefundLine, amount: int | None = None) -> Refund:
    """A return, now."""
    return Refund(refund=f"r-{number}", at=datetime.now(UTC), lines=lines, amount=amount)


def cancellation_of(order: Order, number: int = 1) -> Cancellation:
    """A cancellation of the order as it is, now."""
    return Cancellation(cancellation=f"c-{number}", at=datetime.now(UTC), paid_at=order.paid_at)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def producer(system: System) -> AsyncIterator[Any]:
    """A publisher's connection to Kafka."""
    connection = AIOKafkaProducer(bootstrap_servers=system.bootstrap_servers, acks="all", enable_idempotence=True)
    await connection.start()
    yield connection
    await connection.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def opener(system: System, producer: Any) -> AsyncIterator[Opener]:
    """`await opener(rules=…, using=…)`: a new shop that every service knows."""
    clients: list[httpx.AsyncClient] = []

    async def opened(
        *,
        rules: dict[str, Any] | None = None,
        using: dict[str, Any] | None = None,
        programme: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> Shop:
        shop_id = name or f"shop-{uuid.uuid4().hex[:8]}"
        client = httpx.AsyncClient(
            base_url=system.gateway_url,
            headers=system.tokens.headers(shop=shop_id),
            timeout=httpx.Timeout(20),
            event_hooks=conforming(),
        )
        clients.append(client)
        shop = Shop(shop_id, system, client, producer)
        await shop.put("programme", {**PROGRAMME, **(programme or {})})
        await shop.make_rules(ONE_POINT_PER_DOLLAR if rules is None else rules)
        await wait_until(lambda: _known(shop), timeout_seconds=20, what="all services to know the shop")
        await shop.put("redemption/settings", {"online": HALF_WITH_POINTS} if using is None else using)
        return shop

    yield opened
    for client in clients:
        await client.aclose()


@pytest_asyncio.fixture
async def shop(opener: Opener) -> Shop:
    """A shop of this test's own."""
    return await opener()


async def _known(shop: Shop) -> bool:
    """Whether the programme's event has reached every service."""
    asked = ("members/nobody/balances", "notifications/settings")
    answers = [await shop.client.get(shop.path(path)) for path in asked]
    quote = {"member": "nobody", "cart": shop.cart(100)}
    answers.append(await shop.client.post(shop.path("checkouts/quote"), json=quote))
    return all(answer.status_code in (200, 409) for answer in answers)
