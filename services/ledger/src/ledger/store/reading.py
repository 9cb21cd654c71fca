"""What others ask: balances now, statements, holds. Nothing here writes; what is due is applied in memory."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from chassis.lanes import wait_until_settled
from ledger.domain import (
    GENESIS,
    STORED_VALUE,
    Account,
    AccountKey,
    Entry,
    LedgerError,
    Member,
    MemberKey,
    settle_due,
)
from ledger.store import members, rows
from ledger.store.loading import load_whole

NEXT_DATES: Final = 5
"""Next expiries and activations that a balance names."""


@dataclass(slots=True)
class DatedPoints:
    """Points that become usable, or are gone, at an instant."""

    at: datetime
    amount: int


@dataclass(slots=True)
class Standing:
    """An account as it stands at an instant, with what is due applied."""

    account: Account
    next_expiries: list[DatedPoints] = field(default_factory=list)
    next_activations: list[DatedPoints] = field(default_factory=list)
    currency: str | None = None
    """Of stored value; None where there is none, or where it is not known yet."""
    member: Member | None = None
    """What is known of its member besides; nearly always nothing."""


@dataclass(slots=True)
class Refused:
    """A refusal as the statement shows it."""

    position: int
    kind: str
    at: datetime
    source: str
    key: str
    order: str | None
    hold: str | None
    checkout: str | None
    error: LedgerError


@dataclass(slots=True)
class Line:
    """One line of a statement."""

    position: int
    entry: Entry | Refused
    memo: str | None = None


@dataclass(frozen=True, slots=True)
class Filters:
    """Which lines of a statement are wanted."""

    kind: str | None = None
    order: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def known_shops(driver: asyncpg.Connection, shops: Iterable[str]) -> set[str]:
    """Which of these shops have a programme."""
    return {row[0] for row in await driver.fetch("SELECT shop FROM programme WHERE shop = ANY($1)", list(shops))}


async def hold_member(driver: asyncpg.Connection, shop: str, hold: str) -> tuple[str, str] | None:
    """Whose hold it was when it was placed: member and asset. It never changes, so it can be read before the lane is
    taken, and what is asked of the hold is the same when it is asked again, even if a merge has moved it meanwhile."""
    row = await driver.fetchrow(
        "SELECT a.member, a.asset FROM hold AS h JOIN posting AS p ON p.shop = h.shop AND p.source = h.source"
        " AND p.key = h.key JOIN account AS a ON a.id = p.account_id WHERE h.shop = $1 AND h.hold = $2",
        shop,
        hold,
    )
    return None if row is None else (row[0], row[1])


# -- balances

OfMember = tuple[str, str]
"""A shop and one of its members."""

_DATED: Final = (
    "SELECT {pending} AS pending, l.{at} AS at, sum(l.remaining)::bigint AS points FROM lot AS l"  # noqa: S608  # our own words
    " WHERE a.next_due_at IS NOT NULL AND {there_are} AND l.account_id = a.id AND l.open AND NOT l.ended AND {of_kind}"
    f" GROUP BY l.{{at}} ORDER BY l.{{at}} LIMIT {NEXT_DATES}"
)
_EXPIRIES: Final = _DATED.format(
    pending="false", at="expires_at", there_are="true", of_kind="NOT l.pending AND l.expires_at IS NOT NULL"
)
_ACTIVATIONS: Final = _DATED.format(
    pending="true", at="activates_at", there_are="a.pending > 0", of_kind="l.pending AND l.activates_on IS NULL"
)
_STANDINGS: Final = (
    f"SELECT {rows.ACCOUNT_COLUMNS}, clock_timestamp(), dated.pending, dated.at, dated.points"  # noqa: S608
    " FROM unnest($1::text[], $2::text[]) AS k (shop, member) JOIN account AS a USING (shop, member)"
    # Three arrays and not one of rows, which cost ten times as much to read; in the order in which they are found.
    " LEFT JOIN LATERAL (SELECT array_agg(n.pending) AS pending, array_agg(n.at) AS at, array_agg(n.points) AS points"
    f" FROM (({_EXPIRIES}) UNION ALL ({_ACTIVATIONS})) AS n) AS dated ON true"
)
"""Accounts, the time, and what becomes usable or is gone at which instant; one statement for any number of members."""

_ACCOUNT_IDS: Final = (
    "SELECT a.id FROM unnest($1::text[], $2::text[]) AS k (shop, member) JOIN account AS a USING (shop, member)"
)


async def balances(
    driver: asyncpg.Connection, asked: Collection[OfMember]
) -> tuple[dict[OfMember, list[Standing]], set[OfMember]]:
    """The accounts of these members as they stand now, and members that it leaves out because something is due on
    them: `balances_when_due` tells theirs. A member that was never seen has none."""
    standings: dict[OfMember, list[Standing]] = defaultdict(list)
    found = await driver.fetch(_STANDINGS, *_columns(asked))
    due = set()
    for row in found:
        account, now = rows.account_of(row), found[0][-4]
        standings[account.key[:2]].append(_standing(account, *row[-3:]))
        if account.next_due_at is not None and account.next_due_at <= now:
            due.add(account.key[:2])
    for member in due:
        del standings[member]
    await _name(driver, standings)
    return standings, due


async def balances_when_due(
    driver: asyncpg.Connection, asked: Collection[OfMember], *, lanes: Iterable[int]
) -> dict[OfMember, list[Standing]]:
    """The same of members on whom something is due, with it done; `lanes` are theirs.

    A posting that holds one of the lanes may have read the clock before, and come before what is due by now: it is
    waited for, so that what is told here is what the history will say.
    """
    moment = await wait_until_settled(driver, lanes)
    standings: dict[OfMember, list[Standing]] = defaultdict(list)
    async with driver.transaction(isolation="repeatable_read", readonly=True):  # several statements, one moment
        found = await driver.fetch(_ACCOUNT_IDS, *_columns(asked))
        for standing in await settled(driver, [account_id for (account_id,) in found], moment):
            standings[standing.account.key[:2]].append(standing)
        await _name(driver, standings)
    return standings


def _columns(asked: Collection[OfMember]) -> tuple[list[str], list[str]]:
    return [shop for shop, _ in asked], [member for _, member in asked]


async def _name(driver: asyncpg.Connection, standings: Mapping[OfMember, Iterable[Standing]]) -> None:
    """What else is told of the few accounts that have more to tell."""
    found = [standing for some in standings.values() for standing in some]
    await name_currencies(driver, found)
    await note_members(driver, found)


async def name_currencies(driver: asyncpg.Connection, standings: Iterable[Standing]) -> None:
    """Say what money is of; few members have any."""
    money = [standing for standing in standings if standing.account.key.asset == STORED_VALUE]
    if money:
        shops = {standing.account.key.shop for standing in money}
        found = dict(await driver.fetch("SELECT shop, currency FROM programme WHERE shop = ANY($1)", list(shops)))
        for standing in money:
            standing.currency = found.get(standing.account.key.shop)


async def note_members(driver: asyncpg.Connection, standings: Iterable[Standing]) -> None:
    """Add what is known of the few members of whom there is a record."""
    noted = [standing for standing in standings if standing.account.noted]
    if noted:
        found = await members.read(driver, {MemberKey(*standing.account.key[:2]) for standing in noted})
        for standing in noted:
            standing.member = found[MemberKey(*standing.account.key[:2])]


async def merged_into(driver: asyncpg.Connection, account: Account) -> str | None:
    """Whom an account's member was merged into, if it was."""
    if not account.noted:
        return None
    key = MemberKey(*account.key[:2])
    return (await members.read(driver, {key}))[key].merged_into


