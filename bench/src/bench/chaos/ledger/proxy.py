"""A way to Postgres that can lose the answer to a COMMIT, so that nobody on this side knows whether it happened."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

CHUNK_BYTES: Final = 65_536

_COMMIT: Final = (b"COMMIT\x00", b"COMMIT;\x00")
_QUERY_HEAD_BYTES: Final = 5
"""Of a simple query: its letter Q and its length."""


class Cut(StrEnum):
    """What becomes of the next COMMIT."""

    ANSWERED = "commit done, its answer lost"
    """Postgres has said that it is done, and the connection breaks before that arrives."""
    SENT = "connection cut while committing"
    """It is on its way, and the connection breaks: done or not."""
    UNSENT = "connection cut before its commit"


def is_commit(data: bytes) -> bool:
    """Whether a client sends the simple query COMMIT: the driver sends it alone, as it waits for what came before."""
    return data[:1] == b"Q" and data[_QUERY_HEAD_BYTES:] in _COMMIT


@dataclass(eq=False)
class Proxy:
    """Forwards every connection to Postgres until told otherwise."""

    target_port: int
    port: int = 0
    _connections: set["_Connection"] = field(default_factory=set)
    _next: "asyncio.Future[Cut] | None" = None
    """Waits for a COMMIT to be cut."""
    _how: Cut = Cut.ANSWERED

    async def cut_next_commit(self, how: Cut, *, timeout_seconds: float) -> bool:
        """Cut the connection of the next COMMIT; whether one came in time."""
        self._how = how
        self._next = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self._next, timeout_seconds)
        except TimeoutError:
            return False
        finally:
            self._next = None
        return True

    def cut_all(self) -> int:
        """Break every connection there is; how many."""
        cut = list(self._connections)
        for connection in cut:
            connection.cut()
        return len(cut)

    def claim(self, data: bytes) -> Cut | None:
        """How to cut the connection that sends this; None to let it pass."""
        if self._next is None or self._next.done() or not is_commit(data):
            return None
        self._next.set_result(self._how)
        return self._how

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:  # Postgres is away, and so is this way to it
            writer.transport.abort()
            return
        connection = _Connection(self, (reader, writer), (far_reader, far_writer))
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(eq=False)
class _Connection:
    """One client and its server."""

    proxy: Proxy
    near: Ends
    far: Ends
    _lose_answer: bool = False
    """What the server says next is the answer that gets lost."""

    async def run(self) -> None:
        """Until either side ends, or it is cut."""
        with contextlib.suppress(OSError):
            _, pending = await asyncio.wait(
                [asyncio.create_task(self._forth()), asyncio.create_task(self._back())],
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        self.cut()

    def cut(self) -> None:
        """Break it on both sides, as a network does: nobody says goodbye."""
        for _, writer in (self.near, self.far):
            writer.transport.abort()

    async def _forth(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self.near[0].read(CHUNK_BYTES):
                how = self.proxy.claim(data)
                if how is Cut.UNSENT:
                    return
                self._lose_answer = how is not None  # of one that is only sent too, should it be there already
                self.far[1].write(data)
                await self.far[1].drain()
                if how is Cut.SENT:
                    await asyncio.sleep(0)
                    return

    async def _back(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self.far[0].read(CHUNK_BYTES):
                if self._lose_answer:
                    return
                self.near[1].write(data)
                await self.near[1].drain()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    """A proxy on a free port."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)  # noqa: SLF001 - its own server
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut_all()
