"""Databases of the ledger for one run each, and the checks without which a run does not count."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from bench.ledger.workload import SHOP
from chassis import Database
from ledger import usecases
from ledger.settings import LedgerSettings
from ledger.store import checking
from local import databases, keys
from local.paths import ROOT
from testkit.system import System

MIGRATIONS: Final = ROOT / "services" / "ledger" / "migrations"
CHECKED_TOGETHER: Final = 500
"""Accounts looked at in one statement."""
CHECK_SECONDS: Final = 3_600.0
"""For one page of the check; there is no hurry."""


@dataclass(frozen=True, slots=True)
class Books:
    """One ledger database of the system's server."""

    name: str
    settings: LedgerSettings
    admin_url: str
    """As the superuser, to look inside."""

    @asynccontextmanager
    async def superuser(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection that may do everything."""
        connection = await asyncpg.connect(self.admin_url)
        try:
            yield connection
        finally:
            await connection.close()

    async def count(self, table: str) -> int:
        """Rows of a table."""
        async with self.superuser() as connection:
            return int(await connection.fetchval(f'SELECT count(*) FROM "{table}"'))

    async def wal_bytes(self) -> int:
        """Where the server's write-ahead log stands."""
        async with self.superuser() as connection:
            return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    async def settle(self) -> None:
        """Statistics and the writes behind a fill are not part of what is measured after it."""
        async with self.superuser() as connection:
            await connection.execute("VACUUM ANALYZE")
            await connection.execute("CHECKPOINT")


async def make(system: System, name: str) -> Books:
    """An empty ledger that knows the shop."""
    admin_url = system.database_url("postgres")
    password = keys.database_password(system.settings)
    made = await databases.ensure(admin_url, service="ledger", password=password, database=name)
    await databases.migrate(made, MIGRATIONS)
    books = _books(system, name)
    database = Database(books.settings, events_from_log=True)
    try:
        programme = usecases.LearnProgramme(shop=SHOP, revision=1, shortfall="forgive", zone="UTC", currency="EUR")
        await database.execute(usecases.learn_programmes, [programme])
    finally:
        await database.close()
    return books


async def copy(system: System, source: Books, name: str) -> Books:
    """The same rows in a database of their own; nobody may be connected to the source."""
    connection = await asyncpg.connect(system.database_url("postgres"))
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source.name}" STRATEGY FILE_COPY')
        await connection.execute(f'GRANT CONNECT ON DATABASE "{name}" TO ledger')
    finally:
        await connection.close()
    return _books(system, name)


async def drop(system: System, books: Books) -> None:
    """Its disk is needed for the next."""
    connection = await asyncpg.connect(system.database_url("postgres"))
    try:
        await connection.execute(f'DROP DATABASE "{books.name}"')
    finally:
        await connection.close()


def _books(system: System, name: str) -> Books:
    admin_url = system.database_url("postgres")
    found = databases.service_database(
        admin_url, service="ledger", password=keys.database_password(system.settings), database=name
    )
    settings = LedgerSettings(
        database_url=found.url, kafka_bootstrap_servers=system.bootstrap_servers, jwks_file=system.tokens.jwks_file
    )
    return Books(name, settings, system.database_url(name))


async def check(books: Books, *, outcomes: int) -> None:
    """A run that leaves wrong books does not count: every key has one outcome, all sums are zero, balances are what a
    replay gives, no number and no link of a chain is missing."""
    kept = await books.count("posting")
    assert kept == outcomes, f"{kept} of {outcomes} outcomes"
    database = Database(books.settings, events_from_log=True)
    after, found = ("", "", ""), checking.Findings()
    try:
        while True:
            async with database.begin() as tx:
                total, _ = await checking.sums(tx.driver, None)
                assert total == 0, f"all accounts together are {total}"
                page = await checking.replay(
                    tx.driver, None, after=after, limit=CHECKED_TOGETHER, chains=True, links=found.links,
                    ends_at=time.monotonic() + CHECK_SECONDS,
                )  # fmt: skip
            found.add(page)
            if page.last is None:
                break
            after = page.last
    finally:
        await database.close()
    wrong = found.replay_mismatches or found.seq_gaps or found.book_mismatches or found.chain_breaks
    assert not wrong, f"wrong books: {found}"
