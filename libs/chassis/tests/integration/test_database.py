"""Transactions and their connections: what becomes of both when work ends well, badly, or not at all."""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial

import asyncpg
import pytest

from chassis import Outcome, Transaction
from chassis import database as module
from chassis.database import Database
from chassis.faults import is_transient
from contracts.postings import PostingRequested
from testkit import wait_until
from testkit.probe import HELD, Probe


@pytest.fixture
async def one(offline: Probe) -> Database:
    """A database of one connection, so that whoever comes next gets the same one, if it is still good."""
    return Database(offline.settings.model_copy(update={"database_connections": 1}))


async def test_what_fails_is_rolled_back_and_its_connection_serves_the_next(one: Database, offline: Probe) -> None:
    with pytest.raises(KeyError):
        async with one.begin([1]) as tx:
            first = await _note(tx.driver)
            raise KeyError
    async with one.begin([1]) as tx:
        assert await _pid(tx.driver) == first
    assert await offline.effects() == []
    await one.close()


async def test_only_what_leaves_something_to_publish_wakes_the_relay(one: Database, offline: Probe) -> None:
    async def quiet(tx: Transaction, commands: Sequence[object]) -> Outcome:
        await _note(tx.driver)
        return Outcome()

    async def telling(tx: Transaction, commands: Sequence[object]) -> Outcome:
        return Outcome(events=[PostingRequested.example()])

    await one.execute(quiet, [])
    assert not one.committed.is_set()
    await one.execute(telling, [])
    assert one.committed.is_set()
    await one.close()
    from_log = Database(offline.settings, events_from_log=True)
    async with from_log.begin():
        pass
    assert from_log.committed.is_set()
    await from_log.close()


async def test_what_is_cancelled_is_rolled_back_and_frees_its_lanes_with_its_connection(
    one: Database, offline: Probe
) -> None:
    pids = []

    async def stay() -> None:
        async with one.begin([1]) as tx:
            pids.append(await _note(tx.driver))
            await tx.driver.execute("SELECT pg_advisory_xact_lock($1)", HELD)

    holder = await asyncpg.connect(offline.url)
    await holder.execute("SELECT pg_advisory_lock($1)", HELD)
    work = asyncio.create_task(stay())
    await wait_until(offline.is_held)
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    async with one.begin([1]) as tx:
        assert [await _pid(tx.driver)] != pids
    assert await offline.effects() == []
    await holder.close()
    await one.close()


@pytest.mark.parametrize("what", [KeyError, TimeoutError, asyncio.CancelledError])
async def test_what_ended_work_is_told_and_not_that_its_connection_was_gone(
    one: Database, offline: Probe, what: type[BaseException]
) -> None:
    """A cancellation above all: who is cancelled and hears of a fault goes on, and who waits for its end waits on."""
    with pytest.raises(what):
        async with one.begin([1]) as tx:
            pid = await _note(tx.driver)
            await _terminate(offline, pid)
            await wait_until(partial(_is_gone, tx.driver))
            raise what
    async with one.begin([1]) as tx:
        assert await _pid(tx.driver) != pid
    assert await offline.effects() == []
    await one.close()


async def test_a_connection_that_ended_between_two_transactions_costs_nobody_anything(
    one: Database, offline: Probe
) -> None:
    async def tell(tx: Transaction, _: Sequence[object]) -> Outcome:
        return Outcome(answers=[await _pid(tx.driver)])

    (pid,) = await one.execute(tell, [])
    await _terminate(offline, pid)
    assert await one.execute(tell, []) != [pid]
    await one.close()


async def test_what_fails_without_a_word_of_the_server_ends_its_connection(one: Database) -> None:
    with pytest.raises(TimeoutError):
        async with one.look() as driver:
            pid = await _pid(driver)
            raise TimeoutError
    async with one.look() as driver:
        assert await _pid(driver) != pid
    await one.close()


async def test_a_connection_to_a_server_that_takes_no_writes_any_more_is_not_used_again(
    one: Database, offline: Probe
) -> None:
    """Where an address that moves, or a proxy, has left it with what has become a replica."""
    async with one.look() as driver:
        pid = await _pid(driver)
        await driver.execute("SET default_transaction_read_only = on")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with one.begin() as tx:
            await _note(tx.driver)
    async with one.begin() as tx:
        assert await _note(tx.driver) != pid
    assert await offline.effects() == ["corner/a-1"]
    await one.close()


async def test_who_waits_too_long_for_a_connection_may_come_again(
    one: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POOL_TIMEOUT_SECONDS", 0.05)
    async with one.begin():
        with pytest.raises(TimeoutError) as refused:
            async with one.begin():
                pass
    assert is_transient(refused.value)
    async with one.begin():
        pass
    await one.close()


async def test_closing_waits_a_moment_for_what_is_under_way_and_cuts_it_then(
    one: Database, offline: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.05)
    with pytest.raises(asyncpg.InterfaceError):
        async with one.begin() as tx:
            await _note(tx.driver)
            await one.close()
    assert await offline.effects() == []


async def _note(driver: asyncpg.Connection) -> int:
    """Write something, and say on which connection."""
    await driver.execute("INSERT INTO effect (activity, member) VALUES ('corner/a-1', 'm-1')")
    return await _pid(driver)


async def _pid(driver: asyncpg.Connection) -> int:
    return int(await driver.fetchval("SELECT pg_backend_pid()"))


async def _terminate(offline: Probe, pid: int) -> None:
    connection = await asyncpg.connect(offline.url)
    await connection.execute("SELECT pg_terminate_backend($1, 5000)", pid)
    await connection.close()


def _is_gone(driver: asyncpg.Connection) -> bool:
    try:
        return driver.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken it back already
        return True
