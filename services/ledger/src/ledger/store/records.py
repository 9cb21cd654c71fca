"""What a shop needs beside its history to go on living elsewhere, as rows of tables and as lines of a complete export.

    [letter, member, asset, the table's other columns in the order that the export's first line names]

What the database draws anew (account ids, the places of what waits) and the shop, which the first line has, stand in
none of them; another account of the same asset is named by its member. Instants and days are ISO 8601, bytes hex, JSON
the very text that is stored.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

import asyncpg
from sqlalchemy import Column, Date, LargeBinary, Table
from sqlalchemy.dialects.postgresql import TIMESTAMP

from ledger import tables
from ledger.store import members
from ledger.store.rows import encode_json

OF_ACCOUNTS: Final[Mapping[str, Table]] = {
    "l": tables.lot,
    "h": tables.hold,
    "s": tables.spend,
    "f": tables.shortfall,
    "g": tables.gift_day,
}
"""What belongs to accounts, and stands behind those of its lane."""

OF_SHOP: Final[Mapping[str, Table]] = {
    "k": tables.posting,
    "w": tables.parked,
    "p": tables.proposal,
    "n": tables.member,
    "m": tables.merge,
    "v": tables.moved_lot,
}
"""What became of keys, what waits for its cause or a second person, what more is known of members, and what their
merges moved: behind all lanes, since no index leads to them from an account, or they name accounts of two lanes."""

ALL: Final[Mapping[str, Table]] = {**OF_ACCOUNTS, **OF_SHOP}

_DRAWN_ANEW: Final = ("account_id", "shop", "place")

OTHERS: Final = ("into_account_id", "from_account_id")
"""Columns with another account, of the same asset."""

ROWS_TOGETHER: Final = 1_000
"""Rows of a cursor in memory at once: a hot account has very many lots."""


def columns(table: Table) -> list[Column[Any]]:
    """Those that a line holds."""
    return [column for column in table.columns if column.name not in _DRAWN_ANEW]


def layout() -> dict[str, list[str]]:
    """The names of what follows member and asset in each kind of line."""
    return {letter: [str(column.name) for column in columns(table)] for letter, table in ALL.items()}


def _select(table: Table) -> str:
    return ", ".join(map(_selected, columns(table)))


def _selected(column: Column[Any]) -> str:
    if column.name in OTHERS:
        return f"(SELECT o.member FROM account AS o WHERE o.id = r.{column.name})"  # noqa: S608  # our own names
    return f'r."{column.name}"::text' if column.type.python_type in (dict, list) else f'r."{column.name}"'


_OF_ACCOUNTS: Final = {
    letter: f"SELECT a.member, a.asset, {_select(table)} FROM account AS a"  # noqa: S608  # our own names
    f" JOIN {table.name} AS r ON r.account_id = a.id WHERE a.id = ANY($1::uuid[]) ORDER BY a.member, a.asset"
    + "".join(f", r.{column.name}" for column in table.primary_key.columns if column.name != "account_id")
    for letter, table in OF_ACCOUNTS.items()
}
# Whoever more is known of has an account of that asset (`store/members.py`).
_JOINS: Final = {"n": f"a.shop = r.shop AND a.member = r.member AND a.asset = '{members.ASSET}'"}
_WHERES: Final = {"v": "a.shop = $1"}
_ORDERS: Final = {
    "k": "r.source, r.key",
    "w": "r.place",
    "p": "r.place",
    "n": "r.member",
    "m": "r.merge, r.asset",
    "v": "a.member, a.asset, r.number",
}
_OF_SHOP: Final = {
    letter: f"SELECT a.member, a.asset, {_select(table)} FROM {table.name} AS r"  # noqa: S608  # our own names
    f" JOIN account AS a ON {_JOINS.get(letter, 'a.id = r.account_id')} WHERE {_WHERES.get(letter, 'r.shop = $1')}"
    f" ORDER BY {_ORDERS[letter]}"
    for letter, table in OF_SHOP.items()
}


async def lines_of_accounts(driver: asyncpg.Connection, ids: Sequence[Any]) -> AsyncIterator[list[bytes]]:
    """The lines of what belongs to these accounts."""
    for letter, statement in _OF_ACCOUNTS.items():
        async for chunk in _lines(driver, letter, statement, ids):
            yield chunk


async def lines_of_shop(driver: asyncpg.Connection, shop: str) -> AsyncIterator[list[bytes]]:
    """The lines of a shop's keys, of what waits in it, and of its members."""
    for letter, statement in _OF_SHOP.items():
        async for chunk in _lines(driver, letter, statement, shop):
            yield chunk


async def _lines(driver: asyncpg.Connection, letter: str, statement: str, argument: Any) -> AsyncIterator[list[bytes]]:
    chunk: list[bytes] = []
    async for row in driver.cursor(statement, argument, prefetch=ROWS_TOGETHER):
        chunk.append(encode_json([letter, *map(_told, row)]) + b"\n")
        if len(chunk) >= ROWS_TOGETHER:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _told(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def readers(names: Mapping[str, Sequence[str]]) -> dict[str, tuple[list[str], list[Callable[[Any], Any]]]]:
    """For each kind of line, its columns in the order of the names, and how each value becomes one of them again.

    Raises `KeyError` for a name that this ledger does not know: what it cannot keep it must not leave out.
    """
    found = {}
    for letter, of_kind in names.items():
        known = {column.name: column for column in columns(ALL[letter])}
        found[letter] = (list(of_kind), [_reader(known[name]) for name in of_kind])
    return found


def _reader(column: Column[Any]) -> Callable[[Any], Any]:
    if isinstance(column.type, TIMESTAMP):
        return _absent_or(datetime.fromisoformat)
    if isinstance(column.type, Date):
        return _absent_or(date.fromisoformat)
    if isinstance(column.type, LargeBinary):
        return _absent_or(bytes.fromhex)
    return _as_it_is


def _absent_or(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _as_it_is(value: Any) -> Any:
    return value
