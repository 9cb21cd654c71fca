"""`python -m ledger restore`: a database that was restored from a backup goes on, in a new epoch.

The ledger refuses to run on a log that is behind what was told (`start`). This gives up what is gone, in one signed
statement a lane, told on the topic before anything of the new epoch: readers read again what they hold beyond it, and a
verifier names it. The relay goes on behind the last position that the log has as it was told.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from chassis import CannotStart
from ledger import start
from ledger import told as topic
from ledger.domain.epochs import EpochStart
from ledger.domain.seals import NO_HASH
from ledger.outside import SealFolder
from ledger.settings import LedgerSettings
from ledger.signing import Keyring
from ledger.store import alone, epochs, log, seals
from ledger.store.epochs import Started

KAFKA_SECONDS: Final = 30.0
"""How long the end of the topic is waited for: without it nothing is restored."""

LEASE_PAUSE_SECONDS: Final = 0.5
"""Between looks whether a lease that came with the backup has ended."""


class NotRestored(CannotStart):
    """Nothing has changed; the message says why."""


class RelayAtWork(Exception):
    """A relay leads; a backup that was only just taken has the lease of the one that led then."""


async def restore(settings: LedgerSettings, *, anyway: bool = False) -> list[EpochStart]:
    """Begin a new epoch. Raises `CannotStart` where that is not called for or not possible; then nothing has changed.

    `anyway`: also where nothing outside shows that the log is behind.
    """
    if settings.migration_database_url is None or settings.seal_key_file is None:
        raise NotRestored(
            "LEDGER_MIGRATION_DATABASE_URL (the owner role) and LEDGER_SEAL_KEY_FILE are needed to restore"
        )
    keys = Keyring.read(settings.seal_key_file, settings.seal_previous_key_file)
    url = settings.migration_database_url.get_secret_value()
    try:
        ends = await topic.ends(settings, KAFKA_SECONDS)
    except start.NO_ANSWER as error:
        raise NotRestored(f"Kafka gives no answer, so nobody knows what was told: {error!r}") from error
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + 2 * settings.relay_lease_seconds
    while True:
        try:
            return await _restore(url, settings, keys, ends, anyway=anyway)
        except RelayAtWork as error:
            if loop.time() > give_up_at:
                raise NotRestored("a worker of this ledger runs: stop everything of it first") from error
        await asyncio.sleep(LEASE_PAUSE_SECONDS)


async def _restore(
    url: str, settings: LedgerSettings, keys: Keyring, ends: Mapping[int, topic.Told], *, anyway: bool
) -> list[EpochStart]:
    async with alone.alone(url) as driver:
        if not await alone.lead(driver):
            raise RelayAtWork
        if not anyway and not await _is_behind(driver, settings, ends):
            raise NotRestored("the log is not behind what was told or sealed: there is nothing to restore")
        count = int(await driver.fetchval("SELECT lanes FROM lane_count"))
        outside = _sealed(settings, count)
        epoch = await seals.epoch(driver)
        new = 1 + max([epoch, *(told.epoch for told in ends.values()), *(seal["epoch"] for seal in outside.values())])
        sent = await epochs.sent_upto(driver)
        ledger, at = await seals.ensure_ledger_id(driver), await driver.fetchval("SELECT clock_timestamp()")
        started = []
        for lane in range(count):
            told = ends.get(lane, topic.Told())
            position = await _kept(driver, lane, sent[lane], told if told.epoch == epoch else topic.Told())
            last = await seals.newest(driver, lane)
            key = keys.current if last is None else keys.for_successor(last.seal.successor)
            of_epoch = [told.position] if told.epoch >= epoch else []
            of_epoch += [outside[lane]["last"]] if lane in outside and outside[lane]["epoch"] >= epoch else []
            beginning = EpochStart(
                ledger=ledger,
                epoch=new,
                lane=lane,
                lanes=count,
                position=position,
                told=max([position, *of_epoch]),
                at=at,
                seal=0 if last is None else last.seal.number,
                seal_hash=NO_HASH if last is None else last.seal.hash,
                key=key.public,
            )
            started.append(Started(beginning, key.sign(beginning.encoded())))
        await epochs.raise_to(driver, new, started)
    return [one.start for one in started]


async def _is_behind(driver: asyncpg.Connection, settings: LedgerSettings, ends: Mapping[int, topic.Told]) -> bool:
    """Whether the ledger would refuse to start. A log that differs is another matter, and raises."""
    try:
        await start.compare(driver, ends)
        if settings.seal_folder is not None:
            await start.check(driver, settings.seal_folder)
    except start.LogBehind:
        return True
    return False


def _sealed(settings: LedgerSettings, lanes: int) -> dict[int, Mapping[str, Any]]:
    """The last seal of each lane outside the database."""
    if settings.seal_folder is None:
        return {}
    folder = SealFolder(settings.seal_folder)
    newest = {lane: folder.newest(lane) for lane in range(lanes)}
    return {lane: seal for lane, seal in newest.items() if seal is not None}


async def _kept(driver: asyncpg.Connection, lane: int, sent: int, told: topic.Told) -> int:
    """The last position of a lane that the log has as it was told: of which the topic has the very event, or up to
    which the relay had sent before the backup was made. What is behind it in the log is told anew."""
    highest = await seals.highest(driver, lane)
    for position in sorted((one for one in told.ids if sent < one <= highest), reverse=True):
        own = await log.LedgerLog().read(driver, {lane: position - 1}, 1)
        if own and own[0].id == told.ids[position]:
            return position
    return min(sent, highest)
