"""The only SQL of this service. A batch of orders takes a handful of statements with array parameters."""
# ruff: noqa: S608 – what is put into statements are this module's own lists of columns

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zlib import crc32

import msgspec

from chassis import Transaction
from rules.documents import RuleSetDocument
from rules.domain.book import Book, Explained
from rules.domain.errors import ShopNotFound
from rules.domain.rule_set import RuleSet
from rules.domain.settlement import Booked

COPY_FROM: Final = 200
"""Rows from which COPY beats an INSERT with arrays; below it, its extra round trip costs more than it saves."""

COMPILED_SETS = 4_096
"""Compiled versions kept in memory per process: a few for every shop that is busy."""

_compiled: OrderedDict[tuple[str, int, datetime], RuleSet] = OrderedDict()
"""Versions never change, so what was compiled once holds; the instant of creation tells databases apart in tests."""


PROGRAMME_LOCK: Final = 0x50524F47
"""First key of the advisory locks on programmes ("PROG")."""


# -- programmes


@dataclass(frozen=True, slots=True)
class Programme:
    """A shop's settings as stored."""

    shop: str
    revision: int
    on: bool
    zone: str
    currency: str
    shortfall: str
    points_name: str
    language: str
    hold_minutes: int


_PROGRAMME: Final = 'shop, revision, "on", zone, currency, shortfall, points_name, language, hold_minutes'


async def known_shops(tx: Transaction, shops: set[str]) -> set[str]:
    """Which of these shops have rules, be it for later; before, their orders wait, since nothing could be decided."""
    rows = await tx.driver.fetch(
        "SELECT p.shop FROM programme AS p WHERE p.shop = ANY($1::text[])"
        " AND EXISTS (SELECT FROM activation AS a WHERE a.shop = p.shop)",
        list(shops),
    )
    return {row["shop"] for row in rows}


async def lock_shop(tx: Transaction, shop: str) -> None:
    """One change of a shop's programme at a time, also of one that is not there yet."""
    await tx.driver.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", PROGRAMME_LOCK, shop)


async def programme(tx: Transaction, shop: str, *, lock: bool = False) -> Programme | None:
    """A shop's settings; locked until the end where they are to change."""
    row = await tx.driver.fetchrow(
        f"SELECT {_PROGRAMME} FROM programme WHERE shop = $1{' FOR UPDATE' if lock else ''}", shop
    )
    return None if row is None else Programme(*row)


async def required_programme(tx: Transaction, shop: str, *, lock: bool = False) -> Programme:
    """The same, where there must be one."""
    found = await programme(tx, shop, lock=lock)
    if found is None:
        raise ShopNotFound(shop)
    return found


async def programmes_after(tx: Transaction, shop: str, limit: int) -> list[Programme]:
    """Settings of all shops, a page at a time; none changes before the end, so none is told before."""
    rows = await tx.driver.fetch(
        f"SELECT {_PROGRAMME} FROM programme WHERE shop > $1 ORDER BY shop LIMIT $2 FOR SHARE", shop, limit
    )
    return [Programme(*row) for row in rows]


async def save_programme(tx: Transaction, new: Programme) -> None:
    """Insert or replace a shop's settings; turning it off begins a pause, turning it on ends it."""
    await tx.driver.execute(
        f"INSERT INTO programme ({_PROGRAMME}, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        ' ON CONFLICT (shop) DO UPDATE SET revision = $2, "on" = $3, zone = $4, currency = $5, shortfall = $6,'
        " points_name = $7, language = $8, hold_minutes = $9, changed_at = $10",
        new.shop, new.revision, new.on, new.zone, new.currency, new.shortfall, new.points_name, new.language,
        new.hold_minutes, tx.now,
    )  # fmt: skip
    if new.on:
        await tx.driver.execute("UPDATE pause SET until = $2 WHERE shop = $1 AND until IS NULL", new.shop, tx.now)
    else:
        await tx.driver.execute(
            "INSERT INTO pause (shop, since) SELECT $1, $2"
            " WHERE NOT EXISTS (SELECT FROM pause WHERE shop = $1 AND until IS NULL) ON CONFLICT DO NOTHING",
            new.shop,
            tx.now,
        )


