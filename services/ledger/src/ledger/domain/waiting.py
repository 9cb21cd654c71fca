"""Lots that wait for an event: it gives them their dates, once; or they are cancelled while they are pending."""

from datetime import datetime

from ledger.domain.books import Lot
from ledger.domain.due import activate, falls_due
from ledger.domain.journal import REVOKED, Journal, Origin
from ledger.domain.lots import expire


def happened(journal: Journal, lot: Lot, origin: Origin, *, expires_at: datetime | None, at: datetime) -> int:
    """The event has happened: the lot is active from now on. What is past already is gone at once, both visible.

    How many points that were.
    """
    points, gone = lot.remaining, expires_at is not None and expires_at <= at
    lot.activates_at, lot.expires_at, lot.ended, lot.dated = at, expires_at, gone, True
    lot.account.queue = None  # its rank has changed
    activate(journal, lot, origin, at=at, gone=gone)
    if gone:
        expire(journal, (lot, points), at=at)
    else:
        falls_due(lot.account, expires_at)
    return points


def cancel_pending(journal: Journal, credit: Lot, origin: Origin, *, amount: int, at: datetime) -> int:
    """Of an operator's credit only what is pending is taken back; the rest is a debit's business. How much it was."""
    amount = min(amount, credit.remaining) if credit.pending else 0
    if amount:
        credit.taken_back += amount
        journal.enter(
            credit.account,
            "revoke",
            origin,
            at=at,
            pending=-amount,
            system=((REVOKED, amount),),
            lots=[journal.move(credit, -amount)],
        )
    return amount
