"""What each kind of posting does: refuse before anything is changed, or write entries and answer with facts."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from ledger.domain.books import Account, HoldRecord, HoldState, Lot, SpendRecord, Use
from ledger.domain.due import falls_due
from ledger.domain.errors import (
    AlreadySpent,
    AmountOutOfRange,
    AwardNotWaiting,
    CaptureExceedsHold,
    CurrencyMismatch,
    DatesOutOfOrder,
    HoldExists,
    HoldNotFound,
    HoldNotOpen,
    InsufficientPoints,
    OfAnotherMember,
    TotalExceedsAward,
)
from ledger.domain.freezing import freeze, refuse_if_frozen, unfreeze
from ledger.domain.gifts import give
from ledger.domain.give_back import give_back
from ledger.domain.holds import end_hold
from ledger.domain.journal import ADJUSTED, CASH, ISSUED, REDEEMED, WRITTEN_OFF, Journal, Origin
from ledger.domain.lots import draw, expire, live_lots
from ledger.domain.merging import merge, undo_merge
from ledger.domain.outcomes import LotChange
from ledger.domain.postings import (
    MAX_AMOUNT,
    Activate,
    Award,
    Capture,
    Credit,
    Debit,
    Freeze,
    Gift,
    GiveBack,
    Hold,
    Merge,
    Posting,
    Release,
    Revoke,
    Spend,
    TopUp,
    UndoMerge,
    Unfreeze,
)
from ledger.domain.shortfalls import NOTHING_MISSING, record_missing, repay, shortfall_row
from ledger.domain.take_back import take_back
from ledger.domain.waiting import cancel_pending, happened

Facts = Mapping[str, int]
"""What the asker wants to know; None in its place where there was nothing to move."""

NOTHING_TO_ADD: Final[Facts] = {}


def _award(journal: Journal, account: Account, posting: Award) -> Facts | None:
    return _open_lot(journal, account, posting, against=ISSUED, earned=posting.amount)


def _top_up(journal: Journal, account: Account, posting: TopUp) -> Facts | None:
    """Money comes in, of the shop's own currency."""
    currency = journal.state.policies[posting.shop].currency
    if posting.currency != currency:
        raise CurrencyMismatch(posting.currency, currency)
    return _open_lot(journal, account, posting, against=CASH, earned=posting.amount)


def _credit(journal: Journal, account: Account, posting: Credit) -> Facts | None:
    return _open_lot(journal, account, posting, against=ADJUSTED, earned=0)


def _open_lot(
    journal: Journal, account: Account, posting: Award | TopUp | Credit, *, against: str, earned: int
) -> Facts:
    """Points come in: pending until their instant or event, or available at once, after debt."""
    at = journal.moment(account)
    starts_at = posting.activates_at or at
    amount, expires_at = posting.amount, posting.expires_at
    _check_amount(amount)
    if expires_at is not None and posting.activates_at is not None and expires_at <= starts_at:
        raise DatesOutOfOrder(starts_at.isoformat(), expires_at.isoformat())
    pending = starts_at > at or posting.activates_on is not None
    gone = expires_at is not None and expires_at <= at
    # No available beside debt: what comes in repays it first, unless it is past already.
    repaid = 0 if pending or gone else min(-account.debt, amount)
    lot = Lot(
        account=account,
        number=account.seq + 1,
        amount=amount,
        remaining=amount,
        activates_at=starts_at,
        expires_at=expires_at,
        priority=posting.priority,
        pending=pending,
        activates_on=posting.activates_on,
        ended=gone,
        source=posting.source,
        key=posting.key,
        order=posting.order,
        kind=posting.kind,
        fresh=True,
    )
    changes = [journal.open_lot(lot)]
    if repaid:
        repaying = journal.move(lot, -repaid)
        repay(journal, account.shortfalls, [repaying])
        changes.append(repaying)
    journal.enter(
        account,
        posting.kind,
        _origin(posting),
        at=at,
        available=0 if pending else amount - repaid,
        pending=amount if pending else 0,
        debt=repaid,
        system=((against, -amount),),
        lots=changes,
        earned=earned,
    )
    if posting.activates_on is None:
        falls_due(account, starts_at if pending else None if gone else expires_at)
    if gone:
        expire(journal, (lot, amount), at=at)
    return NOTHING_TO_ADD


def _debit(journal: Journal, account: Account, posting: Debit) -> Facts | None:
    """An operator's debit takes what is available, or nothing."""
    amount = posting.amount
    _check_amount(amount)
    if amount > account.available:
        raise InsufficientPoints(account.available, amount)
    journal.enter(
        account,
        posting.kind,
        _origin(posting),
        at=journal.moment(account),
        available=-amount,
        system=((ADJUSTED, amount),),
        lots=draw(journal, amount, live_lots(account)),
    )
    return NOTHING_TO_ADD


