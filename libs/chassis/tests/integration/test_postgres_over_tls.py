"""A server that speaks TLS only, as hosted ones do: a door of it ends the encryption before the session's server."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from chassis.postgres import Server
from testkit import wait_until
from testkit.certificates import certificates
from testkit.probe import Probe

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""How a caller begins that would speak TLS."""


class Door(NamedTuple):
    """The address of the probe's database behind the door, and who signed for it."""

    url: str
    authority: Path

    def trusting(self, authority: Path) -> str:
        return f"{self.url}?sslmode=verify-full&sslrootcert={authority}"


@pytest.fixture
async def door(offline: Probe, tmp_path: Path) -> AsyncIterator[Door]:
    authority, shown = certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(shown)
    behind = urlsplit(offline.url)

    async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(8) != SSL_REQUEST:
                return
            writer.write(b"S")
            await writer.start_tls(context)
            far_reader, far_writer = await asyncio.open_connection(behind.hostname, behind.port)
            await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the caller has gone
        finally:
            writer.close()

    async with await asyncio.start_server(enter, "127.0.0.1", 0) as server:
        own = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield Door(offline.url.replace(f"{behind.hostname}:{behind.port}", own), authority)


async def test_the_certificate_is_checked_and_what_is_said_is_encrypted(door: Door, tmp_path: Path) -> None:
    connection = await Server(door.trusting(door.authority)).connect()
    assert await connection.fetchval("SELECT 1") == 1
    assert connection._transport.get_extra_info("cipher") is not None
    await connection.close()
    other = tmp_path / "other"
    other.mkdir()
    for url, refusal in (
        (door.trusting(certificates(other)[0]), ssl.SSLCertVerificationError),
        (f"{door.url}?sslmode=disable", OSError),
    ):
        with pytest.raises((refusal, asyncpg.ConnectionDoesNotExistError)):
            await Server(url).connect()


async def test_a_service_runs_on_it(door: Door, offline: Probe) -> None:
    url = SecretStr(door.trusting(door.authority))
    async with offline.process("api", database_url=url), httpx.AsyncClient() as http:

        async def ready() -> bool:
            try:
                return (await http.get(f"http://127.0.0.1:{offline.settings.http_port}/ready")).status_code == 200
            except httpx.TransportError:
                return False

        await wait_until(ready)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
