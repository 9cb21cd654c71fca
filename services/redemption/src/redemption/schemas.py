"""What redemption's HTTP API takes and gives, and how it maps to the domain."""

from datetime import UTC, datetime
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from contracts.amounts import amounts
from contracts.event import MAX_MINOR_UNITS, MAX_POINTS, Currency, MemberId, Money, OpaqueId
from contracts.faults import FirstFaults
from contracts.money import decimals
from contracts.orders import MAX_LINES, MAX_QUANTITY, Label, Line, Order, Rate
from redemption.domain.errors import RateMissing
from redemption.domain.quote import Cart, CartLine, Cashback, Selection, Settings

MAX_NAMES = 1_000
"""Words of one kind in a selection of products."""

REMEMBERED = 1_000
"""Shops whose settings are kept read: a few kB each, and a process seldom serves more at a time."""

Words = Annotated[tuple[Label, ...], Field(max_length=MAX_NAMES)]

Percent = Annotated[str, StringConstraints(pattern=r"^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)$")]
"""An exact percentage from 0 to 100 in a string."""

Reasons = Literal[
    "programme_off",
    "using_stopped",
    "channel_not_offered",
    "not_with_automatic_discounts",
    "not_with_discount_codes",
    "below_minimum_purchase",
    "member_frozen",
    "no_points",
    "below_minimum_points",
    "nothing_to_pay",
    "no_eligible_goods",
    "below_one_step",
]


class Asked(FirstFaults):
    """A part of a request: strict, and a misspelt field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answered(BaseModel):
    """A part of an answer. No defaults: what is left out by mistake must fail here, not at the caller."""

    model_config = ConfigDict(frozen=True)


StrictCount = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
StrictMoney = Annotated[Money, Field(strict=True)]


# -- settings


class Products(Asked):
    """Products named one by one or by what they have in common; all empty means everything, or nothing excluded."""

    products: Words = ()
    skus: Words = ()
    categories: Words = ()
    brands: Words = ()
    tags: Words = ()

    def to_domain(self) -> Selection:
        return Selection(
            products=frozenset(self.products),
            skus=frozenset(self.skus),
            categories=frozenset(self.categories),
            brands=frozenset(self.brands),
            tags=frozenset(self.tags),
        )


class ChannelSettings(Asked):
    """How points may be used in one channel. Money is in minor units of the shop's currency."""

    points_per_unit: Rate = Field(
        description="Points that are worth one unit of the shop's currency, exactly: with `100` a point is a cent."
    )
    step: Annotated[StrictCount, Field(ge=1, le=MAX_POINTS)] = Field(
        default=1, description="Points are used in whole multiples of this."
    )
    minimum_purchase: StrictMoney = Field(default=0, description="Least goods after all discounts, inclusive.")
    minimum_points_owned: Annotated[StrictCount, Field(ge=0, le=MAX_POINTS)] = Field(
        default=0, description="Least available points, inclusive."
    )
    maximum_points: Annotated[StrictCount, Field(ge=0, le=MAX_POINTS)] | None = Field(
        default=None, description="Most points for one order; null: no such limit."
    )
    maximum_share_percent: Percent | None = Field(
        default=None, description="Most that points may pay of the goods after all discounts; null: all of it."
    )
    eligible: Products = Field(default=Products(), description="What points may pay for; all empty: everything.")
    excluded: Products = Field(default=Products(), description="What they may not pay for, whatever `eligible` says.")
    gift_cards: Flag = Field(default=False, description="Whether points may buy gift cards.")
    shipping: Flag = Field(default=False, description="Whether points may pay for shipping too.")
    with_automatic_discounts: Flag = Field(
        default=True, description="Whether points go together with automatic discounts."
    )
    with_discount_codes: Flag = Field(default=True, description="Whether points go together with discount codes.")
    automatic: Flag = Field(default=False, description="Whether the checkout should propose the most points by itself.")

    @model_validator(mode="after")
    def _worth_something(self) -> "ChannelSettings":
        if Fraction(self.points_per_unit) == 0:
            raise ValueError("points_per_unit must be above 0")
        return self

    def to_domain(self, currency: str) -> Cashback:
        minor_units = 10 ** decimals(currency)
        share = None if self.maximum_share_percent is None else Fraction(self.maximum_share_percent) / 100
        return Cashback(
            points_per_unit=Fraction(self.points_per_unit),
            step=self.step,
            minimum_purchase=Fraction(self.minimum_purchase, minor_units),
            minimum_points_owned=self.minimum_points_owned,
            maximum_points=self.maximum_points,
            maximum_share=share,
            eligible=self.eligible.to_domain(),
            excluded=self.excluded.to_domain(),
            gift_cards=self.gift_cards,
            shipping=self.shipping,
            with_automatic_discounts=self.with_automatic_discounts,
            with_discount_codes=self.with_discount_codes,
            automatic=self.automatic,
        )


