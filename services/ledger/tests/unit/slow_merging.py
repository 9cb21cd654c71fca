"""Two members in one, and parted again, as slowly and plainly as the rest of the model."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

from .slow_model import MLot, Model


def merge(old: Model, into: Model, name: str) -> Any:
    """All that the old one has moves; what is returned is what only an undoing needs."""
    old.due()
    into.due()
    returned = {id(spend): spend.returned for spend in old.spends.values()}
    kept = (name, set(old.awarded), old.lots, old.earned, old.spent, dict(old.asked_back), returned)
    base = into.number()
    lots = sorted(old.lots, key=lambda lot: (not lot.left, lot.rank))
    numbers = {lot.number: base + place * 1_000_000 for place, lot in enumerate(lots)}
    for lot in lots:
        lot.was.append(lot.number)
        lot.number = numbers[lot.number]
    for record in (*old.holds.values(), *old.missed):
        record.number -= old.numbers + 1
    for record in (*old.holds.values(), *old.missed, *old.spends.values()):
        record.came.append(name)
    for spend in old.spends.values():
        spend.used = [numbers[number] for number in spend.used]
    into.lots += lots
    into.holds |= old.holds
    into.missed = sorted([*into.missed, *old.missed], key=lambda m: (m.since, m.number))
    into.spends |= old.spends
    into.awarded |= old.awarded
    into.asked_back.update(old.asked_back)
    into.parked += old.parked
    into.given += old.given
    into.earned += old.earned
    into.spent += old.spent
    old.lots, old.holds, old.missed, old.spends, old.awarded = [], {}, [], {}, {}
    old.earned = old.spent = 0
    old.asked_back.clear()
    old.parked.clear()
    while into.debt and into.available:
        into.repay_one(into.live()[0])
    return kept


def undo_merge(old: Model, into: Model, kept: Any) -> None:
    """What came goes back, and what has become of it."""
    into.due()
    name, came, lots, earned, spent, asked_back, returned = kept
    base = old.number()
    back = _go_back(into, name, lots, base)
    for record in (*into.holds.values(), *into.missed):
        if record.came[-1:] == [name]:
            record.number -= into.numbers + 1
    old.holds = {hold: into.holds.pop(hold) for hold, one in list(into.holds.items()) if _came(one, name)}
    old.missed = [one for one in into.missed if (one.owed or one.off or one.waits) and _came(one, name)]
    into.missed = [one for one in into.missed if one not in old.missed]
    for one in into.missed:
        if one.award in came:  # where its award has been, it knows its order only, even if the award comes again
            one.award = None
    for spend_name, spend in list(into.spends.items()):
        if _came(spend, name):
            for number in spend.used:
                if number not in back:
                    lot = next(lot for lot in into.lots if lot.number == number)
                    back[number] = _stand_in(lot, 0, base, back)
            spend.used = [back[number].number for number in spend.used]
            old.spends[spend_name] = into.spends.pop(spend_name)
            spent -= spend.returned - returned[id(spend)]
    old.lots = list(back.values())
    for award in came:
        old.awarded[award] = into.awarded.pop(award)
        old.asked_back[award] = into.asked_back.pop(award, 0)
        earned -= old.asked_back[award] - asked_back.get(award, 0)
    into.earned, into.spent = into.earned - earned, into.spent - spent
    old.earned, old.spent = earned, spent
    old.settle_uncovered()
    into.settle_uncovered()


def _came(record: Any, name: str) -> bool:
    """Whether it came by that merge; it goes back by it, too."""
    if record.came[-1:] != [name]:
        return False
    record.came.pop()
    return True


def _stand_in(lot: MLot, points: int, base: int, back: dict[int, MLot]) -> MLot:
    """A lot that did not come, as one of the other's."""
    opened = sum(not other.was and other.number >= base for other in back.values())
    return replace(lot, number=base + opened * 1_000_000, left=points, order=None, award=None, was=[])


def _go_back(into: Model, name: str, lots: list[MLot], base: int) -> dict[int, MLot]:
    """What is behind each hold goes with it, and what is left of what came; by number of this side's lots."""
    mine = {id(lot) for lot in lots}
    free = {lot.number: lot.left for lot in into.lots if not lot.pending}
    behind: dict[int, int] = defaultdict(int)
    for hold in sorted(into.holds.values(), key=lambda hold: (hold.placed, hold.number), reverse=True):
        goes = hold.came[-1:] == [name]
        for _ in range(hold.amount):
            lot = min(
                (lot for lot in into.lots if free.get(lot.number) and into.may_use(hold, lot)),
                key=lambda lot: (not lot.ended, (id(lot) in mine) is not goes, lot.rank),
            )
            free[lot.number] -= 1
            behind[lot.number] += goes
    back: dict[int, MLot] = {}
    for lot in sorted(into.lots, key=lambda lot: lot.rank):
        points = behind[lot.number]
        if id(lot) in mine:
            points = lot.left if lot.pending else points + (0 if lot.ended else free[lot.number])
            back[lot.number] = replace(lot, number=lot.was[-1], left=points, was=lot.was[:-1])
        elif points:
            back[lot.number] = _stand_in(lot, points, base, back)
        lot.left -= points
    for lot in lots:
        lot.award, lot.was = None, []
    return back
