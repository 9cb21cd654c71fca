"""The ledger's own process on one of the databases: what callers and Kafka meet."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from bench.ledger.books import Books
from local import system as parts
from local.child import free_port
from testkit import process
from testkit.system import System


@asynccontextmanager
async def serving(
    system: System, books: Books, mode: str = "all", more: Mapping[str, str] | None = None
) -> AsyncIterator[int]:
    """`python -m ledger` until the block ends; its port."""
    port = free_port()
    told = {**environment(system, books), "LEDGER_HTTP_PORT": str(port), **(more or {})}
    async with process.running("ledger", mode, told, log=system.log(f"ledger-{mode}")):
        yield port


def environment(system: System, books: Books) -> Mapping[str, str]:
    """What the ledger is told to be on this database. Seals of one are not another's, so they stay in the database."""
    told = dict(parts.service_environment(system.settings, "ledger"))
    del told["LEDGER_SEAL_FOLDER"]
    return {**told, "LEDGER_DATABASE_URL": books.settings.database_url.get_secret_value()}
