"""Several hosts of which one serves, and connections whose other side may vanish."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from chassis import CannotStart, Runtime, postgres, schema
from chassis.database import Database
from chassis.faults import is_transient
from chassis.postgres import NotLetIn, OtherTimeline, Server
from local.child import free_port
from testkit import wait_until
from testkit.probe import MIGRATIONS, Probe

SSL_REQUEST = (80877103).to_bytes(4, "big")
"""Behind its length: what a caller begins with that would rather speak TLS."""

_SESSIONS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

WRONG = "a-wrong-password"


@pytest.fixture(autouse=True)
def _hosts_answer_soon_or_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", 1.0)


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """A host that takes connections and never says a word on them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


@pytest.fixture
async def starting() -> AsyncIterator[int]:
    """The port of a server that is starting up, and tells so."""
    fields = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while (await reader.read(1_024))[4:] == SSL_REQUEST:
                writer.write(b"N")
            writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_host_that_is_silent_holds_up_only_the_first(offline: Probe, deaf: socket.socket) -> None:
    server = Server(_with_hosts(offline.url, deaf.getsockname()[1], None))
    for _ in range(3):
        connection = await server.connect()
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    assert _callers(deaf) == 1


async def test_who_was_cancelled_at_a_silent_host_begins_with_the_next(offline: Probe, deaf: socket.socket) -> None:
    """As a pool does that waits for less long than a host is waited for."""
    server = Server(_with_hosts(offline.url, deaf.getsockname()[1], None))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await server.connect()
    connection = await server.connect()
    assert await connection.fetchval("SELECT 1") == 1
    assert _callers(deaf) == 1
    await connection.close()


async def test_a_host_that_refuses_or_starts_up_is_passed_over(offline: Probe, starting: int) -> None:
    connection = await Server(_with_hosts(offline.url, free_port(), starting, None)).connect()
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_where_no_host_serves_it_says_what_the_last_one_said(offline: Probe, starting: int) -> None:
    server = Server(_with_hosts(offline.url, free_port(), starting))
    with pytest.raises(asyncpg.CannotConnectNowError) as told:
        await server.connect()
    assert is_transient(told.value)


async def test_a_host_that_does_not_let_us_in_is_passed_over(offline: Probe) -> None:
    """Such as one that served before, and has become something else."""
    wrong = [_let_in_nobody(offline.url), offline.url.replace(f"/{_database(offline)}", "/gone")]
    for url in wrong:
        server = Server(offline.url)
        server._hosts = [url, offline.url]
        connection = await server.connect()
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_a_server_that_does_not_let_us_in_says_why_and_may_later(offline: Probe) -> None:
    said = f'password authentication failed for user "{urlsplit(offline.url).username}"'
    with pytest.raises(NotLetIn) as told:
        await Server(_let_in_nobody(offline.url)).connect()
    assert str(told.value) == f"the database does not let us in: {said}"
    assert is_transient(told.value)


@pytest.mark.parametrize("reach", [lambda port: (port, None), lambda _: (None,)], ids=["second", "only"])
async def test_both_sides_notice_when_the_other_has_vanished(
    offline: Probe, deaf: socket.socket, reach: Callable[[int], tuple[int | None, ...]]
) -> None:
    url = _with_hosts(offline.url, *reach(deaf.getsockname()[1]))
    database = Database(offline.settings.model_copy(update={"database_url": SecretStr(url)}))
    async with database.look() as driver:
        own = driver._con._transport.get_extra_info("socket")
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert {
            name: own.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        } == {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 20_000}
        assert [
            await driver.fetchval(f"SHOW {name}")
            for name in (
                "tcp_keepalives_idle",
                "tcp_keepalives_interval",
                "tcp_keepalives_count",
                "tcp_user_timeout",
            )
        ] == ["10", "5", "2", "20000"]
    await database.close()


async def test_nothing_is_asked_of_a_server_that_goes_on_in_another_timeline(
    offline: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(offline.url)
    await (await server.connect()).close()
    monkeypatch.setattr(postgres, "_TIMELINE", "SELECT '00000007'")
    for _ in range(2):
        with pytest.raises(OtherTimeline) as told:
            await server.connect()
        assert is_transient(told.value)
    assert server.moved.is_set()
    await wait_until(lambda: _has_no_session(offline))


async def test_a_process_ends_when_its_database_goes_on_in_another_timeline(
    offline: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, stop = Runtime(offline.service()), asyncio.Event()
    await schema.check(runtime.database.server, MIGRATIONS)
    running = asyncio.create_task(runtime.run("api", stop))

    async def is_ready() -> bool:
        return (await runtime.readiness())[0]

    async def is_found_out() -> bool:
        return not await is_ready() and runtime.database.server.moved.is_set()

    await wait_until(is_ready)
    monkeypatch.setattr(postgres, "_TIMELINE", "SELECT '00000007'")
    await offline.query(f"SELECT pg_terminate_backend(pid) {_SESSIONS}")
    await wait_until(is_found_out)  # by whoever asks for the database next
    with pytest.raises(CannotStart, match="another timeline"):
        await running
    assert stop.is_set()


async def test_a_server_that_says_no_timeline_is_taken_as_it_is(
    offline: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(offline.url)
    for question in ("SELECT pg_no_such_function()", postgres._TIMELINE):
        monkeypatch.setattr(postgres, "_TIMELINE", question)
        connection = await server.connect()
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    assert not server.moved.is_set()


def _let_in_nobody(url: str) -> str:
    role, password = urlsplit(url).username, urlsplit(url).password
    return url.replace(f"{role}:{password}@", f"{role}:{WRONG}@")


def _database(probe: Probe) -> str:
    return urlsplit(probe.url).path.removeprefix("/")


def _with_hosts(url: str, *ports: int | None) -> str:
    """The same address with hosts at these ports of this machine; None for its own host."""
    hosts = urlsplit(url).netloc.rpartition("@")[2]
    return url.replace(hosts, ",".join(hosts if port is None else f"127.0.0.1:{port}" for port in ports))


def _callers(server: socket.socket) -> int:
    """How many have come since."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


async def _has_no_session(probe: Probe) -> bool:
    return await probe.query(f"SELECT count(*) {_SESSIONS}") == [0]
