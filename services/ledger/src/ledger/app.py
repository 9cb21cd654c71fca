"""The whole ledger on one page: what it listens to, what it does on time, what it answers."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import asyncpg

from chassis import Outcome, Runtime, Service, Transaction
from chassis.database import keep_as_it_is
from ledger import api, consumers, start
from ledger.connections import reader, snapshot
from ledger.jobs import jobs
from ledger.settings import LedgerSettings
from ledger.store.log import LedgerLog

MIGRATIONS = Path(__file__).parents[2] / "migrations"

READ_CONNECTIONS = 4
"""Of one process, besides the one for balances: a read takes a fraction of a millisecond."""


def build(settings: LedgerSettings | None = None) -> Service:
    """The service."""
    settings = settings or LedgerSettings()
    return Service(
        name="ledger",
        settings=settings,
        title="Accrual · ledger",
        description="Accounts, lots, holds, and the append-only history of every movement of points.",
        migrations=MIGRATIONS,
        routes=api.ROUTERS,
        consumers=[consumers.POSTINGS, consumers.PROGRAMMES],
        jobs=jobs(settings),
        problems=api.STATUSES,
        log=LedgerLog(),
        startup=_start,
        shutdown=_close_desk,
    )


async def _start(runtime: Runtime) -> None:
    settings = runtime.service.settings
    assert isinstance(settings, LedgerSettings)
    if settings.seal_folder is not None:
        check = partial(_hold_against, settings.seal_folder)
        await runtime.database.execute(check, [], retry_seconds=start.START_SECONDS)
    log = runtime.service.log
    assert isinstance(log, LedgerLog)
    topic = start.ToldCheck(runtime.database, settings, log)
    if not await topic.first():
        runtime.parts.append(topic.later)
    await _open_desk(runtime, settings)


async def _hold_against(folder: Path, tx: Transaction, _: Sequence[object]) -> Outcome:
    await start.check(tx.driver, folder)
    return Outcome()


async def _open_desk(runtime: Runtime, settings: LedgerSettings) -> None:
    """Reads have connections of their own: they may do nothing else, and never wait for a posting's."""
    server = runtime.database.server
    connect = reader(settings, server)
    pool = await asyncpg.create_pool(connect=connect, min_size=0, max_size=READ_CONNECTIONS, reset=keep_as_it_is)
    runtime.extras["desk"] = api.Desk(runtime.database, pool, connect, partial(snapshot, settings, server))


async def _close_desk(runtime: Runtime) -> None:
    await runtime.extras["desk"].close()
