"""How points are given from member to member: in lots that keep their dates, so many a day."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from ledger.domain.books import Account, GiftDay, Lot
from ledger.domain.due import apply_due, falls_due
from ledger.domain.errors import AmountOutOfRange, GiftLimitReached, GiftToOneself, InsufficientPoints
from ledger.domain.freezing import refuse_if_frozen
from ledger.domain.hashing import movement_id
from ledger.domain.journal import TRANSFERRED, Journal, Origin, cause_with
from ledger.domain.lots import draw, live_lots, lot_number
from ledger.domain.outcomes import LotChange
from ledger.domain.postings import MAX_AMOUNT, Gift
from ledger.domain.shortfalls import repay


def give(journal: Journal, giver: Account, posting: Gift) -> Mapping[str, int]:
    """Points go from one account to another, the first in consumption order; nothing that is pending or held."""
    state, amount = journal.state, posting.amount
    receiver = state.accounts[state.home(posting.receiver_key)]
    if receiver is giver:
        raise GiftToOneself(posting.to)
    refuse_if_frozen(state, posting)
    if not 1 <= amount <= MAX_AMOUNT:
        raise AmountOutOfRange(amount, MAX_AMOUNT)
    if amount > giver.available:
        raise InsufficientPoints(giver.available, amount)
    at = journal.moment(giver)
    _count(journal, giver, amount, at)
    if receiver.next_due_at is not None and receiver.next_due_at <= journal.now:
        apply_due(journal, receiver)
    given = draw(journal, amount, live_lots(giver))
    journal.enter(
        giver,
        "gift_out",
        _origin(posting, other=receiver),
        at=at,
        available=-amount,
        system=((TRANSFERRED, amount),),
        lots=given,
    )
    _receive(journal, receiver, given, amount, _origin(posting, other=giver))
    return {"amount": amount}


def _origin(posting: Gift, *, other: Account) -> Origin:
    cause = cause_with(posting.cause, gift=movement_id(posting), member=other.key.member)
    return Origin(posting.source, posting.key, cause=cause)


def _count(journal: Journal, giver: Account, points: int, at: datetime) -> None:
    """One gift more on this day of the shop, if its limits let it."""
    policy = journal.state.policies[giver.key.shop]
    day = at.astimezone(ZoneInfo(policy.zone)).date()
    counted = journal.state.gift_days.get(giver.key)
    gifts, so_far = (counted.gifts, counted.points) if counted is not None and counted.day == day else (0, 0)
    if gifts + 1 > policy.gifts_per_day:
        raise GiftLimitReached("gifts_per_day", policy.gifts_per_day, gifts, 1, day.isoformat())
    if so_far + points > policy.gift_points_per_day:
        raise GiftLimitReached("gift_points_per_day", policy.gift_points_per_day, so_far, points, day.isoformat())
    if counted is None:
        counted = journal.state.gift_days[giver.key] = GiftDay(account=giver, day=day)
    counted.day, counted.gifts, counted.points = day, gifts + 1, so_far + points
    journal.note_gift_day(counted)


def _receive(journal: Journal, account: Account, given: Sequence[LotChange], amount: int, origin: Origin) -> None:
    """Open a lot for each that gave, with its dates. They are no order's: nobody's return takes them first."""
    lots = [
        Lot(
            account=account,
            number=lot_number(account.seq + 1, place),
            amount=-part.change,
            remaining=-part.change,
            activates_at=part.activates_at,
            expires_at=part.expires_at,
            priority=part.priority,
            pending=False,
            source=origin.source,
            key=origin.key,
            order=None,
            kind="gift",
            fresh=True,
        )
        for place, part in enumerate(given)
    ]
    opened = [journal.open_lot(lot) for lot in lots]
    # No available beside debt: what comes in repays it first.
    repaid = min(-account.debt, amount)
    repaying = draw(journal, repaid, lots)
    repay(journal, account.shortfalls, repaying)
    journal.enter(
        account,
        "gift_in",
        origin,
        at=journal.moment(account),
        available=amount - repaid,
        debt=repaid,
        system=((TRANSFERRED, -amount),),
        lots=opened + repaying,
    )
    for lot in lots:
        falls_due(account, lot.expires_at)
