"""What must be known before postings are decided, read under their lanes, in a handful of statements for any number."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from chassis.ids import new_uuid
from ledger.domain import (
    Account,
    AccountKey,
    Activate,
    Capture,
    Gift,
    GiveBack,
    Member,
    MemberKey,
    Parked,
    Policy,
    Posting,
    PostingId,
    Revoke,
    ShortfallPolicy,
    Spend,
    SpendId,
    State,
)
from ledger.store import gifts, log, members, rows
from ledger.store.loaded import FEW, Loaded, Question, ask, columns_of
from ledger.store.loading_books import Named, books_of

MOST_GROUPS: Final = 4
"""Batches hold few shops: up to so many are asked one by one with `= ANY`, at half the cost of `unnest`."""

_ACCOUNTS_OF_SHOP: Final = (
    f"SELECT {rows.ACCOUNT_COLUMNS} FROM account AS a WHERE a.shop = $1 AND a.asset = $2 AND a.member = ANY($3::text[])"  # noqa: S608
)
_ACCOUNTS: Final = (
    f"SELECT {rows.ACCOUNT_COLUMNS} FROM unnest($1::text[], $2::text[], $3::text[]) AS k (shop, member, asset)"  # noqa: S608
    " JOIN account AS a USING (shop, member, asset)"
)
_PARKED_COLUMNS: Final = "p.posting::text, p.content_hash, p.since, p.account_id"
_PARKED: Final = f"SELECT {_PARKED_COLUMNS} FROM parked AS p WHERE p.account_id = ANY($1) ORDER BY p.place"  # noqa: S608
_PARKED_OF: Final = {
    _ACCOUNTS_OF_SHOP: f"SELECT {_PARKED_COLUMNS} FROM account AS a JOIN parked AS p ON p.account_id = a.id"  # noqa: S608
    " WHERE a.shop = $1 AND a.asset = $2 AND a.member = ANY($3::text[]) ORDER BY p.place",
    _ACCOUNTS: f"SELECT {_PARKED_COLUMNS} FROM unnest($1::text[], $2::text[], $3::text[]) AS k (shop, member, asset)"  # noqa: S608
    " JOIN account AS a USING (shop, member, asset) JOIN parked AS p ON p.account_id = a.id ORDER BY p.place",
}
"""What waits on the accounts that such a question asks for."""

_POLICIES: Final = (
    "SELECT shop, shortfall, currency, approval_above::text, zone, gifts_per_day, gift_points_per_day FROM programme"
    " WHERE shop = ANY($1::text[])"
)
_OUTCOMES_OF_SOURCE: Final = (
    f"SELECT {rows.OUTCOME_COLUMNS} FROM posting AS p JOIN account AS a ON a.id = p.account_id"  # noqa: S608
    " WHERE p.shop = $1 AND p.source = $2 AND p.key = ANY($3::text[])"
)
_OUTCOMES: Final = (
    f"SELECT {rows.OUTCOME_COLUMNS} FROM unnest($1::text[], $2::text[], $3::text[]) AS k (shop, source, key)"  # noqa: S608
    " JOIN posting AS p USING (shop, source, key) JOIN account AS a ON a.id = p.account_id"
)


async def load(driver: asyncpg.Connection, postings: Sequence[Posting], now: datetime, lanes: Sequence[int]) -> Loaded:
    """All that deciding these postings needs, and no more: an award to an account that owes nothing reads no lots.

    `lanes` are those that are held.
    """
    loaded, waiting = await _first_look(driver, postings, lanes)
    if loaded.noted:
        further = await members.load(driver, loaded.state, lanes)
        if further:
            waiting = [*waiting, *await _further(driver, loaded, further)]
    concerned = [*postings, *_concerned(loaded.state, postings, waiting)]
    if len(concerned) > len(postings):
        for found in await ask(driver, _about_outcomes(concerned[len(postings) :]), few=False):
            _add_outcomes(loaded.state, found)
    named = Named(loaded.state, concerned)
    whole = named.debiting | {
        account.key
        for account in loaded.by_id.values()
        if account.debt or (account.next_due_at is not None and account.next_due_at <= now)
    }
    await books_of(driver, loaded, whole, named)
    if named.givers:
        await gifts.load(driver, loaded.state, named.givers)
    return loaded


async def load_whole(driver: asyncpg.Connection, account_ids: Sequence[UUID], lanes: Sequence[int] = ()) -> Loaded:
    """Accounts with all that may fall due on them; `lanes` are those that are held, none if nothing is saved after."""
    found = await driver.fetch(f"SELECT {rows.ACCOUNT_COLUMNS} FROM account AS a WHERE a.id = ANY($1)", account_ids)  # noqa: S608
    shops = {row[1] for row in found}
    loaded = Loaded(State(policies=_policies(shops, await driver.fetch(_POLICIES, list(shops)))))
    if lanes:
        loaded.positions.update(await log.highest(driver, lanes))
    for row in found:
        _add(loaded, row)
    await books_of(driver, loaded, set(loaded.state.accounts), Named(loaded.state, []))
    return loaded


def _policies(shops: set[str], stored: Sequence[Any]) -> dict[str, Policy]:
    known = {
        shop: Policy(ShortfallPolicy(shortfall), currency or "", rows.decode_json(approval_above), *about_gifts)
        for shop, shortfall, currency, approval_above, *about_gifts in stored
    }
    return {shop: known.get(shop) or Policy(ShortfallPolicy.FORGIVE) for shop in shops}


async def _first_look(
    driver: asyncpg.Connection, postings: Sequence[Posting], lanes: Sequence[int]
) -> tuple[Loaded, list[Parked]]:
    """Where the lanes stand, the policies, the accounts (one that is not stored yet is a zero account), what became of
    the keys, and what waits."""
    keys = {posting.account_key for posting in postings}
    keys.update(posting.receiver_key for posting in postings if type(posting) is Gift)  # cheaper, of thousands
    shops = {key.shop for key in keys}
    accounts, outcomes = _about_accounts(keys), _about_outcomes(postings)
    questions = [(log.HIGHEST, (lanes,)), (_POLICIES, (list(shops),)), *accounts, *outcomes]
    few = len(postings) <= FEW
    if few:
        questions += [(_PARKED_OF[statement], parameters) for statement, parameters in accounts]
    positions, policies, *found = await ask(driver, questions, few=few)
    loaded = Loaded(State(policies=_policies(shops, policies)), positions=dict(positions))
    for stored in found[: len(accounts)]:
        for row in stored:
            _add(loaded, row)
    known = loaded.state.accounts
    for key in keys:
        if key not in known:
            known[key] = Account(key=key, id=new_uuid(), fresh=True)
            # Whoever has a record has an account of points, which says so.
            loaded.noted |= key.asset != members.ASSET
    for stored in found[len(accounts) :][: len(outcomes)]:
        _add_outcomes(loaded.state, stored)
    waiting: Sequence[Any]
    if few:
        waiting = [row for stored in found[len(accounts) + len(outcomes) :] for row in stored]
    else:
        waiting = await _waiting_on(driver, list(loaded.by_id))
    return loaded, _parked_among(loaded, waiting)


async def _further(driver: asyncpg.Connection, loaded: Loaded, keys: set[AccountKey]) -> list[Parked]:
    """Accounts that redirects lead to, and what waits on them."""
    before = set(loaded.by_id)
    for stored in await ask(driver, _about_accounts(keys), few=False):
        for row in stored:
            _add(loaded, row)
    for key in keys - loaded.state.accounts.keys():
        noted = MemberKey(key.shop, key.member) in loaded.state.members
        loaded.state.add_account(Account(key=key, id=new_uuid(), fresh=True, noted=noted))
    return _parked_among(loaded, await _waiting_on(driver, list(loaded.by_id.keys() - before)))


def _about_accounts(keys: set[AccountKey]) -> list[Question]:
    groups: dict[tuple[str, str], list[str]] = {}
    for shop, member, asset in keys:
        groups.setdefault((shop, asset), []).append(member)
    if len(groups) > MOST_GROUPS:
        return [(_ACCOUNTS, tuple(columns_of(keys)))]
    return [(_ACCOUNTS_OF_SHOP, (shop, asset, members)) for (shop, asset), members in groups.items()]


def _add(loaded: Loaded, row: Any) -> None:
    account = rows.account_of(row)
    loaded.state.add_account(account)
    loaded.by_id[account.id] = account
    loaded.noted |= account.noted


def _about_outcomes(postings: Sequence[Posting]) -> list[Question]:
    """What became of these keys, and of the awards that are to be taken back or activated."""
    ids = {posting.id for posting in postings}
    ids.update(posting.award_id for posting in postings if isinstance(posting, Revoke | Activate))
    groups: dict[tuple[str, str], list[str]] = {}
    for shop, source, key in ids:
        groups.setdefault((shop, source), []).append(key)
    if len(groups) > MOST_GROUPS:
        return [(_OUTCOMES, tuple(columns_of(ids)))]
    return [(_OUTCOMES_OF_SOURCE, (shop, source, keys)) for (shop, source), keys in groups.items()]


def _add_outcomes(state: State, stored: Sequence[Any]) -> None:
    for row in stored:
        outcome = rows.outcome_of(row)
        state.outcomes[outcome.id] = outcome


def _concerned(state: State, postings: Sequence[Posting], waiting: Sequence[Parked]) -> list[Posting]:
    """Of what waits on these accounts, what may apply now: its cause is among the postings, or it is offered again."""
    if not waiting:
        return []
    causes: set[PostingId | SpendId] = {posting.id for posting in postings}
    causes.update(posting.spend_id for posting in postings if isinstance(posting, Spend | Capture))
    concerned = []
    for parked in waiting:
        if parked.waits_for in causes or parked.posting.id in causes:
            state.add_parked(parked)
            concerned.append(parked.posting)
    return concerned


async def parked_of(driver: asyncpg.Connection, account_ids: Sequence[UUID]) -> list[Parked]:
    """What waits on these accounts, in order of arrival."""
    return [_parked(row) for row in await _waiting_on(driver, account_ids)]


async def _waiting_on(driver: asyncpg.Connection, account_ids: Sequence[UUID]) -> Sequence[Any]:
    """Rows of _PARKED_COLUMNS."""
    return await driver.fetch(_PARKED, account_ids) if account_ids else ()


def _parked_among(loaded: Loaded, waiting: Sequence[Any]) -> list[Parked]:
    """What waits on loaded accounts. Where it names another member than the account's, that one was merged."""
    found = []
    for row in waiting:
        parked, key = _parked(row), loaded.by_id[row[3]].key
        if parked.posting.member != key.member:
            named = MemberKey(key.shop, parked.posting.member)
            loaded.state.members.setdefault(named, Member(key=named, merged_into=key.member))
        found.append(parked)
    return found


def _parked(row: Any) -> Parked:
    text, content_hash, since, _ = row
    posting = rows.posting_of(json.loads(text))
    waits_for = posting.award_id if isinstance(posting, Revoke | Activate) else _spend_of(posting)
    return Parked(posting=posting, content_hash=content_hash, waits_for=waits_for, since=since)


def _spend_of(posting: Posting) -> SpendId:
    assert isinstance(posting, GiveBack), "only take-backs, activations and returns wait for a cause"
    return posting.spend_id
