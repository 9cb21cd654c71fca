"""The order book: one page per order, with its newest state, what was decided on it and what is booked."""
# ruff: noqa: S608 – what is put into statements are this module's own lists of columns

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zlib import crc32

import msgspec

from chassis import Transaction
from rules.domain.book import Book, Explained
from rules.domain.settlement import Booked

COPY_FROM: Final = 200
"""Rows from which COPY beats an INSERT with arrays; below it, its extra round trip costs more than it saves."""

_BOOK: Final = (
    'b.shop, b."order", b.revision, b.member, b.placed_at, b.stage, b.generation, b.reversed, b.test, b.first_order,'
    " b.holds_bonus, b.version, b.verdicts, b.explained, b.booked, b.state"
)


async def lock_books(tx: Transaction, orders: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Book]:
    """These orders' pages, locked in one order for all until the transaction ends."""
    keys = sorted(set(orders))
    rows = await tx.driver.fetch(
        f'SELECT {_BOOK} FROM unnest($1::text[], $2::text[]) AS w (shop, "order")'
        ' JOIN order_book AS b USING (shop, "order") FOR UPDATE OF b',
        [shop for shop, _ in keys],
        [order for _, order in keys],
    )
    return {(row[0], row[1]): _book(row) for row in rows}


async def book(tx: Transaction, shop: str, order: str) -> Book | None:
    """One order's page."""
    row = await tx.driver.fetchrow(
        f'SELECT {_BOOK} FROM order_book AS b WHERE b.shop = $1 AND b."order" = $2', shop, order
    )
    return None if row is None else _book(row)


async def save_books(tx: Transaction, books: Sequence[Book], *, new: set[tuple[str, str]]) -> None:
    """Insert the pages that are new and replace the others. Two at once for a new order: one of them goes again."""
    inserted = [page for page in books if (page.shop, page.order) in new]
    replaced = [page for page in books if (page.shop, page.order) not in new]
    if len(inserted) >= COPY_FROM:
        await tx.driver.copy_records_to_table(
            "order_book", records=[(*row, tx.now) for row in _rows(inserted)], columns=_COPIED
        )
    elif inserted:
        await tx.driver.execute(
            f"INSERT INTO order_book ({', '.join(map(_quoted, _COPIED))}) SELECT w.*, $17 FROM {_COLUMNS}",
            *_columns(inserted),
            tx.now,
        )
    if replaced:
        await tx.driver.execute(
            "UPDATE order_book AS b SET revision = w.revision, member = w.member, placed_at = w.placed_at,"
            " stage = w.stage, generation = w.generation, reversed = w.reversed, test = w.test,"
            " first_order = w.first_order, holds_bonus = w.holds_bonus, version = w.version, verdicts = w.verdicts,"
            " explained = w.explained, booked = w.booked, state = w.state, settled_at = $17"
            f' FROM {_COLUMNS} WHERE b.shop = w.shop AND b."order" = w."order"',
            *_columns(replaced),
            tx.now,
        )


_COLUMNS: Final = (
    "unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::timestamptz[], $6::smallint[], $7::integer[],"
    " $8::boolean[], $9::boolean[], $10::boolean[], $11::boolean[], $12::bigint[], $13::text[], $14::text[],"
    ' $15::text[], $16::bytea[]) AS w (shop, "order", revision, member, placed_at, stage, generation, reversed, test,'
    " first_order, holds_bonus, version, verdicts, explained, booked, state)"
)


_COPIED: Final = (
    "shop", "order", "revision", "member", "placed_at", "stage", "generation", "reversed", "test", "first_order",
    "holds_bonus", "version", "verdicts", "explained", "booked", "state", "settled_at",
)  # fmt: skip


def _quoted(name: str) -> str:
    return f'"{name}"'


def _columns(books: Sequence[Book]) -> list[list[Any]]:
    return [list(column) for column in zip(*_rows(books), strict=True)]


