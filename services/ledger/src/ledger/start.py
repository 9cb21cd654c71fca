"""The check at start: the log is held against the last seals outside the database, before anything is added to it.

A log that is behind them was restored from a backup or cut off; one that differs was written anew. Neither may go on
by itself: readers and auditors hold what is gone. Where a restore was meant, the epoch is raised first: seals of an
earlier epoch than the database's are history that was given up, and are not compared.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

from chassis import CannotStart
from ledger.domain.seals import parts_of, range_root
from ledger.outside import SealFolder
from ledger.store import seals
from ledger.store.rows import decode_json, encode_json
from ledger.store.seals import Sealed

ADVICE = (
    "Find out why before anything is posted. If the database was restored from a backup and cannot be brought further,"
    " raise its epoch; docs/operating.md, Postgres."
)


class LogBehind(CannotStart):
    """Seals outside hold more than the log has."""

    def __init__(self, lane: int, told: Mapping[str, Any], what: str) -> None:
        super().__init__(
            f"lane {lane}: {what}, but a seal outside the database (number {told['number']} of {told['at']}) holds"
            f" positions up to {told['last']}. {ADVICE}"
        )


class LogDiffers(CannotStart):
    """The log is not what seals outside hold."""

    def __init__(self, lane: int, told: Mapping[str, Any], what: str) -> None:
        super().__init__(
            f"lane {lane}: {what} differs from the seal outside the database (number {told['number']} of {told['at']},"
            f" positions {told['first']} to {told['last']}). {ADVICE}"
        )


async def check(driver: asyncpg.Connection, folder: Path) -> int:
    """Hold each lane against its last seal outside; raises what is wrong. How many there were to hold it against."""
    outside = SealFolder(folder)
    ledger, epoch = await seals.ledger_id(driver), await seals.epoch(driver)
    compared = 0
    for lane in range(await driver.fetchval("SELECT lanes FROM lane_count")):
        told = outside.newest(lane)
        if told is None or told["epoch"] < epoch:
            continue
        if ledger is not None and told["ledger"] != str(ledger):
            raise LogDiffers(lane, told, f"this ledger ({ledger}; the seal is one of {told['ledger']})")
        await _check_lane(driver, lane, told)
        compared += 1
    return compared


async def _check_lane(driver: asyncpg.Connection, lane: int, told: Mapping[str, Any]) -> None:
    highest = await seals.highest(driver, lane)
    if highest < told["last"]:
        raise LogBehind(lane, told, f"the log ends at position {highest}")
    own = await seals.numbered(driver, lane, told["number"])
    if own is None:
        raise LogBehind(lane, told, "the database lacks that seal")
    if decode_json(encode_json(own.told())) != told:
        raise LogDiffers(lane, told, "the database's own seal of that number")
    if not await holds(driver, own):
        raise LogDiffers(lane, told, "the log")


async def holds(driver: asyncpg.Connection, sealed: Sealed) -> bool:
    """Whether the log has at a seal's positions what the seal says."""
    seal = sealed.seal
    rows = await seals.range_of(driver, seal.lane, seal.first, seal.last)
    before = await seals.totals(driver, seal.lane, {row.shop for row in rows}, seal.number)
    return range_root(parts_of(rows, before)) == seal.root
