"""Jobs and the relay's lead: one runner at a time, replaced when it is gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from chassis import Job, Outcome, jobs
from chassis.database import Database
from chassis.jobs import JobRunner
from chassis.outbox import OUTBOX, Outbox, Outgoing, append
from chassis.relay import LostLead, Relay
from contracts.postings import PostingRequested
from contracts.programmes import ProgrammeChanged
from local import child
from testkit import wait_until
from testkit.probe import Probe


class Runs:
    """A job that says who runs and stays until it is let go."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.let_go = asyncio.Event()

    def job(self, who: str) -> Job:
        async def run(database: Database, stop: asyncio.Event) -> None:
            self.running.append(who)
            try:
                await self.let_go.wait()
            finally:
                self.running.remove(who)

        return Job("tidy", 0.02, run)


class CountingDatabase(Database):
    """Counts the looks that have ended."""

    looks = 0

    @asynccontextmanager
    async def look(self) -> AsyncIterator[asyncpg.Connection]:
        async with super().look() as driver:
            yield driver
        self.looks += 1


async def test_one_runner_at_a_time_and_the_next_takes_over_when_it_stops(offline: Probe) -> None:
    runs, database = Runs(), CountingDatabase(offline.settings)
    stops = {who: asyncio.Event() for who in ("one", "two")}
    one = asyncio.create_task(JobRunner(runs.job("one"), database, "one").run(stops["one"]))
    await wait_until(lambda: runs.running == ["one"])
    before = database.looks
    two = asyncio.create_task(JobRunner(runs.job("two"), database, "two").run(stops["two"]))
    await wait_until(lambda: database.looks >= before + 2)
    assert runs.running == ["one"]
    stops["one"].set()
    runs.let_go.set()
    await one
    runs.let_go.clear()
    await wait_until(lambda: runs.running == ["two"])
    assert await offline.query("SELECT owner FROM lease") == ["two"]
    stops["two"].set()
    runs.let_go.set()
    await two
    assert await offline.query("SELECT owner FROM lease") == []
    await database.close()


