"""How a merge is undone: what is left of what came moves back, with what is still held of it."""

from dataclasses import replace

from ledger.domain.books import MOVED, Account, HoldRecord, Lot, MergedAccount, Use
from ledger.domain.due import next_due
from ledger.domain.journal import TRANSFERRED, BrokenBooks, Journal, Origin, cause_with
from ledger.domain.lots import lot_number, may_use, newest_first, queue_of
from ledger.domain.outcomes import LotChange
from ledger.domain.postings import UndoMerge
from ledger.domain.take_back import settle_uncovered


def move_back(journal: Journal, merged: MergedAccount, posting: UndoMerge) -> dict[str, int]:
    """One entry of each account, and how many points moved back, or did not: spent or expired meanwhile.

    Of each lot that came what remains goes back; what returned to it meanwhile was the member's own. Holds that are
    still open go back whole, with the points behind them; if too few of those that came are left, with others.
    """
    source, target = merged.account, merged.into
    holds = [hold for hold in merged.holds if hold.hold in target.holds]
    points = _points(target, {is_now.number for _, is_now in merged.lots}, {hold.hold for hold in holds})
    moving = _Moving(journal, merged)
    left, came = moving.lots(points)
    pending = sum(number for lot, number in points if lot.pending)
    live = sum(number for _, number in points) - pending
    held = sum(hold.amount for hold in holds)
    for hold in holds:
        del target.holds[hold.hold]
        hold.number -= target.seq + 1
        source.holds[hold.hold] = hold
    for hold in merged.holds:  # also one that ended just now
        hold.account = source
    owed = moving.shortfalls()
    returned = moving.spends()

    missing = max(0, merged.points - live - pending)
    expired = min(missing, merged.expired)
    earned = merged.earned - (sum(is_now.taken_back for _, is_now in merged.lots) - merged.taken_back)
    spent = merged.spent - (returned - merged.given_back)
    told = {"missing": missing, "expired": expired} if missing else {}
    origin = {
        one.key: Origin(
            posting.source,
            posting.key,
            cause=cause_with(posting.cause, merge=merged.merge, member=other.key.member, **told),
        )
        for one, other in ((source, target), (target, source))
    }
    journal.enter(
        target,
        "unmerge_out",
        origin[target.key],
        at=journal.moment(target),
        available=held - live,
        pending=-pending,
        held=-held,
        debt=owed,
        system=((TRANSFERRED, live + pending - owed),),
        lots=left,
        earned=-earned,
        spent=-spent,
    )
    journal.enter(
        source,
        "unmerge_in",
        origin[source.key],
        at=journal.moment(source),
        available=live - held,
        pending=pending,
        held=held,
        debt=-owed,
        system=((TRANSFERRED, owed - live - pending),),
        lots=came,
        earned=earned,
        spent=spent,
    )
    for account in (source, target):
        account.queue = None
        settle_uncovered(journal, account, at=journal.moment(account))
        account.next_due_at = next_due(account)
    merged.undone = True
    journal.note_merged(merged)
    return {
        "available": live - held,
        "pending": pending,
        "held": held,
        "debt": -owed,
        "missing": missing,
        "expired": expired,
    }


def _points(account: Account, came: set[int], going: set[str]) -> list[tuple[Lot, int]]:
    """How much of which lots goes back, in consumption order.

    All holds are given their points first, newest first so that none goes short, and ended lots before others so that
    none of them is left over: each of its own side's lots first. Then what remains of the lots that came goes back.
    """
    lots = [lot for lot in queue_of(account) if lot.remaining]
    free = {lot.number: lot.remaining for lot in lots if not lot.pending}
    behind = dict.fromkeys(free, 0)
    for hold in newest_first(account.holds.values()):
        goes = hold.hold in going
        used = _cover(hold, [lot for lot in lots if not lot.pending], free, came=came, goes=goes)
        if goes:
            for number, points in used.items():
                behind[number] += points
    going_back: list[tuple[Lot, int]] = []
    for lot in lots:
        mine = lot.number in came
        if lot.pending:
            number = lot.remaining if mine else 0
        else:
            number = behind[lot.number] + (free[lot.number] if mine and not lot.ended else 0)
        if number:
            going_back.append((lot, number))
    return going_back