class Using(Asked):
    """How a shop lets its members use points; a channel that is absent offers no use."""

    online: ChannelSettings | None = None
    pos: ChannelSettings | None = None

    def to_domain(self, currency: str) -> Settings:
        return Settings(
            online=None if self.online is None else self.online.to_domain(currency),
            pos=None if self.pos is None else self.pos.to_domain(currency),
        )


@lru_cache(REMEMBERED)
def using_of(document: str | None) -> Using:
    """The settings that a shop has stored; by their text, so that what is remembered is never out of date."""
    return Using() if document is None else Using.model_validate_json(document)


@lru_cache(REMEMBERED)
def settings_of(document: str | None, currency: str) -> Settings:
    """The same for the domain, as if neither they nor the programme were switched off."""
    return using_of(document).to_domain(currency)


class UsingStored(Answered):
    """The settings as they now are."""

    online: ChannelSettings | None
    pos: ChannelSettings | None
    on: bool = Field(description="False after the one-click stop: no points can be used, earning goes on.")
    revision: int = Field(description="Grows by one with every change.")
    changed_at: datetime


class Switch(Asked):
    """The one-click stop, and start, of using points."""

    on: Flag


# -- carts and quotes


class AskedLine(Asked):
    """One line of a cart, as it would be sold."""

    product: OpaqueId
    sku: Label | None = None
    categories: Annotated[tuple[Label, ...], Field(max_length=50)] = ()
    brand: Label | None = None
    tags: Annotated[tuple[Label, ...], Field(max_length=50)] = ()
    quantity: Annotated[StrictCount, Field(ge=1, le=MAX_QUANTITY)]
    unit_price: StrictMoney
    discount: StrictMoney = Field(default=0, description="The line's own discounts in all, for its whole quantity.")
    tax: StrictMoney = 0
    gift_card: Flag = False
    reward: Flag = False


class AskedCart(Asked):
    """What is about to be ordered, with every discount that is given already. Money is in the cart's currency."""

    channel: Literal["online", "pos"] = "online"
    currency: Currency
    rate: Rate | None = Field(
        default=None, description="Shop's currency for one unit of the cart's; absent when they are the same."
    )
    prices_include_tax: Flag = False
    lines: Annotated[tuple[AskedLine, ...], Field(min_length=1, max_length=MAX_LINES)]
    discount: StrictMoney = Field(default=0, description="Order-wide discounts, spread over the lines by value.")
    automatic_discount: StrictMoney | None = Field(
        default=None,
        description="What of all discounts came by itself; absent: all of it where there are no coupons, else none.",
    )
    coupons: Annotated[tuple[Label, ...], Field(max_length=50)] = Field(default=(), description="Discount codes used.")
    shipping: StrictMoney = 0
    shipping_tax: StrictMoney = 0
    covered: StrictMoney = Field(
        default=0, description="What other means of payment, such as stored value, have taken over already."
    )

    @model_validator(mode="after")
    def _bounded(self) -> "AskedCart":
        total = sum(line.quantity * line.unit_price + line.tax for line in self.lines)
        if total + self.shipping + self.shipping_tax > MAX_MINOR_UNITS:
            raise ValueError(f"the cart is worth more than {MAX_MINOR_UNITS} minor units")
        return self

    def to_domain(self, shop_currency: str) -> Cart:
        """The cart that `quote` sees: discounts spread by the same arithmetic as an order's."""
        sums = amounts(self._as_order())
        discounts = self.discount + sum(line.discount for line in self.lines)
        automatic = self.automatic_discount
        if automatic is None:
            automatic = 0 if self.coupons else discounts
        return Cart(
            lines=[
                CartLine(
                    product=line.product,
                    value=value,
                    sku=line.sku,
                    brand=line.brand,
                    categories=line.categories,
                    tags=line.tags,
                    gift_card=line.gift_card,
                    reward=line.reward,
                )
                for line, value in zip(self.lines, sums.payable, strict=True)
            ],
            channel=self.channel,
            unit=unit(self.currency, self.rate, shop_currency),
            currency=self.currency,
            shipping=sums.shipping_payable,
            covered=self.covered,
            automatic_discount=automatic > 0,
            discount_codes=bool(self.coupons),
        )

    def _as_order(self) -> Order:
        lines = tuple(
            Line.model_construct(
                line=str(place),
                product=line.product,
                quantity=line.quantity,
                unit_price=line.unit_price,
                discount=line.discount,
                tax=line.tax,
            )
            for place, line in enumerate(self.lines)
        )
        return Order.model_construct(
            shop="",
            order="",
            revision=0,
            placed_at=datetime.min.replace(tzinfo=UTC),
            currency=self.currency,
            prices_include_tax=self.prices_include_tax,
            lines=lines,
            discount=self.discount,
            shipping=self.shipping,
            shipping_tax=self.shipping_tax,
        )


