"""Imports: what was received, how far it is, and what became of its lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from chassis.ids import LAST_UUID

FILE_LOCK: Final = 0x46494C45
"""First key of the advisory locks under which a file is taken in ("FILE")."""


@dataclass(frozen=True, slots=True)
class Import:
    """A file that was sent."""

    id: UUID
    shop: str
    kind: str
    state: str
    dry_run: bool
    """What was asked for when it was sent."""
    dry: bool
    """Whether it is, or was last, only tried."""
    client: str
    operator: str
    posts_as: str
    """The operator that its postings name: who was the first to send this file."""
    zone: str
    columns: Sequence[str]
    sha256: bytes
    bytes: int
    lines: int
    chunks: int
    next_chunk: int
    received_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    dropped_at: datetime | None
    """When its lines were dropped: nothing more can come of it."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of lines."""

    posted: int = 0
    repeated: int = 0
    """Posted before, by this file or under the same key."""
    refused: int = 0
    invalid: int = 0
    points: int = 0
    """Of those posted."""

    @property
    def worked(self) -> int:
        return self.posted + self.repeated + self.refused + self.invalid


@dataclass(frozen=True, slots=True)
class LineError:
    """A line that was not posted, and why."""

    line: int
    code: str
    detail: str


_COLUMNS: Final = (
    "i.id, i.shop, i.kind, i.state, i.dry_run, i.dry, i.client, i.operator, i.posts_as, i.zone, i.header, i.sha256,"
    " i.bytes, i.lines, i.chunks, i.next_chunk, i.received_at, i.started_at, i.finished_at, i.dropped_at"
)


def _import_of(row: Any) -> Import:
    values = list(row[:20])
    values[10] = values[10].split(",")
    return Import(*values)


_ACCEPT: Final = (
    "UPDATE import AS i SET state = CASE WHEN i.dry_run THEN 'checking' ELSE 'running' END, key = $2, sha256 = $3,"  # noqa: S608
    " bytes = $4, lines = $5, chunks = $6, received_at = $7,"
    " posts_as = COALESCE((SELECT f.posts_as FROM import AS f"
    " WHERE f.shop = i.shop AND f.kind = i.kind AND f.sha256 = $3 ORDER BY f.id LIMIT 1), i.operator)"
    f" WHERE i.id = $1 AND i.state = 'receiving' RETURNING {_COLUMNS}"
)


# -- receiving


async def begin(
    driver: asyncpg.Connection, import_id: UUID, *, shop: str, kind: str, dry_run: bool, client: str, operator: str,
    columns: Sequence[str], at: datetime,
) -> None:  # fmt: skip
    """A file begins to come in; nobody sees it yet."""
    await driver.execute(
        "INSERT INTO import (id, shop, kind, state, dry_run, dry, client, operator, zone, header, bytes, lines, chunks,"
        " next_chunk, created_at) SELECT $1, p.shop, $3, 'receiving', $4, $4, $5, $6, p.zone, $7, 0, 0, 0, 0, $8"
        " FROM programme AS p WHERE p.shop = $2",
        import_id, shop, kind, dry_run, client, operator, ",".join(columns), at,
    )  # fmt: skip


async def add_chunk(
    driver: asyncpg.Connection, import_id: UUID, *, number: int, first_line: int, lines: int, content: bytes
) -> None:
    """The next chunk of it."""
    await driver.execute(
        "INSERT INTO import_chunk (import_id, number, first_line, lines, content) VALUES ($1, $2, $3, $4, $5)",
        import_id,
        number,
        first_line,
        lines,
        content,
    )


async def discard(driver: asyncpg.Connection, import_id: UUID) -> None:
    """Forget a file that did not come in whole."""
    await driver.execute("DELETE FROM import_chunk WHERE import_id = $1", import_id)
    await driver.execute("DELETE FROM import WHERE id = $1 AND state = 'receiving'", import_id)


async def lock_file(driver: asyncpg.Connection, shop: str, sha256: bytes) -> None:
    """Files of the same content are taken in one after the other."""
    await driver.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", FILE_LOCK, f"{shop}/{sha256.hex()}")


async def by_key(driver: asyncpg.Connection, shop: str, client: str, key: str) -> Import | None:
    """What was sent under that key."""
    row = await driver.fetchrow(
        f"SELECT {_COLUMNS} FROM import AS i WHERE i.shop = $1 AND i.client = $2 AND i.key = $3",  # noqa: S608
        shop,
        client,
        key,
    )
    return None if row is None else _import_of(row)


async def accept(
    driver: asyncpg.Connection, import_id: UUID, *, key: str, sha256: bytes, size: int, lines: int, chunks: int,
    at: datetime,
) -> Import | None:  # fmt: skip
    """It has come in whole and is to be worked off; None when it was given up meanwhile.

    Its postings name who sent the first file of this content, so that the same file again asks for the same.
    """
    row = await driver.fetchrow(_ACCEPT, import_id, key, sha256, size, lines, chunks, at)
    return None if row is None else _import_of(row)


