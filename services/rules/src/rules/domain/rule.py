"""A rule as a merchant means it: what it gives, on what, when, and how it goes with others."""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from fractions import Fraction

from rules.domain.calendar import Grant, Hours, Validity, Window
from rules.domain.rounding import Rounding


@dataclass(frozen=True, slots=True)
class PerMoney:
    """So many points for each so much money."""

    points: Fraction
    per: int
    """Minor units of the shop's currency."""
    whole_groups: bool = False
    """Only full groups of the money count."""


@dataclass(frozen=True, slots=True)
class PerUnit:
    """So many points for each unit sold."""

    points: Fraction


@dataclass(frozen=True, slots=True)
class PerOrder:
    """So many points for the order."""

    points: Fraction


@dataclass(frozen=True, slots=True)
class Band:
    """A rate for amounts up to a bound, which belongs to it."""

    up_to: int | None
    """Minor units; None for the band without an end."""
    points: Fraction
    per: int


@dataclass(frozen=True, slots=True)
class Bands:
    """Rates that grow with the amount. An amount above the last bound is in no band and earns nothing there."""

    bands: tuple[Band, ...]
    marginal: bool = False
    """Each part at its own band's rate, instead of the whole amount at the rate of the band that it falls in."""


@dataclass(frozen=True, slots=True)
class Multiply:
    """A promotion: other rules' points times a factor."""

    factor: Fraction
    of: frozenset[str] = frozenset()
    """The rules that it multiplies; empty for all."""


Effect = PerMoney | PerUnit | PerOrder | Bands | Multiply


class Specificity(IntEnum):
    """How narrow a rule's scope is; the narrowest claims a line."""

    ORDER = 1
    GROUP = 2
    """Category, brand or tag."""
    PRODUCT = 3


@dataclass(frozen=True, slots=True)
class Scope:
    """Lines by product, category, brand and tag: any of the words of a kind, and all kinds that are given.

    As an exclusion it means lines with any of its words.
    """

    products: frozenset[str] = frozenset()
    """Products or SKUs."""
    categories: frozenset[str] = frozenset()
    brands: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    @property
    def specificity(self) -> Specificity:
        """How narrow it is."""
        if self.products:
            return Specificity.PRODUCT
        return Specificity.GROUP if self.categories or self.brands or self.tags else Specificity.ORDER


EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Basis:
    """Which money counts. The default: items after discounts, without tax and shipping, less what points paid."""

    before_discounts: bool = False
    with_tax: bool = False
    shipping: bool = False
    gift_cards: bool = False
    reward_lines: bool = False
    points_paid: bool = False
    """Count what points and reward vouchers paid as if it were money."""


class CouponUse(StrEnum):
    """What a rule asks of coupons in general."""

    ANY = "any"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Conditions:
    """When a rule holds for an order; all that are given must be met."""

    window: Window | None = None
    weekdays: frozenset[int] = frozenset()
    """ISO weekdays, Monday is 1; empty for all."""
    hours: Hours | None = None
    minimum: int | None = None
    """Minor units of the shop's currency, inclusive, of all that counts by the rule's basis and exclusions."""
    first_order: bool = False
    coupons: frozenset[str] | CouponUse | None = None
    """One of these codes was used; or any, or none, at all."""
    channels: frozenset[str] = frozenset()


ALWAYS = Conditions()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a set."""

    id: str
    effect: Effect
    title: str = ""
    scope: Scope = EVERYTHING
    exclude: Scope = EVERYTHING
    conditions: Conditions = ALWAYS
    basis: Basis = field(default_factory=Basis)
    rounding: Rounding = Rounding.FLOOR
    grant: Grant = field(default_factory=Grant)
    validity: Validity = field(default_factory=Validity)
    stack: bool = False
    """Adds to whatever rule claims the line, instead of competing for it."""
    exclusive: bool = False
    """Where it holds, the one of these with the highest priority wins alone."""
    priority: int = 0
