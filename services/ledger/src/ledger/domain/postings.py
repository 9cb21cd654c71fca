"""What is asked of the ledger: kinds of posting, each with its own key, kept for ever."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple

MAX_AMOUNT = 1_000_000_000_000
"""Points in one posting: nine million of the largest still fit an account's 64 bits."""

NO_CAUSE = "{}"


class PostingId(NamedTuple):
    """Names a posting for ever: the same key for another member is a conflict, not another posting."""

    shop: str
    source: str
    key: str


class AccountKey(NamedTuple):
    """Names an account."""

    shop: str
    member: str
    asset: str


class SpendId(NamedTuple):
    """Names a spend: one debit per checkout and generation."""

    shop: str
    checkout: str
    generation: int


class HoldId(NamedTuple):
    """Names a hold."""

    shop: str
    hold: str


# Postings and the records of the books are plain slotted classes: making a frozen one costs three times as much, and
# thousands are made per batch. Nobody changes a posting once it is made.


@dataclass(slots=True, kw_only=True)
class Posting:
    """What all kinds share: whose points, who asks, under which key, and why."""

    kind: ClassVar[str] = ""
    redirected: ClassVar[bool] = True
    """Of a member that was merged into another, it is asked of that other one."""

    shop: str
    member: str
    source: str
    """Who asks; keys are unique per shop and source."""
    key: str
    asset: str = "points"
    order: str | None = None
    """The order behind it, if any: shortfalls are kept by order. Nothing of its lines is known here."""
    cause: str = NO_CAUSE
    """Rule, version, operator, reason … as canonical JSON (sorted keys, no spaces, no nulls); hashed, not read."""
    memo_commitment: bytes | None = None
    """Salted hash of an operator's memo (`memo_commitment`); not part of the content: its salt is drawn anew."""

    @property
    def id(self) -> PostingId:
        return PostingId(self.shop, self.source, self.key)

    @property
    def account_key(self) -> AccountKey:
        return AccountKey(self.shop, self.member, self.asset)


@dataclass(slots=True, kw_only=True)
class Award(Posting):
    """Credit points that were earned, and open a lot. The posting's key is the award's id."""

    kind: ClassVar[str] = "award"

    amount: int
    activates_at: datetime | None = None
    """Pending until then; None for at once."""
    expires_at: datetime | None = None
    """First instant at which the points are gone; None for never."""
    priority: int = 0
    """Lower is consumed earlier."""
    activates_on: str | None = None
    """The event that it waits for, pending; then it has no dates before an `Activate` gives them. Not part of the
    content by itself: the cause says it too."""


@dataclass(slots=True, kw_only=True)
class TopUp(Posting):
    """Money that was paid in: a lot of stored value like an award's, booked against `cash`."""

    kind: ClassVar[str] = "top_up"

    amount: int
    currency: str
    """As paid; refused unless it is the shop's."""
    expires_at: datetime | None = None
    activates_at: ClassVar[datetime | None] = None
    priority: ClassVar[int] = 0
    activates_on: ClassVar[str | None] = None


@dataclass(slots=True, kw_only=True)
class Credit(Posting):
    """An operator's manual credit: a lot like an award's, booked against `adjusted`, not earned."""

    kind: ClassVar[str] = "credit"

    amount: int
    activates_at: datetime | None = None
    expires_at: datetime | None = None
    priority: int = 0
    activates_on: str | None = None
    approval_within: timedelta | None = None
    """Asked by a person: for so long a second one can approve it, if it is above the shop's threshold. None: a service
    asks, which needs nobody's approval. Not part of the content."""


@dataclass(slots=True, kw_only=True)
class Debit(Posting):
    """An operator's manual debit; refused when not enough is available."""

    kind: ClassVar[str] = "debit"

    amount: int
    approval_within: timedelta | None = None
    """As of a credit."""


@dataclass(slots=True, kw_only=True)
class Revoke(Posting):
    """Take an award or a top-up back, so far in all; of a credit what is still pending. Parks until it is known."""

    kind: ClassVar[str] = "revoke"

    award: str
    """The award's key, of the same source unless `award_source` says otherwise."""
    total: int
    """Cumulative, so that repeats and reordering change nothing."""
    award_source: str | None = None

    @property
    def award_id(self) -> PostingId:
        return PostingId(self.shop, self.award_source or self.source, self.award)


