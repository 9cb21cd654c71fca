"""The books: what is loaded before postings are decided, and saved after."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from ledger.domain.members import Member, MemberKey, chain_of
from ledger.domain.postings import AccountKey, HoldId, Posting, PostingId, SpendId

if TYPE_CHECKING:
    from ledger.domain.outcomes import Outcome, Parked

NO_ID = UUID(int=0)

AWARDS = frozenset({"award", "top_up", "credit"})
"""Kinds of posting that open a lot which others name by its key."""

NEVER = datetime.max.replace(tzinfo=UTC)

GENESIS = bytes(32)
"""The hash before an account's first entry."""


GIFTS_PER_DAY = 10
"""Of one giver, in a shop that has not said; more is seldom a member's own hand."""

GIFT_POINTS_PER_DAY = 10_000
"""Of one giver, in a shop that has not said."""


MOVED = "moved"
"""The kind of a lot in whose place another one goes on."""


class ShortfallPolicy(StrEnum):
    """What becomes of points that are to be taken and are not there."""

    FORGIVE = "forgive"
    """The balance stops at zero; a write-off is recorded."""
    DEBT = "debt"
    """A debt is recorded that later credits, releases and returns repay first."""


@dataclass(slots=True)
class Policy:
    """A shop's programme settings, as far as the ledger cares."""

    shortfall: ShortfallPolicy
    currency: str = ""
    """Of stored value; empty while it is not known."""
    approval_above: Mapping[str, int] = field(default_factory=dict)
    """By asset: the amount above which a person's credit or debit needs a second one; absent: none does."""
    zone: str = "UTC"
    """In which its days are, by the IANA's name."""
    gifts_per_day: int = GIFTS_PER_DAY
    """Of one giver; 0 for none."""
    gift_points_per_day: int = GIFT_POINTS_PER_DAY


# Records are compared by identity. `fresh` says that a record is not in the store yet, `changed` that it must be saved.
# `decide` sets both; the store leaves them alone.


@dataclass(slots=True, kw_only=True, eq=False)
class Lot:
    """Points credited together: they activate, expire and are consumed together.

    Its dates are frozen at issue; of a lot that waits for an event, once that has happened.

    A lot is also its award's bookkeeping: how much of the award was asked back so far.
    """

    account: "Account" = field(repr=False)
    number: int
    """`seq` of the entry that opened it, and of further lots of one entry more than any `seq` (`lot_number`): unique in
    its account, and older is smaller among those that were opened alone."""
    amount: int
    remaining: int
    """Points not yet consumed, 0 ≤ remaining ≤ amount."""
    activates_at: datetime
    expires_at: datetime | None
    """First instant at which the points are no longer usable; None for never."""
    priority: int
    pending: bool
    """Not active yet: never consumed, only taken back by its own order."""
    activates_on: str | None = None
    """The event that it waits for, or did: only that makes it active, whatever `activates_at` (then its issue) says."""
    dated: bool = False
    """The event has given it its dates just now."""
    ended: bool = False
    """Its end has been applied; what still remains is kept for holds placed before that end."""
    source: str
    key: str
    """The posting that opened it; of an award, the award's id."""
    order: str | None
    kind: str
    """`award`, `top_up`, `credit` or `gift`; `moved` once another lot goes on in its place, in another account."""
    taken_back: int = 0
    """Of an award: what was asked back so far in all."""
    fresh: bool = False
    changed: bool = False

    @property
    def rank(self) -> tuple[int, datetime, datetime, int]:
        """The order of consumption: priority, soonest expiry with never last, oldest activation, opened first."""
        return self.priority, self.expires_at or NEVER, self.activates_at, self.number

    def has_ended(self, at: datetime) -> bool:
        """Whether its points are gone at that instant, by its date: a drained lot's end is applied by nobody."""
        return self.expires_at is not None and self.expires_at <= at


class HoldState(StrEnum):
    """A hold is open once and ends once."""

    OPEN = "open"
    CAPTURED = "captured"
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(slots=True, kw_only=True, eq=False)
class HoldRecord:
    """An amount reserved for a checkout, not lots: capture consumes those when it happens, and never fails."""

    account: "Account" = field(repr=False)
    hold: str
    amount: int
    """Points reserved when it was placed."""
    placed_at: datetime
    number: int
    """`seq` of the entry that placed it, below zero once a merge has moved it: orders holds of one instant."""
    expires_at: datetime
    state: HoldState = HoldState.OPEN
    captured: int = 0
    released: int = 0
    """Points freed when it ended."""
    expiring: int = 0
    """Of the released points, those that went at once because their lots had ended."""
    source: str
    key: str
    order: str | None
    fresh: bool = False
    changed: bool = False

    @property
    def id(self) -> HoldId:
        return HoldId(self.account.key.shop, self.hold)


