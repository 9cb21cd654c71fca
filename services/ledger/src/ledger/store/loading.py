"""What must be known before postings are decided, read under their lanes, in a handful of statements for any number."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import asyncpg

from chassis.ids import new_uuid
from ledger.domain import (
    Account,
    AccountKey,
    Activate,
    Award,
    Capture,
    Credit,
    Debit,
    Gift,
    GiveBack,
    Hold,
    HoldId,
    Member,
    MemberKey,
    Parked,
    Policy,
    Posting,
    PostingId,
    Release,
    Revoke,
    ShortfallPolicy,
    Spend,
    SpendId,
    State,
    TopUp,
)
from ledger.domain.books import MOVED
from ledger.store import gifts, log, members, rows

KINDS: Final[Mapping[str, type[Posting]]] = {
    kind.kind: kind for kind in (Award, TopUp, Credit, Debit, Revoke, Activate, Hold, Capture, Release, Spend, GiveBack)
}
"""Postings by kind: how a parked one becomes a posting again."""

_CREDITS: Final = (Award, TopUp, Credit)

_OWN: Final = attrgetter("account_key")
"""Where a posting goes while nobody was merged."""

FEW: Final = 64
"""Postings up to which round trips cost more than rows."""

FEW_ENTRIES: Final = 5_000
"""Of those postings' accounts: with more, their open lots may be thousands, which are dear as an array of rows."""

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
_ACCOUNT_BY_ID: Final = f"SELECT {rows.ACCOUNT_COLUMNS} FROM account AS a WHERE a.id = $1"  # noqa: S608
_OUTCOMES_OF_SOURCE: Final = (
    f"SELECT {rows.OUTCOME_COLUMNS} FROM posting AS p JOIN account AS a ON a.id = p.account_id"  # noqa: S608
    " WHERE p.shop = $1 AND p.source = $2 AND p.key = ANY($3::text[])"
)
_OUTCOMES: Final = (
    f"SELECT {rows.OUTCOME_COLUMNS} FROM unnest($1::text[], $2::text[], $3::text[]) AS k (shop, source, key)"  # noqa: S608
    " JOIN posting AS p USING (shop, source, key) JOIN account AS a ON a.id = p.account_id"
)


@dataclass(slots=True)
class Loaded:
    """The state for a decision, and what only the store needs to know of it."""

    state: State
    positions: dict[int, int] = field(default_factory=dict)
    """By lane that is held: the highest position given so far."""
    whole: set[UUID] = field(default_factory=set)
    """Accounts whose lots with something remaining were all loaded."""
    by_id: dict[UUID, Account] = field(default_factory=dict)
    """Accounts that are stored, by the store's handle."""
    noted: bool = False
    """Of some member there may be a record."""


Question = tuple[str, tuple[Any, ...]]
"""A statement and its parameters."""


async def ask(driver: asyncpg.Connection, questions: Sequence[Question], *, few: bool) -> list[Sequence[Any]]:
    """The rows of each. Where few are expected all go in one round trip, which then costs more than the rows."""
    if not few or len(questions) < 2:
        return [await driver.fetch(statement, *parameters) for statement, parameters in questions]
    found: asyncpg.Record = await driver.fetchrow(
        _as_one(tuple(statement for statement, _ in questions)),
        *(parameter for _, parameters in questions for parameter in parameters),
    )
    return list(found)


@lru_cache(maxsize=256)
def _as_one(statements: tuple[str, ...]) -> str:
    """Several questions as one row: an array of rows for each."""
    columns = ", ".join(f"ARRAY(SELECT q FROM ({part}) AS q)" for part in rows.numbered_on(statements))  # noqa: S608
    return f"SELECT {columns}"  # our own statements


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
    named = _Named(loaded.state, concerned)
    whole = named.debiting | {
        account.key
        for account in loaded.by_id.values()
        if account.debt or (account.next_due_at is not None and account.next_due_at <= now)
    }
    await _books(driver, loaded, whole, named)
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
    await _books(driver, loaded, set(loaded.state.accounts), _Named(loaded.state, []))
    return loaded


