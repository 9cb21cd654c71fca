"""What follows from postings, written in one statement per table, whatever their number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg

from chassis.ids import new_uuid
from chassis.lanes import lane_of
from ledger import tables
from ledger.domain import (
    Account,
    AccountKey,
    Decision,
    Entry,
    Lot,
    Outcome,
    Parked,
    PostingId,
    Proposal,
)
from ledger.store import gifts, log, members, rows
from ledger.store.loaded import Loaded
from ledger.store.writes import Writes


@dataclass(frozen=True, slots=True)
class Memo:
    """An operator's words, with the salt of the commitment to them that the history holds."""

    salt: bytes
    text: str


_ACCOUNT_CHANGES: Final = (
    "available",
    "pending",
    "held",
    "debt",
    "earned",
    "spent",
    "seq",
    "hash",
    "last_at",
    "next_due_at",
)
_CREDITED: Final = ("available", "pending", "earned", "seq", "hash", "last_at", "next_due_at")
"""What changes on an account that is only credited; each array of parameters costs as much as a column of the row."""
_LOT_CHANGES: Final = ("remaining", "pending", "ended", "taken_back")
_HOLD_CHANGES: Final = ("state", "captured", "released", "expiring")
_SPEND_CHANGES: Final = ("amount", "uses", "given_back", "ended", "reversed")
_SHORTFALL_CHANGES: Final = ("lot", "missed", "held", "owed", "written_off")
_POSTING_CHANGES: Final = ("result", "first_seq", "last_seq", "code", "facts")

_INSERT_ACCOUNT: Final = rows.insert_from_arrays(tables.account)
_UPDATE_ACCOUNT: Final = rows.update_from_arrays(tables.account, ("id",), _ACCOUNT_CHANGES)
_UPDATE_CREDITED: Final = rows.update_from_arrays(tables.account, ("id",), _CREDITED)
_INSERT_POSTING: Final = rows.insert_from_arrays(tables.posting)
_UPDATE_POSTING: Final = rows.update_from_arrays(tables.posting, ("shop", "source", "key"), _POSTING_CHANGES)
_INSERT_LOT: Final = rows.insert_from_arrays(tables.lot)
_UPDATE_LOT: Final = rows.update_from_arrays(tables.lot, ("account_id", "number"), _LOT_CHANGES)
_DATE_LOT: Final = rows.update_from_arrays(
    tables.lot, ("account_id", "number"), (*_LOT_CHANGES, "activates_at", "expires_at")
)
_INSERT_HOLD: Final = rows.insert_from_arrays(tables.hold)
_UPDATE_HOLD: Final = rows.update_from_arrays(tables.hold, ("account_id", "hold"), _HOLD_CHANGES)
_INSERT_SPEND: Final = rows.insert_from_arrays(tables.spend)
_UPDATE_SPEND: Final = rows.update_from_arrays(tables.spend, ("account_id", "checkout", "generation"), _SPEND_CHANGES)
_INSERT_SHORTFALL: Final = rows.insert_from_arrays(tables.shortfall)
_UPDATE_SHORTFALL: Final = rows.update_from_arrays(
    tables.shortfall, ("account_id", "source", "key"), _SHORTFALL_CHANGES
)
_INSERT_ENTRY: Final = rows.insert_from_arrays(tables.entry)
_INSERT_REFUSAL: Final = rows.insert_from_arrays(tables.refusal)
_INSERT_SYSTEM_SUM: Final = rows.insert_from_arrays(tables.system_sum)
_INSERT_MEMO: Final = rows.insert_from_arrays(tables.memo)
_INSERT_PARKED: Final = rows.insert_from_arrays(
    tables.parked, ("account_id", "shop", "source", "key", "content_hash", "posting", "since")
)
_INSERT_PROPOSAL: Final = rows.insert_from_arrays(
    tables.proposal, ("id", "account_id", "shop", "source", "key", "posting", "proposed_at", "expires_at")
)
_DELETE_PARKED: Final = (
    "DELETE FROM parked AS p USING unnest($1::text[], $2::text[], $3::text[]) AS k (shop, source, key)"
    " WHERE p.shop = k.shop AND p.source = k.source AND p.key = k.key"
)


