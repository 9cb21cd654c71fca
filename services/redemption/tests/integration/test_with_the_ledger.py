"""Redemption and a real ledger process, over real HTTP and real Kafka: from the quote to the last refund."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from chassis import Runtime
from contracts import Event, encode, topics
from contracts.orders import Order, Tender
from contracts.programmes import ProgrammeChanged
from local.child import free_port
from redemption.app import build
from redemption.domain.checkout import State
from redemption.holding import Desk
from redemption.settings import RedemptionSettings
from redemption.usecases import checkouts
from testkit import process, wait_until
from testkit.conformance import conforming

from .conftest import SHOP, cart, intending, order, refund

LEDGER_SECONDS = 30
"""For what the ledger does to be seen, on a machine that is busy with other tests."""


@dataclass
class Pair:
    """Both services, as a shop and a member see them."""

    redemption: httpx.AsyncClient
    ledger: httpx.AsyncClient
    runtime: Runtime
    producer: AIOKafkaProducer
    ledger_database: str

    async def publish(self, topic: str, event: Event) -> None:
        headers = [("ce_type", event.type.encode()), ("ce_id", uuid4().hex.encode()), ("ce_source", b"shop")]
        await self.producer.send_and_wait(topic, encode(event), key=event.key.encode(), headers=headers)

    async def tell(self, state: Order) -> None:
        await self.publish(topics.ORDERS.name, state)

    async def post(self, path: str, body: Any) -> httpx.Response:
        key = {"idempotency-key": uuid4().hex}
        return await self.redemption.post(f"/v1/shops/{SHOP}/{path}", json=body, headers=key)

    async def hold(self, member: str, checkout: str, points: int | None = None) -> dict[str, Any]:
        answer = await self.post(
            "checkouts", {"checkout": checkout, "member": member, "cart": cart(5000), "points": points}
        )
        assert answer.status_code == 201, answer.text
        held: dict[str, Any] = answer.json()
        return held

    async def state(self, checkout: str) -> dict[str, Any]:
        answer = await self.redemption.get(f"/v1/shops/{SHOP}/checkouts/{checkout}")
        found: dict[str, Any] = answer.json()
        return found

    async def credit(self, member: str, points: int) -> None:
        posting = {
            "key": uuid4().hex,
            "member": member,
            "cause": {"operator": "op-1", "reason": "goodwill"},
            "effect": {"kind": "credit", "amount": points},
        }
        answer = await self.ledger.post(
            f"/v1/shops/{SHOP}/postings", json={"postings": [posting]}, headers={"idempotency-key": uuid4().hex}
        )
        assert answer.status_code == 200, answer.text

    async def operate(self, path: str, **body: Any) -> None:
        """What an operator asks of the ledger."""
        answer = await self.ledger.post(
            f"/v1/shops/{SHOP}/{path}",
            json={"operator": "op-1", "reason": "lost_card", **body},
            headers={"idempotency-key": uuid4().hex},
        )
        assert answer.status_code == 200, answer.text

    async def balance(self, member: str) -> tuple[int, int, int]:
        """Available, held and debt."""
        answer = await self.ledger.get(f"/v1/shops/{SHOP}/members/{member}/balances")
        (points,) = [balance for balance in answer.json()["balances"] if balance["asset"] == "points"]
        return points["available"], points["held"], points["debt"]

    async def has(self, member: str, *wanted: int) -> None:
        """Wait until the member's available, held and debt are these."""

        async def is_so() -> bool:
            assert await self.balance(member) == wanted
            return True

        await wait_until(is_so, what=f"{member} to have {wanted}")

    async def shows(self, checkout: str, **wanted: Any) -> None:
        """Wait until the checkout tells this."""

        async def is_so() -> bool:
            state = await self.state(checkout)
            assert {name: state.get(name) for name in wanted} == wanted
            return True

        await wait_until(is_so, what=f"{checkout} to show {wanted}")