# -- drafts and versions


async def drafts(tx: Transaction, shop: str) -> dict[str, Any]:
    """All drafts of a shop."""
    rows = await tx.driver.fetch("SELECT rule, document::text FROM rule WHERE shop = $1 ORDER BY rule", shop)
    return {row["rule"]: json.loads(row["document"]) for row in rows}


async def save_draft(tx: Transaction, shop: str, rule: str, document: Mapping[str, Any]) -> None:
    """Insert or replace a draft."""
    await tx.driver.execute(
        "INSERT INTO rule (shop, rule, document, changed_at) VALUES ($1, $2, $3::jsonb, $4)"
        " ON CONFLICT (shop, rule) DO UPDATE SET document = $3::jsonb, changed_at = $4",
        shop, rule, json.dumps(document), tx.now,
    )  # fmt: skip


async def delete_drafts(tx: Transaction, shop: str, *, keep: Iterable[str] = (), only: str | None = None) -> int:
    """Delete one draft, or all that are not to be kept; how many there were."""
    status = await tx.driver.execute(
        "DELETE FROM rule WHERE shop = $1 AND rule <> ALL($2::text[]) AND ($3::text IS NULL OR rule = $3)",
        shop, list(keep), only,
    )  # fmt: skip
    return int(status.removeprefix("DELETE "))


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a shop's rules as stored, with the beginnings that were set for it."""

    shop: str
    version: int
    document: dict[str, Any]
    zone: str
    currency: str
    note: str
    created_at: datetime


async def insert_version(tx: Transaction, new: Version) -> None:
    """Store a version for ever."""
    await tx.driver.execute(
        "INSERT INTO rule_set (shop, version, document, zone, currency, note, created_at)"
        " VALUES ($1, $2, $3::jsonb, $4, $5, $6, $7)",
        new.shop, new.version, json.dumps(new.document), new.zone, new.currency, new.note, new.created_at,
    )  # fmt: skip


async def highest_version(tx: Transaction, shop: str) -> int:
    """0 when there is none."""
    return int(
        await tx.driver.fetchval(
            "SELECT COALESCE((SELECT version FROM rule_set WHERE shop = $1 ORDER BY version DESC LIMIT 1), 0)", shop
        )
    )


async def versions(tx: Transaction, shop: str, *, before: int | None, limit: int) -> list[Version]:
    """Newest first."""
    rows = await tx.driver.fetch(
        "SELECT shop, version, document::text, zone, currency, note, created_at FROM rule_set"
        " WHERE shop = $1 AND version < $2 ORDER BY version DESC LIMIT $3",
        shop, before or 2**62, limit,
    )  # fmt: skip
    return [_version(row) for row in rows]


async def version(tx: Transaction, shop: str, number: int) -> Version | None:
    """One of them."""
    found = await versions(tx, shop, before=number + 1, limit=1)
    return found[0] if found and found[0].version == number else None


def _version(row: Any) -> Version:
    return Version(**{**dict(row), "document": json.loads(row["document"])})


@dataclass(frozen=True, slots=True)
class Activation:
    """From when a version decides."""

    version: int
    since: datetime
    created_at: datetime
    """Of the version."""


async def activations(tx: Transaction, shops: Sequence[str]) -> dict[str, list[Activation]]:
    """Each shop's beginnings in order; of equal ones the one that was set last comes last."""
    rows = await tx.driver.fetch(
        "SELECT a.shop, a.version, a.since, s.created_at FROM activation AS a JOIN rule_set AS s USING (shop, version)"
        " WHERE a.shop = ANY($1::text[]) ORDER BY a.shop, a.since, a.place",
        shops,
    )
    found: dict[str, list[Activation]] = {shop: [] for shop in shops}
    for shop, number, since, created_at in rows:
        found[shop].append(Activation(number, since, created_at))
    return found