async def save(
    driver: asyncpg.Connection,
    loaded: Loaded,
    decision: Decision,
    *,
    lane_count: int,
    traces: Mapping[PostingId, str] | None = None,
    memos: Mapping[PostingId, Memo] | None = None,
) -> None:
    """Write a decision, and let go of what it was made from. The lanes of its accounts are held, so nothing of what was
    loaded has changed since."""
    writes = Writes()
    _log(writes, loaded, decision, lane_count, traces or {})
    _accounts(writes, loaded, decision)
    _outcomes(writes, loaded, decision)
    _lots(writes, decision)
    _holds(writes, decision)
    _spends(writes, decision)
    _shortfalls(writes, decision)
    sums = sorted((*names, amount) for names, amount in decision.system.items() if amount)
    writes.add(_INSERT_SYSTEM_SUM, [(new_uuid(), *row) for row in sums])
    if memos:
        _memos(writes, loaded, decision, memos)
    await writes.run(driver)
    if decision.members:
        await members.save(driver, decision.members)
    if decision.gift_days:
        await gifts.save(driver, decision.gift_days)
    loaded.state.let_go()


def _memos(writes: Writes, loaded: Loaded, decision: Decision, memos: Mapping[PostingId, Memo]) -> None:
    fresh = [(outcome, memos[outcome.id]) for outcome in decision.decided if outcome.id in memos]
    writes.add(
        _INSERT_MEMO,
        [
            (loaded.state.accounts[outcome.account].id, outcome.id.source, outcome.id.key, memo.salt, memo.text)
            for outcome, memo in fresh
        ],
    )


# -- the log


def _log(writes: Writes, loaded: Loaded, decision: Decision, lane_count: int, traces: Mapping[PostingId, str]) -> None:
    """Entries and refusals at the next places of their lanes, in the order in which they happened."""
    lane_by_account: dict[AccountKey, int] = {}
    for row in decision.log:
        key = row.account.key
        if key not in lane_by_account:
            lane_by_account[key] = lane_of(f"{key.shop}/{key.member}", lane_count)
    position = loaded.positions
    entries, refusals = [], []
    for row in decision.log:
        lane = lane_by_account[row.account.key]
        position[lane] += 1
        if isinstance(row, Entry):
            trace = traces.get(PostingId(row.account.key.shop, row.source, row.key)) if traces else None
            entries.append(rows.entry_row(row, lane, position[lane], trace))
        else:
            refusals.append(rows.refusal_row(row, lane, position[lane], traces.get(row.posting.id)))
    writes.add(_INSERT_ENTRY, entries, into=tables.entry)
    writes.add(_INSERT_REFUSAL, refusals, into=tables.refusal)


# -- the state


def _accounts(writes: Writes, loaded: Loaded, decision: Decision) -> None:
    """Changed accounts, and new ones also when only a refusal or a parked posting names them."""
    accounts = loaded.state.accounts
    fresh = {outcome.account for outcome in decision.decided if accounts[outcome.account].fresh}
    fresh.update(account.key for account in decision.accounts if account.fresh)  # no posting names who gets a gift
    writes.add(
        _INSERT_ACCOUNT,
        [
            (account.id, *account.key, *_account_changes(account), account.noted)
            for account in sorted((accounts[key] for key in fresh), key=_by_id)
        ],
        into=tables.account,
    )
    changed = [account for account in sorted(decision.accounts, key=_by_id) if not account.fresh]
    writes.add(
        _UPDATE_ACCOUNT,
        [(account.id, *_account_changes(account)) for account in changed if account.id in loaded.debited],
    )
    writes.add(
        _UPDATE_CREDITED,
        [
            (
                account.id,
                account.available,
                account.pending,
                account.earned,
                account.seq,
                account.hash,
                account.last_at,
                account.next_due_at,
            )
            for account in changed
            if account.id not in loaded.debited
        ],
    )


def _by_id(account: Account) -> UUID:
    return account.id


def _account_changes(account: Account) -> tuple[Any, ...]:
    return (
        account.available,
        account.pending,
        account.held,
        account.debt,
        account.earned,
        account.spent,
        account.seq,
        account.hash,
        account.last_at,
        account.next_due_at,
    )


def _outcomes(writes: Writes, loaded: Loaded, decision: Decision) -> None:
    accounts = loaded.state.accounts
    writes.add(
        _INSERT_POSTING,
        [
            (*outcome.id, accounts[outcome.account].id, outcome.kind, outcome.content_hash, *_result(outcome))
            for outcome in decision.decided
        ],
        into=tables.posting,
    )
    writes.add(_UPDATE_POSTING, [(*outcome.id, *_result(outcome)) for outcome in decision.settled])
    writes.add(_INSERT_PARKED, [_parked_row(loaded, parked) for parked in decision.parked])
    writes.add(_DELETE_PARKED, [parked.posting.id for parked in decision.unparked])
    writes.add(_INSERT_PROPOSAL, [_proposal_row(loaded, proposal) for proposal in decision.proposals])