@dataclass(slots=True, kw_only=True)
class Activate(Posting):
    """What an award or credit waits for has happened: it is usable from now on. Parks until it is known."""

    kind: ClassVar[str] = "activate"

    award: str
    """Its key, of the same source unless `award_source` says otherwise."""
    expires_at: datetime | None = None
    """First instant at which the points are gone; None for never."""
    award_source: str | None = None

    @property
    def award_id(self) -> PostingId:
        return PostingId(self.shop, self.award_source or self.source, self.award)


@dataclass(slots=True, kw_only=True)
class Hold(Posting):
    """Reserve an amount for a checkout."""

    kind: ClassVar[str] = "hold"

    hold: str
    amount: int
    at_most: bool = False
    """Cut to what is available instead of refusing."""
    expires_at: datetime
    """First instant at which the hold is over."""

    @property
    def hold_id(self) -> HoldId:
        return HoldId(self.shop, self.hold)


@dataclass(slots=True, kw_only=True)
class Capture(Posting):
    """Debit a hold, whole or in part; it is closed and the rest is freed."""

    kind: ClassVar[str] = "capture"

    hold: str
    amount: int | None = None
    """None for all of it."""

    @property
    def hold_id(self) -> HoldId:
        return HoldId(self.shop, self.hold)

    @property
    def spend_id(self) -> SpendId:
        """What is captured can be given back: as the spend of a checkout of the hold's id, generation 1."""
        return SpendId(self.shop, self.hold, 1)


@dataclass(slots=True, kw_only=True)
class Release(Posting):
    """Free a hold."""

    kind: ClassVar[str] = "release"

    hold: str

    @property
    def hold_id(self) -> HoldId:
        return HoldId(self.shop, self.hold)


@dataclass(slots=True, kw_only=True)
class Spend(Posting):
    """Debit a paid order's points tender: never refused, since the order is paid.

    Captures its hold if that is open; else debits what is available and leaves the rest to the shop's shortfall policy.
    """

    kind: ClassVar[str] = "spend"

    checkout: str
    generation: int
    amount: int
    """The tender. If it differs from the hold, the smaller is captured and the difference recorded."""
    hold: str | None = None
    is_new: bool = False
    """Asked for over HTTP and without a hold, so as new as a hold would be; how it came in is no content."""

    @property
    def spend_id(self) -> SpendId:
        return SpendId(self.shop, self.checkout, self.generation)


@dataclass(slots=True, kw_only=True)
class Gift(Posting):
    """Give points to another member of the shop, in lots that keep their dates."""

    kind: ClassVar[str] = "gift"

    to: str
    """The member that gets them."""
    amount: int

    @property
    def receiver_key(self) -> AccountKey:
        return AccountKey(self.shop, self.to, self.asset)


@dataclass(slots=True, kw_only=True)
class Freeze(Posting):
    """Let nothing new take the member's points, of whatever asset; entered in the account that it names."""

    kind: ClassVar[str] = "freeze"
    redirected: ClassVar[bool] = False


@dataclass(slots=True, kw_only=True)
class Unfreeze(Posting):
    """The opposite."""

    kind: ClassVar[str] = "unfreeze"
    redirected: ClassVar[bool] = False


@dataclass(slots=True, kw_only=True)
class Merge(Posting):
    """Move all that a member has, of all assets, to another, and send there what comes for it from now on."""

    kind: ClassVar[str] = "merge"
    redirected: ClassVar[bool] = False

    into: str


@dataclass(slots=True, kw_only=True)
class UndoMerge(Posting):
    """Move back what is left of what a merge moved, and send what comes for the member to itself again."""

    kind: ClassVar[str] = "undo_merge"
    redirected: ClassVar[bool] = False

    merge: str
    into: str
    """Whom it was merged into; it follows from the merge."""


@dataclass(slots=True, kw_only=True)
class GiveBack(Posting):
    """Return points of a spend to the lots they came from, so far in all. Parks until the spend is known."""

    kind: ClassVar[str] = "give_back"

    checkout: str
    generation: int
    total: int
    """Cumulative; more than was spent means all that was spent."""

    @property
    def spend_id(self) -> SpendId:
        return SpendId(self.shop, self.checkout, self.generation)
