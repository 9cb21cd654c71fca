"""What goes on meanwhile: orders and returns, twice and shuffled; shoppers who pay with points, or do not; merges."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any, Final

import httpx

import workload
from bench.chaos.asking import ANSWER_SECONDS, Refused, ask, client
from bench.chaos.merges import Merges
from bench.chaos.sending import Sender
from testkit.system import System
from workload import Kind, Life, OrderEvent, Plan, PointsTender, Year
from workload.lives import Teller

SHOP: Final = "chaos"

CONTACTS: Final = 40
"""Members who are told by e-mail."""

HOOKED: Final = ("points_used", "points_returned")
"""What the shop's own system is told of: what shoppers do."""

BASKETS: Final = 20_000
"""Orders of the longest campaign."""

SHOPPERS: Final = 4
"""Checkouts at a time."""

EVENTS_PER_STEP: Final = 50
STEP_SECONDS: Final = 0.25
"""Orders flow at some 200 events a second: enough that every fault hits something, with time to recover."""

POINTS: Final = 50
"""Points that a shopper pays with: fifty cents of any order."""

ENOUGH_POINTS: Final = 10_000_000
"""Of each shopper at first: for far more checkouts than the longest campaign has."""

OUTCOMES: Final = ("paid", "paid", "paid", "released", "abandoned")
"""Of a checkout; what is abandoned ends by its time limit, of a minute."""

PAID_KINDS: Final = (
    Kind.COMPLETED, Kind.LINE_RETURNED, Kind.AMOUNT_RETURNED, Kind.RETURNED_TWICE, Kind.ALL_RETURNED, Kind.CANCELLED,
    Kind.PAID_AGAIN,
)  # fmt: skip


