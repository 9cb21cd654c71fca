"""Topic `orders`: what shop platforms say about orders. Every event carries the whole order as it now is."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from contracts.event import Currency, Event, Instant, MemberId, Model, Money, OpaqueId, PositivePoints, Text
from contracts.topic import Topic

MAX_LINES = 1_000
MAX_REFUNDS = 1_000
MAX_CANCELLATIONS = 100
MAX_QUANTITY = 1_000_000

Label = Annotated[Text, StringConstraints(min_length=1, max_length=128)]
"""A category, brand, tag or coupon code: the shop's own word."""

Rate = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,10})?$")]
"""An exact decimal in a string."""


class Line(Model):
    """One line as sold. Refunds never lessen it."""

    line: OpaqueId = Field(description="Unique within the order.")
    sku: Label | None = None
    product: OpaqueId
    categories: tuple[Label, ...] = Field(default=(), max_length=50)
    brand: Label | None = None
    tags: tuple[Label, ...] = Field(default=(), max_length=50)
    quantity: int = Field(ge=1, le=MAX_QUANTITY)
    unit_price: Money
    discount: Money = Field(default=0, description="The line's own discounts in all, for its whole quantity.")
    tax: Money = Field(default=0, description="The line's tax in all; part of the price where prices include tax.")
    gift_card: bool = False
    reward: bool = Field(default=False, description="Handed over for points or a voucher; never earns.")


class Tender(Model):
    """One means of payment and what it paid."""

    kind: Literal["cash", "card", "stored_value", "points", "voucher", "other"]
    amount: Money
    points: PositivePoints | None = Field(default=None, description="How many points, where points paid.")
    checkout: OpaqueId | None = Field(default=None, description="The checkout under which the points were held.")


class RefundLine(Model):
    """What of one line came back: pieces, money, or both."""

    line: OpaqueId
    quantity: int | None = Field(default=None, ge=1, le=MAX_QUANTITY)
    amount: Money | None = None


class Refund(Model):
    """One return: lines and quantities, an amount of money, or both."""

    refund: OpaqueId
    at: Instant
    currency: Currency | None = Field(default=None, description="Absent: the order's. Any other is refused.")
    amount: Money | None = Field(default=None, description="Money given back in all; absent: what the lines say.")
    lines: tuple[RefundLine, ...] = Field(default=(), max_length=MAX_LINES)


class Cancellation(Model):
    """The order was called off as a whole."""

    cancellation: OpaqueId
    at: Instant
    paid_at: Instant | None = Field(default=None, description="The payment that it undid; absent when unpaid.")


class Order(Event):
    """The whole state of an order. The newest revision decides; the event's type only says why it was sent."""

    order: OpaqueId
    revision: int = Field(ge=0, le=2**53, description="Grows with every change; `updated_at` in µs will do.")
    test: bool = Field(default=False, description="A test order moves nothing.")
    member: MemberId | None = Field(default=None, description="Absent for guests.")
    channel: Literal["online", "pos"] = "online"
    currency: Currency
    rate: Rate | None = Field(
        default=None, description="Shop's currency for one unit of the order's; absent when they are the same."
    )
    prices_include_tax: bool = False
    lines: tuple[Line, ...] = Field(max_length=MAX_LINES)
    discount: Money = Field(default=0, description="Order-wide discounts, spread over the lines by value.")
    shipping: Money = 0
    shipping_tax: Money = 0
    coupons: tuple[Label, ...] = Field(default=(), max_length=50)
    tenders: tuple[Tender, ...] = Field(default=(), max_length=50)
    placed_at: Instant
    paid_at: Instant | None = None
    fulfilled_at: Instant | None = None
    refunds: tuple[Refund, ...] = Field(default=(), max_length=MAX_REFUNDS)
    cancellations: tuple[Cancellation, ...] = Field(default=(), max_length=MAX_CANCELLATIONS)

    @property
    def key(self) -> str:
        return f"{self.shop}/{self.member or self.order}"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        lines = {line.line for line in self.lines}
        if len(lines) != len(self.lines):
            raise ValueError("two lines share an id")
        if self.refunds:
            if len({refund.refund for refund in self.refunds}) != len(self.refunds):
                raise ValueError("two refunds share an id")
            if any(refund.amount is None and not refund.lines for refund in self.refunds):
                raise ValueError("a refund names neither lines nor an amount")
            if any(part.line not in lines for refund in self.refunds for part in refund.lines):
                raise ValueError("a refund names a line that the order does not have")
        if len({c.cancellation for c in self.cancellations}) != len(self.cancellations):
            raise ValueError("two cancellations share an id")
        return self

    @classmethod
    def example(cls) -> Self:
        placed_at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
        return cls(
            shop="corner-grocer",
            order="10042",
            revision=3,
            member="m-2417",
            channel="online",
            currency="EUR",
            lines=(
                Line(line="1", sku="APL-1KG", product="apples", categories=("produce",), quantity=2, unit_price=349),
                Line(line="2", sku="CHS-250", product="cheese", categories=("deli",), quantity=1, unit_price=599),
            ),
            discount=100,
            shipping=490,
            tenders=(Tender(kind="card", amount=1687),),
            placed_at=placed_at,
            paid_at=placed_at + timedelta(minutes=2),
        )


class OrderPlaced(Order):
    """The member has placed the order; it may not be paid yet."""

    type: ClassVar[str] = "order-placed"


class OrderPaid(Order):
    """The order has been paid in full."""

    type: ClassVar[str] = "order-paid"


class OrderFulfilled(Order):
    """Everything has been handed over or delivered."""

    type: ClassVar[str] = "order-fulfilled"


class OrderChanged(Order):
    """Something else about the order changed: its lines, its member, its discounts."""

    type: ClassVar[str] = "order-changed"


class OrderCancelled(Order):
    """The order has been called off."""

    type: ClassVar[str] = "order-cancelled"


class OrderRefunded(Order):
    """Something has come back; the refunds so far are all listed."""

    type: ClassVar[str] = "order-refunded"


TOPIC = Topic(
    name="orders",
    about="What shop platforms say about orders; each event carries the whole order as it now is.",
    key="shop/member; for guests shop/order",
    events=(OrderPlaced, OrderPaid, OrderFulfilled, OrderChanged, OrderCancelled, OrderRefunded),
    writers=("publishers",),
    readers=("rules", "redemption"),
)
