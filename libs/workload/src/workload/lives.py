"""The lives of orders: what happens to each basket from placed to wherever it ends, as the contracts' events.

Bodies are written as JSON directly, because a bench needs more of them per second than any model class can build; a
test decodes them all with the contracts and finds nothing wrong.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from contracts import decode
from contracts.orders import Order, OrderPaid
from workload.baskets import Basket, Product, Selection, moved_by, unknown_product

ONLINE_PERCENT: Final = 40
FREE_SHIPPING_FROM: Final = 3_500
SHIPPING: Final = 499


class Kind(StrEnum):
    """What becomes of an order."""

    COMPLETED = "completed"
    UNPAID = "unpaid"
    """Placed and never paid."""
    LINE_RETURNED = "line_returned"
    AMOUNT_RETURNED = "amount_returned"
    RETURNED_TWICE = "returned_twice"
    """First a line, then some money."""
    ALL_RETURNED = "all_returned"
    CANCELLED_UNPAID = "cancelled_unpaid"
    CANCELLED = "cancelled"
    PAID_AGAIN = "paid_again"
    """Cancelled after its payment, and paid once more later."""
    CHANGED = "changed"
    """A piece more or a line less after the payment."""
    GUEST = "guest"
    CLAIMED = "claimed"
    """Bought as a guest; the member is linked a day later."""
    TEST = "test"


USUAL: Final[Mapping[Kind, int]] = {
    Kind.UNPAID: 50,
    Kind.LINE_RETURNED: 300,
    Kind.AMOUNT_RETURNED: 150,
    Kind.RETURNED_TWICE: 100,
    Kind.ALL_RETURNED: 150,
    Kind.CANCELLED_UNPAID: 150,
    Kind.CANCELLED: 150,
    Kind.PAID_AGAIN: 75,
    Kind.CHANGED: 75,
    Kind.GUEST: 100,
    Kind.CLAIMED: 50,
    Kind.TEST: 20,
}
"""Of 10,000 orders; the rest are completed without a word."""

COMPLETED_ONLY: Final[Mapping[Kind, int]] = {}


class OrderEvent(NamedTuple):
    """An event ready to be published."""

    at: datetime
    """When it happened, by the story that the data tells."""
    type: str
    id: str
    """Of the event, not of the order: `<order>-<revision>`."""
    key: bytes
    body: bytes
    order: str
    revision: int


class PointsTender(NamedTuple):
    """Points that pay for a part of an order, as the checkout gave them."""

    checkout: str | None
    points: int
    amount: int
    """Minor units that they pay."""


@dataclass(frozen=True, slots=True)
class Life:
    """All that happens to one order, oldest first."""

    order: str
    member: str | None
    """Whose it is in the end; None for guests."""
    kind: Kind
    first: bool
    """The member's first order of those made here."""
    payable: int
    """Minor units to be paid by any means, when it was placed."""
    events: tuple[OrderEvent, ...]

    @property
    def newest(self) -> Order:
        """The state that holds in the end."""
        order: Order = decode(OrderPaid, self.events[-1].body)
        return order


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Plan:
    """What is made of the baskets; the same plan makes the same events."""

    shop: str = "demo"
    ends_at: datetime = field(default_factory=_now)
    """The year's last basket is at most a week before it; what would happen later has not happened yet."""
    seed: int = 1
    members: int | None = None
    """None: the households are the members (`h-17`). A number: orders go round that many made-up ones (`m-17`)."""
    mix: Mapping[Kind, int] = field(default_factory=lambda: USUAL)
    plain_first_orders: bool = True
    """A member's first order is completed and never late, so that "first order" has one right answer."""
    prefix: str = "b"
    """Begins each order's id; another prefix makes the year's baskets other orders."""
    zone: str = "America/New_York"
    """Of the shop's clock."""
    currency: str = "USD"

    @cached_property
    def shift(self) -> timedelta:
        """By how much the data's year is moved."""
        return moved_by(self.ends_at.astimezone(self.tz).replace(tzinfo=None))

    @cached_property
    def tz(self) -> ZoneInfo:
        """The shop's zone."""
        return ZoneInfo(self.zone)


def lives(baskets: Selection, plan: Plan) -> Iterator[Life]:
    """One life per basket, in order of time."""
    tell = Teller(plan, baskets.year.products)
    return map(tell, baskets)


