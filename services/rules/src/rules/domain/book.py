"""What is known of one order: the newest state's revision, what was judged once, and the awards as booked."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from rules.domain.settlement import Booked


class Explained(NamedTuple):
    """One award's arithmetic, as it was decided."""

    rule: str
    points: int
    numerator: int
    denominator: int
    basis: int
    weights: Sequence[int]
    promotions: Sequence[str]


class Book(NamedTuple):
    """One order's page in the order book."""

    shop: str
    order: str
    revision: int
    member: str | None
    placed_at: datetime
    stage: int
    generation: int
    reversed: bool
    """Nothing of it is left; it no longer counts as one of the member's orders."""
    test: bool
    first_order: bool | None
    """Judged once for this member; None while no rule has asked."""
    holds_bonus: bool
    """Whether the member keeps points of a rule for first orders."""
    version: int | None
    """The rule set that decides this order, for ever; None while the shop has none for its time."""
    verdicts: str
    explained: Sequence[Explained]
    booked: Sequence[Booked]
    state: bytes
    """The newest state, as it was told."""

    @property
    def counts_as_order(self) -> bool:
        """Whether it is one of the member's orders, for what depends on their number."""
        return not self.reversed and not self.test
