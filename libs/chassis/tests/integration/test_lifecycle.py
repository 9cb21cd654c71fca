"""From start to end: what a process refuses, how it stops, and what a kill or a freeze leaves behind."""

import asyncio
import os
import signal
import sys
import time
import uuid
from typing import Any

import asyncpg
import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

from chassis import Runtime, migrations, schema
from chassis.postgres import Server
from local.child import free_port
from testkit import wait_until
from testkit.probe import HELD, MIGRATIONS, Probe, activity


async def test_a_process_refuses_to_start_on_another_schema(offline: Probe) -> None:
    async with offline.process("api") as process:
        await wait_until(lambda: _live(offline.settings.http_port))
        process.terminate()
        assert await process.wait() == 0
    owner = await asyncpg.connect(offline.url.replace("//chassis:", "//chassis_owner:"))
    await owner.execute("UPDATE alembic_version SET version_num = '0000'")
    await owner.close()
    with pytest.raises(schema.StaleSchema, match="the database has schema 0000, this code needs 0001"):
        await schema.check(Server(offline.url), MIGRATIONS)
    async with offline.process("api") as process:
        assert await process.wait() == 1


async def test_an_empty_database_is_a_stale_schema_too(offline: Probe, postgres: str) -> None:
    with pytest.raises(schema.StaleSchema, match="the database has schema None"):
        await schema.check(Server(postgres), MIGRATIONS)


async def test_no_table_is_made_and_no_process_runs_where_text_is_another(postgres: str) -> None:
    name = f"foreign_{uuid.uuid4().hex[:8]}"
    admin = await asyncpg.connect(postgres)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    url = postgres.rsplit("/", 1)[0] + f"/{name}"
    try:
        with pytest.raises(schema.ForeignText, match="text must be UTF-8 and compared by code points"):
            await asyncio.to_thread(migrations.upgrade, url, MIGRATIONS, "postgres")
        with pytest.raises(schema.ForeignText):
            await schema.check(Server(url), MIGRATIONS)
        inside = await asyncpg.connect(url)
        assert await inside.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0
        await inside.close()
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@pytest.mark.parametrize("way", ["?sslmode=prefer", "?sslmode=disable&application_name=ours"])
async def test_an_address_says_the_same_to_who_migrates_as_to_who_runs(offline: Probe, way: str) -> None:
    owner = offline.url.replace("//chassis:", "//chassis_owner:") + way
    await schema.check(Server(owner), MIGRATIONS)
    await asyncio.to_thread(migrations.upgrade, owner, MIGRATIONS, "chassis")
    await schema.check(Server(offline.url), MIGRATIONS)


async def test_who_migrates_with_a_wrong_password_is_told_so_in_a_line(offline: Probe) -> None:
    wrong = offline.url.replace("//chassis:", "//chassis_owner:wrong-")
    migrating = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "testkit.probe", "migrate"),
        env={**os.environ, **offline.environment(migration_database_url=SecretStr(wrong))},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await migrating.communicate()
    assert migrating.returncode == 1
    assert told.decode().splitlines() == [
        'probe: the database does not let us in: password authentication failed for user "chassis_owner"'
    ]


@pytest.mark.parametrize(
    ("url", "role"),
    [
        ("postgresql://ledger:x@db/ledger", "ledger"),
        ("postgresql://led%40ger:a%2Fb@db:5432/ledger?sslmode=verify-full", "led@ger"),
        ("postgresql://ledger:x@one:5432,two:5433/ledger?target_session_attrs=read-write", "ledger"),
    ],
)
def test_the_role_is_the_addresses(url: str, role: str) -> None:
    assert schema.role_of(url) == role


