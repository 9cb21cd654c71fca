"""A standby takes over while the ledger runs: with everything it goes on by itself, else never silently."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from chassis import CannotStart
from ledger.app import MIGRATIONS
from ledger.start import LogBehind
from local import databases
from testkit.tokens import Tokens

from .kafka import told
from .sealed import key_file
from .site import Site
from .standby import Pair, pair

NAME = "ledger-one"
"""Of the replica: what an earlier run of it left held ends when it comes back."""


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Pair]:
    with pair(tmp_path) as made:
        yield made


@pytest.fixture
async def site(two: Pair, topics: str, tokens: Tokens, tmp_path: Path) -> Site:
    """A ledger on the primary, whose addresses name both."""
    made = await databases.ensure(two.primary.url, service="ledger", password="test")
    await databases.migrate(made, MIGRATIONS)
    two.copy()
    database = two.of(made)
    return Site(two.primary.url, topics, tokens, tmp_path / "seals", key_file(tmp_path), database, database.url)


async def test_a_standby_that_has_everything_takes_over_and_the_ledger_goes_on(site: Site, two: Pair) -> None:
    await two.commit_on_both()
    with pytest.raises(CannotStart, match="another timeline"):  # whoever runs it starts it again
        async with site.running(instance=NAME) as ledger:
            await ledger.learn()
            await ledger.award("m-1", 10)
            await told(site.servers, 1)
            await two.take_over()
            await ledger.runtime.database.server.moved.wait()
    async with site.running(instance=NAME) as ledger:
        await ledger.award("m-1", 5)
        assert (await ledger.balance("m-1"))["available"] == 15
        await ledger.check()
    assert [record.body["seq"] for record in await told(site.servers, 2, repeats=False)] == [1, 2]


async def test_a_standby_that_lacks_what_was_told_is_not_gone_on_with(site: Site, two: Pair) -> None:
    with pytest.raises(CannotStart, match="another timeline"):
        async with site.running(instance=NAME) as ledger:
            await ledger.learn()
            await ledger.award("m-1", 10)
            await two.until_the_same()
            two.end(two.standby, signal.SIGINT)
            await ledger.award("m-1", 20)
            await told(site.servers, 2)
            await two.take_over()
            await ledger.runtime.database.server.moved.wait()
    with pytest.raises(LogBehind):
        async with site.running(instance=NAME):
            pass
    connection = await asyncpg.connect(site.url)
    assert await connection.fetchval("SELECT epoch FROM epoch") == 1
    assert await connection.fetch("SELECT seq, available FROM entry") == [(1, 10)]  # the refusal changed nothing
    await connection.close()
    restored = site.command("restore")
    assert restored.returncode == 0, restored.stderr
    async with site.running(instance=NAME) as ledger:
        assert (await ledger.balance("m-1"))["available"] == 10
        await ledger.award("m-1", 7)
        assert (await ledger.balance("m-1"))["available"] == 17
        await ledger.check()
