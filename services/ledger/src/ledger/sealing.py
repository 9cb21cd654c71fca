"""The sealer: a job that seals what the log has got, lane by lane, and carries seals out of the database.

A seal is committed before it is told. The topic gets it from the relay, by a cursor, and the files from here, by what
they hold themselves: whoever is killed between commit and telling tells it later, and a repeat is the same line again.
"""

import asyncio
from typing import Final

import structlog

from chassis import Database, Transaction
from ledger import metrics
from ledger.domain.seals import NO_HASH, Seal, parts_of, range_root
from ledger.outside import Mark, SealFolder
from ledger.settings import LedgerSettings
from ledger.signing import Keyring
from ledger.store import seals
from ledger.store.seals import Sealed, Standing

TOLD_TOGETHER: Final = 500
"""Seals of each lane carried to the files at once: a new folder gets all that there are."""

NOTHING: Final[Mark] = (0, 0)


class LogBroken(Exception):
    """A lane's log lacks a row between others, which it never does by itself: one was removed before it was sealed."""


async def seal_next(tx: Transaction, lane: int, keys: Keyring, most_rows: int) -> Sealed | None:
    """Seal a lane's next rows; None when there are none.

    Where the last seal is of the previous key, that key signs one more, of no rows, that hands over to the new one.
    """
    at = await seals.clock_between_seals(tx.driver)
    last = await seals.newest(tx.driver, lane)
    key = keys.current if last is None else keys.for_successor(last.seal.successor)
    hands_over = key is not keys.current
    first = 1 if last is None else last.seal.last + 1
    upto = first - 1 if hands_over else min(await seals.highest(tx.driver, lane), first + most_rows - 1)
    if upto < first and not hands_over:
        return None
    number = 1 if last is None else last.seal.number + 1
    epoch = await seals.epoch(tx.driver)
    rows = await seals.range_of(tx.driver, lane, first, upto)
    if epoch == 1 and len(rows) != upto - first + 1:  # a ledger that was restored may go on at a later position
        raise LogBroken(f"lane {lane} has {len(rows)} rows at positions {first} to {upto}")
    before = await seals.totals(tx.driver, lane, {row.shop for row in rows}, number)
    parts = parts_of(rows, before)
    seal = Seal(
        ledger=await seals.ensure_ledger_id(tx.driver),
        epoch=epoch,
        lane=lane,
        number=number,
        first=first,
        last=upto,
        at=at,
        shops=len(parts),
        previous=NO_HASH if last is None else last.seal.hash,
        root=range_root(parts),
        key=key.public,
        next_key=keys.current.public if hands_over else NO_HASH,
    )
    sealed = Sealed(seal, key.sign(seal.encoded()))
    await seals.save(tx.driver, sealed, parts)
    return sealed


class Sealer:
    """The job `seal`. Two at once do no harm: a seal's number is taken once, and a line told twice is the same line."""

    def __init__(self, settings: LedgerSettings) -> None:
        self._settings = settings
        self._keys: Keyring | None = None
        self._folder = None if settings.seal_folder is None else SealFolder(settings.seal_folder)
        self._told: dict[int, Mark] | None = None
        """The last seal of each lane in the files; None before they were looked at."""
        self._log = structlog.get_logger()

    async def run(self, database: Database, stop: asyncio.Event) -> None:
        """Seal what there is, then tell what was not told."""
        async with database.look() as driver:
            standings = await seals.standings(driver)
        self._measure(standings)
        if self._settings.seal_key_file is None:
            return
        try:
            if self._keys is None:
                self._keys = await asyncio.to_thread(
                    Keyring.read, self._settings.seal_key_file, self._settings.seal_previous_key_file
                )
            await self._seal(database, standings, self._keys, stop)
        finally:
            await self._tell(database, stop)
        async with database.look() as driver:
            self._measure(await seals.standings(driver))

    async def _seal(self, database: Database, standings: list[Standing], keys: Keyring, stop: asyncio.Event) -> None:
        handing_over = keys.previous is not None
        for standing in standings:
            while (standing.sealed < standing.highest or handing_over) and not stop.is_set():
                async with database.begin() as tx:
                    sealed = await seal_next(tx, standing.lane, keys, self._settings.seal_batch_size)
                if sealed is None:
                    break
                metrics.SEALS.inc()
                metrics.SEALED_ROWS.inc(sealed.seal.last - sealed.seal.first + 1)
                if sealed.seal.next_key != NO_HASH:
                    self._log.warning("seal_key_handed_over", lane=standing.lane, key=sealed.seal.next_key.hex())
                if sealed.seal.last >= standing.highest and sealed.seal.next_key == NO_HASH:
                    break

    async def _tell(self, database: Database, stop: asyncio.Event) -> None:
        """Append to the files what they lack."""
        if self._folder is None:
            return
        async with database.look() as driver:
            lanes = range(await driver.fetchval("SELECT lanes FROM lane_count"))
        if self._told is None:
            self._told = await asyncio.to_thread(self._folder.marks, lanes)
        while not stop.is_set():
            after = {lane: self._told.get(lane, NOTHING) for lane in lanes}
            async with database.look() as driver:
                found = await seals.behind(driver, after, TOLD_TOGETHER)
            metrics.SEALS_UNTOLD.set(len(found))
            if not found:
                return
            await asyncio.to_thread(self._folder.append, found)
            self._told.update({sealed.seal.lane: (sealed.seal.epoch, sealed.seal.number) for sealed in found})

    def _measure(self, standings: list[Standing]) -> None:
        metrics.SEAL_LAG.set(max(standing.waits_seconds for standing in standings))
        metrics.UNSEALED.set(sum(standing.highest - standing.sealed for standing in standings))
