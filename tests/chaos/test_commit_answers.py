"""The proxy loses what it should: a COMMIT's answer, a COMMIT on its way, or one that was never sent."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from bench.chaos.ledger.proxy import Cut, Proxy, is_commit, proxy_to
from chassis.faults import is_transient


@pytest_asyncio.fixture
async def table(postgres: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection past the proxy, and an empty table `noted`."""
    direct = await asyncpg.connect(postgres)
    await direct.execute("CREATE TABLE noted (number integer)")
    yield direct
    await direct.execute("DROP TABLE noted")
    await direct.close()


async def note(postgres: str, proxy: Proxy, number: int) -> None:
    """One row in one transaction, through the proxy."""
    connection = await asyncpg.connect(host="127.0.0.1", port=proxy.port, user="postgres", database="postgres")
    try:
        async with connection.transaction():
            await connection.execute("INSERT INTO noted VALUES ($1)", number)
    finally:
        connection.terminate()


@pytest.mark.parametrize(("how", "kept"), [(Cut.ANSWERED, [1, 2]), (Cut.UNSENT, [2]), (Cut.SENT, None)])
async def test_the_next_commit_is_cut_and_the_one_after_it_is_not(
    postgres: str, table: asyncpg.Connection, how: Cut, kept: list[int] | None
) -> None:
    """Its caller sees a fault that is worth another try, whatever became of it."""
    async with proxy_to(urlsplit(postgres).port or 5432) as proxy:
        cut = asyncio.create_task(proxy.cut_next_commit(how, timeout_seconds=10))
        await asyncio.sleep(0)
        with pytest.raises((OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)) as failed:
            await note(postgres, proxy, 1)
        assert is_transient(failed.value)
        assert await cut is True
        await note(postgres, proxy, 2)
    found = [row["number"] for row in await table.fetch("SELECT number FROM noted ORDER BY number")]
    assert found == kept if kept is not None else found in ([2], [1, 2])


async def test_all_connections_break_at_once(postgres: str) -> None:
    async with proxy_to(urlsplit(postgres).port or 5432) as proxy:
        connection = await asyncpg.connect(host="127.0.0.1", port=proxy.port, user="postgres", database="postgres")
        assert proxy.cut_all() == 1
        with pytest.raises((OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
            await connection.fetchval("SELECT 1")
        connection.terminate()
        assert await proxy.cut_next_commit(Cut.SENT, timeout_seconds=0.01) is False


def test_only_a_commit_is_taken_for_one() -> None:
    assert is_commit(b"Q\x00\x00\x00\x0cCOMMIT;\x00")
    assert is_commit(b"Q\x00\x00\x00\x0bCOMMIT\x00")
    assert not is_commit(b"Q\x00\x00\x00\x0eROLLBACK;\x00")
    assert not is_commit(b"P\x00\x00\x00\x0cCOMMIT;\x00")
    assert not is_commit(b"")
