"""HTTP callers that cost little: raw connections parsed by httptools, so that the server is what is measured."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

from local.child import listens


@dataclass
class Answers:
    """What a run of callers saw."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """A latency in milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Caller(asyncio.Protocol):
    """One connection that sends a request when the last one was answered."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[int] | None = None
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Asyncio's."""
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError())

    def on_message_complete(self) -> None:
        """The parser's: the answer is whole."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(self._parser.get_status_code())
        self._parser = httptools.HttpResponseParser(self)

    async def call(self, request: bytes) -> int:
        """Send a request; the answer's status."""
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


def request(method: str, path: str, port: int, token: str, body: bytes = b"", key: str | None = None) -> bytes:
    """An HTTP/1.1 request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"host: 127.0.0.1:{port}", f"authorization: Bearer {token}"]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    if key:
        lines.append(f"idempotency-key: {key}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def closed_loop(port: int, callers: int, seconds: float, make: Callable[[], bytes]) -> Answers:
    """Each caller asks again as soon as it is answered, for so long."""
    answers = Answers()
    connections = await _connect(port, callers)
    ends_at = time.perf_counter() + seconds

    async def ask(caller: Caller) -> None:
        while (started := time.perf_counter()) < ends_at:
            _note(answers, await caller.call(make()), time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(ask(caller) for caller in connections))
    answers.seconds = time.perf_counter() - started
    for caller in connections:
        caller.close()
    return answers


async def open_loop(
    port: int, per_second: float, seconds: float, make: Callable[[], bytes], callers: int = 64
) -> Answers:
    """Requests at a fixed rate; a latency counts from when the request was due, so that a stall is not hidden."""
    answers = Answers()
    idle: asyncio.Queue[Caller] = asyncio.Queue()
    connections = await _connect(port, callers)
    for caller in connections:
        idle.put_nowait(caller)
    start = time.perf_counter()
    tasks = []

    async def ask(due: float, payload: bytes) -> None:
        caller = await idle.get()
        status = await caller.call(payload)
        _note(answers, status, time.perf_counter() - due)
        idle.put_nowait(caller)

    for number in range(int(per_second * seconds)):
        due = start + number / per_second
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        tasks.append(asyncio.create_task(ask(due, make())))
    await asyncio.gather(*tasks)
    answers.seconds = time.perf_counter() - start
    for caller in connections:
        caller.close()
    return answers


async def _connect(port: int, callers: int) -> list[Caller]:
    if not listens(port):
        raise ConnectionRefusedError(f"nobody listens on 127.0.0.1:{port}")
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Caller, "127.0.0.1", port))[1] for _ in range(callers)]


def _note(answers: Answers, status: int, seconds: float) -> None:
    answers.latencies.append(seconds)
    answers.statuses[status] = answers.statuses.get(status, 0) + 1