def _revoke(journal: Journal, account: Account, posting: Revoke) -> Facts | None:
    """Take back what the total adds to what was asked of that award before; of a refused award there is nothing."""
    award = _award_named(journal, account, posting)
    if award is None:
        return None
    if not 0 <= posting.total <= award.amount:
        raise TotalExceedsAward(posting.total, award.amount)
    amount = posting.total - award.taken_back
    if amount <= 0:
        return None
    origin = _origin(posting)._replace(order=award.order)
    if award.kind == Credit.kind:
        cancelled = cancel_pending(journal, award, origin, amount=amount, at=journal.moment(account))
        return {"taken": cancelled, "held": 0, "missing": 0} if cancelled else None
    award.taken_back = posting.total
    journal.note_lot(award)
    done = take_back(journal, account, origin, own=award.number, amount=amount, at=journal.moment(account))
    return done._asdict()


def _award_named(journal: Journal, account: Account, posting: Revoke | Activate) -> Lot | None:
    """The lot of the award that a posting names, which is known; None where it was refused."""
    award = journal.state.awards.get(posting.award_id)
    of = journal.state.outcomes[posting.award_id].account if award is None else award.account.key
    if journal.state.home(of) != account.key:
        raise OfAnotherMember(posting.award)
    return award


def _activate(journal: Journal, account: Account, posting: Activate) -> Facts | None:
    """The event that a lot waits for has happened: that gives it its dates, once."""
    award = _award_named(journal, account, posting)
    if award is None:
        return None
    if award.activates_on is None:
        raise AwardNotWaiting(posting.award)
    if not award.pending or not award.remaining:
        return None
    origin = _origin(posting)._replace(order=award.order)
    return {"activated": happened(journal, award, origin, expires_at=posting.expires_at, at=journal.moment(account))}


def _hold(journal: Journal, account: Account, posting: Hold) -> Facts | None:
    """Reserve an amount of what is available; `at_most` cuts it to that."""
    refuse_if_frozen(journal.state, posting)
    at = journal.moment(account)
    if posting.hold_id in journal.state.holds:
        raise HoldExists(posting.hold)
    _check_amount(posting.amount)
    if posting.expires_at <= at:
        raise DatesOutOfOrder(at.isoformat(), posting.expires_at.isoformat())
    amount = min(posting.amount, account.available) if posting.at_most else posting.amount
    if not 0 < amount <= account.available:
        raise InsufficientPoints(account.available, posting.amount)
    hold = HoldRecord(
        account=account,
        hold=posting.hold,
        amount=amount,
        placed_at=at,
        number=account.seq + 1,
        expires_at=posting.expires_at,
        source=posting.source,
        key=posting.key,
        order=posting.order,
        fresh=True,
    )
    journal.state.add_hold(hold)
    journal.note_hold(hold)
    origin = _origin(posting, hold=posting.hold)
    journal.enter(account, posting.kind, origin, at=at, available=-amount, held=amount)
    falls_due(account, posting.expires_at)
    return {"amount": amount}


def _capture(journal: Journal, account: Account, posting: Capture) -> Facts | None:
    """Debit a hold, whole or in part. To be returned it is the spend of a checkout of the hold's id, generation 1."""
    hold = _open_hold(journal, account, posting)
    amount = hold.amount if posting.amount is None else posting.amount
    _check_amount(amount)
    if amount > hold.amount:
        raise CaptureExceedsHold(amount, hold.amount)
    spent = journal.state.spends.get(posting.spend_id)
    if spent is not None:
        raise AlreadySpent(spent.checkout, spent.generation, spent.tender)
    origin = _origin(
        posting, hold=hold.hold, checkout=posting.spend_id.checkout, generation=posting.spend_id.generation
    )
    uses = end_hold(
        journal,
        hold,
        posting.kind,
        origin,
        state=HoldState.CAPTURED,
        captured=amount,
        at=journal.moment(account),
    )
    _remember_spend(journal, account, origin, amount=amount, tender=amount, uses=uses)
    return _end_of(hold)


def _release(journal: Journal, account: Account, posting: Release) -> Facts | None:
    """Free a hold; one that is free already stays so."""
    hold = journal.state.holds.get(posting.hold_id)
    if hold is not None and hold.account is account and hold.state in (HoldState.RELEASED, HoldState.EXPIRED):
        return None
    hold = _open_hold(journal, account, posting)
    origin = _origin(posting, hold=hold.hold)
    end_hold(journal, hold, posting.kind, origin, state=HoldState.RELEASED, at=journal.moment(account))
    return _end_of(hold)


