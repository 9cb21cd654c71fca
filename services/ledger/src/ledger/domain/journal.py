"""Where entries are written: balanced, numbered, chained; and where changed records are noted, each once."""

import json
from bisect import bisect_left, insort
from datetime import datetime
from typing import Final, NamedTuple

from ledger.domain.books import Account, GiftDay, HoldRecord, Lot, MergedAccount, Shortfall, SpendRecord, State
from ledger.domain.hashing import entry_hash
from ledger.domain.members import Member
from ledger.domain.outcomes import Decision, Entry, LotChange
from ledger.domain.postings import NO_CAUSE

# The system accounts: the other side of every change to a member's points.
ISSUED: Final = "issued"
REDEEMED: Final = "redeemed"
EXPIRED: Final = "expired"
REVOKED: Final = "revoked"
WRITTEN_OFF: Final = "written_off"
ADJUSTED: Final = "adjusted"
CASH: Final = "cash"
TRANSFERRED: Final = "transferred"
"""Between two members: the sum over both is zero."""

BY_TIME: Final = "ledger"
"""The source of what fell due by itself."""


class BrokenBooks(Exception):
    """A rule of the books would be broken: a bug. The batch must not be saved."""


class Origin(NamedTuple):
    """Why an entry is made: the posting behind it."""

    source: str
    key: str
    order: str | None = None
    cause: str = NO_CAUSE
    memo_commitment: bytes | None = None
    hold: str | None = None
    checkout: str | None = None
    generation: int = 0


def cause_with(cause: str, **more: str | int) -> str:
    """A posting's cause with what its entry says besides, as canonical as before."""
    return json.dumps({**json.loads(cause), **more}, sort_keys=True, separators=(",", ":"))


class Journal:
    """One batch: the state it works on, its instant, and the decision it fills."""

    __slots__ = ("decision", "now", "state")

    def __init__(self, state: State, now: datetime) -> None:
        self.state = state
        self.now = now
        self.decision = Decision()

    def moment(self, account: Account, instant: datetime | None = None) -> datetime:
        """The instant at which something happens to an account: never before its last entry."""
        at = self.now if instant is None else instant
        return at if account.last_at is None or at >= account.last_at else account.last_at

    def enter(
        self,
        account: Account,
        kind: str,
        origin: Origin,
        *,
        at: datetime,
        available: int = 0,
        pending: int = 0,
        held: int = 0,
        debt: int = 0,
        system: tuple[tuple[str, int], ...] = (),
        lots: list[LotChange] | tuple[LotChange, ...] = (),
        earned: int = 0,
        spent: int = 0,
        shortfall: int = 0,
        difference: int = 0,
    ) -> None:
        """Write one entry: bucket changes and system accounts sum to zero, no bucket falls below zero (debt: above)."""
        system = tuple([change for change in system if change[1]])
        balance = available + pending + held + debt
        sums = self.decision.system
        shop, _, asset = account.key
        for name, amount in system:
            balance += amount
            sums[shop, asset, name] = sums.get((shop, asset, name), 0) + amount
        account.available += available
        account.pending += pending
        account.held += held
        account.debt += debt
        if balance or account.available < 0 or account.pending < 0 or account.held < 0 or account.debt > 0:
            raise BrokenBooks(f"{kind} {origin.key} on {account!r}: {available=} {pending=} {held=} {debt=} {system=}")
        account.earned += earned
        account.spent += spent
        account.seq += 1
        account.last_at = at
        entry = Entry(
            account,
            account.seq,
            kind,
            at,
            max(self.now, at),
            origin.source,
            origin.key,
            origin.order,
            origin.hold,
            origin.checkout,
            origin.generation,
            origin.cause,
            origin.memo_commitment,
            available,
            pending,
            held,
            debt,
            system,
            account.available,
            account.pending,
            account.held,
            account.debt,
            account.earned,
            account.spent,
            tuple(lots),
            shortfall,
            difference,
            account.hash,
            b"",
        )
        account.hash = entry.hash = entry_hash(entry)
        self.decision.log.append(entry)
        if not account.changed:
            self.note_account(account)

    def open_lot(self, lot: Lot) -> LotChange:
        """Put a new lot into the books."""
        lot.changed = True
        self.decision.lots.append(lot)
        self.state.add_lot(lot)
        if lot.account.queue is not None:
            insort(lot.account.queue, lot, key=_rank)
        return LotChange(lot.number, lot.amount, lot.remaining, lot.activates_at, lot.expires_at, lot.priority)

    def move(self, lot: Lot, change: int) -> LotChange:
        """Add points to a lot or take them from it."""
        if change > 0 and lot.remaining == 0:
            _back_in_line(lot)
        lot.remaining += change
        if not 0 <= lot.remaining <= lot.amount:
            raise BrokenBooks(f"{change} points on {lot!r}")
        self.note_lot(lot)
        return LotChange(lot.number, change, lot.remaining, lot.activates_at, lot.expires_at, lot.priority)

    def note_account(self, account: Account) -> None:
        if not account.changed:
            account.changed = True
            self.decision.accounts.append(account)

    def note_member(self, member: Member) -> None:
        if not member.changed:
            member.changed = True
            self.decision.members.append(member)

    def note_gift_day(self, day: GiftDay) -> None:
        if not day.changed:
            day.changed = True
            self.decision.gift_days.append(day)

    def note_merged(self, merged: MergedAccount) -> None:
        self.decision.merged.append(merged)

    def note_lot(self, lot: Lot) -> None:
        if not lot.changed:
            lot.changed = True
            self.decision.lots.append(lot)

    def note_hold(self, hold: HoldRecord) -> None:
        if not hold.changed:
            hold.changed = True
            self.decision.holds.append(hold)

    def note_spend(self, spend: SpendRecord) -> None:
        if not spend.changed:
            spend.changed = True
            self.decision.spends.append(spend)

    def note_shortfall(self, shortfall: Shortfall) -> None:
        if not shortfall.changed:
            shortfall.changed = True
            self.decision.shortfalls.append(shortfall)


def _back_in_line(lot: Lot) -> None:
    """A drained lot has left the queue, or stands in it until those before it are drained too."""
    queue = lot.account.queue
    if queue is not None:
        place = bisect_left(queue, lot.rank, key=_rank)
        if place == len(queue) or queue[place] is not lot:
            queue.insert(place, lot)


def _rank(lot: Lot) -> tuple[int, datetime, datetime, int]:
    return lot.rank