class _Named:
    """What postings name besides their accounts."""

    def __init__(self, state: State, postings: Iterable[Posting]) -> None:
        self.debiting: set[AccountKey] = set()
        self.awards: set[PostingId] = set()
        self.holds: set[HoldId] = set()
        self.spends: set[SpendId] = set()
        self.orders: set[tuple[UUID, str]] = set()
        self.givers: set[AccountKey] = set()
        """Who gives, wherever its points are by now."""
        self.credited: dict[AccountKey, list[str]] = {}
        """Orders of awards: their spends matter only where the account is loaded whole."""
        home: Callable[[Posting], AccountKey] = state.home_of if state.members else _OWN
        for posting in postings:
            if isinstance(posting, _CREDITS):
                if posting.order is not None:
                    self.credited.setdefault(home(posting), []).append(posting.order)
                continue
            self.debiting.add(key := home(posting))
            if posting.order is not None:
                self.orders.add((state.accounts[key].id, posting.order))
            if isinstance(posting, Revoke | Activate):
                self.awards.add(posting.award_id)
            elif isinstance(posting, Gift):
                self.givers.add(key)
            elif isinstance(posting, Hold | Capture | Release):
                self.holds.add(posting.hold_id)
                if isinstance(posting, Capture):  # remembered as the spend that it is, under its hold's name
                    self.spends.add(posting.spend_id)
            elif isinstance(posting, Spend | GiveBack):
                self.spends.add(posting.spend_id)
                if isinstance(posting, Spend) and posting.hold is not None:
                    self.holds.add(HoldId(posting.shop, posting.hold))


