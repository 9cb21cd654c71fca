"""The servers that tests run on: real, fresh for each test, gone with the session."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from testcontainers.core.config import testcontainers_config as library

from contracts.topics import ORDERS
from local import databases
from testkit import servers, wait_until


async def test_postgres_is_real_and_new_enough(postgres: str) -> None:
    connection = await asyncpg.connect(postgres)
    try:
        assert await connection.fetchval("SELECT current_setting('server_version_num')::int / 10000") == 18
        assert await connection.fetchval("SELECT uuidv7() IS NOT NULL")
    finally:
        await connection.close()


async def test_statistics_are_small_samples_whoever_gathers_them(postgres: str) -> None:
    made = await databases.ensure(postgres, service="sampled", password="x")
    for url in (
        made.url,
        made.migration_url,
        databases.address(postgres, role="postgres", password="", database="sampled"),
    ):
        session = await asyncpg.connect(url)
        try:
            assert await session.fetchval("SHOW default_statistics_target") == "10"
        finally:
            await session.close()


async def test_service_roles_are_apart(postgres: str) -> None:
    first = await databases.ensure(postgres, service="apart_one", password="x")
    await databases.ensure(postgres, service="apart_two", password="x")
    await databases.ensure(postgres, service="apart_two", password="x")  # again: nothing to do
    owner = await asyncpg.connect(first.migration_url)
    await owner.execute("CREATE TABLE kept (id int)")
    await owner.close()
    app = await asyncpg.connect(first.url)
    try:
        for forbidden in ("SELECT * FROM kept", "CREATE TABLE mine (id int)", "DROP TABLE kept"):
            try:
                await app.execute(forbidden)
            except asyncpg.InsufficientPrivilegeError:
                continue
            raise AssertionError(f"the app role could: {forbidden}")
        assert await app.fetchval("SHOW lock_timeout") == "10s"
    finally:
        await app.close()
    stranger = databases.address(postgres, role="apart_two", password="x", database="apart_one")
    try:
        await asyncpg.connect(stranger)
    except asyncpg.InsufficientPrivilegeError:
        return
    raise AssertionError("one service's role could enter another's database")


async def test_topics_are_the_contracts_and_empty(topics: str) -> None:
    assert await _count(topics) == 0
    async with AIOKafkaProducer(bootstrap_servers=topics, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(ORDERS.name, b"{}", key=b"shop/member")
    assert await _count(topics) == 1


async def test_topics_are_empty_again_for_the_next_test(topics: str) -> None:
    assert await _count(topics) == 0


async def test_a_killed_session_leaves_no_server(tmp_path: Path) -> None:
    script = tmp_path / "session.py"
    script.write_text(
        "import time\nfrom testkit import servers\n"
        "servers._engine_has = lambda image: False  # containers have a reaper of their own\n"
        "with servers.postgres_server(), servers.kafka_broker():\n    print('up', flush=True)\n    time.sleep(60)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TEST_")}
    session = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment)
    assert session.stdout is not None
    assert await asyncio.to_thread(session.stdout.readline) == b"up\n"
    servers = psutil.Process(session.pid).children(recursive=True)
    assert {"postgres", "java"} <= {server.name() for server in servers}
    session.send_signal(signal.SIGKILL)
    session.wait()
    session.stdout.close()
    await wait_until(lambda: not any(map(_alive, servers)), what="the servers to end")


async def test_containers_are_used_where_their_images_and_their_reaper_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that would have to pull first is passed over."""
    engine = tmp_path / "docker"
    engine.write_text('#!/bin/sh\nshift 2\nfor image; do grep -qx "$image" "$(dirname "$0")/images" || exit 1; done\n')
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    images = tmp_path / "images"
    images.write_text("postgres:18\n")
    monkeypatch.setattr(library, "ryuk_disabled", False)
    assert not servers._engine_has("postgres:18")
    monkeypatch.setattr(library, "ryuk_disabled", True)
    assert servers._engine_has("postgres:18")
    assert not servers._engine_has("apache/kafka:4.3.0")
    monkeypatch.setattr(library, "ryuk_disabled", False)
    images.write_text(f"postgres:18\n{library.ryuk_image}\n")
    assert servers._engine_has("postgres:18")


def test_what_containers_are_made_with_is_where_it_is_looked_for() -> None:
    """In a process of its own, in which a module that has moved is imported for the first time."""
    imports = re.findall(r"from testcontainers\S+ import \w+(?: as \w+)?", Path(servers.__file__).read_text())
    assert len(imports) == 4
    subprocess.run([sys.executable, "-W", "error", "-c", "\n".join(imports)], check=True)


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


async def _count(bootstrap_servers: str) -> int:
    async with AIOKafkaConsumer(ORDERS.name, bootstrap_servers=bootstrap_servers) as consumer:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        starts = await consumer.beginning_offsets(list(consumer.assignment()))
        assert len(ends) == ORDERS.partitions
        return sum(ends[partition] - starts[partition] for partition in ends)