class Teller:
    """Makes lives of baskets, one after the other; `tell(basket, points=…)` for a caller that checks out by itself."""

    def __init__(self, plan: Plan, products: Mapping[int, Product]) -> None:
        self.plan = plan
        self._products = products
        self._product_json: dict[int, str] = {}
        self._seen: set[str] = set()
        self._sequence = 0
        self._kinds = _spans(plan.mix)

    def __call__(self, basket: Basket) -> Life:
        return self.tell(basket)

    def tell(
        self,
        basket: Basket,
        *,
        kind: Kind | None = None,
        member: str | None = None,
        points: Callable[[int], PointsTender | None] | None = None,
        placed_at: datetime | None = None,
    ) -> Life:
        """The life of a basket. `points` is asked with what is payable and says what of it points pay."""
        plan = self.plan
        chance = _mixed(plan.seed * 0x51_7CC1_B727_2202_0A95 ^ basket.number)
        member = member or self._member(basket)
        first = member not in self._seen
        if kind is None:
            plain = first and plan.plain_first_orders
            kind = Kind.COMPLETED if plain else self._kind(chance % 10_000)
        if first and kind is not Kind.GUEST:
            self._seen.add(member)
        if placed_at is None:
            placed_at = (basket.bought_at + plan.shift).replace(tzinfo=plan.tz).astimezone(UTC)
        story = _Story(plan, basket, member, placed_at, chance >> 16, self._lines(basket))
        if points is not None:
            story.pay_with(points(story.payable))
        _TELL[kind](story)
        events = story.events
        while len(events) > 1 and events[-1].at > plan.ends_at:
            events.pop()
        # The member is in the story's last word only if that word has been spoken by now.
        known = b'"member":' in events[-1].body
        return Life(story.order, member if known else None, kind, first, story.payable, tuple(events))

    def _member(self, basket: Basket) -> str:
        if self.plan.members is None:
            return f"h-{basket.household}"
        self._sequence += 1
        # A stride that shares no factor with any usual count visits every member once before any twice.
        return f"m-{self._sequence * 7_368_787 % self.plan.members}"

    def _kind(self, chance: int) -> Kind:
        for below, kind in self._kinds:
            if chance < below:
                return kind
        return Kind.COMPLETED

    def _lines(self, basket: Basket) -> list[str]:
        known = self._product_json
        lines = []
        columns = (basket.products, basket.quantities, basket.unit_prices, basket.discounts)
        for number, (product, quantity, unit_price, discount) in enumerate(zip(*columns, strict=True), start=1):
            labels = known.get(product)
            if labels is None:
                labels = known[product] = _labels(self._products.get(product) or unknown_product(product))
            off = f',"discount":{discount}' if discount else ""
            lines.append(f'{{"line":"{number}",{labels},"quantity":{quantity},"unit_price":{unit_price}{off}}}')
        return lines


