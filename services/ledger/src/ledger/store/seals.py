"""Seals as they are stored, and the rows of the log that they hold."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from chassis.ids import new_uuid
from ledger import tables
from ledger.domain.hashing import refusal_bytes, refusal_hash
from ledger.domain.seals import NO_HASH, Absence, Presence, Row, Seal, ShopPart
from ledger.store import rows


@dataclass(frozen=True, slots=True)
class Sealed:
    """A seal with its signature."""

    seal: Seal
    signature: bytes

    def told(self) -> dict[str, Any]:
        """The seal as it is published, in files, on the topic, in exports and proofs: all that its bytes hold."""
        seal = self.seal
        return {
            "ledger": str(seal.ledger),
            "epoch": seal.epoch,
            "lane": seal.lane,
            "number": seal.number,
            "first": seal.first,
            "last": seal.last,
            "at": seal.at.astimezone(UTC),
            "shops": seal.shops,
            "previous": seal.previous.hex(),
            "root": seal.root.hex(),
            "public_key": seal.key.hex(),
            **({} if seal.next_key == NO_HASH else {"next_public_key": seal.next_key.hex()}),
            "signature": self.signature.hex(),
        }


def sealed_of(told: Mapping[str, Any]) -> Sealed:
    """A seal as it was published. Raises `KeyError`, `TypeError` or `ValueError` for what is none."""
    seal = Seal(
        ledger=UUID(told["ledger"]),
        epoch=told["epoch"],
        lane=told["lane"],
        number=told["number"],
        first=told["first"],
        last=told["last"],
        at=datetime.fromisoformat(told["at"]),
        shops=told["shops"],
        previous=bytes.fromhex(told["previous"]),
        root=bytes.fromhex(told["root"]),
        key=bytes.fromhex(told["public_key"]),
        next_key=bytes.fromhex(told["next_public_key"]) if "next_public_key" in told else NO_HASH,
    )
    return Sealed(seal, bytes.fromhex(told["signature"]))


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a lane is sealed."""

    lane: int
    highest: int
    """The log's last position; 0 when there is none."""
    sealed: int
    """The last sealed one; 0 when there is none."""
    waits_seconds: float
    """How long ago the first row that is not sealed was recorded; 0 when there is none."""


def told_of_shop(found: Presence | Absence) -> dict[str, Any]:
    """What a seal holds of a shop, as it is told in exports and proofs."""
    if isinstance(found, Absence):
        return {
            "absent": [
                {
                    "index": neighbour.index,
                    "key": neighbour.key.hex(),
                    "content": neighbour.content.hex(),
                    "path": [node.hex() for node in neighbour.path],
                }
                for neighbour in found.neighbours
            ]
        }
    return {
        "count": found.part.count,
        "total": found.part.total,
        "root": found.part.root.hex(),
        "places": found.part.places.hex(),
        "index": found.index,
        "path": [node.hex() for node in found.path],
    }


async def ledger_id(driver: asyncpg.Connection) -> UUID | None:
    """Which ledger this is; None before its first seal."""
    found: UUID | None = await driver.fetchval("SELECT id FROM ledger")
    return found


async def ensure_ledger_id(driver: asyncpg.Connection) -> UUID:
    """The same, made if it has none yet."""
    known = await ledger_id(driver)
    if known is None:
        await driver.execute("INSERT INTO ledger (id) VALUES ($1) ON CONFLICT DO NOTHING", new_uuid())
        known = await ledger_id(driver)
        assert known is not None
    return known


async def epoch(driver: asyncpg.Connection) -> int:
    """How often the ledger was restored from a backup, and once more."""
    return int(await driver.fetchval("SELECT epoch FROM epoch"))


SEALING_LOCK: Final = 0x5345414C
"""First key of the advisory lock that whoever seals holds ("SEAL")."""


async def clock_between_seals(driver: asyncpg.Connection) -> datetime:
    """The time at which nobody seals: every seal of an earlier time is committed. In a transaction nobody seals until
    it ends, but for itself."""
    now: datetime = await driver.fetchval(
        "SELECT clock_timestamp() FROM (SELECT count(pg_advisory_xact_lock($1, one)) FROM unnest(ARRAY[0]) AS one)"
        " AS taken",
        SEALING_LOCK,
    )
    return now


# -- the log

_HIGHEST: Final = (
    "GREATEST((SELECT e.position FROM entry AS e WHERE e.lane = l.lane ORDER BY e.position DESC LIMIT 1),"
    " (SELECT r.position FROM refusal AS r WHERE r.lane = l.lane ORDER BY r.position DESC LIMIT 1), 0)"
)