@dataclass(slots=True)
class Use:
    """How much of one lot a spend used, and how much of that came back."""

    lot: int
    amount: int
    returned: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class SpendRecord:
    """A spend, remembered so that it can be given back to where it came from."""

    account: "Account" = field(repr=False)
    checkout: str
    generation: int
    order: str | None
    hold: str | None
    """The hold it captured."""
    amount: int
    """Points spent, those that were missing included: Σ uses + what is (or was, and came back) written off or owed."""
    tender: int
    """Points that the posting asked for; more or less than `amount` when tender and hold differed."""
    source: str
    key: str
    uses: list[Use] = field(default_factory=list)
    """The lots it used, in the order of use; a debt repaid later uses the lots that repaid it."""
    given_back: int = 0
    """So far in all."""
    ended: int = 0
    """Points given back to lots that had ended, which expired again at once."""
    reversed: int = 0
    """Of `ended`: the expiry was reversed, because a take-back of the same order needed the points."""
    fresh: bool = False
    changed: bool = False

    @property
    def id(self) -> SpendId:
        return SpendId(self.account.key.shop, self.checkout, self.generation)


@dataclass(slots=True, kw_only=True, eq=False)
class Shortfall:
    """Points that one posting (a revoke or a spend) should have taken and could not: one row per such posting.

    What is still missing is held, owed or written off; a row with none of the three is settled.
    """

    account: "Account" = field(repr=False)
    source: str
    key: str
    """The posting that missed them."""
    order: str | None
    cause: str
    spend: SpendId | None
    """Of a spend: which; None for a take-back."""
    lot: int | None
    """Of a take-back: the award's lot."""
    since: datetime
    since_seq: int
    """With `since` its age: the oldest cause is repaid first. Below zero once a merge has moved it."""
    missed: int = 0
    """Points that were missed in all."""
    held: int = 0
    """Missed because they are held; not booked before a hold ends: taken then, before anything is freed."""
    owed: int = 0
    """Σ over an account's rows = −debt."""
    written_off: int = 0
    fresh: bool = False
    changed: bool = False

    @property
    def age(self) -> tuple[datetime, int]:
        return self.since, self.since_seq


@dataclass(slots=True, kw_only=True, eq=False)
class GiftDay:
    """What an account has given on the newest day on which it gave."""

    account: "Account" = field(repr=False)
    day: date
    """Of the shop's calendar."""
    gifts: int = 0
    points: int = 0
    changed: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Account:
    """What a member has of one asset: four buckets, and what lies behind them."""

    key: AccountKey
    id: UUID = NO_ID
    """The store's own handle; nothing is decided or hashed by it."""
    seq: int = 0
    """Entries so far; grows by one per entry."""
    hash: bytes = GENESIS
    """Of its last entry."""
    last_at: datetime | None = None
    """`at` of its last entry; no later entry is before it."""
    available: int = 0
    """Σ remaining of lots that are not pending = available + held."""
    pending: int = 0
    held: int = 0
    debt: int = 0
    """At or below zero."""
    earned: int = 0
    """Points awarded less points taken back, over its life."""
    spent: int = 0
    """Points redeemed less points given back, over its life."""
    next_due_at: datetime | None = None
    """Nothing falls due before it; when it has passed, what is due is applied before anything else."""
    lots: dict[int, Lot] = field(default_factory=dict, repr=False)
    queue: list[Lot] | None = field(default=None, repr=False)
    """Its lots in the order of consumption, once something is consumed: sorting them for each debit would be dear."""
    holds: dict[str, HoldRecord] = field(default_factory=dict, repr=False)
    """Open ones (ended ones that a posting names are only in `State.holds`)."""
    shortfalls: list[Shortfall] = field(default_factory=list, repr=False)
    """Outstanding ones, oldest cause first."""
    spends: list[SpendRecord] = field(default_factory=list, repr=False)
    noted: bool = False
    """There is a record of its member in the store (`State.members`)."""
    fresh: bool = False
    changed: bool = False


class MovedLot(NamedTuple):
    """A lot that a merge moved, in both accounts."""

    was: Lot
    is_now: Lot


@dataclass(slots=True, kw_only=True, eq=False)
class MergedAccount:
    """What a merge moved of one asset: for its undoing."""

    merge: str
    account: Account
    into: Account
    number: int
    """`seq` of the entry that brought it."""
    points: int
    """That came: available, pending and held."""
    earned: int
    spent: int
    taken_back: int
    """Σ over the lots that came, then: what has been taken back since is the difference."""
    given_back: int
    """Σ over the spends that came, then."""
    undone: bool = False
    lots: list[MovedLot] = field(default_factory=list, repr=False)
    """All of them, drained ones too: they can be refilled, or taken back from."""
    holds: list[HoldRecord] = field(default_factory=list, repr=False)
    """Open ones."""
    spends: list[SpendRecord] = field(default_factory=list, repr=False)
    shortfalls: list[Shortfall] = field(default_factory=list, repr=False)
    """Outstanding ones."""
    expired: int = 0
    """Points of these lots that have expired since."""