def _standing(
    account: Account, pending: Sequence[bool] | None, at: Sequence[datetime] | None, points: Sequence[int] | None
) -> Standing:
    """What is dated comes by its instants, in each of the two kinds."""
    standing = Standing(account)
    for activates, instant, amount in zip(pending or (), at or (), points or (), strict=True):
        (standing.next_activations if activates else standing.next_expiries).append(DatedPoints(instant, amount))
    return standing


async def settled(driver: asyncpg.Connection, account_ids: Sequence[UUID], now: datetime) -> list[Standing]:
    """Accounts on which something is due: the same rules that the jobs apply, without saving.

    To be asked inside a transaction that sees one moment: an account and its lots are read one after the other.
    """
    loaded = await load_whole(driver, account_ids)
    settle_due(loaded.state, now)
    standings = []
    for account in loaded.state.accounts.values():
        standing = Standing(account)
        expiring: dict[datetime, int] = defaultdict(int)
        activating: dict[datetime, int] = defaultdict(int)
        for lot in account.lots.values():
            if lot.pending:
                if lot.activates_on is None:
                    activating[lot.activates_at] += lot.remaining
            elif lot.expires_at is not None and not lot.ended:
                expiring[lot.expires_at] += lot.remaining
        standing.next_expiries = _first_dates(expiring)
        standing.next_activations = _first_dates(activating)
        standings.append(standing)
    return standings


def _first_dates(dates: Mapping[datetime, int]) -> list[DatedPoints]:
    return [DatedPoints(at, amount) for at, amount in sorted(dates.items()) if amount][:NEXT_DATES]


# -- statement