_STANDINGS: Final = (
    f"SELECT l.lane, {_HIGHEST} AS highest, COALESCE(s.last_position, 0) AS sealed,"  # noqa: S608
    " COALESCE(extract(epoch FROM clock_timestamp() - COALESCE((SELECT e.recorded_at FROM entry AS e"
    " WHERE e.lane = l.lane AND e.position = COALESCE(s.last_position, 0) + 1),"
    " (SELECT r.at FROM refusal AS r WHERE r.lane = l.lane AND r.position = COALESCE(s.last_position, 0) + 1))), 0)"
    "::float8"
    " FROM lane_count CROSS JOIN LATERAL generate_series(0, lanes - 1) AS l (lane)"
    " LEFT JOIN LATERAL (SELECT last_position FROM seal WHERE lane = l.lane ORDER BY number DESC LIMIT 1) AS s ON TRUE"
    " ORDER BY l.lane"
)


async def standings(driver: asyncpg.Connection) -> list[Standing]:
    """How far each lane is sealed."""
    return [Standing(*row) for row in await driver.fetch(_STANDINGS)]


async def highest(driver: asyncpg.Connection, lane: int) -> int:
    """The last position of a lane's log; 0 when there is none."""
    return int(await driver.fetchval(f"SELECT {_HIGHEST} FROM (SELECT $1::int AS lane) AS l", lane))  # noqa: S608


_ENTRIES: Final = (
    "SELECT e.position, a.shop, e.hash FROM entry AS e JOIN account AS a ON a.id = e.account_id"
    " WHERE e.lane = $1 AND e.position BETWEEN $2 AND $3"
)

REFUSAL_COLUMNS: Final = (
    'r.position, a.shop, r.at, a.member, a.asset, r.kind, r.source, r.key, r."order", r.hold, r.checkout, r.code,'
    " r.facts::text"
)

_REFUSALS: Final = (
    f"SELECT {REFUSAL_COLUMNS} FROM refusal AS r JOIN account AS a ON a.id = r.account_id"  # noqa: S608
    " WHERE r.lane = $1 AND r.position BETWEEN $2 AND $3"
)


def refusal_canonical(row: Any) -> bytes:
    """The bytes of a row of `REFUSAL_COLUMNS`."""
    return refusal_bytes(row[2], (row[1], *row[3:]))


async def range_of(driver: asyncpg.Connection, lane: int, first: int, last: int) -> list[Row]:
    """The rows at these positions, in their order. Positions become visible in order: up to a highest one that was read
    before, all that there are."""
    found = [Row(*row) for row in await driver.fetch(_ENTRIES, lane, first, last)]
    found += [
        Row(row[0], row[1], refusal_hash(refusal_canonical(row)))
        for row in await driver.fetch(_REFUSALS, lane, first, last)
    ]
    found.sort(key=lambda row: row.position)
    return found


# -- seals

_SEAL_COLUMNS: Final = (
    "s.epoch, s.lane, s.number, s.first_position, s.last_position, s.at, s.shops, s.previous, s.root, s.key,"
    " s.next_key, s.signature, (SELECT id FROM ledger)"
)


def _sealed(row: Any) -> Sealed:
    seal = Seal(
        ledger=row[12],
        epoch=row[0],
        lane=row[1],
        number=row[2],
        first=row[3],
        last=row[4],
        at=row[5],
        shops=row[6],
        previous=row[7],
        root=row[8],
        key=row[9],
        next_key=row[10],
    )
    return Sealed(seal, row[11])


async def _one(driver: asyncpg.Connection, where: str, *arguments: Any) -> Sealed | None:
    row = await driver.fetchrow(f"SELECT {_SEAL_COLUMNS} FROM seal AS s WHERE {where} LIMIT 1", *arguments)  # noqa: S608
    return None if row is None else _sealed(row)


async def newest(driver: asyncpg.Connection, lane: int) -> Sealed | None:
    """A lane's last seal."""
    return await _one(driver, "s.lane = $1 ORDER BY s.number DESC", lane)


async def numbered(driver: asyncpg.Connection, lane: int, number: int) -> Sealed | None:
    """A seal by its number."""
    return await _one(driver, "s.lane = $1 AND s.number = $2", lane, number)


