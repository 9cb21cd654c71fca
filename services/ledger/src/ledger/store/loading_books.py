"""What accounts have and postings name: lots, holds, spends and shortfalls, of those accounts that need them."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import asyncpg

from ledger.domain import (
    Account,
    AccountKey,
    Activate,
    Award,
    Capture,
    Credit,
    Gift,
    GiveBack,
    Hold,
    HoldId,
    Posting,
    PostingId,
    Release,
    Revoke,
    Spend,
    SpendId,
    State,
    TopUp,
)
from ledger.domain.books import MOVED
from ledger.store import rows
from ledger.store.loaded import FEW, Loaded, Question, ask, columns_of

_LIGHT: Final = (Award, TopUp, Credit, Hold)
"""What looks at the account alone, if nothing is owed or due: a hold reserves an amount, and no lots."""

_OWN: Final = attrgetter("account_key")
"""Where a posting goes while nobody was merged."""

FEW_ENTRIES: Final = 50
"""Of those postings' accounts. With more, their open lots may be many; in an array of rows those cost five times what
they do by themselves, and the round trip that it saves is worth forty."""

_ACCOUNT_BY_ID: Final = f"SELECT {rows.ACCOUNT_COLUMNS} FROM account AS a WHERE a.id = $1"  # noqa: S608


class Named:
    """What postings name besides their accounts."""

    def __init__(self, state: State, postings: Iterable[Posting]) -> None:
        self.debiting: set[AccountKey] = set()
        self.reserving: set[AccountKey] = set()
        self.awards: set[PostingId] = set()
        self.holds: set[HoldId] = set()
        self.spends: set[SpendId] = set()
        self.orders: set[tuple[UUID, str]] = set()
        self.givers: set[AccountKey] = set()
        """Who gives, wherever its points are by now."""
        self.light: dict[AccountKey, list[str]] = {}
        """Orders of awards and holds: their spends matter only where the account is loaded whole."""
        home: Callable[[Posting], AccountKey] = state.home_of if state.members else _OWN
        for posting in postings:
            if isinstance(posting, _LIGHT):
                if posting.order is not None:
                    self.light.setdefault(home(posting), []).append(posting.order)
                if type(posting) is Hold:
                    self.reserving.add(home(posting))
                    self.holds.add(posting.hold_id)
                continue
            self.debiting.add(key := home(posting))
            if posting.order is not None:
                self.orders.add((state.accounts[key].id, posting.order))
            if isinstance(posting, Revoke | Activate):
                self.awards.add(posting.award_id)
            elif isinstance(posting, Gift):
                self.givers.add(key)
            elif isinstance(posting, Capture | Release):
                self.holds.add(posting.hold_id)
                if isinstance(posting, Capture):  # remembered as the spend that it is, under its hold's name
                    self.spends.add(posting.spend_id)
            elif isinstance(posting, Spend | GiveBack):
                self.spends.add(posting.spend_id)
                if isinstance(posting, Spend) and posting.hold is not None:
                    self.holds.add(HoldId(posting.shop, posting.hold))


async def books_of(driver: asyncpg.Connection, loaded: Loaded, whole: set[AccountKey], named: Named) -> None:
    """Lots, holds, spends and shortfalls of the accounts that need them."""
    state = loaded.state
    ids = sorted(account.id for key, account in state.accounts.items() if key in whole and not account.fresh)
    loaded.debited.update(state.accounts[key].id for key in named.reserving)
    foreign = _Foreign(driver, loaded)
    questions: list[Question] = [(_NAMED_HOLDS, tuple(columns_of(named.holds)))] if named.holds else []
    if ids:
        for key in whole & named.light.keys():
            named.orders.update((state.accounts[key].id, order) for order in named.light[key])
        questions += [(_OPEN_HOLDS, (ids,)), (_OPEN_SHORTFALLS, (ids,))]
        if sum(loaded.by_id[account_id].seq for account_id in ids) <= FEW_ENTRIES:
            questions.append((_OPEN_LOTS, (ids,)))
    found = await ask(driver, questions, few=len(ids) <= FEW)
    if named.holds:
        for row in found.pop(0):
            state.add_hold(rows.hold_of(row, await foreign.account(row[0])))
    if ids:
        holds, shortfalls, *lots = found
        _add_open(loaded, named, holds, shortfalls, lots[0] if lots else await driver.fetch(_OPEN_LOTS, ids))
        loaded.debited.update(ids)
    await _named_awards(driver, loaded, named, foreign)
    await _spends(driver, loaded, named, foreign)


def _add_open(
    loaded: Loaded, named: Named, holds: Sequence[Any], shortfalls: Sequence[Any], lots: Sequence[Any]
) -> None:
    state = loaded.state
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


async def _named_awards(driver: asyncpg.Connection, loaded: Loaded, named: Named, foreign: _Foreign) -> None:
    """The lots of awards that are to be taken back or activated, whatever remains of them."""
    if not named.awards:
        return
    found = await driver.fetch(
        f"SELECT {rows.LOT_COLUMNS} FROM unnest($1::text[], $2::text[], $3::text[]) AS k (shop, source, key)"  # noqa: S608
        " JOIN posting AS p USING (shop, source, key)"
        " JOIN lot AS l ON l.account_id = p.account_id AND l.number BETWEEN p.first_seq AND p.last_seq"
        " AND l.source = p.source AND l.key = p.key",
        *columns_of(named.awards),
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
            *columns_of((row[0], row[1]) for row in moved),
        )
        kept += [row for row in further if row[12] != MOVED]
        moved = [row for row in further if row[12] == MOVED]
    return kept


async def _spends(driver: asyncpg.Connection, loaded: Loaded, named: Named, foreign: _Foreign) -> None:
    """Spends that are named, all spends of their orders, and the lots that they used."""
    if not named.spends and not named.orders:
        return
    found: dict[tuple[Any, ...], Any] = {}
    if named.spends:
        for row in await driver.fetch(
            f"SELECT {rows.SPEND_COLUMNS} FROM unnest($1::text[], $2::text[], $3::int[]) AS k (shop,"  # noqa: S608
            " checkout, generation)"
            " JOIN spend AS s USING (shop, checkout, generation)",
            *columns_of(named.spends),
        ):
            found[tuple(row[:3])] = row
            if row[3] is not None:
                named.orders.add((row[0], row[3]))
    orders = [(account_id, order) for account_id, order in named.orders if account_id in loaded.by_id]
    if orders:
        for row in await driver.fetch(
            f'SELECT {rows.SPEND_COLUMNS} FROM unnest($1::uuid[], $2::text[]) AS k (account_id, "order")'  # noqa: S608
            ' JOIN spend AS s USING (account_id, "order")',
            *columns_of(orders),
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
            *columns_of(used),
        ):
            loaded.state.add_lot(rows.lot_of(row, await foreign.account(row[0])))
