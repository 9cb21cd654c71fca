"""How a member's accounts are merged into another's: points with their dates, holds, debts, and their bookkeeping."""

from collections.abc import Mapping
from dataclasses import replace

from ledger.domain.books import MOVED, Account, GiftDay, MergedAccount, MovedLot, Shortfall, Use
from ledger.domain.due import apply_due, next_due
from ledger.domain.errors import MemberMerged, MergeNotFound, MergeUndone, MergeWithItself
from ledger.domain.hashing import movement_id
from ledger.domain.journal import TRANSFERRED, Journal, Origin, cause_with
from ledger.domain.lots import draw, live_lots, lot_number
from ledger.domain.members import Member
from ledger.domain.outcomes import LotChange
from ledger.domain.postings import AccountKey, Merge, UndoMerge
from ledger.domain.shortfalls import repay
from ledger.domain.unmerging import move_back

Facts = Mapping[str, int]


def merge(journal: Journal, account: Account, posting: Merge) -> Facts:  # noqa: ARG001  # all accounts of the member
    """All accounts of the member go into the other's; nothing of what is asked of it later stays with it."""
    if posting.into == posting.member:
        raise MergeWithItself(posting.member)
    state = journal.state
    member, into = state.member(posting.shop, posting.member), state.member(posting.shop, posting.into)
    _require_unmerged(member)
    _require_unmerged(into)
    name = movement_id(posting)
    facts: dict[str, int] = {}
    for source in _accounts_of(journal, member):
        target = state.accounts[AccountKey(posting.shop, posting.into, source.key.asset)]
        for one in (source, target):
            if one.next_due_at is not None and one.next_due_at <= journal.now:
                apply_due(journal, one)
        before = (source.available, source.pending, source.held, source.debt)
        _merge_account(journal, source, target, posting, name)
        facts |= {f"{source.key.asset}.{bucket}": n for bucket, n in zip(_BUCKETS, before, strict=True)}
    member.merged_into = posting.into
    journal.note_member(member)
    return facts


_BUCKETS = ("available", "pending", "held", "debt")


def undo_merge(journal: Journal, account: Account, posting: UndoMerge) -> Facts:  # noqa: ARG001  # all accounts
    """What is left of what came moves back, and the member is itself again."""
    state = journal.state
    if not state.merged:
        raise MergeNotFound(posting.merge)
    if any(merged.undone for merged in state.merged):
        raise MergeUndone(posting.merge)
    _require_unmerged(state.member(posting.shop, posting.into))
    facts: dict[str, int] = {}
    for merged in sorted(state.merged, key=lambda one: one.account.key):
        if merged.into.next_due_at is not None and merged.into.next_due_at <= journal.now:
            apply_due(journal, merged.into)
        told = move_back(journal, merged, posting)
        facts |= {f"{merged.account.key.asset}.{name}": number for name, number in told.items()}
    member = state.member(posting.shop, posting.member)
    member.merged_into = None
    journal.note_member(member)
    return facts


def _require_unmerged(member: Member) -> None:
    """A member that was merged is not merged again, nor into, before that is undone; so there are no circles."""
    if member.merged_into is not None:
        raise MemberMerged(member.key.member, member.merged_into)


def _accounts_of(journal: Journal, member: Member) -> list[Account]:
    """In one order, whatever they were loaded in."""
    accounts = journal.state.accounts
    return [accounts[key] for key in sorted(accounts) if (key.shop, key.member) == member.key]