async def that_holds(driver: asyncpg.Connection, lane: int, position: int) -> Sealed | None:
    """The seal whose range has this position; None when it is not sealed yet."""
    return await _one(
        driver, "s.lane = $1 AND s.last_position >= $2 ORDER BY s.last_position, s.number", lane, position
    )


_NUMBERED_BEHIND: Final = (
    f"SELECT s.* FROM unnest($1::int[], $2::bigint[]) AS c (lane, number)"  # noqa: S608
    f" CROSS JOIN LATERAL (SELECT {_SEAL_COLUMNS} FROM seal AS s WHERE s.lane = c.lane AND s.number > c.number"
    " ORDER BY s.number LIMIT $3) AS s"
)


async def numbered_behind(driver: asyncpg.Connection, after: Mapping[int, int], limit: int) -> list[Sealed]:
    """Up to so many seals of each lane behind a number, in order within a lane."""
    return [_sealed(row) for row in await driver.fetch(_NUMBERED_BEHIND, list(after), list(after.values()), limit)]


_BEHIND: Final = (
    f"SELECT s.* FROM unnest($1::int[], $2::int[], $3::bigint[]) AS c (lane, epoch, number)"  # noqa: S608
    f" CROSS JOIN LATERAL (SELECT {_SEAL_COLUMNS} FROM seal AS s"
    " WHERE s.lane = c.lane AND (s.epoch, s.number) > (c.epoch, c.number) ORDER BY s.epoch, s.number LIMIT $4) AS s"
)


async def behind(driver: asyncpg.Connection, after: Mapping[int, tuple[int, int]], limit: int) -> list[Sealed]:
    """Up to so many seals of each lane behind an epoch and number, in order within a lane."""
    epochs = [told[0] for told in after.values()]
    numbers = [told[1] for told in after.values()]
    return [_sealed(row) for row in await driver.fetch(_BEHIND, list(after), epochs, numbers, limit)]


async def highest_numbers(driver: asyncpg.Connection, lanes: Sequence[int]) -> dict[int, int]:
    """The number of each lane's last seal; 0 when it has none."""
    found = await driver.fetch(
        "SELECT l.lane, COALESCE((SELECT s.number FROM seal AS s WHERE s.lane = l.lane ORDER BY s.number DESC LIMIT 1),"
        " 0) FROM unnest($1::int[]) AS l (lane)",
        lanes,
    )
    return dict(found)


async def totals(driver: asyncpg.Connection, lane: int, shops: Collection[str], before: int) -> dict[str, int]:
    """Rows of these shops in the seals of a lane before that number."""
    found = await driver.fetch(
        "SELECT k.shop, p.total FROM unnest($2::text[]) AS k (shop)"
        " CROSS JOIN LATERAL (SELECT total FROM seal_shop AS p WHERE"
        " p.shop = k.shop AND p.lane = $1 AND p.number < $3 ORDER BY p.number DESC LIMIT 1) AS p",
        lane,
        sorted(shops),
        before,
    )
    return dict(found)


async def parts(driver: asyncpg.Connection, lane: int, first: int, last: int) -> dict[int, list[ShopPart]]:
    """What seals of a lane hold of each shop, by the seals' numbers, in order of the shops' keys."""
    found: dict[int, list[ShopPart]] = {number: [] for number in range(first, last + 1)}
    for number, *part in await driver.fetch(
        "SELECT number, shop, count, total, root, places FROM seal_shop WHERE lane = $1 AND number BETWEEN $2 AND $3",
        lane,
        first,
        last,
    ):
        found[number].append(ShopPart(*part))
    for of_seal in found.values():
        of_seal.sort(key=lambda part: part.key)
    return found


_INSERT_SEAL: Final = rows.insert_from_arrays(tables.seal)
_INSERT_PARTS: Final = rows.insert_from_arrays(tables.seal_shop)


async def save(driver: asyncpg.Connection, sealed: Sealed, of_shops: Sequence[ShopPart]) -> None:
    """Add a seal. Its number is taken once: who seals at the same time fails here, and finds this one next time."""
    seal = sealed.seal
    row = (
        seal.lane,
        seal.number,
        seal.epoch,
        seal.first,
        seal.last,
        seal.at,
        seal.shops,
        seal.previous,
        seal.root,
        seal.key,
        seal.next_key,
        sealed.signature,
    )
    await driver.execute(_INSERT_SEAL, *([value] for value in row))
    if of_shops:
        columns = [
            (seal.lane, seal.number, part.shop, part.count, part.total, part.root, part.places) for part in of_shops
        ]
        await driver.execute(_INSERT_PARTS, *zip(*columns, strict=True))
