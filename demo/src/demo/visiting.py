"""Members pay with points: quote, hold, an order that names its checkout, and what becomes of the hold."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from contracts import encode
from contracts.orders import Order, OrderPaid, OrderPlaced, OrderRefunded, Refund, Tender
from demo.gateway import Gateway, Refused
from demo.running import SHOP
from demo.screen import Screen
from workload import Basket, Kind, OrderEvent, Plan, Publisher, Selection
from workload.lives import Life, Teller

VISITORS: Final = 24
AT_ONCE: Final = 6
CALLS_OFF: Final = 5
"""Every eighth visitor from this one calls off at the checkout."""
REFUNDED: Final = 1
"""Every eighth visitor from this one brings half of it back."""
SMALLEST, LARGEST = 2_000, 8_000
"""Cents of a cart that is worth looking at."""

WAIT_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.1


class TookTooLong(Exception):
    """A checkout did not become what it should."""


@dataclass(slots=True)
class Visit:
    """One member at the checkout."""

    member: str
    basket: Basket
    quote: dict[str, Any] | None = None
    held: dict[str, Any] | None = None
    checkout: dict[str, Any] | None = None
    """As it stands in the end; None where no points could be used."""
    made_before: bool = False
    """An earlier run made the checkout, from another balance than the quote's."""

    @property
    def order(self) -> str:
        """The order's id; the checkout has one that is like it."""
        return f"v-{self.basket.number}"

    @property
    def checkout_id(self) -> str:
        """The checkout's id: the same visit is never made twice."""
        return f"c-{self.basket.number}"


def visitors(baskets: Selection) -> list[Visit]:
    """The last fair-sized basket of each of the first households."""
    last: dict[int, Basket] = {}
    for basket in baskets:
        columns = (basket.quantities, basket.unit_prices, basket.discounts)
        if SMALLEST <= sum(count * price - off for count, price, off in zip(*columns, strict=True)) <= LARGEST:
            last[basket.household] = basket
    return [Visit(f"h-{household}", last[household]) for household in sorted(last)[:VISITORS]]


async def visit_all(gateway: Gateway, bootstrap_servers: str, baskets: Selection, screen: Screen) -> list[Visit]:
    """Let all visitors come, a few at a time; what an earlier run has done is only looked up."""
    visits = visitors(baskets)
    teller = Teller(Plan(shop=SHOP, prefix="v", ends_at=datetime.now(UTC)), baskets.year.products)
    turn = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(number: int, visit: Visit, publisher: Publisher) -> None:
        nonlocal done
        async with turn:
            await _come(gateway, publisher, teller, visit, number)
        done += 1
        screen.progress(done, len(visits), f"{done} of {len(visits)} checkouts")

    async with Publisher(bootstrap_servers, source="/shops/demo") as publisher:
        await asyncio.gather(*(one(number, visit, publisher) for number, visit in enumerate(visits)))
    states = [visit.checkout["state"] for visit in visits if visit.checkout is not None]
    returned = sum(visit.checkout["returned"] > 0 for visit in visits if visit.checkout is not None)
    screen.end_progress(
        f"{len(visits)} members at the checkout: {states.count('captured')} holds captured by paid orders, "
        f"{states.count('released')} released, {returned} partly returned by refunds, "
        f"{len(visits) - len(states)} without points to use"
    )
    return visits


async def _come(gateway: Gateway, publisher: Publisher, teller: Teller, visit: Visit, number: int) -> None:
    life = teller.tell(visit.basket, kind=Kind.COMPLETED, member=visit.member, placed_at=datetime.now(UTC))
    sold = as_model(life)
    cart = cart_of(sold)
    visit.quote = await gateway.post(
        "checkouts/quote", {"member": visit.member, "cart": cart}, key=f"{visit.checkout_id}-quote"
    )
    try:
        visit.checkout = await gateway.get(f"checkouts/{visit.checkout_id}")
    except Refused as refused:
        if refused.status != httpx.codes.NOT_FOUND:
            raise
    else:
        visit.held, visit.made_before = visit.checkout, True
        return
    asked = {
        "checkout": visit.checkout_id,
        "member": visit.member,
        "order": visit.order,
        "points": None,
        "cart": cart,
    }
    try:
        visit.held = await gateway.post("checkouts", asked, key=visit.checkout_id)
    except Refused as refused:
        if refused.status != httpx.codes.CONFLICT:
            raise
        return
    if number % 8 == CALLS_OFF:
        await gateway.post(f"checkouts/{visit.checkout_id}/release", {}, key=f"{visit.checkout_id}-release")
        visit.checkout = await _until(gateway, visit, "state", ("released",))
        return
    order = _paid(sold, visit, life.payable)
    await _tell(publisher, OrderPlaced(**{**order.__dict__, "revision": 1, "paid_at": None, "tenders": ()}))
    await _tell(publisher, order)
    visit.checkout = await _until(gateway, visit, "state", ("captured",))
    if number % 8 == REFUNDED:
        refund = Refund(refund=f"{visit.order}-r1", at=datetime.now(UTC), amount=order.tenders[-1].amount // 2)
        await _tell(publisher, OrderRefunded(**{**order.__dict__, "revision": 3, "refunds": (refund,)}))
        visit.checkout = await _until(gateway, visit, "returned", range(1, visit.checkout["captured"] + 1))


def as_model(life: Life) -> OrderPaid:
    """The state that holds in the end, as a model: what is made of it is checked as it is made."""
    return OrderPaid.model_validate_json(life.events[-1].body)


def _paid(order: Order, visit: Visit, payable: int) -> OrderPaid:
    held = visit.held or {}
    tenders = (
        Tender(kind="points", amount=held["worth"], points=held["points"], checkout=visit.checkout_id),
        Tender(kind="card", amount=payable - held["worth"]),
    )
    now = datetime.now(UTC)
    return OrderPaid(**{**order.__dict__, "revision": 2, "tenders": tenders, "paid_at": now, "fulfilled_at": None})


async def _tell(publisher: Publisher, order: Order) -> None:
    event = OrderEvent(
        at=datetime.now(UTC),
        type=order.type,
        id=f"{order.order}-{order.revision}",
        key=order.key.encode(),
        body=encode(order),
        order=order.order,
        revision=order.revision,
    )
    await publisher.send([event])
    await publisher.flush()


async def _until(gateway: Gateway, visit: Visit, field: str, wanted: Iterable[Any]) -> dict[str, Any]:
    """Look at the checkout until it is as it should be."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        checkout: dict[str, Any] = await gateway.get(f"checkouts/{visit.checkout_id}")
        if checkout[field] in wanted:
            return checkout
        if time.monotonic() > deadline:
            raise TookTooLong(f"checkout {visit.checkout_id}: {field} is {checkout[field]} after {WAIT_SECONDS:.0f} s")
        await asyncio.sleep(LOOK_SECONDS)


def cart_of(order: Order) -> dict[str, Any]:
    """What a shop would ask a quote for."""
    wanted = ("product", "categories", "brand", "tags", "quantity", "unit_price", "discount", "gift_card")
    return {
        "channel": order.channel,
        "currency": order.currency,
        "lines": [line.model_dump(mode="json", include=set(wanted), exclude_none=True) for line in order.lines],
        "discount": order.discount,
        "shipping": order.shipping,
        "coupons": list(order.coupons),
    }