async def test_the_app_role_cannot_alter_the_schema(offline: Probe) -> None:
    for statement in (
        "CREATE TABLE mine (id int)",
        "DROP TABLE outbox",
        "ALTER TABLE outbox ADD COLUMN x int",
        "UPDATE outbox SET body = ''",
        "UPDATE lane_count SET lanes = 3",
        "DELETE FROM consumer_offset",
        "DELETE FROM idempotency",
        "UPDATE alembic_version SET version_num = '9'",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await offline.query(statement)


async def test_a_graceful_stop_ends_the_batch_in_flight_and_sends_what_it_recorded(probe: Probe) -> None:
    holder = await asyncpg.connect(probe.url)
    await holder.execute("SELECT pg_advisory_lock($1)", HELD)
    stop = asyncio.Event()
    # The relay looks many times between the moment that it is told and the batch's end.
    probe.settings = probe.settings.model_copy(update={"relay_idle_ms": 1})
    runtime = Runtime(probe.service())
    running = asyncio.create_task(runtime.run("worker", stop))
    await probe.publish(activity(1, kind="held"))
    await wait_until(probe.is_held)
    stop.set()
    await holder.close()
    await running
    assert await probe.effects() == ["corner/a-1"]
    assert [record.key for record in await probe.postings(1)] == [b"corner/m-1"]


async def test_a_process_stops_soon_while_its_broker_is_away(offline: Probe) -> None:
    stop = asyncio.Event()
    runtime = Runtime(offline.service())
    running = asyncio.create_task(runtime.run("all", stop))
    async with httpx.AsyncClient() as client:
        await wait_until(lambda: _live(offline.settings.http_port))
        ready = await client.get(f"http://127.0.0.1:{offline.settings.http_port}/ready")
        assert ready.json() == {"status": "ready", "faults": []}  # without a broker the API still answers
    began_at = time.monotonic()
    stop.set()
    await running
    assert time.monotonic() - began_at < 15


async def test_a_worker_killed_in_the_middle_of_a_batch_has_its_partitions_back_at_once_and_nothing_twice(
    probe: Probe,
) -> None:
    """With a name that stays: a stranger would wait for the whole session, here twelve seconds, and for the lease."""
    changes: dict[str, Any] = {"instance": "w-1", "session_timeout_ms": 12_000}
    holder = await asyncpg.connect(probe.url)
    await holder.execute("SELECT pg_advisory_lock($1)", HELD)
    await probe.publish(*(activity(n) for n in range(20)), activity(20, kind="held"))
    async with probe.process(**changes) as process:
        await wait_until(probe.is_held, timeout_seconds=40)
        process.kill()
        await process.wait()
    await holder.close()
    assert await probe.effects() == []
    async with probe.process(**changes):
        await wait_until(lambda: _live(probe.settings.http_port), timeout_seconds=40)
        began_at = time.monotonic()
        await wait_until(lambda: _count(probe, 21), what="the batch")
        await wait_until(lambda: _drained(probe), what="what follows from it, sent by a relay that leads again")
        assert time.monotonic() - began_at < 1
        records = await probe.postings(21)
    assert await probe.effects() == [f"corner/a-{n}" for n in range(21)]
    places = [(dict(r.headers)["ce_lane"], int(dict(r.headers)["ce_position"])) for r in records]
    assert len(set(places)) == 21


async def test_a_worker_frozen_past_its_session_wakes_as_a_zombie_and_applies_nothing_twice(probe: Probe) -> None:
    changes = {"session_timeout_ms": 6_000, "transaction_timeout_seconds": 2}
    holder = await asyncpg.connect(probe.url)
    await holder.execute("SELECT pg_advisory_lock($1)", HELD)
    await probe.publish(*(activity(n) for n in range(10)), activity(10, kind="held"))
    async with probe.process(**changes) as frozen:
        await wait_until(probe.is_held, timeout_seconds=40)
        frozen.send_signal(signal.SIGSTOP)
        await holder.close()
        async with probe.process(http_port=free_port(), **changes):
            await wait_until(lambda: _count(probe, 11), timeout_seconds=60)
            frozen.send_signal(signal.SIGCONT)
            await probe.publish(*(activity(n, member=f"m-{n}") for n in range(11, 60)))
            await wait_until(lambda: _count(probe, 60), timeout_seconds=60)
            await wait_until(lambda: _drained(probe), timeout_seconds=40)
            assert frozen.returncode is None
    assert sorted(await probe.effects()) == sorted(f"corner/a-{n}" for n in range(60))
    assert await probe.query("SELECT sum(position) FROM relay_cursor") == [60]
    assert await probe.query("SELECT count(*) FROM dead_letter") == [0]


async def test_the_span_of_a_sampled_message_is_the_parent_of_what_follows_from_it(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    given = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await probe.publish(activity(1), headers={"traceparent": given})
    async with probe.running():
        (record,) = await probe.postings(1)
        (span,) = await wait_until(spans.get_finished_spans)
    assert (span.name, f"{span.context.trace_id:032x}") == ("apply activities", "0af7651916cd43dd8448eb211c80319c")
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    sent = dict(record.headers)["traceparent"].decode()
    assert sent == f"00-0af7651916cd43dd8448eb211c80319c-{span.context.span_id:016x}-01"


async def _live(port: int) -> bool:
    try:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"http://127.0.0.1:{port}/health")).is_success
    except httpx.TransportError:
        return False


async def _count(probe: Probe, count: int) -> bool:
    return len(await probe.effects()) == count


async def _drained(probe: Probe) -> bool:
    rows = await probe.query("SELECT (SELECT sum(position) FROM relay_cursor) = (SELECT count(*) FROM outbox)")
    return bool(rows[0])


async def test_a_part_that_its_own_client_cancels_does_not_end_unseen(offline: Probe) -> None:
    async def cancelled(_: asyncio.Event) -> None:
        raise asyncio.CancelledError

    runtime = Runtime(offline.service())
    runtime.parts.append(cancelled)
    with pytest.raises(RuntimeError, match="cancelled by what it waited for"):
        await runtime.run("api", asyncio.Event())
