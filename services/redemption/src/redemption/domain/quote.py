"""How many points a cart may use, and what they are worth: one pure function for the quote and for the hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, floor
from typing import Literal

from redemption.domain.errors import NotWholeSteps, PointsNotUsable, Reason, TooManyPoints, WorthNothing

Channel = Literal["online", "pos"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Products named one by one or by what they have in common."""

    products: frozenset[str] = frozenset()
    skus: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    brands: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.products or self.skus or self.categories or self.brands or self.tags)

    def names(self, line: "CartLine") -> bool:
        """Whether any of the selection's words fits the line."""
        return (
            line.product in self.products
            or line.sku in self.skus
            or line.brand in self.brands
            or not self.categories.isdisjoint(line.categories)
            or not self.tags.isdisjoint(line.tags)
        )


@dataclass(frozen=True, slots=True)
class Cashback:
    """How points may be used in one channel."""

    points_per_unit: Fraction
    """Points that are worth one unit (not minor unit) of the shop's currency."""
    step: int = 1
    """Points are used in whole multiples of this."""
    minimum_purchase: Fraction = Fraction(0)
    """Units of the shop's currency, inclusive: the cart's goods after all discounts."""
    minimum_points_owned: int = 0
    """Inclusive: available points below this cannot be used at all."""
    maximum_points: int | None = None
    """Most points for one order."""
    maximum_share: Fraction | None = None
    """Most that points may pay of the goods after all discounts (and of shipping, where they may pay it), as a part
    of 1."""
    eligible: Selection = field(default_factory=Selection)
    """Goods that points may pay; an empty selection is everything."""
    excluded: Selection = field(default_factory=Selection)
    """Goods that points may not pay, whatever `eligible` says."""
    gift_cards: bool = False
    """Whether points may buy gift cards."""
    shipping: bool = False
    """Whether points may pay for shipping too."""
    with_automatic_discounts: bool = True
    """Whether points may be used beside discounts that the shop gives by itself."""
    with_discount_codes: bool = True
    """Whether points may be used beside discount codes."""
    automatic: bool = False
    """Whether a checkout should propose the most points without being asked."""

    def pays(self, line: "CartLine") -> bool:
        """Whether points may pay for the line. A reward line costs no money, so there is nothing to pay."""
        if line.reward or (line.gift_card and not self.gift_cards):
            return False
        return (not self.eligible or self.eligible.names(line)) and not self.excluded.names(line)

    def payable(self, cart: "Cart") -> int:
        """What of the cart points may pay for."""
        goods = sum(line.value for line in cart.lines if self.pays(line))
        return goods + cart.shipping if self.shipping else goods


@dataclass(frozen=True, slots=True)
class Settings:
    """How a shop lets its members use points, channel by channel; a channel without settings offers no use."""

    online: Cashback | None = None
    pos: Cashback | None = None
    stopped: bool = False
    """The one-click stop: no new use, earning goes on."""
    programme_on: bool = True
    """Whether the shop's whole programme is on."""

    def channel(self, channel: Channel) -> Cashback | None:
        return self.online if channel == "online" else self.pos


@dataclass(frozen=True, slots=True)
class CartLine:
    """One line of a cart."""

    product: str
    value: int
    """What is payable for the line: after its own and the order-wide discounts, with tax, in minor units."""
    sku: str | None = None
    brand: str | None = None
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    gift_card: bool = False
    reward: bool = False


@dataclass(frozen=True, slots=True)
class Cart:
    """What is about to be ordered. Money is in minor units of the cart's currency."""

    lines: Sequence[CartLine]
    channel: Channel = "online"
    unit: Fraction = Fraction(100)
    """Minor units of the cart's currency that one unit of the shop's currency is."""
    currency: str = "EUR"
    shipping: int = 0
    """Shipping with its tax."""
    covered: int = 0
    """What other means of payment have taken over already, such as stored value."""
    automatic_discount: bool = False
    discount_codes: bool = False

    @property
    def goods(self) -> int:
        """What is payable for all lines."""
        return sum(line.value for line in self.lines)

    @property
    def needs(self) -> int:
        """What is still to be paid."""
        return max(0, self.goods + self.shipping - self.covered)


@dataclass(frozen=True, slots=True)
class Balance:
    """What the ledger says that the member has."""

    available: int
    frozen: bool = False
    """Nothing new may take the member's points: a hold would be refused."""


@dataclass(frozen=True, slots=True)
class Quote:
    """The answer to: how many points may this cart use, and what are they worth?"""

    points: int
    """The most points that may be used; 0 when none may."""
    worth: int
    """What they are worth, rounded down, in minor units of `currency`."""
    currency: str
    available: int
    step: int = 1
    point_worth: Fraction = Fraction(0)
    """Minor units of `currency` that one point is worth, exactly."""
    limited_by: str = ""
    """What keeps it from being more: `balance`, `maximum_points`, `maximum_share`, `eligible_goods`, `order`; empty
    when no points may be used."""
    automatic: bool = False
    reasons: tuple[Reason, ...] = ()
    """Why no points may be used; empty when some may."""

    def worth_of(self, points: int) -> int:
        """What a number of points is worth to this cart."""
        return floor(points * self.point_worth)


@dataclass(frozen=True, slots=True)
class Use:
    """A decision to use points: what a checkout holds."""

    points: int
    worth: int