def _result(outcome: Outcome) -> tuple[Any, ...]:
    error = outcome.error
    facts: Mapping[str, Any] = outcome.facts if error is None else error.facts
    return (
        outcome.result.value,
        outcome.first_seq,
        outcome.last_seq,
        None if error is None else error.code,
        rows.json_text(facts) if facts else None,
    )


def _parked_row(loaded: Loaded, parked: Parked) -> tuple[Any, ...]:
    posting = parked.posting
    return (
        loaded.state.accounts[loaded.state.home_of(posting)].id,
        *posting.id,
        parked.content_hash,
        rows.posting_text(posting),
        parked.since,
    )


def _proposal_row(loaded: Loaded, proposal: Proposal) -> tuple[Any, ...]:
    posting = proposal.posting
    return (
        UUID(log.proposal_id(posting.id)),
        loaded.state.accounts[loaded.state.home_of(posting)].id,
        *posting.id,
        rows.posting_text(posting),
        proposal.at,
        proposal.expires_at,
    )


def _lots(writes: Writes, decision: Decision) -> None:
    writes.add(
        _INSERT_LOT,
        [
            (
                lot.account.id,
                lot.number,
                lot.amount,
                lot.remaining,
                lot.activates_at,
                lot.expires_at,
                lot.priority,
                lot.pending,
                lot.ended,
                lot.source,
                lot.key,
                lot.order,
                lot.kind,
                lot.taken_back,
                lot.activates_on,
            )
            for lot in decision.lots
            if lot.fresh
        ],
        into=tables.lot,
    )
    known = [lot for lot in decision.lots if not lot.fresh]
    writes.add(_UPDATE_LOT, [_lot_changes(lot) for lot in known if not lot.dated])
    writes.add(_DATE_LOT, [(*_lot_changes(lot), lot.activates_at, lot.expires_at) for lot in known if lot.dated])


def _lot_changes(lot: Lot) -> tuple[Any, ...]:
    return (lot.account.id, lot.number, lot.remaining, lot.pending, lot.ended, lot.taken_back)


def _holds(writes: Writes, decision: Decision) -> None:
    writes.add(
        _INSERT_HOLD,
        [
            (
                hold.account.id,
                hold.hold,
                hold.account.key.shop,
                hold.amount,
                hold.placed_at,
                hold.number,
                hold.expires_at,
                hold.state.value,
                hold.captured,
                hold.released,
                hold.expiring,
                hold.source,
                hold.key,
                hold.order,
            )
            for hold in decision.holds
            if hold.fresh
        ],
    )
    writes.add(
        _UPDATE_HOLD,
        [
            (hold.account.id, hold.hold, hold.state.value, hold.captured, hold.released, hold.expiring)
            for hold in decision.holds
            if not hold.fresh
        ],
    )


def _spends(writes: Writes, decision: Decision) -> None:
    writes.add(
        _INSERT_SPEND,
        [
            (
                spend.account.id,
                spend.checkout,
                spend.generation,
                spend.account.key.shop,
                spend.order,
                spend.hold,
                spend.amount,
                spend.tender,
                spend.source,
                spend.key,
                rows.uses_text(spend),
                spend.given_back,
                spend.ended,
                spend.reversed,
            )
            for spend in decision.spends
            if spend.fresh
        ],
    )
    writes.add(
        _UPDATE_SPEND,
        [
            (
                spend.account.id,
                spend.checkout,
                spend.generation,
                spend.amount,
                rows.uses_text(spend),
                spend.given_back,
                spend.ended,
                spend.reversed,
            )
            for spend in decision.spends
            if not spend.fresh
        ],
    )


def _shortfalls(writes: Writes, decision: Decision) -> None:
    writes.add(
        _INSERT_SHORTFALL,
        [
            (
                row.account.id,
                row.source,
                row.key,
                row.order,
                row.cause,
                None if row.spend is None else row.spend.checkout,
                None if row.spend is None else row.spend.generation,
                row.lot,
                row.since,
                row.since_seq,
                row.missed,
                row.held,
                row.owed,
                row.written_off,
            )
            for row in decision.shortfalls
            if row.fresh
        ],
    )
    writes.add(
        _UPDATE_SHORTFALL,
        [
            (row.account.id, row.source, row.key, row.lot, row.missed, row.held, row.owed, row.written_off)
            for row in decision.shortfalls
            if not row.fresh
        ],
    )
