"""How spent points come back: to the lots last used first, after the order's own shortfalls; never earned again."""

from datetime import datetime
from typing import NamedTuple

from ledger.domain.books import Account, Lot, SpendRecord
from ledger.domain.due import falls_due
from ledger.domain.journal import EXPIRED, REDEEMED, WRITTEN_OFF, BrokenBooks, Journal, Origin
from ledger.domain.lots import draw, expire, live_lots, own_first
from ledger.domain.outcomes import LotChange
from ledger.domain.shortfalls import cancel, repay
from ledger.domain.take_back import restore_expiry, take_what_waited


class GivenBack(NamedTuple):
    """What became of points that came back."""

    expired: int
    """They came from lots that have ended meanwhile."""
    cancelled: int
    """They cancelled what the order's own postings had missed."""


def give_back(journal: Journal, spend: SpendRecord, origin: Origin, *, points: int, at: datetime) -> GivenBack:
    """Return points of a spend; whether a take-back of the same order comes before or after gives the same balances.

    So points that come back meet the order's take-backs as these would have met them: after what other orders owe,
    usable points first, then those of ended lots; and usable points that come later make good what ended ones served.
    """
    account, order = spend.account, spend.order
    journal.note_spend(spend)
    spend.given_back += points

    # What the spend itself missed was taken from no lot.
    unpaid = [row for row in account.shortfalls if row.spend == spend.id]
    never_taken = min(points, sum(row.owed + row.written_off for row in unpaid))
    own = cancel(journal, unpaid, never_taken)

    changes, usable, ended = _to_lots(journal, spend, points - never_taken, at)
    gone = sum(lot_points for _, lot_points in ended)

    # No available beside debt: usable points repay what other orders owe. Points that are gone repay none of it.
    take_backs = [row for row in account.shortfalls if row.spend is None and order is not None and row.order == order]
    others = [row for row in account.shortfalls if row.owed and row not in take_backs]
    repaid = min(usable, sum(row.owed for row in others))
    repaying = draw(journal, repaid, live_lots(account)) if repaid else []
    repay(journal, others, repaying)
    usable -= repaid

    # What take-backs of the order missed: from usable points first, as a take-back after the return would.
    missed = sum(row.owed + row.written_off for row in take_backs)
    from_usable = min(usable, missed)
    from_gone = min(gone, missed - from_usable)
    cancelled = cancel(journal, take_backs, from_usable + from_gone)
    taken = draw(journal, from_usable, own_first(live_lots(account), own=None, order=order)) if from_usable else []
    usable -= from_usable

    expired = gone - from_gone
    spend.ended += gone
    spend.reversed += from_gone
    serving, expiring = _split(ended, from_gone)
    journal.enter(
        account,
        "give_back",
        origin,
        at=at,
        available=usable + expired,
        debt=own.debt + cancelled.debt + repaid,
        system=((REDEEMED, -points), (WRITTEN_OFF, own.written_off + cancelled.written_off)),
        lots=changes + [journal.move(lot, -part) for lot, part in serving] + repaying + taken,
        spent=-points,
    )
    for lot, part in expiring:
        expire(journal, (lot, part), at=at)
    _make_good(journal, account, origin, usable, at)
    return GivenBack(expired=expired, cancelled=never_taken + from_usable + from_gone)


def _to_lots(
    journal: Journal, spend: SpendRecord, points: int, at: datetime
) -> tuple[list[LotChange], int, list[tuple[Lot, int]]]:
    """Put points back, to the lots last used first, with their original dates: which are usable, which have ended."""
    changes: list[LotChange] = []
    ended: list[tuple[Lot, int]] = []
    usable = 0
    for use in reversed(spend.uses):
        part = min(points, use.amount - use.returned)
        if part:
            lot = spend.account.lots[use.lot]
            use.returned += part
            points -= part
            changes.append(journal.move(lot, part))
            if lot.has_ended(at):
                lot.ended = True  # drained before its end, which nobody applied
                ended.append((lot, part))
            else:
                usable += part
                falls_due(spend.account, lot.expires_at)
    if points:
        raise BrokenBooks(f"{points} points too many for {spend!r}")
    return changes, usable, ended


def _split(lots: list[tuple[Lot, int]], points: int) -> tuple[list[tuple[Lot, int]], list[tuple[Lot, int]]]:
    """The first so many points of some lots, and the rest."""
    first, rest = [], []
    for lot, amount in lots:
        part = min(points, amount)
        points -= part
        if part:
            first.append((lot, part))
        if amount > part:
            rest.append((lot, amount - part))
    return first, rest


def _make_good(journal: Journal, account: Account, origin: Origin, usable: int, at: datetime) -> None:
    """Usable points that come after a take-back serve it, in place of what had to serve it until now.

    First ended points, whose expiry stands again; then held ones, which its hold may keep.
    """
    order = origin.order
    instead = restore_expiry(journal, account, order, usable)
    if instead:
        lots = draw(journal, instead, own_first(live_lots(account), own=None, order=order))
        journal.enter(account, "revoke", origin, at=at, available=-instead, system=((EXPIRED, instead),), lots=lots)
    waiting = [row for row in account.shortfalls if row.held and order is not None and row.order == order]
    if waiting and usable > instead:
        take_what_waited(journal, account, waiting, points=usable - instead, hold=None, at=at)
