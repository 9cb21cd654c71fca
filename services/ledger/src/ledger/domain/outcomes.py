"""What follows from postings: entries, refusals, outcomes, and the decision that holds them all."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from ledger.domain.books import Account, GiftDay, HoldRecord, Lot, MergedAccount, Shortfall, SpendRecord
from ledger.domain.errors import LedgerError
from ledger.domain.members import Member
from ledger.domain.postings import AccountKey, Credit, Debit, Posting, PostingId, SpendId


class LotChange(NamedTuple):
    """What an entry did to one lot."""

    lot: int
    change: int
    remaining: int
    """Afterwards."""
    activates_at: datetime
    expires_at: datetime | None
    priority: int


@dataclass(slots=True, eq=False)
class Entry:
    """One movement: a posting's (or a due date's) whole effect on one account. Its changes sum to zero.

    Never changed after it is made. What is hashed of it is in `hashing`.
    """

    account: Account
    seq: int
    kind: str
    """The posting's; or of what fell due: activate, time_out (of a hold), expire; of what concerns two:
    gift_out, gift_in, merge_out, merge_in, unmerge_out, unmerge_in."""
    at: datetime
    """When it took effect; never before the account's last entry."""
    recorded_at: datetime
    source: str
    """Who asked; `ledger` for what fell due by itself."""
    key: str
    """The posting that asked; of what fell due, the posting that opened the lot (of several, the oldest) or placed the
    hold."""
    order: str | None
    hold: str | None
    checkout: str | None
    generation: int
    """0 where there is no checkout."""
    cause: str
    memo_commitment: bytes | None
    available: int
    """Changes to the buckets …"""
    pending: int
    held: int
    debt: int
    system: tuple[tuple[str, int], ...]
    """… and to the system accounts on the other side, by name; none is zero."""
    available_after: int
    pending_after: int
    held_after: int
    debt_after: int
    """At or below zero."""
    earned_after: int
    spent_after: int
    lots: tuple[LotChange, ...]
    """Lots opened or used, in the order of use."""
    shortfall: int
    """Points that could not be taken: written off or owed."""
    difference: int
    """Of a spend that captured a hold: tender less hold."""
    previous_hash: bytes
    hash: bytes


@dataclass(slots=True, eq=False)
class Refusal:
    """A posting that the business refused; nothing changed. It has its own place in the log, beside the entries."""

    account: Account
    posting: Posting
    error: LedgerError
    at: datetime


class Result(StrEnum):
    """What became of a posting."""

    POSTED = "posted"
    UNCHANGED = "unchanged"
    """There was nothing (more) to move."""
    PARKED = "parked"
    """Waits for its award or spend."""
    PENDING_APPROVAL = "pending_approval"
    """A person asked for more than one may move alone: it is a proposal until a second person decides on it."""
    REFUSED = "refused"
    CONFLICT = "conflict"
    """The key was used before with other content. Answered, never stored."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The stored answer to a posting; the same key with the same content gets it again."""

    id: PostingId
    account: AccountKey
    kind: str
    content_hash: bytes
    result: Result
    first_seq: int = 0
    """First and last entry that it caused (what it freed and expired at once included); 0 where there is none."""
    last_seq: int = 0
    error: LedgerError | None = None
    """Of a refusal or a conflict: code and facts."""
    facts: Mapping[str, int] = field(default_factory=dict)
    """What else the asker wants to know: of a hold its `amount`; of its end `captured`, `released`, `expiring`; of a
    take-back `taken`, `held` (waits for a hold's end), `missing` (written off or owed); of a spend `missing`,
    `difference`, `hold_over` (1: it had no hold, or one that had ended); of a return `returned`, `expired`,
    `cancelled`; of an activation `activated`."""
    repeated: bool = False
    """Asked before."""

    def again(self) -> "Outcome":
        return replace(self, repeated=True)


@dataclass(slots=True, eq=False)
class Parked:
    """A posting that waits for its cause, and applies right after it."""

    posting: Posting
    content_hash: bytes
    waits_for: PostingId | SpendId
    since: datetime
    fresh: bool = False


@dataclass(slots=True, eq=False)
class Proposal:
    """A posting that waits for a second person."""

    posting: Credit | Debit
    at: datetime
    expires_at: datetime
    """First instant at which nobody can approve it any more."""


@dataclass(slots=True)
class Decision:
    """All that follows from a batch. Records are the state's own, updated; each is listed once."""

    outcomes: list[Outcome] = field(default_factory=list)
    """The answers: one per posting, in order."""
    log: list[Entry | Refusal] = field(default_factory=list)
    """In order of happening: exactly one row and one event each."""
    decided: list[Outcome] = field(default_factory=list)
    """Outcomes of keys that were not used before: to insert."""
    settled: list[Outcome] = field(default_factory=list)
    """Outcomes of what was parked or proposed in an earlier batch: to update."""
    parked: list[Parked] = field(default_factory=list)
    """To insert."""
    proposals: list[Proposal] = field(default_factory=list)
    """To insert."""
    unparked: list[Parked] = field(default_factory=list)
    """Of an earlier batch and settled now: to delete."""
    accounts: list[Account] = field(default_factory=list)
    lots: list[Lot] = field(default_factory=list)
    holds: list[HoldRecord] = field(default_factory=list)
    spends: list[SpendRecord] = field(default_factory=list)
    shortfalls: list[Shortfall] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    gift_days: list[GiftDay] = field(default_factory=list)
    merged: list[MergedAccount] = field(default_factory=list)
    """What a merge moved (with all that belongs to it), or what moved back; both before anything else is saved."""
    system: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """Sums of the batch by (shop, asset, system account): to append, never to lock."""