# -- working


async def open_imports(driver: asyncpg.Connection) -> list[Import]:
    """Those that have something left to do."""
    found = await driver.fetch(
        f"SELECT {_COLUMNS} FROM import AS i WHERE i.state IN ('checking', 'running') ORDER BY i.id"  # noqa: S608
    )
    return [_import_of(row) for row in found]


async def chunk(driver: asyncpg.Connection, import_id: UUID, number: int) -> tuple[int, int, bytes]:
    """First line, lines and content of a chunk."""
    row = await driver.fetchrow(
        "SELECT first_line, lines, content FROM import_chunk WHERE import_id = $1 AND number = $2", import_id, number
    )
    return row[0], row[1], row[2]


async def is_open(driver: asyncpg.Connection, import_id: UUID, *, dry: bool) -> bool:
    """Whether it is still to be worked off in that way. It stays so until this transaction ends."""
    state = await driver.fetchval("SELECT state FROM import WHERE id = $1 AND dry = $2 FOR SHARE", import_id, dry)
    return state in ("checking", "running")


async def is_done(driver: asyncpg.Connection, import_id: UUID, *, dry: bool, part: tuple[int, int, int]) -> bool:
    """Whether a part, by chunk, lane and batch, was done before."""
    return bool(
        await driver.fetchval(
            "SELECT EXISTS (SELECT FROM import_part WHERE import_id = $1 AND dry = $2 AND chunk = $3 AND lane = $4"
            " AND batch = $5)",
            import_id,
            dry,
            *part,
        )
    )


async def add_part(
    driver: asyncpg.Connection,
    import_id: UUID,
    *,
    dry: bool,
    part: tuple[int, int, int],
    counts: Counts,
    errors: Sequence[LineError],
) -> None:
    """A part is done: what became of its lines."""
    await driver.execute(
        "INSERT INTO import_part (import_id, dry, chunk, lane, batch, posted, repeated, refused, invalid, points)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        import_id, dry, *part, counts.posted, counts.repeated, counts.refused, counts.invalid, counts.points,
    )  # fmt: skip
    if errors:
        await driver.execute(
            "INSERT INTO import_error (import_id, dry, line, chunk, code, detail)"
            " SELECT $1, $2, e.line, $3, e.code, e.detail"
            " FROM unnest($4::bigint[], $5::text[], $6::text[]) AS e (line, code, detail)",
            import_id,
            dry,
            part[0],
            [error.line for error in errors],
            [error.code for error in errors],
            [error.detail for error in errors],
        )