def _columns(keys: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Keys as one array per part."""
    return list(zip(*keys, strict=True))


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
        return [(_ACCOUNTS, tuple(_columns(keys)))]
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
        return [(_OUTCOMES, tuple(_columns(ids)))]
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
    posting = posting_of(json.loads(text))
    waits_for = posting.award_id if isinstance(posting, Revoke | Activate) else _spend_of(posting)
    return Parked(posting=posting, content_hash=content_hash, waits_for=waits_for, since=since)


def _spend_of(posting: Posting) -> SpendId:
    assert isinstance(posting, GiveBack), "only take-backs, activations and returns wait for a cause"
    return posting.spend_id


def posting_of(stored: dict[str, Any]) -> Posting:
    """A parked or proposed posting again."""
    commitment = stored.pop("memo_commitment", None)
    kind = KINDS[stored.pop("kind")]
    for name in _INSTANTS & stored.keys():
        stored[name] = stored[name] and datetime.fromisoformat(stored[name])
    return kind(**stored, memo_commitment=None if commitment is None else bytes.fromhex(commitment))


_INSTANTS: Final = frozenset({"activates_at", "expires_at"})


def posting_text(posting: Posting) -> str:
    """A posting that parks or is proposed, as stored."""
    values = {part.name: getattr(posting, part.name) for part in fields(posting) if part.name != "approval_within"}
    if posting.memo_commitment is not None:
        values["memo_commitment"] = posting.memo_commitment.hex()
    return rows.json_text({"kind": posting.kind, **values})


async def _books(driver: asyncpg.Connection, loaded: Loaded, whole: set[AccountKey], named: _Named) -> None:
    """Lots, holds, spends and shortfalls of the accounts that need them."""
    state = loaded.state
    ids = sorted(account.id for key, account in state.accounts.items() if key in whole and not account.fresh)
    foreign = _Foreign(driver, loaded)
    questions: list[Question] = [(_NAMED_HOLDS, tuple(_columns(named.holds)))] if named.holds else []
    if ids:
        for key in whole & named.credited.keys():
            named.orders.update((state.accounts[key].id, order) for order in named.credited[key])
        questions += [(_OPEN_HOLDS, (ids,)), (_OPEN_LOTS, (ids,)), (_OPEN_SHORTFALLS, (ids,))]
    entries = sum(loaded.by_id[account_id].seq for account_id in ids)
    found = await ask(driver, questions, few=len(ids) <= FEW and entries <= FEW_ENTRIES)
    if named.holds:
        for row in found.pop(0):
            state.add_hold(rows.hold_of(row, await foreign.account(row[0])))
    if ids:
        holds, lots, shortfalls = found
        loaded.whole.update(ids)
        for row in holds:
            hold = rows.hold_of(row, loaded.by_id[row[0]])
            if hold.id not in state.holds:
                state.add_hold(hold)
        for row in lots:
            state.add_lot(rows.lot_of(row, loaded.by_id[row[0]]))
        for row in shortfalls:
            shortfall = rows.shortfall_of(row, loaded.by_id[row[0]])
            state.add_shortfall(shortfall)
            if shortfall.order is not None:
                named.orders.add((row[0], shortfall.order))
            elif shortfall.spend is not None:  # whatever repays it is what that spend has used
                named.spends.add(shortfall.spend)
    await _named_awards(driver, loaded, named, foreign)
    await _spends(driver, loaded, named, foreign)


class _Foreign:
    """Accounts that postings do not speak of, but whose awards, holds or spends they name by mistake."""

    def __init__(self, driver: asyncpg.Connection, loaded: Loaded) -> None:
        self._driver = driver
        self._loaded = loaded
        self._known: dict[UUID, Account] = {}

    async def account(self, account_id: UUID) -> Account:
        """The account; of a foreign one, nothing but whose it is may be looked at."""
        account = self._loaded.by_id.get(account_id) or self._known.get(account_id)
        if account is None:
            row = await self._driver.fetchrow(_ACCOUNT_BY_ID, account_id)
            account = self._known[account_id] = rows.account_of(row)
        return account


_OPEN_LOTS: Final = f"SELECT {rows.LOT_COLUMNS} FROM lot AS l WHERE l.account_id = ANY($1::uuid[]) AND l.open"  # noqa: S608
_OPEN_HOLDS: Final = (
    f"SELECT {rows.HOLD_COLUMNS} FROM hold AS h WHERE h.account_id = ANY($1::uuid[]) AND h.state = 'open'"  # noqa: S608
)
_NAMED_HOLDS: Final = (
    f"SELECT {rows.HOLD_COLUMNS} FROM unnest($1::text[], $2::text[]) AS k (shop, hold)"  # noqa: S608
    " JOIN hold AS h USING (shop, hold)"
)
_OPEN_SHORTFALLS: Final = (
    f"SELECT {rows.SHORTFALL_COLUMNS} FROM shortfall AS f WHERE f.account_id = ANY($1::uuid[])"  # noqa: S608
    " AND f.held + f.owed + f.written_off > 0"
)


async def _named_awards(driver: asyncpg.Connection, loaded: Loaded, named: _Named, foreign: _Foreign) -> None:
    """The lots of awards that are to be taken back or activated, whatever remains of them."""
    if not named.awards:
        return
    found = await driver.fetch(
        f"SELECT {rows.LOT_COLUMNS} FROM unnest($1::text[], $2::text[], $3::text[]) AS k (shop, source, key)"  # noqa: S608
        " JOIN posting AS p USING (shop, source, key)"
        " JOIN lot AS l ON l.account_id = p.account_id AND l.number BETWEEN p.first_seq AND p.last_seq"
        " AND l.source = p.source AND l.key = p.key",
        *_columns(named.awards),
    )
    for row in await _where_they_are(driver, found):
        account = await foreign.account(row[0])
        if row[1] not in account.lots:
            loaded.state.add_lot(rows.lot_of(row, account))
        if row[11] is not None:
            named.orders.add((row[0], row[11]))


async def _where_they_are(driver: asyncpg.Connection, found: Sequence[Any]) -> Sequence[Any]:
    """Rows of LOT_COLUMNS, each of the lot that goes on in its place if a merge has moved it."""
    kept = [row for row in found if row[12] != MOVED]
    moved = [row for row in found if row[12] == MOVED]
    while moved:
        further = await driver.fetch(
            f"SELECT {rows.LOT_COLUMNS} FROM unnest($1::uuid[], $2::bigint[]) AS k (from_account_id, from_number)"  # noqa: S608
            " JOIN moved_lot AS m USING (from_account_id, from_number)"
            " JOIN lot AS l ON l.account_id = m.account_id AND l.number = m.number",
            *_columns((row[0], row[1]) for row in moved),
        )
        kept += [row for row in further if row[12] != MOVED]
        moved = [row for row in further if row[12] == MOVED]
    return kept


async def _spends(driver: asyncpg.Connection, loaded: Loaded, named: _Named, foreign: _Foreign) -> None:
    """Spends that are named, all spends of their orders, and the lots that they used."""
    if not named.spends and not named.orders:
        return
    found: dict[tuple[Any, ...], Any] = {}
    if named.spends:
        for row in await driver.fetch(
            f"SELECT {rows.SPEND_COLUMNS} FROM unnest($1::text[], $2::text[], $3::int[]) AS k (shop,"  # noqa: S608
            " checkout, generation)"
            " JOIN spend AS s USING (shop, checkout, generation)",
            *_columns(named.spends),
        ):
            found[tuple(row[:3])] = row
            if row[3] is not None:
                named.orders.add((row[0], row[3]))
    orders = [(account_id, order) for account_id, order in named.orders if account_id in loaded.by_id]
    if orders:
        for row in await driver.fetch(
            f'SELECT {rows.SPEND_COLUMNS} FROM unnest($1::uuid[], $2::text[]) AS k (account_id, "order")'  # noqa: S608
            ' JOIN spend AS s USING (account_id, "order")',
            *_columns(orders),
        ):
            found[tuple(row[:3])] = row
    used: set[tuple[UUID, int]] = set()
    for row in found.values():
        spend = rows.spend_of(row, await foreign.account(row[0]))
        loaded.state.add_spend(spend)
        used.update((row[0], use.lot) for use in spend.uses if use.lot not in spend.account.lots)
    if used:
        for row in await driver.fetch(
            f"SELECT {rows.LOT_COLUMNS} FROM unnest($1::uuid[], $2::bigint[]) AS k (account_id, number)"  # noqa: S608
            " JOIN lot AS l USING (account_id, number)",
            *_columns(used),
        ):
            loaded.state.add_lot(rows.lot_of(row, await foreign.account(row[0])))
