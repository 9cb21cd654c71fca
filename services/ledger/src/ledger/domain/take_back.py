"""How an award is taken back: what is there, then what is held (when that ends), then what has expired, then policy."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from ledger.domain.books import Account, HoldRecord, Lot, Shortfall, SpendRecord
from ledger.domain.journal import EXPIRED, REVOKED, WRITTEN_OFF, Journal, Origin
from ledger.domain.lots import draw, held_lots, live_lots, own_first, reach
from ledger.domain.shortfalls import NOTHING_MISSING, record_missing, shortfall_row


class TakenBack(NamedTuple):
    """What became of an amount to take back: they add up to it."""

    taken: int
    held: int
    missing: int


def take_back(
    journal: Journal, account: Account, origin: Origin, *, own: int | None, amount: int, at: datetime
) -> TakenBack:
    """Take points of an award (`own` is its lot) back, in one entry; what is held is not booked before the hold ends.

    In this order: what is still pending from the order; what remains of its own lots, then other active lots; what is
    held waits; what returns of the same order gave to ended lots (that expiry is reversed by as much); the policy.
    """
    missing = amount

    pending = _pending_of(account, own=own, order=origin.order)
    from_pending = min(missing, sum(lot.remaining for lot in pending))
    changes = draw(journal, from_pending, pending)
    missing -= from_pending

    from_available = min(missing, account.available)
    if from_available:
        changes += draw(journal, from_available, own_first(live_lots(account), own=own, order=origin.order))
    missing -= from_available

    held = min(missing, max(0, account.held - sum(row.held for row in account.shortfalls)))
    if held:
        row = shortfall_row(journal, account, origin, at=at, lot=own)
        row.missed += held
        row.held += held
        journal.note_shortfall(row)
    missing -= held

    from_expired = reverse_expiry(journal, account, origin.order, missing)
    missing -= from_expired

    booked = NOTHING_MISSING
    if missing:
        booked = record_missing(journal, shortfall_row(journal, account, origin, at=at, lot=own), missing)

    revoked = amount - held
    if revoked:
        journal.enter(
            account,
            "revoke",
            origin,
            at=at,
            available=-from_available,
            pending=-from_pending,
            debt=booked.debt,
            system=((REVOKED, revoked), (EXPIRED, -from_expired), (WRITTEN_OFF, booked.written_off)),
            lots=changes,
            earned=-revoked,
            shortfall=missing,
        )
    return TakenBack(taken=revoked - missing, held=held, missing=missing)


def _pending_of(account: Account, *, own: int | None, order: str | None) -> list[Lot]:
    """What is still pending from the order: of the award itself first."""
    return own_first(
        (
            lot
            for lot in account.lots.values()
            if lot.pending and lot.remaining and (lot.number == own or (order is not None and lot.order == order))
        ),
        own=own,
        order=order,
    )


def spends_of(account: Account, order: str | None) -> list[SpendRecord]:
    """The spends of an order; a posting without an order has none."""
    return [] if order is None else [spend for spend in account.spends if spend.order == order]


def reverse_expiry(journal: Journal, account: Account, order: str | None, wanted: int) -> int:
    """Points that returns gave to ended lots serve the order's take-backs: that expiry is reversed by as much."""
    found = 0
    for spend in spends_of(account, order) if wanted else ():
        points = min(wanted - found, spend.ended - spend.reversed)
        if points:
            spend.reversed += points
            journal.note_spend(spend)
            found += points
    return found


def restore_expiry(journal: Journal, account: Account, order: str | None, wanted: int) -> int:
    """The opposite: usable points came back after all, and what had expired has expired again."""
    found = 0
    for spend in spends_of(account, order) if wanted else ():
        points = min(wanted - found, spend.reversed)
        if points:
            spend.reversed -= points
            journal.note_spend(spend)
            found += points
    return found


def origin_of(row: Shortfall) -> Origin:
    """A take-back that waited keeps the cause of its posting."""
    return Origin(row.source, row.key, row.order, row.cause)


def take_what_waited(
    journal: Journal,
    account: Account,
    rows: Iterable[Shortfall],
    *,
    points: int,
    hold: HoldRecord | None,
    at: datetime,
) -> int:
    """Points that waited for a hold's end are taken, oldest first: from a hold as it ends, or from what came back. Each
    is taken from its own award's lot first, as far as holds placed later can do without it."""
    taken = 0
    for row in rows:
        part = min(row.held, points - taken)
        if part:
            row.held -= part
            journal.note_shortfall(row)
            usable = live_lots(account) if hold is None else held_lots(account)
            lots, limits = own_first(usable, own=row.lot, order=row.order), None
            if hold is not None:
                lots, limits = reach(account, hold, lots)
            changes = draw(journal, part, lots, limits)
            journal.enter(
                account,
                "revoke",
                origin_of(row),
                at=at,
                held=0 if hold is None else -part,
                available=-part if hold is None else 0,
                system=((REVOKED, part),),
                lots=changes,
                earned=-part,
            )
            taken += part
    return taken


def settle_uncovered(journal: Journal, account: Account, *, at: datetime) -> None:
    """Where holds were captured, less is held than waits: the newest of it is taken back by the rest of the rules."""
    uncovered = sum(row.held for row in account.shortfalls) - account.held
    for row in reversed(account.shortfalls) if uncovered > 0 else ():
        part = min(row.held, uncovered)
        if part:
            row.held -= part
            row.missed -= part
            journal.note_shortfall(row)
            uncovered -= part
            take_back(journal, account, origin_of(row), own=row.lot, amount=part, at=at)