async def activate(tx: Transaction, shop: str, number: int, since: datetime, client: str) -> None:
    """Let a version decide from an instant on; a beginning of the same version that is still to come is dropped."""
    await tx.driver.execute(
        "DELETE FROM activation WHERE shop = $1 AND version = $2 AND since > $3", shop, number, tx.now
    )
    await tx.driver.execute(
        "INSERT INTO activation (shop, version, since, activated_at, client) VALUES ($1, $2, $3, $4, $5)",
        shop, number, since, tx.now, client,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Deciding:
    """What a shop's orders are decided by."""

    on: bool
    currency: str
    timeline: Sequence[Activation]
    pauses: Sequence[tuple[datetime, datetime | None]]

    def version_at(self, placed_at: datetime) -> int | None:
        """The version that holds for orders placed then."""
        for activation in reversed(self.timeline):
            if activation.since <= placed_at:
                return activation.version
        return None

    def awards(self, placed_at: datetime) -> bool:
        """Whether orders placed then may earn now."""
        if not self.pauses:
            return self.on
        return self.on and not any(
            since <= placed_at and (until is None or placed_at < until) for since, until in self.pauses
        )


async def deciding(tx: Transaction, shops: Sequence[str]) -> dict[str, Deciding]:
    """For each shop that has a programme."""
    rows = await tx.driver.fetch('SELECT shop, "on", currency FROM programme WHERE shop = ANY($1::text[])', shops)
    pauses: dict[str, list[tuple[datetime, datetime | None]]] = {}
    for shop, since, until in await tx.driver.fetch(
        "SELECT shop, since, until FROM pause WHERE shop = ANY($1::text[]) ORDER BY shop, since", shops
    ):
        pauses.setdefault(shop, []).append((since, until))
    timelines = await activations(tx, shops)
    return {
        row["shop"]: Deciding(row["on"], row["currency"], timelines[row["shop"]], pauses.get(row["shop"], ()))
        for row in rows
    }


@dataclass(frozen=True, slots=True)
class Compiled:
    """A version ready to decide, and the currency that it is in."""

    rules: RuleSet
    currency: str


_currencies: dict[tuple[str, int, datetime], str] = {}


async def compiled(tx: Transaction, wanted: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Compiled]:
    """Versions by (shop, version)."""
    pairs = list(dict.fromkeys(wanted))
    if not pairs:
        return {}
    rows = await tx.driver.fetch(
        "SELECT s.shop, s.version, s.created_at FROM unnest($1::text[], $2::bigint[]) AS w (shop, version)"
        " JOIN rule_set AS s USING (shop, version)",
        [shop for shop, _ in pairs],
        [number for _, number in pairs],
    )
    keys = [(row["shop"], row["version"], row["created_at"]) for row in rows]
    missing = [key for key in keys if key not in _compiled]
    if missing:
        for row in await tx.driver.fetch(
            "SELECT s.shop, s.version, s.created_at, s.document::text, s.zone, s.currency"
            " FROM unnest($1::text[], $2::bigint[]) AS w (shop, version) JOIN rule_set AS s USING (shop, version)",
            [shop for shop, _, _ in missing],
            [number for _, number, _ in missing],
        ):
            key = (row["shop"], row["version"], row["created_at"])
            document = RuleSetDocument.model_validate_json(row["document"])
            _compiled[key] = document.compiled(row["version"], row["zone"])
            _currencies[key] = row["currency"]
    found = {(key[0], key[1]): Compiled(_compiled[key], _currencies[key]) for key in keys}
    for key in keys:
        _compiled.move_to_end(key)
    while len(_compiled) > COMPILED_SETS:
        dropped, _ = _compiled.popitem(last=False)
        _currencies.pop(dropped)
    return found


# -- the order book

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
    """For (shop, order, member, placed_at): what the stored orders say. `aside`: `shop/order` of those left out."""
    rows = await tx.driver.fetch(
        """
        SELECT w.shop, w."order", w.member,
            EXISTS (
                SELECT FROM order_book AS b
                WHERE b.shop = w.shop AND b.member = w.member AND (b.placed_at, b."order") < (w.placed_at, w."order")
                    AND NOT b.reversed AND NOT b.test AND b.shop || '/' || b."order" <> ALL($5::text[])
            ),
            EXISTS (
                SELECT FROM order_book AS b
                WHERE b.shop = w.shop AND b.member = w.member AND b.holds_bonus
                    AND b.shop || '/' || b."order" <> ALL($5::text[])
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