async def entries_of(
    driver: asyncpg.Connection, ranges: Mapping[UUID, tuple[Account, int, int]]
) -> dict[UUID, list[Entry]]:
    """Entries of accounts, from one number to another."""
    by_account: dict[UUID, list[Entry]] = {account_id: [] for account_id in ranges}
    found = await driver.fetch(
        f"SELECT {rows.ENTRY_COLUMNS}, e.account_id FROM unnest($1::uuid[], $2::bigint[], $3::bigint[])"  # noqa: S608
        " AS k (account_id, first, last)"
        " JOIN entry AS e ON e.account_id = k.account_id AND e.seq BETWEEN k.first AND k.last ORDER BY"
        " e.account_id, e.seq",
        list(ranges),
        [first for _, first, _ in ranges.values()],
        [last for _, _, last in ranges.values()],
    )
    for row in found:
        by_account[row["account_id"]].append(rows.entry_of(row, ranges[row["account_id"]][0], GENESIS))
    return by_account


_WANTED: Final = (
    ' AND ($3::text IS NULL OR kind = $3) AND ($4::text IS NULL OR "order" = $4)'
    " AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of a statement ended: the position of its last line, the number of the last entry shown."""

    position: int
    seq: int


NEWEST: Final = Place(2**62, 2**62)


async def statement(
    driver: asyncpg.Connection, account: Account, *, filters: Filters, before: Place, limit: int
) -> list[Line]:
    """An account's entries and refusals, newest first, before a place. Positions grow with numbers: both bound it."""
    wanted = (filters.kind, filters.order, filters.since, filters.until, limit)
    lines = [
        Line(row["position"], rows.entry_of(row, account, GENESIS), row["memo"])
        for row in await driver.fetch(
            f"SELECT {rows.ENTRY_COLUMNS}, e.position, m.memo FROM entry AS e LEFT JOIN memo AS m"  # noqa: S608
            " ON m.account_id = e.account_id AND m.source = e.source AND m.key = e.key AND e.memo_commitment IS NOT"
            " NULL"
            f" WHERE e.account_id = $1 AND e.position < $2{_of('e', _WANTED)} AND e.seq < $8 ORDER BY e.seq DESC"
            " LIMIT $7",
            account.id,
            before.position,
            *wanted,
            before.seq,
        )
    ]
    lines += [
        Line(row["position"], refused_of(row))
        for row in await driver.fetch(
            f"SELECT {_REFUSAL_COLUMNS} FROM refusal AS r WHERE r.account_id = $1 AND r.position <"  # noqa: S608
            f" $2{_of('r', _WANTED)}"
            " ORDER BY r.position DESC LIMIT $7",
            account.id,
            before.position,
            *wanted,
        )
    ]
    lines.sort(key=lambda line: -line.position)
    return lines[:limit]


async def entries_after(driver: asyncpg.Connection, account: Account, *, seq: int, limit: int) -> list[Line]:
    """An account's entries behind a number, oldest first: how a reader with a gap fetches what it misses."""
    found = await driver.fetch(
        f"SELECT {rows.ENTRY_COLUMNS}, e.position, m.memo FROM entry AS e LEFT JOIN memo AS m"  # noqa: S608
        " ON m.account_id = e.account_id AND m.source = e.source AND m.key = e.key AND e.memo_commitment IS NOT NULL"
        " WHERE e.account_id = $1 AND e.seq > $2 ORDER BY e.seq LIMIT $3",
        account.id,
        seq,
        limit,
    )
    return [Line(row["position"], rows.entry_of(row, account, GENESIS), row["memo"]) for row in found]


async def account_by_key(driver: asyncpg.Connection, key: AccountKey) -> Account | None:
    """An account as stored; None when it was never seen."""
    row = await driver.fetchrow(
        f"SELECT {rows.ACCOUNT_COLUMNS} FROM account AS a WHERE a.shop = $1 AND a.member = $2 AND a.asset = $3",  # noqa: S608
        *key,
    )
    return None if row is None else rows.account_of(row)


_REFUSAL_COLUMNS: Final = (
    'r.position, r.kind, r.at, r.source, r.key, r."order", r.hold, r.checkout, r.code, r.facts::text AS facts'
)


def refused_of(row: Any) -> Refused:
    """A row of `_REFUSAL_COLUMNS`."""
    return Refused(
        position=row[0],
        kind=row[1],
        at=row[2],
        source=row[3],
        key=row[4],
        order=row[5],
        hold=row[6],
        checkout=row[7],
        error=rows.error_of(row[8], rows.decode_json(row[9])),
    )


def _of(alias: str, condition: str) -> str:
    """The condition on that table's columns."""
    for column in ("kind", '"order"', "at"):
        condition = condition.replace(f" {column} ", f" {alias}.{column} ")
    return condition
