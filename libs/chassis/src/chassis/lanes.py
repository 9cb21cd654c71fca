"""Lanes: how rows become visible in the order of their positions.

Every outgoing row has a place `(lane, position)`. Positions are given under the lane's advisory lock, which is held
until commit; so within a lane they become visible in ascending order and without gaps, whatever else runs.
"""

from collections.abc import Iterable
from datetime import datetime
from zlib import crc32

import asyncpg

LANE_LOCK = 0x4C414E45
"""First key of the advisory locks that lanes are ("LANE")."""

LANES = 8
"""Lanes that a new database gets. Stored there by its first migration and read from there ever after: changing the
number for a database with rows would split keys over two lanes."""


def lane_of(key: str, lanes: int) -> int:
    """The lane of a key; the same key, the same lane, in every process and for ever."""
    return crc32(key.encode()) % lanes


async def take(driver: asyncpg.Connection, lanes: Iterable[int]) -> tuple[int, ...]:
    """Lock lanes until the transaction ends, in ascending order so that two transactions cannot wait for each other."""
    ordered = sorted(set(lanes))
    if ordered:
        await driver.execute(
            "SELECT pg_advisory_xact_lock($1, lane) FROM (SELECT unnest($2::int[]) AS lane) AS wanted",
            LANE_LOCK,
            ordered,
        )
    return tuple(ordered)


async def wait_until_settled(driver: asyncpg.Connection, lanes: Iterable[int]) -> datetime:
    """Wait for whoever holds these lanes to end; the moment, by the database's clock, at which nobody did.

    Who held one may have read the clock long before; whoever takes one later reads it later than this. So what is read
    behind this, outside of the transaction that it was asked in, is settled up to the moment.
    """
    moment: datetime = await driver.fetchval(
        "SELECT clock_timestamp() FROM (SELECT count(pg_advisory_xact_lock_shared($1, lane))"
        " FROM unnest($2::int[]) AS lane) AS waited",
        LANE_LOCK,
        sorted(set(lanes)),
    )
    return moment


async def stored_count(driver: asyncpg.Connection) -> int:
    """How many lanes this database has."""
    return int(await driver.fetchval("SELECT lanes FROM lane_count"))