def _rows(books: Sequence[Book]) -> list[tuple[Any, ...]]:
    return [
        (
            page.shop, page.order, page.revision, page.member, page.placed_at, page.stage, page.generation,
            page.reversed, page.test, page.first_order, page.holds_bonus, page.version, page.verdicts,
            _explained_text(page.explained), _booked_text(page.booked), page.state,
        )
        for page in sorted(books, key=lambda page: (page.shop, page.order))
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an order stands among its member's orders that are stored."""

    earlier: bool
    """An order of the member that is not reversed was placed before it."""
    bonus_held: bool
    """Some order of the member holds a first order's bonus."""


MEMBER_LOCK: Final = 0x4D454D42
"""First key of the advisory locks on members ("MEMB")."""

MEMBER_LOCKS: Final = 256
"""So many for all members: two of one lock only wait for each other, and no batch holds more than these."""


async def lock_members(tx: Transaction, members: Iterable[tuple[str, str]]) -> None:
    """Let nobody else judge first orders of these (shop, member) until the transaction ends.

    Taken in one order for all, behind the pages' locks; whoever has them waits for nobody's page any more.
    """
    await tx.driver.execute(
        "SELECT pg_advisory_xact_lock($1, number) FROM (SELECT unnest($2::int[]) AS number) AS wanted",
        MEMBER_LOCK,
        sorted({crc32(f"{shop}/{member}".encode()) % MEMBER_LOCKS for shop, member in members}),
    )


async def standings(
    tx: Transaction, asked: Sequence[tuple[str, str, str, datetime]], *, aside: Iterable[str]
) -> dict[tuple[str, str, str], Standing]:
    """For (shop, order, member, placed_at): what the stored orders say. `aside`: `shop/order` of those left out.

    They are looked up as rows: an array that is no constant is gone through for each order that is found.
    """
    rows = await tx.driver.fetch(
        """
        SELECT w.shop, w."order", w.member,
            EXISTS (
                SELECT FROM order_book AS b
                WHERE b.shop = w.shop AND b.member = w.member AND (b.placed_at, b."order") < (w.placed_at, w."order")
                    AND NOT b.reversed AND NOT b.test AND b.shop || '/' || b."order" NOT IN (SELECT unnest($5::text[]))
            ),
            EXISTS (
                SELECT FROM order_book AS b
                WHERE b.shop = w.shop AND b.member = w.member AND b.holds_bonus
                    AND b.shop || '/' || b."order" NOT IN (SELECT unnest($5::text[]))
            )
        FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS w (shop, "order", member, placed_at)
        """,
        [shop for shop, _, _, _ in asked],
        [order for _, order, _, _ in asked],
        [member for _, _, member, _ in asked],
        [placed_at for _, _, _, placed_at in asked],
        list(aside),
    )
    return {(row[0], row[1], row[2]): Standing(row[3], row[4]) for row in rows}


def _book(row: Any) -> Book:
    values = list(row)
    values[13] = [Explained(*parts) for parts in json.loads(values[13])]
    values[14] = [_booked(parts) for parts in json.loads(values[14])]
    return Book(*values)


def _explained_text(explained: Sequence[Explained]) -> str:
    if not explained:
        return "[]"
    return _json_text(
        [[e.rule, e.points, e.numerator, e.denominator, e.basis, e.weights, e.promotions] for e in explained]
    )


def _booked_text(booked: Sequence[Booked]) -> str:
    if not booked:
        return "[]"
    return _json_text(
        [
            [b.key, b.rule, b.version, b.generation, b.member, b.points, b.taken, b.activates_at, b.expires_at,
             b.promotions]
            for b in booked
        ]
    )  # fmt: skip


def _json_text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _booked(parts: list[Any]) -> Booked:
    for index in (7, 8):
        if parts[index] is not None:
            parts[index] = datetime.fromisoformat(parts[index])
    parts[9] = tuple(parts[9])
    return Booked(*parts)