@dataclass
class Story:
    """All that was done, for the verdict."""

    system: System
    year: Year
    seed: int
    hook: str
    """Where the shop takes webhooks."""
    orders: dict[str, Life] = field(default_factory=dict)
    """Every order that was published, by id."""
    paid_with_points: dict[str, str] = field(default_factory=dict)
    """Order by checkout."""
    given_up: set[str] = field(default_factory=set)
    """Checkouts that no order names: abandoned, released, or never held."""
    checkouts: int = 0
    """That held points."""
    events: int = 0
    _patient: bool = True
    """Whether checkouts are still left to their time limit."""
    merges: Merges = field(init=False)
    _sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        households = {f"h-{basket.household}": None for basket in self.year.take(BASKETS)}
        self.merges = Merges(list(households), [_shopper(number) for number in range(SHOPPERS)])
        self._sender = Sender(self.system.bootstrap_servers)

    async def prepare(self) -> None:
        """Addresses for some members and for the shop, points for the shoppers."""
        async with client(self.system, SHOP) as http:
            await ask(http, "PUT", "webhooks/shop-system", {"url": self.hook, "scenarios": HOOKED})
            for member in self.merges.households[:CONTACTS]:
                await ask(http, "PUT", f"members/{member}/contact", {"email": f"{member}@chaos.example"})
            postings = [
                {
                    "key": f"start-{n}",
                    "member": _shopper(n),
                    "effect": {"kind": "credit", "amount": ENOUGH_POINTS},
                    "cause": {"operator": "chaos", "reason": "to-shop-with"},
                }
                for n in range(SHOPPERS)
            ]
            await ask(http, "POST", "postings", {"postings": postings})
            await self.merges.prepare(http)

    def leave_nothing(self) -> None:
        """From now on no checkout is left to its time limit: at the end that would only be waited for."""
        self._patient = False

    async def flow(self, stop: asyncio.Event) -> None:
        """Until told to stop; what was begun is ended."""
        shoppers = [self._shop(number, stop) for number in range(SHOPPERS)]
        async with client(self.system, SHOP) as http:
            await asyncio.gather(self._sell(stop), *shoppers, self.merges.flow(http, stop))
        await self._sender.close()

    # -- orders

    async def _sell(self, stop: asyncio.Event) -> None:
        plan = Plan(shop=SHOP, ends_at=datetime.now(UTC), seed=self.seed)
        told: list[Life] = []

        def remembered() -> Iterator[Life]:
            for life in workload.lives(self.year.take(BASKETS), plan):
                if stop.is_set():
                    return
                told.append(life)
                yield life

        stream = workload.deliveries(remembered(), repeats=1.0, late=0.3, seed=self.seed)
        while events := list(islice(stream, EVENTS_PER_STEP)):
            await self.publish(events)
            if not stop.is_set():
                await asyncio.sleep(STEP_SECONDS)
        self.orders.update({life.order: life for life in told})

    async def publish(self, events: list[OrderEvent]) -> None:
        """Until Kafka has confirmed them; some come twice."""
        await self._sender.send(events)
        self.events += len(events)

    # -- shoppers

    async def _shop(self, number: int, stop: asyncio.Event) -> None:
        chance = random.Random(self.seed * 1_000 + number)
        member = _shopper(number)
        plan = Plan(shop=SHOP, ends_at=datetime.now(UTC), seed=self.seed, prefix=f"s{number}")
        teller = Teller(plan, self.year.products)
        baskets = iter(self.year.take(3_000))
        kind = Kind.COMPLETED  # of the first order, so that "first order" has one right answer
        async with client(self.system, SHOP) as http:
            for turn in count():
                if stop.is_set():
                    return
                checkout = f"c-{number}-{turn}"
                outcome = chance.choice(OUTCOMES)
                if not await self._check_out(http, checkout, member):
                    self.given_up.add(checkout)
                    continue
                self.checkouts += 1
                if outcome == "paid":
                    await self._pay(teller, next(baskets), member, checkout, kind)
                    kind = chance.choice(PAID_KINDS)
                    continue
                self.given_up.add(checkout)
                if outcome == "released" or not self._patient:
                    await ask(http, "POST", f"checkouts/{checkout}/release", {}, key=f"{checkout}/release")

    async def _check_out(self, http: httpx.AsyncClient, checkout: str, member: str) -> bool:
        """Hold points under a checkout, until it is settled that they are held; false where the ledger was away for as
        long as they were to be held."""
        cart = {
            "channel": "online", "currency": "USD",
            "lines": [{"product": "p-1", "quantity": 1, "unit_price": 5_000}],
        }  # fmt: skip
        asked = {"checkout": checkout, "member": member, "cart": cart, "points": POINTS}
        answer = await ask(http, "POST", "checkouts", asked, key=checkout)
        give_up_at = time.monotonic() + ANSWER_SECONDS
        while answer.get("state") == "intended":
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"{checkout} stays intended")
            await asyncio.sleep(0.2)
            answer = await ask(http, "GET", f"checkouts/{checkout}")
        if answer["state"] == "refused" and answer["refusal"] == "dates_out_of_order":
            return False
        if (answer["state"], answer["points"]) not in (("held", POINTS), ("expired", POINTS)):
            raise Refused(f"{checkout}: {answer}")
        return True

    async def _pay(self, teller: Teller, basket: Any, member: str, checkout: str, kind: Kind) -> None:
        """The whole life of an order that these points helped to pay, which ended a while ago."""
        tender = PointsTender(checkout=checkout, points=POINTS, amount=POINTS)

        def part(payable: int) -> PointsTender | None:
            return tender if payable >= POINTS else None

        placed_at = datetime.now(UTC) - timedelta(days=30)
        life = teller.tell(basket, member=member, points=part, placed_at=placed_at, kind=kind)
        self.orders[life.order] = life
        if any(paid.kind == "points" for paid in life.newest.tenders):
            self.paid_with_points[checkout] = life.order
        else:
            self.given_up.add(checkout)
        for event in life.events:
            await self.publish([event, event])


def _shopper(number: int) -> str:
    return f"shopper-{number}"
