"""Which lots are consumed: the order of consumption, what a hold may still reach, and what an ended lot must keep."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from ledger.domain.books import Account, HoldRecord, Lot
from ledger.domain.journal import BY_TIME, EXPIRED, BrokenBooks, Journal, Origin
from ledger.domain.outcomes import LotChange

MOST_ENTRIES: Final = 2**40
"""Of an account; numbers of lots beyond it say how many lots their entry opened before them."""


def lot_number(seq: int, place: int) -> int:
    """The number of a lot by the entry that opened it and its place among those that the entry opened."""
    return place * MOST_ENTRIES + seq


def queue_of(account: Account) -> list[Lot]:
    """All lots with something remaining, in consumption order; drained ones leave it from the front."""
    queue = account.queue
    if queue is None:
        queue = account.queue = sorted(
            (lot for lot in account.lots.values() if lot.remaining), key=lambda lot: lot.rank
        )
    while queue and not queue[0].remaining:
        queue.pop(0)
    return queue


def live_lots(account: Account) -> Iterator[Lot]:
    """What debits may use, in consumption order: nothing pending, nothing ended."""
    return (lot for lot in queue_of(account) if lot.remaining and not lot.pending and not lot.ended)


def held_lots(account: Account) -> list[Lot]:
    """What holds may use: ended lots that were kept for them first, then all others, each in consumption order.

    Mostly that is the order of consumption: of one priority, what has ended ends first. Across priorities it makes what
    an ended lot still gives depend on how much there is beside it, and not on which lots earlier debits left, so that
    the steps of a refund commute beside holds too. And nobody loses points that a hold could still have used.
    """
    lots = [lot for lot in queue_of(account) if lot.remaining and not lot.pending]
    if any(lot.ended for lot in lots):
        lots.sort(key=lambda lot: not lot.ended)  # stable
    return lots


def own_first(lots: Iterable[Lot], *, own: int | None, order: str | None) -> list[Lot]:
    """For take-backs: the award's own lot, then the order's, then all others, each in consumption order.

    Of what was held, ended lots come first among each, as for any use of a hold.
    """
    return sorted(
        lots,
        key=lambda lot: (
            lot.number != own,
            order is None or lot.order != order,
            not lot.ended,
            lot.rank,
        ),
    )


def draw(journal: Journal, amount: int, lots: Iterable[Lot], limits: dict[int, int] | None = None) -> list[LotChange]:
    """Take an amount from lots in the order given, of each at most its limit if there are any."""
    changes = []
    for lot in lots:
        if amount == 0:
            break
        limit = lot.remaining if limits is None else limits[lot.number]
        if limit > 0:
            taken = min(limit, amount)
            if limits is not None:
                limits[lot.number] -= taken
            changes.append(journal.move(lot, -taken))
            amount -= taken
    if amount:
        raise BrokenBooks(f"{amount} points are not in the lots")
    return changes


def expire(journal: Journal, *gone: tuple[Lot, int], at: datetime) -> None:
    """Points of ended lots of one account are gone, in one entry under the name of the first of them."""
    first, _ = gone[0]
    orders = {lot.order for lot, _ in gone}
    points = sum(points for _, points in gone)
    journal.enter(
        first.account,
        "expire",
        Origin(BY_TIME, first.key, first.order if len(orders) == 1 else None),
        at=at,
        available=-points,
        system=((EXPIRED, points),),
        lots=[journal.move(lot, -part) for lot, part in gone],
    )


def may_use(hold: HoldRecord, lot: Lot) -> bool:
    """An ended lot serves only holds placed before its end."""
    return lot.expires_at is None or hold.placed_at < lot.expires_at


def newest_first(holds: Iterable[HoldRecord]) -> list[HoldRecord]:
    """Who was placed later may use fewer of the ended lots: served first, nobody goes short."""
    return sorted(holds, key=lambda hold: (hold.placed_at, hold.number), reverse=True)


def reach(account: Account, hold: HoldRecord, lots: list[Lot]) -> tuple[list[Lot], dict[int, int] | None]:
    """Of lots that holds may use, those that ending this one may consume, in the order given, and how much of each if
    there is a limit.

    As long as no lot has ended that is all of the lots. Beside ended lots, what holds placed later could not do without
    is set aside, from the back of the order: a capture never fails for lack of points, whoever comes first.
    """
    if not any(lot.ended for lot in lots):
        return lots, None
    limits = {lot.number: lot.remaining for lot in lots}
    for later in newest_first(account.holds.values()):
        if (later.placed_at, later.number) <= (hold.placed_at, hold.number):
            break
        _allocate(later, lots[::-1], limits)
    return [lot for lot in lots if may_use(hold, lot)], limits


def left_by_holds(account: Account) -> dict[int, int]:
    """What the open holds, allocated now in the order of `held_lots`, would leave of each lot.

    An ended lot loses exactly that: at its end, and again whenever a hold ends that it was kept for.
    """
    lots = held_lots(account)
    left = {lot.number: lot.remaining for lot in lots}
    for hold in newest_first(account.holds.values()):
        _allocate(hold, lots, left)
    return left


def _allocate(hold: HoldRecord, lots: list[Lot], left: dict[int, int]) -> None:
    """Give a hold its amount out of what is left of the lots, in the order given."""
    needed = hold.amount
    for lot in lots:
        if needed == 0:
            return
        if may_use(hold, lot):
            used = min(left[lot.number], needed)
            left[lot.number] -= used
            needed -= used