def quote(settings: Settings, cart: Cart, balance: Balance) -> Quote:
    """The most points that the cart may use, or the reasons why it may use none.

    Whole steps only, never more than the member has, the shop allows or the order still needs; and no point more
    than it takes to reach that worth, so that nobody pays points for nothing.
    """
    cashback = settings.channel(cart.channel)
    nothing = Quote(points=0, worth=0, currency=cart.currency, available=balance.available)
    closed = _closed(settings, cart)
    if closed or cashback is None:
        return _refuse(nothing, closed)
    point_worth = cart.unit / cashback.points_per_unit
    nothing = Quote(
        0,
        0,
        cart.currency,
        balance.available,
        step=cashback.step,
        point_worth=point_worth,
        automatic=cashback.automatic,
    )
    reasons = _reasons(cashback, cart, balance)
    if reasons:
        return _refuse(nothing, reasons)
    limits = _limits(cashback, cart, balance, point_worth)
    limited_by, most = min(limits, key=lambda limit: limit[1])
    points = most - most % cashback.step
    worth = floor(points * point_worth)
    if worth <= 0:
        return _refuse(nothing, [_too_little(cashback, limited_by, most, point_worth)])
    points = _up_to_step(ceil(worth / point_worth), cashback.step)
    return Quote(
        points=points,
        worth=worth,
        currency=cart.currency,
        available=balance.available,
        step=cashback.step,
        point_worth=point_worth,
        limited_by=limited_by,
        automatic=cashback.automatic,
    )


def choose(offer: Quote, asked: int | None, *, at_most: bool = False) -> Use:
    """What a checkout holds of a quote: what was asked for, or as much as possible (`None`, or cut by `at_most`).

    Raises the refusal that names the maximum, so that the caller can ask again.
    """
    if offer.points == 0:
        raise PointsNotUsable(reasons=[reason.told() for reason in offer.reasons])
    if asked is None or (at_most and asked >= offer.points):
        return Use(offer.points, offer.worth)
    if at_most:
        asked -= asked % offer.step
    if asked > offer.points:
        raise TooManyPoints(
            asked=asked,
            maximum=offer.points,
            worth=offer.worth,
            currency=offer.currency,
            limited_by=offer.limited_by,
        )
    if asked % offer.step:
        raise NotWholeSteps(asked=asked, step=offer.step, maximum=offer.points)
    worth = offer.worth_of(asked)
    if worth <= 0:
        raise WorthNothing(asked=asked, maximum=offer.points)
    return Use(asked, worth)


def points_for(amount: int, points: int, worth: int) -> int:
    """The points behind an amount of money at the rate at which `points` were worth `worth`; never more than those."""
    if amount >= worth:
        return points
    return ceil(Fraction(amount * points, worth))


def _closed(settings: Settings, cart: Cart) -> list[Reason]:
    """Why nobody can use points here at all."""
    reasons = []
    if not settings.programme_on:
        reasons.append(Reason.of("programme_off"))
    if settings.stopped:
        reasons.append(Reason.of("using_stopped"))
    if settings.channel(cart.channel) is None:
        reasons.append(Reason.of("channel_not_offered", channel=cart.channel))
    return reasons


def _reasons(cashback: Cashback, cart: Cart, balance: Balance) -> list[Reason]:
    """Why this cart, or this member, can use none; all of them, so that one visit is enough to put it right."""
    reasons = []
    if cart.automatic_discount and not cashback.with_automatic_discounts:
        reasons.append(Reason.of("not_with_automatic_discounts"))
    if cart.discount_codes and not cashback.with_discount_codes:
        reasons.append(Reason.of("not_with_discount_codes"))
    purchase = Fraction(cart.goods) / cart.unit
    if purchase < cashback.minimum_purchase:
        minimum = ceil(cashback.minimum_purchase * cart.unit)
        reasons.append(Reason.of("below_minimum_purchase", minimum=minimum, purchase=cart.goods))
    if balance.frozen:
        reasons.append(Reason.of("member_frozen"))
    if balance.available <= 0:
        reasons.append(Reason.of("no_points", available=balance.available))
    elif balance.available < cashback.minimum_points_owned:
        reasons.append(
            Reason.of("below_minimum_points", minimum=cashback.minimum_points_owned, available=balance.available)
        )
    if cart.needs == 0:
        reasons.append(Reason.of("nothing_to_pay"))
    elif cashback.payable(cart) == 0:
        reasons.append(Reason.of("no_eligible_goods"))
    return reasons


def _limits(cashback: Cashback, cart: Cart, balance: Balance, point_worth: Fraction) -> list[tuple[str, int]]:
    """Each limit's most points. The first of equal ones names the limit, so the plainest stands first."""
    limits = [
        ("balance", balance.available),
        ("order", _most_points(cart.needs, point_worth)),
        ("eligible_goods", _most_points(cashback.payable(cart), point_worth)),
    ]
    if cashback.maximum_share is not None:
        whole = cart.goods + cart.shipping if cashback.shipping else cart.goods
        limits.append(("maximum_share", _most_points(floor(whole * cashback.maximum_share), point_worth)))
    if cashback.maximum_points is not None:
        limits.append(("maximum_points", cashback.maximum_points))
    return limits


def _most_points(amount: int, point_worth: Fraction) -> int:
    """The most points whose worth, rounded down, is not above the amount."""
    return ceil((amount + 1) / point_worth) - 1


def _too_little(cashback: Cashback, limited_by: str, most: int, point_worth: Fraction) -> Reason:
    """Why what the limits leave is not enough: less than a step, or less than the smallest coin."""
    least = _up_to_step(max(cashback.step, ceil(1 / point_worth)), cashback.step)
    return Reason.of("below_one_step", step=cashback.step, least=least, most=most, limited_by=limited_by)


def _up_to_step(points: int, step: int) -> int:
    """The points rounded up to whole steps."""
    return -(-points // step) * step


def _refuse(nothing: Quote, reasons: Sequence[Reason]) -> Quote:
    return replace(nothing, reasons=tuple(reasons))