@dataclass(slots=True)
class State:
    """All that was loaded for some postings; `decide` takes it over and updates its records in place.

    To load, for each account that the postings touch:

    - the account itself (a zero one with `fresh=True` if it is not stored yet). That is enough when it is only credited
      (award, top-up, credit) or points of it are held, owes nothing and `next_due_at` has not passed. Else also:
    - its lots with something remaining; its open holds; its shortfalls with something held, owed or written off;
    - the lots of the awards that revokes and activations name, whatever remains;
    - the holds that postings name, whatever their state;
    - the spends that postings name (a capture names its hold's id as checkout, generation 1), and all spends of the
      orders of those spends, of those awards, of the shortfalls (of one without an order its own spend), and of the
      account's postings (of those that the account is enough for too, if more is asked of it); with each spend the
      lots that it used.

    What a posting names may be another member's: it is loaded all the same, with an account of which the key is enough.

    Of a gift also the account that it goes to, like one that is credited, and the giver's gift day.
    The records of the members that postings name, if there are any: an account says so by `noted`. Of one that was
    merged into another also that one's, and so on; and its account as if postings named it.

    To merge members (alone in its batch) all accounts of both, new ones too, so that each has its counterpart; of the
    one that is merged all lots and spends. To undo it `merged`, with all that it names; an undone one with nothing.

    And for the postings themselves: `outcomes` under their own keys and under the keys of the awards that these name;
    what is parked for the awards and spends among them, with its outcomes, as if it were among the postings.
    """

    policies: Mapping[str, Policy]
    """By shop."""
    accounts: dict[AccountKey, Account] = field(default_factory=dict)
    awards: dict[PostingId, Lot] = field(default_factory=dict)
    """Lots of awards, top-ups and credits, by the posting that opened them."""
    holds: dict[HoldId, HoldRecord] = field(default_factory=dict)
    spends: dict[SpendId, SpendRecord] = field(default_factory=dict)
    outcomes: dict[PostingId, "Outcome"] = field(default_factory=dict)
    """What became of keys that were used before."""
    parked: dict[PostingId | SpendId, list["Parked"]] = field(default_factory=dict)
    """What waits for an award or a spend, in order of arrival."""
    members: dict[MemberKey, Member] = field(default_factory=dict)
    """Of nearly all members there is nothing."""
    gift_days: dict[AccountKey, GiftDay] = field(default_factory=dict)
    merged: list[MergedAccount] = field(default_factory=list)
    """What the merge moved that is to be undone, by asset."""

    def member(self, shop: str, member: str) -> Member:
        """A member's record, a new one if there is none."""
        key = MemberKey(shop, member)
        return self.members.setdefault(key, Member(key=key))

    def home(self, key: AccountKey) -> AccountKey:
        """The account that what is asked of an account is asked of: where its member was merged into, if it was."""
        for member in chain_of(self.members, MemberKey(key.shop, key.member)):
            key = AccountKey(key.shop, member.merged_into or member.key.member, key.asset)
        return key

    def home_of(self, posting: Posting) -> AccountKey:
        """The account that a posting is about."""
        key = posting.account_key
        return self.home(key) if self.members and posting.redirected else key

    def let_go(self) -> None:
        """Once all is saved: accounts and what they have know each other, and would stay in memory until somebody looks
        for such circles, while the next batch begins on fresh pages."""
        for account in self.accounts.values():
            account.lots.clear()
            account.holds.clear()
            account.shortfalls.clear()
            account.spends.clear()
            account.queue = None

    def add_account(self, account: Account) -> None:
        self.accounts[account.key] = account

    def add_lot(self, lot: Lot) -> None:
        lot.account.lots[lot.number] = lot
        if lot.kind in AWARDS:
            self.awards[PostingId(lot.account.key.shop, lot.source, lot.key)] = lot

    def add_hold(self, hold: HoldRecord) -> None:
        self.holds[hold.id] = hold
        if hold.state is HoldState.OPEN:
            hold.account.holds[hold.hold] = hold

    def add_spend(self, spend: SpendRecord) -> None:
        self.spends[spend.id] = spend
        spend.account.spends.append(spend)

    def add_shortfall(self, shortfall: Shortfall) -> None:
        """Any order will do: they are kept by age."""
        rows = shortfall.account.shortfalls
        rows.append(shortfall)
        rows.sort(key=lambda row: row.age)

    def add_parked(self, parked: "Parked") -> None:
        self.parked.setdefault(parked.waits_for, []).append(parked)