class _Story:
    """An order as it goes on: its state, and the events that told of it."""

    def __init__(
        self, plan: Plan, basket: Basket, member: str, placed_at: datetime, chance: int, lines: list[str]
    ) -> None:
        self.order = f"{plan.prefix}-{basket.number}"
        self.events: list[OrderEvent] = []
        self.basket = basket
        self.placed_at = placed_at
        self.chance = chance
        self.member: str | None = member
        self.owner = member
        self.online = chance % 100 < ONLINE_PERCENT
        self.lines = lines
        columns = (basket.quantities, basket.unit_prices, basket.discounts)
        self.charges = [count * price - off for count, price, off in zip(*columns, strict=True)]
        goods = max(sum(self.charges) - basket.discount, 0)
        self.shipping = SHIPPING if self.online and goods < FREE_SHIPPING_FROM else 0
        self.payable = goods + self.shipping
        self._plan = plan
        self._points: PointsTender | None = None
        self._test = ""
        self._fixed: str | None = None
        self._placed_at = _iso(placed_at)
        self._paid_at = ""
        self._fulfilled_at = ""
        self._refunds: list[str] = []
        self._cancellations: list[str] = []

    def chances(self, below: int) -> int:
        """A number in `[0, below)`; each call draws another."""
        self.chance = _mixed(self.chance)
        return self.chance % below

    def later(self, at: datetime, seconds: int, spread_seconds: int) -> datetime:
        """Some time after."""
        return at + timedelta(seconds=seconds + self.chances(spread_seconds))

    def pay_with(self, points: PointsTender | None) -> None:
        """Points pay a part of it."""
        self._points = points

    def place(self) -> datetime:
        """The order is placed; a till says so only when it is paid."""
        if self.online:
            self._say(self.placed_at, "order-placed")
        return self.placed_at

    def pay(self, at: datetime | None = None) -> datetime:
        """The order is paid in full."""
        if at is None:
            at = self.later(self.placed_at, 45, 600) if self.online else self.placed_at
        self._paid_at = _iso(at)
        self._say(at, "order-paid")
        return at

    def fulfil(self, paid_at: datetime) -> datetime:
        """Everything is handed over: at a till in a moment, else in some hours."""
        at = self.later(paid_at, 4 * 3600, 40 * 3600) if self.online else self.later(paid_at, 20, 60)
        self._fulfilled_at = _iso(at)
        self._say(at, "order-fulfilled")
        return at

    def refund(self, at: datetime, what: str) -> None:
        """Something comes back."""
        self._refunds.append(f'{{"refund":"{self.order}-r{len(self._refunds) + 1}","at":"{_iso(at)}",{what}}}')
        self._say(at, "order-refunded")

    def cancel(self, at: datetime) -> None:
        """The order is called off."""
        undid = f',"paid_at":"{self._paid_at}"' if self._paid_at else ""
        number = len(self._cancellations) + 1
        self._cancellations.append(f'{{"cancellation":"{self.order}-c{number}","at":"{_iso(at)}"{undid}}}')
        self._say(at, "order-cancelled")

    def change(self, at: datetime) -> None:
        """Something else about it changes."""
        self._fixed = None
        self._say(at, "order-changed")

    def is_test(self) -> None:
        """The order is only a test."""
        self._test = '"test":true,'

    def a_line(self) -> int:
        """One of its lines, by place."""
        return self.chances(len(self.lines))

    def _say(self, at: datetime, type_: str) -> None:
        plan, revision = self._plan, len(self.events) + 1
        member = "" if self.member is None else f'"member":"{self.member}",'
        paid = f',"paid_at":"{self._paid_at}"' if self._paid_at else ""
        done = f',"fulfilled_at":"{self._fulfilled_at}"' if self._fulfilled_at else ""
        refunds = f',"refunds":[{",".join(self._refunds)}]' if self._refunds else ""
        cancelled = f',"cancellations":[{",".join(self._cancellations)}]' if self._cancellations else ""
        body = (
            f'{{"shop":"{plan.shop}","order":"{self.order}","revision":{revision},{self._test}{member}{self._sold()}'
            f'"tenders":[{self._tenders()}],"placed_at":"{self._placed_at}"{paid}{done}{refunds}{cancelled}}}'
        )
        key = f"{plan.shop}/{self.member or self.order}"
        self.events.append(
            OrderEvent(at, type_, f"{self.order}-{revision}", key.encode(), body.encode(), self.order, revision)
        )

    def _sold(self) -> str:
        """What stays the same from one event to the next, unless the lines change; it is most of the body."""
        if self._fixed is None:
            channel = "online" if self.online else "pos"
            coupons = json.dumps(self.basket.coupons) if self.basket.coupons else "[]"
            self._fixed = (
                f'"channel":"{channel}","currency":"{self._plan.currency}","lines":[{",".join(self.lines)}],'
                f'"discount":{self.basket.discount},"shipping":{self.shipping},"coupons":{coupons},'
            )
        return self._fixed

    def _tenders(self) -> str:
        if not self._paid_at:
            return ""
        points = self._points
        if points is None:
            return f'{{"kind":"card","amount":{self.payable}}}'
        under = "" if points.checkout is None else f',"checkout":"{points.checkout}"'
        return (
            f'{{"kind":"points","amount":{points.amount},"points":{points.points}{under}}},'
            f'{{"kind":"card","amount":{self.payable - points.amount}}}'
        )


def _completed(story: _Story) -> None:
    story.place()
    story.fulfil(story.pay())


def _unpaid(story: _Story) -> None:
    story.online = True
    story.place()


def _line_returned(story: _Story) -> None:
    story.place()
    at = story.later(story.fulfil(story.pay()), 86_400, 12 * 86_400)
    story.refund(at, _a_line_back(story))


def _amount_returned(story: _Story) -> None:
    story.place()
    at = story.later(story.fulfil(story.pay()), 3_600, 6 * 86_400)
    story.refund(at, f'"amount":{_some_money(story)}')


def _returned_twice(story: _Story) -> None:
    story.place()
    at = story.later(story.fulfil(story.pay()), 86_400, 6 * 86_400)
    story.refund(at, _a_line_back(story))
    story.refund(story.later(at, 3_600, 5 * 86_400), f'"amount":{_some_money(story)}')


