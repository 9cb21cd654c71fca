"""Connections for reads: they may do nothing else, and go where all others go."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import asyncpg
import pytest

from ledger.connections import reader, snapshot
from ledger.settings import LedgerSettings
from local.databases import ServiceDatabase
from testkit.tokens import Tokens

from .conftest import SHOP, Ledger, ledger_of


async def test_reads_go_to_a_host_that_takes_writes(
    service_database: Callable[[str], Awaitable[ServiceDatabase]], tokens: Tokens
) -> None:
    """Where the address asks for one, as it does where another host may take over."""
    database = await service_database("ledger")
    served = replace(database, url=f"{database.url}?target_session_attrs=read-write")
    async with ledger_of(served, tokens) as ledger:
        await ledger.learn()
        await ledger.award("m-1", 100)
        assert await ledger.buckets("m-1") == (100, 0, 0, 0)
        assert [entry["kind"] for entry in await ledger.entries("m-1")] == ["award"]
        exported = await ledger.http.get(f"/v1/shops/{SHOP}/ledger/export")
        assert exported.status_code == 200, exported.text


async def test_a_connection_for_reads_can_write_nothing(ledger: Ledger) -> None:
    await ledger.award("m-1", 100)
    settings, server = ledger.runtime.service.settings, ledger.runtime.database.server
    assert isinstance(settings, LedgerSettings)
    for driver in (await reader(settings, server)(), (await snapshot(settings, server)).driver):
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await driver.execute("UPDATE account SET available = 0")
        await driver.close()
    assert await ledger.buckets("m-1") == (100, 0, 0, 0)