def _cover(hold: HoldRecord, lots: list[Lot], free: dict[int, int], *, came: set[int], goes: bool) -> dict[int, int]:
    """The points behind a hold, taken from what is free."""
    needed, used = hold.amount, {}
    for lot in sorted(lots, key=lambda lot: (not lot.ended, (lot.number in came) is not goes)):
        points = min(free[lot.number], needed) if may_use(hold, lot) else 0
        if points:
            used[lot.number] = points
            free[lot.number] -= points
            needed -= points
    if needed:
        raise BrokenBooks(f"{needed} points of {hold!r} are not in the lots")
    return used


class _Moving:
    """Moves records back, finding for each lot its counterpart."""

    def __init__(self, journal: Journal, merged: MergedAccount) -> None:
        self._journal = journal
        self._merged = merged
        self._was = {is_now.number: was for was, is_now in merged.lots}
        self._opened = 0

    def lots(self, points: list[tuple[Lot, int]]) -> tuple[list[LotChange], list[LotChange]]:
        """Changes of both accounts' lots; those that came go on where they were before."""
        for was, is_now in self._merged.lots:
            if was.pending and was.activates_on is not None and not is_now.pending:  # its event has happened meanwhile
                was.activates_at, was.expires_at, was.dated = is_now.activates_at, is_now.expires_at, True
            was.pending, was.ended = is_now.pending, is_now.ended
            was.taken_back, was.kind = is_now.taken_back, is_now.kind
            self._journal.note_lot(was)
        left = [self._journal.move(lot, -number) for lot, number in points]
        came = [self._journal.move(self._counterpart(lot), number) for lot, number in points]
        for was, is_now in self._merged.lots:
            is_now.kind = MOVED  # it can still be refilled, by returns of what was spent of it meanwhile
            self._journal.note_lot(is_now)
            self._journal.state.add_lot(was)
        return left, came

    def _counterpart(self, lot: Lot) -> Lot:
        """The lot of the member that a lot came from; one that did not come gets a new one, empty so far."""
        found = self._was.get(lot.number)
        if found is None:
            source = self._merged.account
            number = lot_number(source.seq + 1, self._opened)
            self._opened += 1
            found = replace(
                lot, account=source, number=number, remaining=0, order=None, kind=MOVED, taken_back=0,
                fresh=True, changed=False,
            )  # fmt: skip
            self._journal.open_lot(found)
            self._was[lot.number] = found
        return found

    def shortfalls(self) -> int:
        """What came and is still outstanding; how much of it is owed."""
        source, target = self._merged.account, self._merged.into
        rows = [row for row in self._merged.shortfalls if row.held or row.owed or row.written_off]
        for row in rows:
            found = None if row.lot is None else self._was.get(row.lot)
            row.account, row.lot = source, None if found is None else found.number
            row.since_seq -= target.seq + 1
        target.shortfalls = [row for row in target.shortfalls if row.account is target]
        came = {is_now.number for _, is_now in self._merged.lots}
        for row in target.shortfalls:
            if row.lot in came:  # whose award has gone; what waits here knows its order only
                row.lot = None
                self._journal.note_shortfall(row)
        source.shortfalls = sorted(rows, key=lambda row: row.age)
        return sum(row.owed for row in rows)

    def spends(self) -> int:
        """Spends that came, and how much of them has been given back in all."""
        source, target = self._merged.account, self._merged.into
        for spend in self._merged.spends:
            spend.account = source
            spend.uses = [
                Use(self._counterpart(target.lots[use.lot]).number, use.amount, use.returned)
                for use in spend.uses
                if use.amount > use.returned
            ]
            self._journal.note_spend(spend)
        target.spends = [spend for spend in target.spends if spend.account is target]
        source.spends = list(self._merged.spends)
        return sum(spend.given_back for spend in self._merged.spends)