def _all_returned(story: _Story) -> None:
    story.place()
    at = story.later(story.fulfil(story.pay()), 86_400, 12 * 86_400)
    lines = ",".join(f'{{"line":"{number}"}}' for number in range(1, len(story.lines) + 1))
    story.refund(at, f'"lines":[{lines}]' if story.chances(2) else f'"amount":{story.payable}')


def _cancelled_unpaid(story: _Story) -> None:
    story.online = True
    story.cancel(story.later(story.place(), 600, 86_400))


def _cancelled(story: _Story) -> None:
    story.place()
    story.cancel(story.later(story.pay(), 600, 2 * 86_400))


def _paid_again(story: _Story) -> None:
    story.place()
    cancelled_at = story.later(story.pay(), 600, 86_400)
    story.cancel(cancelled_at)
    story.fulfil(story.pay(story.later(cancelled_at, 600, 86_400)))


def _changed(story: _Story) -> None:
    story.place()
    paid_at = story.pay()
    basket = story.basket
    if story.chances(2) or len(story.lines) == 1:
        count = basket.quantities[0]
        story.lines[0] = story.lines[0].replace(f'"quantity":{count},', f'"quantity":{count + 1},')
        story.payable += basket.unit_prices[0]
    else:
        story.lines.pop()
        story.payable -= min(story.charges.pop(), story.payable)
    changed_at = story.later(paid_at, 30, 600)
    story.change(changed_at)
    story.fulfil(changed_at)


def _guest(story: _Story) -> None:
    story.member = None
    _completed(story)


def _claimed(story: _Story) -> None:
    story.member = None
    story.place()
    at = story.later(story.fulfil(story.pay()), 3_600, 86_400)
    story.member = story.owner
    story.change(at)


def _test(story: _Story) -> None:
    story.is_test()
    _completed(story)


_TELL: Final[Mapping[Kind, Callable[[_Story], None]]] = {
    Kind.COMPLETED: _completed,
    Kind.UNPAID: _unpaid,
    Kind.LINE_RETURNED: _line_returned,
    Kind.AMOUNT_RETURNED: _amount_returned,
    Kind.RETURNED_TWICE: _returned_twice,
    Kind.ALL_RETURNED: _all_returned,
    Kind.CANCELLED_UNPAID: _cancelled_unpaid,
    Kind.CANCELLED: _cancelled,
    Kind.PAID_AGAIN: _paid_again,
    Kind.CHANGED: _changed,
    Kind.GUEST: _guest,
    Kind.CLAIMED: _claimed,
    Kind.TEST: _test,
}


def _a_line_back(story: _Story) -> str:
    """Pieces of a line, all that is left of it, or money for it."""
    place = story.a_line()
    how = story.chances(3)
    if how == 0:
        what = f',"quantity":{1 + story.chances(story.basket.quantities[place])}'
    elif how == 1:
        what = f',"amount":{1 + story.chances(max(story.charges[place], 1))}'
    else:
        what = ""
    return f'"lines":[{{"line":"{place + 1}"{what}}}]'


def _some_money(story: _Story) -> int:
    return 1 + story.chances(max(story.payable, 1))


def _labels(product: Product) -> str:
    """The part of a line that its product says."""
    said: dict[str, object] = {"product": product.product, "categories": product.categories}
    if product.brand:
        said["brand"] = product.brand
    if product.tags:
        said["tags"] = product.tags
    if product.gift_card:
        said["gift_card"] = True
    return json.dumps(said, separators=(",", ":"))[1:-1]


def _spans(mix: Mapping[Kind, int]) -> list[tuple[int, Kind]]:
    spans, below = [], 0
    for kind, share in mix.items():
        below += share
        spans.append((below, kind))
    return spans


def _iso(at: datetime) -> str:
    return f"{at.isoformat()[:19]}Z"


def _mixed(number: int) -> int:
    """64 bits that look like chance and are the same every time (splitmix64)."""
    number = (number + 0x9E37_79B9_7F4A_7C15) & 0xFFFF_FFFF_FFFF_FFFF
    number = ((number ^ number >> 30) * 0xBF58_476D_1CE4_E5B9) & 0xFFFF_FFFF_FFFF_FFFF
    number = ((number ^ number >> 27) * 0x94D0_49BB_1331_11EB) & 0xFFFF_FFFF_FFFF_FFFF
    return number ^ number >> 31
