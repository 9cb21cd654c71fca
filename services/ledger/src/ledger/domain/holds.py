"""How a hold ends: what waited for it is taken, its capture consumes lots, the rest is freed, ended lots let go."""

from datetime import datetime

from ledger.domain.books import HoldRecord, HoldState
from ledger.domain.journal import REDEEMED, Journal, Origin
from ledger.domain.lots import draw, expire, held_lots, left_by_holds, live_lots, reach
from ledger.domain.outcomes import LotChange
from ledger.domain.shortfalls import repay
from ledger.domain.take_back import settle_uncovered, take_what_waited


def end_hold(
    journal: Journal,
    hold: HoldRecord,
    kind: str,
    origin: Origin,
    *,
    state: HoldState,
    captured: int = 0,
    difference: int = 0,
    at: datetime,
) -> list[LotChange]:
    """Close a hold, capturing none, some or all of it; returns the lots that the capture used."""
    account = hold.account
    freed = hold.amount - captured

    waiting = [row for row in account.shortfalls if row.held]
    if waiting and freed:
        freed -= take_what_waited(journal, account, waiting, points=freed, hold=hold, at=at)
    lots, limits = reach(account, hold, held_lots(account))
    used = draw(journal, captured, lots, limits)

    del account.holds[hold.hold]
    journal.note_hold(hold)
    left = left_by_holds(account) if any(lot.ended and lot.remaining for lot in lots) else {}
    letting_go = [lot for lot in lots if lot.ended and left.get(lot.number)]
    expiring = sum(left[lot.number] for lot in letting_go)

    # No available beside debt; but points that go at once repay nothing.
    repaid = min(-account.debt, max(0, freed - expiring))
    repaying = draw(journal, repaid, live_lots(account)) if repaid else []
    repay(journal, account.shortfalls, repaying)
    hold.state, hold.captured, hold.released, hold.expiring = state, captured, freed, expiring
    journal.enter(
        account,
        kind,
        origin,
        at=at,
        held=-captured - freed,
        available=freed - repaid,
        debt=repaid,
        system=((REDEEMED, captured),),
        lots=used + repaying,
        spent=captured,
        difference=difference,
    )
    for lot in letting_go:
        expire(journal, (lot, left[lot.number]), at=at)
    if waiting:
        settle_uncovered(journal, account, at=at)
    return used
