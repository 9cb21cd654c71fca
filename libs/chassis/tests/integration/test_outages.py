"""The database goes away and comes back: nothing is lost, nothing needs a person, and a stop is still a stop."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from chassis.postgres import NotLetIn, Server
from testkit import wait_until
from testkit.probe import Probe, activity


class Wire:
    """Between a service and its database; it can be cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        await asyncio.gather(_pipe(reader, far_writer), _pipe(far_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def wire(probe: Probe) -> AsyncIterator[Wire]:
    """The probe's settings lead over it; the probe's own questions do not."""
    address = urlsplit(probe.url)
    assert address.hostname is not None
    assert address.port is not None
    wire = Wire(address.hostname, address.port)
    await wire.mend()
    url = probe.url.replace(f"{address.hostname}:{address.port}", f"127.0.0.1:{wire.port}")
    probe.settings = probe.settings.model_copy(update={"database_url": SecretStr(url)})
    yield wire
    await wire.cut()


@pytest.fixture
def shut(probe: Probe, postgres: str) -> Callable[[], AbstractAsyncContextManager[None]]:
    """While it is open, nobody is let into the probe's database; who was in it is out."""
    name = urlsplit(probe.url).path.removeprefix("/")

    @asynccontextmanager
    async def shut() -> AsyncIterator[None]:
        keeper = await asyncpg.connect(postgres)
        try:
            await keeper.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            await keeper.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            yield
        finally:
            await keeper.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            await keeper.close()

    return shut


async def _ready(probe: Probe) -> tuple[int, list[str]]:
    async with httpx.AsyncClient(timeout=20) as client:
        answer = await client.get(f"http://127.0.0.1:{probe.settings.http_port}/ready")
        return answer.status_code, answer.json()["faults"]


async def test_an_outage_is_told_by_readiness_and_ends_by_itself(probe: Probe, wire: Wire) -> None:
    await probe.publish(*(activity(n) for n in range(5)))
    async with probe.running() as runtime:
        await wait_until(lambda: _count(probe, 5))
        await wire.cut()
        await probe.publish(*(activity(n) for n in range(5, 10)))
        status, faults = await _ready(probe)
        assert (status, len(faults)) == (503, 1)
        assert faults[0].startswith("database: ")
        await wire.mend()
        await wait_until(lambda: _count(probe, 10))
        assert len(await probe.postings_without_repeats(10)) == 10
        assert await _ready(probe) == (200, [])
        assert runtime.workers[0].problem is None
    assert await probe.effects() == [f"corner/a-{n}" for n in range(10)]


async def test_a_database_that_lets_nobody_in_for_a_while_is_an_outage(
    probe: Probe, shut: Callable[[], AbstractAsyncContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password that is being changed, a rule of the server's, a database that is being restored: nobody's bug."""
    refused: Counter[str] = Counter()
    connect = Server._connect

    async def counted(server: Server, options: dict[str, Any]) -> asyncpg.Connection:
        try:
            return await connect(server, options)
        except NotLetIn as error:
            refused[str(error)] += 1
            raise

    monkeypatch.setattr(Server, "_connect", counted)
    await probe.publish(*(activity(n) for n in range(5)))
    async with probe.running("all") as runtime:
        await wait_until(lambda: _count(probe, 5))
        async with shut():
            await probe.publish(*(activity(n) for n in range(5, 10)))
            status, faults = await _ready(probe)
            assert (status, faults) == (503, ["database: NotLetIn"])
            await wait_until(lambda: refused.total() >= 20)  # consumer, its queues and relay ask once a second, or more
        await wait_until(lambda: _count(probe, 10))
        assert len(await probe.postings_without_repeats(10)) == 10
        assert await _ready(probe) == (200, [])
        assert runtime.workers[0].problem is None
    assert await probe.effects() == [f"corner/a-{n}" for n in range(10)]


async def test_a_stop_during_an_outage_ends_soon_and_loses_nothing(probe: Probe, wire: Wire) -> None:
    async with probe.running("all"):
        await probe.publish(activity(1))
        await wait_until(lambda: _count(probe, 1))
        await wire.cut()
        await probe.publish(activity(2))
        await wait_until(lambda: _unready(probe))
        began_at = time.monotonic()
    assert time.monotonic() - began_at < 15
    await wire.mend()
    async with probe.running():
        await wait_until(lambda: _count(probe, 2))


async def test_a_stop_while_positions_cannot_be_read_ends_soon(probe: Probe, wire: Wire) -> None:
    await probe.publish(activity(1))
    await wire.cut()
    async with probe.running():
        await wait_until(lambda: _unready(probe))
        began_at = time.monotonic()
    assert time.monotonic() - began_at < 15
    assert await probe.effects() == []


async def _unready(probe: Probe) -> bool:
    try:
        return (await _ready(probe))[0] == 503
    except httpx.TransportError:
        return False


async def _count(probe: Probe, count: int) -> bool:
    return len(await probe.effects()) == count