async def taken(
    driver: asyncpg.Connection, import_id: UUID, accounts: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """What a dry run would have taken so far of these members and assets."""
    found = await driver.fetch(
        "SELECT t.member, t.asset, t.amount FROM unnest($2::text[], $3::text[]) AS k (member, asset)"
        " JOIN import_taken AS t ON t.import_id = $1 AND t.member = k.member AND t.asset = k.asset",
        import_id,
        [member for member, _ in accounts],
        [asset for _, asset in accounts],
    )
    return {(row[0], row[1]): row[2] for row in found}


async def take(driver: asyncpg.Connection, import_id: UUID, amounts: dict[tuple[str, str], int]) -> None:
    """A dry run would take more."""
    ordered = sorted(amounts.items())
    await driver.execute(
        "INSERT INTO import_taken (import_id, member, asset, amount)"
        " SELECT $1, t.member, t.asset, t.amount FROM unnest($2::text[], $3::text[], $4::bigint[])"
        " AS t (member, asset, amount)"
        " ON CONFLICT (import_id, member, asset) DO UPDATE SET amount = import_taken.amount + excluded.amount",
        import_id,
        [account[0] for account, _ in ordered],
        [account[1] for account, _ in ordered],
        [amount for _, amount in ordered],
    )


async def advance(driver: asyncpg.Connection, import_id: UUID, *, dry: bool, upto: int, at: datetime) -> None:
    """All chunks before that one are done; with the last one the import is."""
    await driver.execute(
        "UPDATE import SET next_chunk = $3, started_at = COALESCE(started_at, $4),"
        " state = CASE WHEN $3 < chunks THEN state WHEN dry THEN 'checked' ELSE 'done' END,"
        " finished_at = CASE WHEN $3 < chunks THEN finished_at ELSE $4::timestamptz END"
        " WHERE id = $1 AND dry = $2 AND next_chunk < $3 AND state IN ('checking', 'running')",
        import_id,
        dry,
        upto,
        at,
    )


async def fail(driver: asyncpg.Connection, import_id: UUID, at: datetime) -> None:
    """A fault of ours stopped it; what it did stays done."""
    await driver.execute(
        "UPDATE import SET state = 'failed', finished_at = $2 WHERE id = $1 AND state IN ('checking', 'running')",
        import_id,
        at,
    )


async def change(
    driver: asyncpg.Connection, shop: str, import_id: UUID, *, to: str, of: Sequence[str], at: datetime
) -> bool:
    """Run it or cancel it, if it is in one of these states; whether it was."""
    running = to == "running"
    status = await driver.execute(
        "UPDATE import SET state = $3, dry = dry AND NOT $6,"
        " next_chunk = CASE WHEN $6 AND dry THEN 0 ELSE next_chunk END,"
        " started_at = CASE WHEN $6 THEN NULL ELSE started_at END,"
        " finished_at = CASE WHEN $6 THEN NULL ELSE $5::timestamptz END"
        " WHERE shop = $1 AND id = $2 AND state = ANY($4::text[]) AND dropped_at IS NULL",
        shop,
        import_id,
        to,
        list(of),
        at,
        running,
    )
    return bool(status != "UPDATE 0")


# -- reading

_WITH_COUNTS: Final = (
    f"SELECT {_COLUMNS}, c.posted, c.repeated, c.refused, c.invalid, c.points FROM import AS i"  # noqa: S608
    " CROSS JOIN LATERAL (SELECT COALESCE(sum(p.posted), 0)::bigint AS posted,"
    " COALESCE(sum(p.repeated), 0)::bigint AS repeated, COALESCE(sum(p.refused), 0)::bigint AS refused,"
    " COALESCE(sum(p.invalid), 0)::bigint AS invalid, COALESCE(sum(p.points), 0)::bigint AS points"
    " FROM import_part AS p WHERE p.import_id = i.id AND p.dry = i.dry) AS c"
    " WHERE i.shop = $1 AND i.state <> 'receiving'"
)


async def find(driver: asyncpg.Connection, shop: str, import_id: UUID) -> tuple[Import, Counts] | None:
    """An import and what became of its lines so far."""
    row = await driver.fetchrow(f"{_WITH_COUNTS} AND i.id = $2", shop, import_id)
    return None if row is None else (_import_of(row), Counts(*row[20:]))


async def newest(
    driver: asyncpg.Connection, shop: str, *, before: UUID | None, limit: int
) -> list[tuple[Import, Counts]]:
    """A shop's imports, newest first."""
    found = await driver.fetch(
        f"{_WITH_COUNTS} AND i.id < $2 ORDER BY i.id DESC LIMIT $3", shop, before or LAST_UUID, limit
    )
    return [(_import_of(row), Counts(*row[20:])) for row in found]


async def errors(
    driver: asyncpg.Connection, import_id: UUID, *, dry: bool, after_line: int, limit: int
) -> list[tuple[LineError, int]]:
    """Lines that were not posted, in their order, each with its chunk."""
    found = await driver.fetch(
        "SELECT line, code, detail, chunk FROM import_error WHERE import_id = $1 AND dry = $2 AND line > $3"
        " ORDER BY line LIMIT $4",
        import_id,
        dry,
        after_line,
        limit,
    )
    return [(LineError(row[0], row[1], row[2]), row[3]) for row in found]


# -- dropping


async def to_drop(
    driver: asyncpg.Connection, *, received_before: datetime, kept_since: datetime, limit: int
) -> list[UUID]:
    """Files that are over and have been kept long enough, and those that never came in whole."""
    found = await driver.fetch(
        "SELECT id FROM import WHERE dropped_at IS NULL AND (state = 'receiving' AND created_at < $1"
        " OR state IN ('done', 'checked', 'cancelled', 'failed') AND created_at < $2) ORDER BY created_at LIMIT $3",
        received_before,
        kept_since,
        limit,
    )
    return [row[0] for row in found]


async def drop_lines(driver: asyncpg.Connection, import_id: UUID, *, rows: int) -> bool:
    """Drop some of what a file's lines left; whether there was any."""
    for table, key in (("import_chunk", "number"), ("import_error", "line"), ("import_taken", "member")):
        status = await driver.execute(
            f"DELETE FROM {table} WHERE import_id = $1 AND {key} IN"  # noqa: S608  # our own names
            f" (SELECT {key} FROM {table} WHERE import_id = $1 ORDER BY {key} LIMIT $2)",
            import_id,
            rows,
        )
        if status != "DELETE 0":
            return True
    return False


async def dropped(driver: asyncpg.Connection, import_id: UUID, at: datetime) -> None:
    """Its lines are gone; one that never came in whole is forgotten."""
    await driver.execute("DELETE FROM import WHERE id = $1 AND state = 'receiving'", import_id)
    await driver.execute("UPDATE import SET dropped_at = $2 WHERE id = $1", import_id, at)
