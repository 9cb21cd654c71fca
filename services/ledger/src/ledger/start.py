"""The check at start: the log is held against what is outside the database, before anything is added to it.

A log that is behind the last seals or what the topic was told last was restored from a backup or cut off; one that
differs was written anew. Neither may go on by itself: readers and auditors hold what is gone. Where a restore was
meant, the epoch is raised first: what is of an earlier epoch than the database's was given up, and is not compared.

A broker that is away must not keep the API from coming up: then nothing is told before the topic could be looked at,
and a log that is found to be behind ends the process.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import asyncpg
import structlog
from aiokafka.errors import KafkaError

from chassis import CannotStart, Database, Outcome, Transaction
from chassis.pauses import pause
from ledger import metrics
from ledger import told as topic
from ledger.domain.seals import parts_of, range_root
from ledger.outside import SealFolder
from ledger.settings import LedgerSettings
from ledger.store import seals
from ledger.store.log import LedgerLog
from ledger.store.rows import decode_json, encode_json
from ledger.store.seals import Sealed

ADVICE = (
    "Find out why before anything is posted. If the database was restored from a backup and cannot be brought further,"
    " `python -m ledger restore` begins a new epoch; docs/operating.md, Restoring."
)

KAFKA_SECONDS: Final = 5.0
"""How long a start waits for what the topic was told last: usually a fifth of a second."""

START_SECONDS: Final = 60.0
"""For a database that is starting too, as long as the chassis itself waits for one: whoever starts beside it must not
end because of it."""

AGAIN_SECONDS: Final = 5.0
"""Between looks for a broker that is away."""

NO_ANSWER: Final = (KafkaError, TimeoutError, OSError)


class LogBehind(CannotStart):
    """What is outside has more than the log."""

    def __init__(self, lane: int, what: str, but: str) -> None:
        super().__init__(f"lane {lane}: {what}, but {but}. {ADVICE}")

    @classmethod
    def its_seal(cls, lane: int, told: Mapping[str, Any], what: str) -> Self:
        """A seal outside holds more."""
        return cls(
            lane,
            what,
            f"a seal outside the database (number {told['number']} of {told['at']}) holds positions up to"
            f" {told['last']}",
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


async def compare(driver: asyncpg.Connection, outside: Mapping[int, topic.Told]) -> int:
    """Hold each lane against what the topic was told of it last; raises what is wrong. How many there were."""
    epoch = await seals.epoch(driver)
    compared = 0
    for lane, last in sorted(outside.items()):
        if last.epoch < epoch:
            continue
        highest = await seals.highest(driver, lane)
        if last.epoch > epoch:
            raise LogBehind(lane, f"the log is of epoch {epoch}", f"the topic was told of epoch {last.epoch}")
        if highest < last.position:
            what = f"the log ends at position {highest}"
            raise LogBehind(lane, what, f"the topic was told of positions up to {last.position}")
        compared += 1
    return compared


class ToldCheck:
    """The same for a process: at its start, and again and again while the broker gives no answer."""

    def __init__(self, database: Database, settings: LedgerSettings, log: LedgerLog) -> None:
        self._database = database
        self._settings = settings
        self._log = log

    async def first(self) -> bool:
        """Whether the broker gave an answer. Until it does, nothing is told."""
        self._log.held_back = not await self._look()
        metrics.START_UNCHECKED.set(self._log.held_back)
        return not self._log.held_back

    async def later(self, stop: asyncio.Event) -> None:
        """Look again until there is an answer."""
        while self._log.held_back and not stop.is_set():
            await pause(stop, AGAIN_SECONDS)
            if not stop.is_set():
                await self.first()

    async def _look(self) -> bool:
        try:
            outside = await topic.ends(self._settings, KAFKA_SECONDS)
        except NO_ANSWER as error:
            structlog.get_logger().warning("topic_unchecked", error=repr(error))
            return False

        async def hold_against(tx: Transaction, _: Sequence[object]) -> Outcome:
            await compare(tx.driver, outside)
            return Outcome()

        try:
            await self._database.execute(hold_against, [], retry_seconds=START_SECONDS)
        except LogBehind:
            metrics.LOG_BEHIND.set(1)
            raise
        return True


async def _check_lane(driver: asyncpg.Connection, lane: int, told: Mapping[str, Any]) -> None:
    highest = await seals.highest(driver, lane)
    if highest < told["last"]:
        raise LogBehind.its_seal(lane, told, f"the log ends at position {highest}")
    own = await seals.numbered(driver, lane, told["number"])
    if own is None:
        raise LogBehind.its_seal(lane, told, "the database lacks that seal")
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
