"""Movements of many accounts, read a page at a time in their order: what a spreadsheet is made of."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from uuid import UUID

import asyncpg

from ledger.store.reading import Filters

ACCOUNTS_TOGETHER: Final = 200
"""Accounts looked at in one statement."""

ENTRIES_TOGETHER: Final = 500
"""Entries read at once, some 500 kB."""

Acquire = Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]
"""Gives a connection for a page; none is held while a page is sent, however slowly it is taken."""

_ACCOUNTS: Final = (
    "SELECT a.id, a.member, a.asset, a.seq FROM account AS a WHERE a.shop = $1 AND (a.member, a.asset) > ($2, $3)"
    " AND ($4::text IS NULL OR a.asset = $4) AND ($5::timestamptz IS NULL OR a.last_at >= $5) AND a.seq > 0"
    " ORDER BY a.member, a.asset LIMIT $6"
)
_ACCOUNTS_OF: Final = (
    "SELECT a.id, a.member, a.asset, a.seq FROM account AS a WHERE a.shop = $1 AND a.member = $2"
    " AND ($3::text IS NULL OR a.asset = $3) AND a.seq > 0 ORDER BY a.asset"
)

_BEFORE: Final = (
    # As for balances of the past: an account's instants never fall, so its numbers can be halved over.
    "WITH RECURSIVE search (account_id, low, high) AS ("
    "SELECT k.account_id, 0::bigint, k.seq FROM unnest($1::uuid[], $2::bigint[]) AS k (account_id, seq)"
    " UNION ALL"
    " SELECT s.account_id, CASE WHEN e.at < $3 THEN e.seq ELSE s.low END,"
    " CASE WHEN e.at < $3 THEN s.high ELSE e.seq - 1 END"
    " FROM search AS s JOIN entry AS e ON e.account_id = s.account_id AND e.seq = (s.low + s.high + 1) / 2"
    " WHERE s.low < s.high)"
    " SELECT account_id, low FROM search WHERE low = high"
)
"""The number of each account's last entry before an instant; 0 for none."""

ENTRY_COLUMNS: Final = (
    'e.seq, e.at, e.recorded_at, e.kind, e.source, e.key, e."order", e.hold, e.checkout, e.cause::text, m.memo,'
    " e.available, e.pending, e.held, e.debt, e.available_after, e.pending_after, e.held_after, e.debt_after,"
    " e.system::text, e.shortfall, e.hash"
)

_ENTRIES: Final = (
    f"SELECT e.account_id, {ENTRY_COLUMNS} FROM unnest($1::uuid[], $2::bigint[], $3::bigint[])"  # noqa: S608
    " WITH ORDINALITY AS k (account_id, first, last, place)"
    " JOIN entry AS e ON e.account_id = k.account_id AND e.seq BETWEEN k.first AND k.last"
    " LEFT JOIN memo AS m ON m.account_id = e.account_id AND m.source = e.source AND m.key = e.key"
    " AND e.memo_commitment IS NOT NULL"
    ' WHERE ($4::text IS NULL OR e.kind = $4) AND ($5::text IS NULL OR e."order" = $5)'
    " ORDER BY k.place, e.seq"
)

Stretch = tuple[UUID, int, int]
"""Entries of an account, from one number to another."""


async def read(
    acquire: Acquire, shop: str, *, member: str | None, asset: str | None, filters: Filters
) -> AsyncIterator[list[tuple[str, str, Any]]]:
    """Entries with whose they are, account by account and oldest first: member, asset, row of ENTRY_COLUMNS behind
    the account's id."""
    after = ("", "")
    while True:
        async with acquire() as driver:
            accounts = await _accounts(driver, shop, member, asset, after, filters)
            stretches = await _stretches(driver, accounts, filters)
        named = {row[0]: (row[1], row[2]) for row in accounts}
        for page in _pages(stretches):
            async with acquire() as driver:
                found = await driver.fetch(_ENTRIES, *zip(*page, strict=True), filters.kind, filters.order)
            if found:
                yield [(*named[row[0]], row) for row in found]
        if member is not None or len(accounts) < ACCOUNTS_TOGETHER:
            return
        after = (accounts[-1][1], accounts[-1][2])


async def _accounts(
    driver: asyncpg.Connection,
    shop: str,
    member: str | None,
    asset: str | None,
    after: tuple[str, str],
    filters: Filters,
) -> Sequence[Any]:
    if member is not None:
        return list(await driver.fetch(_ACCOUNTS_OF, shop, member, asset))
    return list(await driver.fetch(_ACCOUNTS, shop, *after, asset, filters.since, ACCOUNTS_TOGETHER))


async def _stretches(driver: asyncpg.Connection, accounts: Sequence[Any], filters: Filters) -> list[Stretch]:
    """The entries of each account within the time that is wanted."""
    ids, seqs = [row[0] for row in accounts], [row[3] for row in accounts]
    firsts = dict.fromkeys(ids, 0)
    lasts = dict(zip(ids, seqs, strict=True))
    if filters.since is not None and ids:
        firsts.update(await driver.fetch(_BEFORE, ids, seqs, filters.since))
    if filters.until is not None and ids:
        lasts.update(await driver.fetch(_BEFORE, ids, seqs, filters.until))
    return [(account_id, firsts[account_id] + 1, lasts[account_id]) for account_id in ids]


def _pages(stretches: Sequence[Stretch]) -> list[list[Stretch]]:
    """Stretches of at most so many entries together; a long one over several pages."""
    pages: list[list[Stretch]] = [[]]
    room = ENTRIES_TOGETHER
    for account_id, first, last in stretches:
        while first <= last:
            taken = min(room, last - first + 1)
            pages[-1].append((account_id, first, first + taken - 1))
            first += taken
            room -= taken
            if not room:
                pages.append([])
                room = ENTRIES_TOGETHER
    return [page for page in pages if page]
