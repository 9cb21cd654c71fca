"""Where lanes went on after restores, as they are stored and as they are told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

import asyncpg

from ledger.domain.epochs import EpochStart


@dataclass(frozen=True, slots=True)
class Started:
    """The start of an epoch in a lane, with its signature."""

    start: EpochStart
    signature: bytes

    def told(self) -> dict[str, Any]:
        """As it is published, on the topic and in exports: all that its bytes hold."""
        start = self.start
        return {
            "ledger": str(start.ledger),
            "epoch": start.epoch,
            "lane": start.lane,
            "lanes": start.lanes,
            "position": start.position,
            "told": start.told,
            "at": start.at.astimezone(UTC),
            "seal": start.seal,
            "seal_hash": start.seal_hash.hex(),
            "public_key": start.key.hex(),
            "signature": self.signature.hex(),
        }


_COLUMNS: Final = (
    "s.epoch, s.lane, s.lanes, s.position, s.told, s.at, s.seal, s.seal_hash, s.key, s.signature,"
    " (SELECT id FROM ledger)"
)


def _started(row: Any) -> Started:
    epoch, lane, lanes, position, told, at, seal, seal_hash, key, signature, ledger = row
    start = EpochStart(
        ledger=ledger, epoch=epoch, lane=lane, lanes=lanes, position=position, told=told, at=at, seal=seal,
        seal_hash=seal_hash, key=key,
    )  # fmt: skip
    return Started(start, signature)


async def every(driver: asyncpg.Connection) -> list[Started]:
    """All there were, in order."""
    found = await driver.fetch(f"SELECT {_COLUMNS} FROM epoch_start AS s ORDER BY s.epoch, s.lane")  # noqa: S608
    return [_started(row) for row in found]


async def behind(driver: asyncpg.Connection, after: Mapping[int, int]) -> list[Started]:
    """Those of each lane after an epoch."""
    found = await driver.fetch(
        f"SELECT {_COLUMNS} FROM unnest($1::int[], $2::bigint[]) AS c (lane, epoch) JOIN epoch_start AS s"  # noqa: S608
        " ON s.lane = c.lane AND s.epoch > c.epoch ORDER BY s.lane, s.epoch",
        list(after),
        list(after.values()),
    )
    return [_started(row) for row in found]


async def raise_to(driver: asyncpg.Connection, epoch: int, started: Sequence[Started]) -> None:
    """Begin an epoch, as the owner; the relay goes on behind the positions restored to."""
    await driver.execute("UPDATE epoch SET epoch = $1", epoch)
    for one in started:
        start = one.start
        await driver.execute(
            "INSERT INTO epoch_start (lane, epoch, position, told, lanes, at, seal, seal_hash, key, signature)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            start.lane,
            start.epoch,
            start.position,
            start.told,
            start.lanes,
            start.at,
            start.seal,
            start.seal_hash,
            start.key,
            one.signature,
        )
        await driver.execute(
            "UPDATE relay_cursor SET position = $2, settled = LEAST(settled, $2) WHERE lane = $1",
            start.lane,
            start.position,
        )


async def sent_upto(driver: asyncpg.Connection) -> dict[int, int]:
    """Up to where the relay had sent each lane, as far as this database knows."""
    return dict(
        await driver.fetch(
            "SELECT c.lane, c.position FROM relay_cursor AS c, lane_count AS l WHERE c.lane < l.lanes ORDER BY c.lane"
        )
    )


async def highest_numbers(driver: asyncpg.Connection, lanes: Sequence[int]) -> dict[int, int]:
    """The last epoch that was started in each lane; 1 when none was."""
    found = await driver.fetch(
        "SELECT l.lane, COALESCE((SELECT max(s.epoch) FROM epoch_start AS s WHERE s.lane = l.lane), 1)"
        " FROM unnest($1::int[]) AS l (lane)",
        lanes,
    )
    return dict(found)