def _spend(journal: Journal, account: Account, posting: Spend) -> Facts | None:
    """Debit a paid order's tender, once per checkout and generation: its hold if open, else what is available."""
    _check_amount(posting.amount)
    spent = journal.state.spends.get(posting.spend_id)
    if spent is not None:
        if spent.account is account and spent.tender == posting.amount:
            return None
        raise AlreadySpent(spent.checkout, spent.generation, spent.tender)
    if posting.is_new:
        refuse_if_frozen(journal.state, posting)
    at = journal.moment(account)
    origin = _origin(posting, hold=posting.hold, checkout=posting.checkout, generation=posting.generation)
    hold = account.holds.get(posting.hold) if posting.hold is not None else None
    if hold is None:
        return _spend_available(journal, account, posting, origin, at)
    amount, difference = min(posting.amount, hold.amount), posting.amount - hold.amount
    uses = end_hold(
        journal,
        hold,
        posting.kind,
        origin,
        state=HoldState.CAPTURED,
        captured=amount,
        difference=difference,
        at=at,
    )
    _remember_spend(journal, account, origin, amount=amount, tender=posting.amount, uses=uses)
    return {**_end_of(hold), "missing": 0, "difference": difference, "hold_over": 0}


def _spend_available(journal: Journal, account: Account, posting: Spend, origin: Origin, at: datetime) -> Facts:
    """The order is paid and its hold is over, or it had none: take what is available; the policy takes the rest."""
    taken = min(posting.amount, account.available)
    uses = draw(journal, taken, live_lots(account))
    missing = posting.amount - taken
    booked = NOTHING_MISSING
    if missing:
        row = shortfall_row(journal, account, origin, at=at, spend=posting.spend_id)
        booked = record_missing(journal, row, missing)
    journal.enter(
        account,
        posting.kind,
        origin,
        at=at,
        available=-taken,
        debt=booked.debt,
        system=((REDEEMED, posting.amount), (WRITTEN_OFF, booked.written_off)),
        lots=uses,
        spent=posting.amount,
        shortfall=missing,
    )
    _remember_spend(journal, account, origin, amount=posting.amount, tender=posting.amount, uses=uses)
    return {"missing": missing, "difference": 0, "hold_over": 1}


def _give_back(journal: Journal, account: Account, posting: GiveBack) -> Facts | None:
    """Return what the total adds to what came back of that spend before; never more than was spent."""
    spend = journal.state.spends.get(posting.spend_id)
    if spend is None:
        return None
    if spend.account is not account:
        raise OfAnotherMember(posting.checkout)
    if posting.total < 0:
        raise AmountOutOfRange(posting.total, MAX_AMOUNT)
    points = min(posting.total, spend.amount) - spend.given_back
    if points <= 0:
        return None
    origin = _origin(posting, checkout=spend.checkout, generation=spend.generation)._replace(order=spend.order)
    done = give_back(journal, spend, origin, points=points, at=journal.moment(account))
    return {"returned": points, **done._asdict()}


ACTS: Final[Mapping[type[Posting], Callable[[Journal, Account, Any], Facts | None]]] = {
    Award: _award,
    TopUp: _top_up,
    Credit: _credit,
    Debit: _debit,
    Revoke: _revoke,
    Activate: _activate,
    Hold: _hold,
    Capture: _capture,
    Release: _release,
    Spend: _spend,
    GiveBack: _give_back,
    Gift: give,
    Freeze: freeze,
    Unfreeze: unfreeze,
    Merge: merge,
    UndoMerge: undo_merge,
}


# -- what several kinds need


def _check_amount(amount: int) -> None:
    if not 1 <= amount <= MAX_AMOUNT:
        raise AmountOutOfRange(amount, MAX_AMOUNT)


def _origin(posting: Posting, *, hold: str | None = None, checkout: str | None = None, generation: int = 0) -> Origin:
    return Origin(
        posting.source, posting.key, posting.order, posting.cause, posting.memo_commitment, hold, checkout, generation
    )


def _open_hold(journal: Journal, account: Account, posting: Capture | Release) -> HoldRecord:
    hold = journal.state.holds.get(posting.hold_id)
    if hold is None:
        raise HoldNotFound(posting.hold)
    if hold.account is not account:
        raise OfAnotherMember(posting.hold)
    if hold.state is not HoldState.OPEN:
        raise HoldNotOpen(posting.hold, hold.state)
    return hold


def _end_of(hold: HoldRecord) -> dict[str, int]:
    return {"captured": hold.captured, "released": hold.released, "expiring": hold.expiring}


def _remember_spend(
    journal: Journal, account: Account, origin: Origin, *, amount: int, tender: int, uses: list[LotChange]
) -> None:
    """So that it can be given back to where it came from."""
    spend = SpendRecord(
        account=account,
        checkout=origin.checkout or "",
        generation=origin.generation,
        order=origin.order,
        hold=origin.hold,
        amount=amount,
        tender=tender,
        source=origin.source,
        key=origin.key,
        uses=[Use(change.lot, -change.change) for change in uses],
        fresh=True,
    )
    journal.state.add_spend(spend)
    journal.note_spend(spend)
