"""What falls due: activations, hold ends and expiries, in the order of their instants, before anything else."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Final

from ledger.domain.books import Account, HoldRecord, HoldState, Lot
from ledger.domain.holds import end_hold
from ledger.domain.journal import BY_TIME, Journal, Origin
from ledger.domain.lots import expire, left_by_holds
from ledger.domain.shortfalls import repay

# What comes first at one instant.
_ACTIVATION: Final = 0
_HOLD_END: Final = 1
_EXPIRY: Final = 2


def apply_due(journal: Journal, account: Account) -> None:
    """Apply what is due on an account by now, each thing at its own instant."""
    now = journal.now
    due: list[tuple[datetime, int, int, Lot | HoldRecord]] = []
    for lot in account.lots.values():
        if lot.remaining and not lot.ended:
            if lot.pending and lot.activates_on is None and lot.activates_at <= now:
                due.append((lot.activates_at, _ACTIVATION, lot.number, lot))
            if lot.expires_at is not None and lot.expires_at <= now:
                due.append((lot.expires_at, _EXPIRY, lot.number, lot))
    due += [
        (hold.expires_at, _HOLD_END, hold.number, hold) for hold in account.holds.values() if hold.expires_at <= now
    ]
    due.sort(key=lambda item: item[:3])
    for (instant, what), together in groupby(due, key=lambda item: item[:2]):
        if what == _EXPIRY:
            _end_lots(journal, [lot for *_, lot in together if isinstance(lot, Lot) and lot.remaining], instant)
            continue
        for *_, record in together:
            at = journal.moment(account, instant)
            if isinstance(record, HoldRecord):
                origin = Origin(BY_TIME, record.key, record.order, hold=record.hold)
                end_hold(journal, record, "time_out", origin, state=HoldState.EXPIRED, at=at)
            elif record.remaining:
                activate(journal, record, Origin(BY_TIME, record.key, record.order), at=at)
    account.next_due_at = next_due(account)
    journal.note_account(account)


def next_due(account: Account) -> datetime | None:
    """The instant before which nothing falls due.

    A pending lot's end is looked at once it has activated; what waits for an event has no instant of its own.
    """
    instants = [hold.expires_at for hold in account.holds.values()]
    for lot in account.lots.values():
        if lot.remaining and not lot.ended and not (lot.pending and lot.activates_on is not None):
            instant = lot.activates_at if lot.pending else lot.expires_at
            if instant is not None:
                instants.append(instant)
    return min(instants, default=None)


def falls_due(account: Account, instant: datetime | None) -> None:
    """Something new falls due at that instant."""
    if instant is not None and (account.next_due_at is None or instant < account.next_due_at):
        account.next_due_at = instant


def activate(journal: Journal, lot: Lot, origin: Origin, *, at: datetime, gone: bool = False) -> None:
    """Pending points become available; they repay debt first, unless they are gone at once."""
    account = lot.account
    lot.pending = False
    journal.note_lot(lot)
    points = lot.remaining
    repaid = 0 if gone else min(-account.debt, points)
    changes = [journal.move(lot, -repaid)] if repaid else []
    repay(journal, account.shortfalls, changes)
    journal.enter(
        account,
        "activate",
        origin,
        at=at,
        pending=-points,
        available=points - repaid,
        debt=repaid,
        lots=changes or [journal.move(lot, 0)],
    )


def _end_lots(journal: Journal, lots: Sequence[Lot], instant: datetime) -> None:
    """Lots end at one instant, in one entry. Each keeps what the open holds, all placed before this end, would use of
    it, and loses the rest."""
    if not lots:
        return
    account = lots[0].account
    left = left_by_holds(account) if account.holds else None
    for lot in lots:
        lot.ended = True
        journal.note_lot(lot)
    expiring = [(lot, lot.remaining if left is None else left[lot.number]) for lot in lots]
    gone = [(lot, points) for lot, points in expiring if points]
    if gone:
        expire(journal, *gone, at=journal.moment(account, instant))