def unit(currency: str, rate: str | None, shop_currency: str) -> Fraction:
    """Minor units of a cart's currency that one unit of the shop's currency is, exactly."""
    minor_units = Fraction(10 ** decimals(currency))
    if currency == shop_currency:
        return minor_units
    if rate is None or Fraction(rate) == 0:
        raise RateMissing(currency=currency, shop_currency=shop_currency)
    return minor_units / Fraction(rate)


class AskedQuote(Asked):
    """How many points may this member use for this cart?"""

    member: MemberId
    cart: AskedCart


class QuoteReason(Answered):
    """One reason why no points can be used, with the figures it was decided on."""

    code: Reasons
    facts: dict[str, Any]


class QuoteAnswer(Answered):
    """The most points that may be used, or why none."""

    member: str
    points: int = Field(description="The most that may be used, in whole steps; 0 when none may.")
    worth: int = Field(description="What they are worth today, rounded down, in minor units of `currency`.")
    currency: str
    available: int
    step: int
    limited_by: Literal["balance", "order", "eligible_goods", "maximum_share", "maximum_points"] | None
    automatic: bool = Field(description="Whether the shop wants the most points proposed without being asked.")
    reasons: list[QuoteReason] = Field(description="Why none may be used; empty when some may.")


# -- checkouts


class AskedCheckout(Asked):
    """Points to hold for a cart until it is paid."""

    checkout: OpaqueId | None = Field(default=None, description="The shop's id of the checkout; absent: we make one.")
    member: MemberId
    cart: AskedCart
    points: Annotated[StrictCount, Field(ge=1, le=MAX_POINTS)] | None = Field(
        default=None, description="How many; null: as many as possible."
    )
    at_most: Flag = Field(default=False, description="Cut `points` to what may be used instead of refusing.")
    order: OpaqueId | None = Field(default=None, description="The order's id, where it is known already.")


class CheckoutAnswer(Answered):
    """How a checkout's points stand."""

    checkout: str
    member: str
    state: Literal["intended", "refused", "held", "releasing", "released", "expired", "captured"]
    points: int = Field(description="Points held, or that were.")
    worth: int = Field(description="What they were worth when they were held, in minor units of `currency`.")
    currency: str
    channel: Literal["online", "pos"]
    order: str | None
    expires_at: datetime = Field(description="When an unpaid hold ends by itself.")
    captured: int = Field(description="Points debited for paid orders so far.")
    returned: int = Field(description="Points given back of those, by refunds and cancellations.")
    shortfall: int = Field(description="Points of a late payment that were not there any more.")
    difference: int = Field(description="Points of the order's tender beyond the hold, or below it.")
    late: bool = Field(description="The order was paid after the hold had ended.")
    refusal: str | None = Field(description="The code with which the ledger refused the hold, where it did.")
    created_at: datetime
    changed_at: datetime


class Releasing(Answered):
    """What is remembered of a release under its key: which attempt it frees, since the checkout may hold again."""

    attempt: UUID