async def test_a_runner_that_was_killed_is_replaced_when_its_lease_ends(
    offline: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LEASE_SECONDS", 0.6)
    runs, database, stop = Runs(), Database(offline.settings), asyncio.Event()
    killed = asyncio.create_task(JobRunner(runs.job("killed"), database, "killed").run(asyncio.Event()))
    await wait_until(lambda: runs.running == ["killed"])
    killed.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await killed
    await offline.query("UPDATE lease SET owner = 'killed'")  # a killed process gives nothing up
    runs.running.clear()
    other = asyncio.create_task(JobRunner(runs.job("other"), database, "other").run(stop))
    await wait_until(lambda: runs.running == ["other"])
    stop.set()
    runs.let_go.set()
    await other
    await database.close()


async def test_a_runner_that_lost_its_lease_stops_at_once_and_runs_again_later(
    offline: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LEASE_SECONDS", 0.3)
    runs, database, stop = Runs(), Database(offline.settings), asyncio.Event()
    runner = asyncio.create_task(JobRunner(runs.job("one"), database, "one").run(stop))
    await wait_until(lambda: runs.running == ["one"])
    await offline.query("UPDATE lease SET owner = 'thief', expires_at = clock_timestamp() + interval '1 hour'")
    await wait_until(lambda: runs.running == [])
    await offline.query("DELETE FROM lease")
    await wait_until(lambda: runs.running == ["one"])
    stop.set()
    runs.let_go.set()
    await runner
    await database.close()


async def test_a_job_that_runs_often_renews_its_lease_seldom(offline: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times in a lease's length and not at every run: at rest the lease would be all that is written."""
    database, stop, ends = Database(offline.settings), asyncio.Event(), []

    async def run(database: Database, stop: asyncio.Event) -> None:
        ends.extend(await offline.query("SELECT expires_at FROM lease"))
        if len(ends) == 10:
            monkeypatch.setattr(jobs.time, "monotonic", lambda: now() + jobs.LEASE_SECONDS / jobs.RENEWALS)
        if len(ends) == 20:
            stop.set()

    now = jobs.time.monotonic
    await JobRunner(Job("busy", 0.001, run), database, "one").run(stop)
    assert [ends.count(end) for end in sorted(set(ends))] == [10, 10]
    await database.close()


async def test_a_job_that_fails_runs_again(offline: Probe) -> None:
    database, stop, tries = Database(offline.settings), asyncio.Event(), []

    async def run(database: Database, stop: asyncio.Event) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ZeroDivisionError
        stop.set()

    await JobRunner(Job("flaky", 0.01, run), database, "one").run(stop)
    assert len(tries) == 3
    await database.close()


async def test_a_relay_sends_the_present_state_again_when_it_takes_the_lead(probe: Probe) -> None:
    """A late repeat of an old leader is never what stays on a compacted topic."""
    state = ProgrammeChanged.example()

    async def present(tx: Any, commands: Any) -> Outcome:
        return Outcome(events=[state])

    for expected in (1, 2):
        async with probe.running("worker", present=present):
            await wait_until(lambda count=expected: _sent(probe, count))


async def _sent(probe: Probe, count: int) -> bool:
    return sum(await probe.query("SELECT position FROM relay_cursor")) == count


class CountingOutbox(Outbox):
    """Counts how often it was looked at."""

    looks = 0

    async def read(self, driver: asyncpg.Connection, after: Mapping[int, int], limit: int) -> Sequence[Outgoing]:
        self.looks += 1
        return await super().read(driver, after, limit)


async def test_a_relay_looks_once_for_each_commit_of_its_own_process(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that finds nothing, after each small round, was half of all looks at some ten commits a second."""
    monkeypatch.setattr("chassis.relay.BUSY_MS", 60_000)
    database, outbox, stop = Database(probe.settings), CountingOutbox(), asyncio.Event()

    async def post(tx: Any, commands: Any) -> Outcome:
        return Outcome(events=[PostingRequested.example()])

    relaying = asyncio.create_task(Relay("probe", database, outbox, probe.settings, "one").run(stop))
    await wait_until(lambda: outbox.looks == 1)
    for count in (1, 2, 3):
        await database.execute(post, [])
        await wait_until(lambda count=count: _sent(probe, count))
    assert outbox.looks == 4
    stop.set()
    database.committed.set()
    await relaying
    await database.close()


async def test_a_relay_that_finds_it_has_lost_the_lead_has_the_present_state_sent_again(probe: Probe) -> None:
    """It may just have repeated an old state behind the new leader's newer one."""
    database = Database(probe.settings)
    state = ProgrammeChanged.example()
    presented = 0

    async def present(tx: Any, commands: Any) -> Outcome:
        nonlocal presented
        presented += 1
        return Outcome(events=[state])

    relay = Relay("probe", database, OUTBOX, probe.settings, "old", present)

    async def lost(*arguments: Any) -> None:
        stop.set()
        raise LostLead

    relay._move = lost  # type: ignore[method-assign]
    stop = asyncio.Event()
    await relay.run(stop)
    assert presented == 2  # on taking the lead, and on having lost it
    assert await probe.query("SELECT count(*) FROM outbox") == [2]
    await database.close()


async def test_a_relay_records_no_present_state_while_kafka_is_away(probe: Probe) -> None:
    """It tries to lead once a second, and an outage may be long."""
    settings = probe.settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{child.free_port()}"})
    database = Database(settings)

    async def present(tx: Any, commands: Any) -> Outcome:
        return Outcome(events=[ProgrammeChanged.example()])

    relay, stop, leads = Relay("probe", database, OUTBOX, settings, "one", present), asyncio.Event(), 0
    take = relay._lease

    async def counted() -> bool:
        nonlocal leads
        leads += 1
        if leads == 3:
            stop.set()
        return await take()

    relay._lease = counted  # type: ignore[method-assign]
    await relay.run(stop)
    assert leads == 3
    assert await probe.query("SELECT count(*) FROM outbox") == [0]
    await database.close()


async def test_a_relay_publishes_again_what_it_is_not_sure_of(probe: Probe) -> None:
    """Sent and not acknowledged, or acknowledged and the cursor not moved: sent again, at the same place, in order."""
    database = Database(probe.settings)
    async with database.begin() as tx:
        await append(tx.driver, [ProgrammeChanged.example()] * 3, lanes=tx.lane_count)
    relay = Relay("probe", database, OUTBOX, probe.settings, "one")
    move = relay._move

    async def moved_once(*arguments: Any) -> None:
        relay._move = move  # type: ignore[method-assign]
        raise ConnectionResetError("the database went away")

    relay._move = moved_once  # type: ignore[method-assign]
    stop = asyncio.Event()
    running = asyncio.create_task(relay.run(stop))
    await wait_until(lambda: _sent(probe, 3))
    stop.set()
    await running
    records = await probe.records("programmes", 6)
    assert [int(dict(record.headers)["ce_position"]) for record in records] == [1, 2, 3, 1, 2, 3]
    assert len({dict(record.headers)["ce_id"] for record in records}) == 3
    await database.close()