def _merge_account(journal: Journal, source: Account, target: Account, posting: Merge, name: str) -> None:
    """One entry of each account: what leaves the one and, after debt, what comes to the other."""
    merged = MergedAccount(
        merge=name,
        account=source,
        into=target,
        number=target.seq + 1,
        points=source.available + source.pending + source.held,
        earned=source.earned,
        spent=source.spent,
        taken_back=sum(lot.taken_back for lot in source.lots.values()),
        given_back=sum(spend.given_back for spend in source.spends),
    )
    available, pending, held, debt = source.available, source.pending, source.held, source.debt
    left, came = _move_lots(journal, merged)
    _move_records(journal, merged)
    _add_gift_day(journal, source, target)

    # No available beside debt: whichever of the two has points repays what the other owes.
    repaid = min(target.available + available, -target.debt - debt)
    repaying = draw(journal, repaid, live_lots(target)) if repaid else []
    repay(journal, target.shortfalls, repaying)

    points = merged.points + debt
    journal.enter(
        source,
        "merge_out",
        _origin(posting, merge=name, other=target),
        at=journal.moment(source),
        available=-available,
        pending=-pending,
        held=-held,
        debt=-debt,
        system=((TRANSFERRED, points),),
        lots=left,
        earned=-merged.earned,
        spent=-merged.spent,
    )
    journal.enter(
        target,
        "merge_in",
        _origin(posting, merge=name, other=source),
        at=journal.moment(target),
        available=available - repaid,
        pending=pending,
        held=held,
        debt=debt + repaid,
        system=((TRANSFERRED, -points),),
        lots=came + repaying,
        earned=merged.earned,
        spent=merged.spent,
    )
    source.next_due_at, target.next_due_at = None, next_due(target)
    journal.note_merged(merged)


def _origin(posting: Merge, *, merge: str, other: Account) -> Origin:
    cause = cause_with(posting.cause, merge=merge, member=other.key.member)
    return Origin(posting.source, posting.key, cause=cause)


def _move_lots(journal: Journal, merged: MergedAccount) -> tuple[list[LotChange], list[LotChange]]:
    """Each lot gets a counterpart that goes on in its place, a drained one too: returns may refill it, and take-backs
    of an award keep count with its lot. Those with points are numbered first, in consumption order."""
    source, target = merged.account, merged.into
    left: list[LotChange] = []
    came: list[LotChange] = []
    lots = sorted(source.lots.values(), key=lambda lot: (not lot.remaining, lot.rank))
    for place, lot in enumerate(lots):
        points = lot.remaining
        moved = replace(
            lot, account=target, number=lot_number(merged.number, place), dated=False, fresh=True, changed=False
        )
        merged.lots.append(MovedLot(lot, moved))
        lot.kind = MOVED
        journal.note_lot(lot)
        if points:
            left.append(journal.move(lot, -points))
        opened = journal.open_lot(moved)
        if points:
            came.append(opened._replace(change=points))
    source.queue = target.queue = None
    return left, came


def _move_records(journal: Journal, merged: MergedAccount) -> None:
    """Holds, shortfalls and spends become the other account's, with the lots that they name.

    Numbers say what comes first at one instant: below zero, what came is before all of the other's own.
    """
    source, target = merged.account, merged.into
    numbers = {was.number: is_now.number for was, is_now in merged.lots}
    merged.holds, merged.shortfalls, merged.spends = list(source.holds.values()), source.shortfalls, source.spends
    for hold in merged.holds:
        hold.account, hold.number = target, hold.number - source.seq - 1
    for hold in journal.decision.holds:
        if hold.account is source:  # ended just now: it goes with all that ended before
            hold.account = target
    target.holds |= source.holds
    for row in merged.shortfalls:
        row.account, row.lot = target, None if row.lot is None else numbers[row.lot]
        row.since_seq -= source.seq + 1
    target.shortfalls = sorted([*target.shortfalls, *merged.shortfalls], key=_age)
    for spend in merged.spends:
        spend.account = target
        spend.uses = [Use(numbers[use.lot], use.amount, use.returned) for use in spend.uses]
        journal.note_spend(spend)
    target.spends = [*target.spends, *merged.spends]
    source.holds, source.shortfalls, source.spends = {}, [], []


def _age(row: Shortfall) -> tuple[object, int]:
    return row.age


def _add_gift_day(journal: Journal, source: Account, target: Account) -> None:
    """What was given today counts on; what was given on an earlier day than the other's newest counts for nothing."""
    days = journal.state.gift_days
    given, own = days.get(source.key), days.get(target.key)
    if given is None or (own is not None and own.day > given.day):
        return
    if own is None or own.day < given.day:
        own = days[target.key] = own or GiftDay(account=target, day=given.day)
        own.day, own.gifts, own.points = given.day, 0, 0
    own.gifts += given.gifts
    own.points += given.points
    journal.note_gift_day(own)
