"""What the domain reads of an order: its lines, its sums and how much of it has come back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import NamedTuple, Protocol


class Line(Protocol):
    """A line as sold."""

    @property
    def line(self) -> str: ...
    @property
    def product(self) -> str: ...
    @property
    def sku(self) -> str | None: ...
    @property
    def categories(self) -> tuple[str, ...]: ...
    @property
    def brand(self) -> str | None: ...
    @property
    def tags(self) -> tuple[str, ...]: ...
    @property
    def quantity(self) -> int: ...
    @property
    def gift_card(self) -> bool: ...
    @property
    def reward(self) -> bool: ...


class Sale(Protocol):
    """What was sold, when and how; all that rules look at."""

    @property
    def lines(self) -> Sequence[Line]: ...
    @property
    def channel(self) -> str: ...
    @property
    def coupons(self) -> Sequence[str]: ...
    @property
    def prices_include_tax(self) -> bool: ...
    @property
    def placed_at(self) -> datetime: ...


class Order(Sale, Protocol):
    """The whole state of an order."""

    @property
    def order(self) -> str: ...
    @property
    def revision(self) -> int: ...
    @property
    def member(self) -> str | None: ...
    @property
    def test(self) -> bool: ...
    @property
    def paid_at(self) -> datetime | None: ...
    @property
    def fulfilled_at(self) -> datetime | None: ...


class Amounts(Protocol):
    """What the lines come to, in minor units of the order's currency, one per line."""

    @property
    def values(self) -> Sequence[int]: ...
    @property
    def taxes(self) -> Sequence[int]: ...
    @property
    def net(self) -> Sequence[int]: ...
    @property
    def payable(self) -> Sequence[int]: ...
    @property
    def points(self) -> Sequence[int]: ...
    @property
    def vouchers(self) -> Sequence[int]: ...
    @property
    def shipping_net(self) -> int: ...
    @property
    def shipping_payable(self) -> int: ...
    @property
    def shipping_points(self) -> int: ...
    @property
    def shipping_vouchers(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Conversion:
    """Minor units of the shop's currency for one of the order's, as an exact fraction."""

    numerator: int = 1
    denominator: int = 1


SAME_CURRENCY = Conversion()


class State(NamedTuple):
    """An order as it now is, with everything that follows from the state alone."""

    order: Order
    amounts: Amounts
    returned: Sequence[Fraction] | None
    """The returned fraction of each line and, last, of shipping; None while nothing has come back."""
    generation: int
    cancelled: bool
    conversion: Conversion = SAME_CURRENCY

    @property
    def reversed(self) -> bool:
        """Whether nothing of it is left."""
        return self.cancelled or (self.returned is not None and all(fraction == 1 for fraction in self.returned[:-1]))


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules ask beyond the order itself; judged once per order and member and then recorded."""

    first_order: bool = False
    """No order of the member is known before it, and none holds a first order's bonus."""