@pytest_asyncio.fixture
async def pair(
    service_database: Callable[[str], Awaitable[Any]], topics: str, tokens: Any, tmp_path: Path
) -> AsyncIterator[Pair]:
    ledger_database, own_database = await service_database("ledger"), await service_database("redemption")
    ledger_port, own_port = free_port(), free_port()
    token_file = tmp_path / "token"
    token_file.write_text(tokens.mint("ledger:read holds:write", sub="redemption"))
    settings = RedemptionSettings(
        database_url=own_database.url,
        kafka_bootstrap_servers=topics,
        http_port=own_port,
        jwks_file=tokens.jwks_file,
        ledger_url=f"http://127.0.0.1:{ledger_port}",
        service_token_file=token_file,
        session_timeout_ms=6_000,
    )
    environment = {
        "LEDGER_DATABASE_URL": ledger_database.url,
        "LEDGER_KAFKA_BOOTSTRAP_SERVERS": topics,
        "LEDGER_HTTP_PORT": str(ledger_port),
        "LEDGER_JWKS_FILE": str(tokens.jwks_file),
        "LEDGER_DUE_EVERY_SECONDS": "0.2",
        "LEDGER_INSTANCE": "test",
    }
    stop = asyncio.Event()
    runtime = Runtime(build(settings))
    producer = AIOKafkaProducer(bootstrap_servers=topics, acks="all")
    headers = tokens.headers(shop=SHOP)
    async with (
        process.running("ledger", "all", environment, log=tmp_path / "ledger.log"),
        producer,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{own_port}", headers=headers, event_hooks=conforming()) as own,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{ledger_port}", headers=headers, event_hooks=conforming()
        ) as ledger,
    ):
        running = asyncio.create_task(runtime.run("all", stop))
        pair = Pair(own, ledger, runtime, producer, ledger_database.url)
        await pair.publish("programmes", programme())

        async def open_shop() -> bool:
            try:
                answer = await own.put(
                    f"/v1/shops/{SHOP}/redemption/settings", json={"online": {"points_per_unit": "100"}}
                )
            except httpx.TransportError:
                return False
            return answer.status_code == 200

        await wait_until(open_shop, timeout_seconds=LEDGER_SECONDS, what="the shop to be known")
        await wait_until(partial(knows, ledger_database.url), what="the ledger to know the shop")
        yield pair
        stop.set()
        await running


async def knows(url: str) -> bool:
    connection = await asyncpg.connect(url)
    try:
        return bool(await connection.fetchval("SELECT count(*) FROM consumer_offset WHERE next > 0"))
    finally:
        await connection.close()


def programme(**more: Any) -> ProgrammeChanged:
    """The shop's programme, as rules tell it."""
    known = {"shop": SHOP, "revision": 1, "on": True, "zone": "Europe/Madrid", "currency": "EUR", "shortfall": "debt"}
    return ProgrammeChanged(**{**known, **more})


async def test_points_are_held_captured_and_returned(pair: Pair) -> None:
    """From end to end: quote → hold → captured when paid → returned in proportion on refund → all on cancellation."""
    await pair.credit("ann", 500)
    offered = (await pair.post("checkouts/quote", {"member": "ann", "cart": cart(5000)})).json()
    assert (offered["points"], offered["worth"], offered["limited_by"]) == (500, 500, "balance")
    held = await pair.hold("ann", "c-1", 100)
    assert (held["state"], await pair.balance("ann")) == ("held", (400, 100, 0))
    await pair.tell(order(1))
    await pair.has("ann", 400, 0, 0)
    await pair.shows("c-1", state="captured", captured=100, returned=0, late=False, order="o-1")
    await pair.tell(order(2, refunds=(refund(0, line="0", quantity=1),)))
    await pair.has("ann", 450, 0, 0)
    await pair.shows("c-1", captured=100, returned=50)
    await pair.tell(order(3, refunds=(refund(0, line="0", quantity=1),), cancelled=1))
    await pair.has("ann", 500, 0, 0)
    await pair.tell(order(4, refunds=(refund(0, line="0", quantity=1),), cancelled=1, again=True))
    await pair.has("ann", 400, 0, 0)


async def test_a_hold_ends_by_release_by_cancellation_and_by_time(pair: Pair) -> None:
    """hold_timeout: whatever ends a hold, its points are available again."""
    await pair.credit("bob", 100)
    await pair.hold("bob", "c-1", 100)
    assert (await pair.post("checkouts/c-1/release", {})).json()["state"] == "released"
    assert await pair.balance("bob") == (100, 0, 0)

    await pair.hold("bob", "c-2", 100)
    await pair.tell(order(1, order="o-2", member="bob", checkout="c-2", paid=False))
    await pair.tell(order(2, order="o-2", member="bob", checkout="c-2", paid=False, cancelled=1))
    await pair.has("bob", 100, 0, 0)
    await pair.shows("c-2", state="released")

    await short_hold(pair, "bob", "c-3", 100)
    await pair.has("bob", 100, 0, 0)
    await pair.shows("c-3", state="expired")


