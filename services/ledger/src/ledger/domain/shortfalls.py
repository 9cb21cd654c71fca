"""What is owed and what is written off: recorded by the shop's policy, cancelled by returns, repaid oldest first."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from ledger.domain.assets import OWED
from ledger.domain.books import Account, Shortfall, ShortfallPolicy, Use
from ledger.domain.journal import Journal, Origin
from ledger.domain.outcomes import LotChange
from ledger.domain.postings import SpendId


class Missing(NamedTuple):
    """How a shortfall is booked: changes to the debt bucket and to `written_off`."""

    debt: int
    written_off: int

    @property
    def amount(self) -> int:
        return abs(self.debt) + abs(self.written_off)


NOTHING_MISSING = Missing(0, 0)


def shortfall_row(
    journal: Journal,
    account: Account,
    origin: Origin,
    *,
    at: datetime,
    spend: SpendId | None = None,
    lot: int | None = None,
) -> Shortfall:
    """The row of the posting that misses points, opened when it misses the first."""
    for row in account.shortfalls:
        if row.source == origin.source and row.key == origin.key:
            return row
    row = Shortfall(
        account=account,
        source=origin.source,
        key=origin.key,
        order=origin.order,
        cause=origin.cause,
        spend=spend,
        lot=lot,
        since=at,
        since_seq=account.seq,
        fresh=True,
    )
    journal.state.add_shortfall(row)
    return row


def record_missing(journal: Journal, row: Shortfall, amount: int) -> Missing:
    """`forgive` stops at zero and records a write-off; `debt` records a debt."""
    journal.note_shortfall(row)
    row.missed += amount
    shop, _, asset = row.account.key
    if journal.state.policies[shop].shortfall is ShortfallPolicy.DEBT and asset in OWED:
        row.owed += amount
        return Missing(-amount, 0)
    row.written_off += amount
    return Missing(0, -amount)


def cancel(journal: Journal, rows: Iterable[Shortfall], amount: int) -> Missing:
    """A return cancels its own order's write-offs and debts, oldest first, by the opposite of how they were booked."""
    debt = written_off = 0
    for row in rows:
        owed = min(row.owed, amount)
        forgiven = min(row.written_off, amount - owed)
        if owed or forgiven:
            journal.note_shortfall(row)
            row.owed -= owed
            row.written_off -= forgiven
            debt += owed
            written_off += forgiven
            amount -= owed + forgiven
    return Missing(debt, written_off)


def repay(journal: Journal, rows: Iterable[Shortfall], drawn: Iterable[LotChange]) -> None:
    """Points drawn from lots repay debts, oldest cause first. Where a spend was owed, they are what that spend used."""
    debts = [row for row in rows if row.owed]
    debts.reverse()
    for change in drawn:
        points = -change.change
        while points:
            row = debts[-1]
            paid = min(row.owed, points)
            row.owed -= paid
            points -= paid
            journal.note_shortfall(row)
            if row.spend is not None:
                spend = journal.state.spends[row.spend]
                spend.uses.append(Use(change.lot, paid))
                journal.note_spend(spend)
            if row.owed == 0:
                debts.pop()