async def test_late_paid_debits_what_is_there_and_owes_the_rest(pair: Pair) -> None:
    """The hold's time is over and 30 of its points are spent elsewhere before the payment is processed."""
    await pair.credit("cyd", 100)
    await short_hold(pair, "cyd", "c-1", 100)
    await pair.has("cyd", 100, 0, 0)
    await pair.tell(order(1, order="till-1", member="cyd", tenders=(Tender(kind="points", amount=30, points=30),)))
    await pair.has("cyd", 70, 0, 0)
    await pair.tell(order(1, member="cyd"))
    await pair.has("cyd", 0, 0, -30)
    await pair.shows("c-1", state="captured", captured=70, shortfall=30, late=True)


async def test_twenty_at_once_for_the_same_points_hold_them_once(pair: Pair) -> None:
    await pair.credit("dan", 100)
    body = {"member": "dan", "cart": cart(5000), "points": 100}
    answers = await asyncio.gather(*(pair.post("checkouts", {**body, "checkout": f"c-{n}"}) for n in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {
        "points_not_usable",
        "too_many_points",
        "insufficient_points",
    }
    assert await pair.balance("dan") == (0, 100, 0)


async def test_a_frozen_member_is_offered_nothing_and_a_hold_is_refused(pair: Pair) -> None:
    await pair.credit("eve", 500)
    await pair.hold("eve", "c-1", 100)
    await pair.operate("members/eve/freeze")
    offered = (await pair.post("checkouts/quote", {"member": "eve", "cart": cart(5000)})).json()
    assert (offered["points"], [reason["code"] for reason in offered["reasons"]]) == (0, ["member_frozen"])
    refused = await pair.post("checkouts", {"checkout": "c-2", "member": "eve", "cart": cart(5000), "points": 100})
    assert (refused.status_code, refused.json()["code"]) == (409, "points_not_usable")
    desk: Desk = pair.runtime.extras["desk"]  # and if it is frozen between quote and hold
    (intent,) = await desk.database.execute(checkouts.intend, [intending("c-3", "eve", 100)])
    assert (await desk.finish(intent)).state is State.REFUSED
    assert (await pair.state("c-3"))["refusal"] == "account_frozen"
    await pair.tell(order(1, member="eve", checkout="c-1"))  # what was begun goes on
    await pair.has("eve", 400, 0, 0)


async def test_a_member_with_a_new_card_still_shops_with_the_old_one(pair: Pair) -> None:
    """Its points are another's after a merge, and after the next one a third one's; so are holds in its name."""
    await pair.credit("fay", 500)
    await pair.hold("fay", "c-1", 100)
    await pair.operate("members/fay/merge", into="fay-2")
    await pair.operate("members/fay-2/merge", into="fay-3")
    assert [await pair.balance(member) for member in ("fay", "fay-3")] == [(0, 0, 0), (400, 100, 0)]
    for member in ("fay", "fay-2", "fay-3"):
        offered = (await pair.post("checkouts/quote", {"member": member, "cart": cart(5000)})).json()
        assert (offered["member"], offered["points"], offered["available"]) == (member, 400, 400)
    held = await pair.hold("fay", "c-2")
    assert (held["points"], await pair.balance("fay-3")) == (400, (0, 500, 0))
    await pair.tell(order(1, member="fay", checkout="c-1"))
    await pair.shows("c-1", state="captured", captured=100)
    assert (await pair.post("checkouts/c-2/release", {})).json()["state"] == "released"
    await pair.has("fay-3", 400, 0, 0)


async def test_a_frozen_card_stays_frozen_when_there_is_a_new_one(pair: Pair) -> None:
    await pair.credit("gus", 500)
    await pair.operate("members/gus/freeze")
    await pair.operate("members/gus/merge", into="gus-2")
    codes = {}
    for member in ("gus", "gus-2"):
        offered = (await pair.post("checkouts/quote", {"member": member, "cart": cart(5000)})).json()
        codes[member] = (offered["points"], [reason["code"] for reason in offered["reasons"]])
    assert codes == {"gus": (0, ["member_frozen"]), "gus-2": (500, [])}


async def short_hold(pair: Pair, member: str, name: str, points: int) -> None:
    """A hold of about a second; shops can ask for whole minutes only."""
    desk: Desk = pair.runtime.extras["desk"]
    (intent,) = await desk.database.execute(checkouts.intend, [intending(name, member, points, minutes=1 / 60)])
    finished = await desk.finish(intent)
    assert finished.state is State.HELD
