"""A client that has hung itself up, or that cancels what waits for it, costs a session and no more."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from chassis import Consumer, consumer
from chassis.consumer import Worker
from chassis.database import Database
from contracts import topics
from contracts.activities import ActivityRecorded
from testkit import wait_until
from testkit.probe import Record, record, settings_of_nobody

SETTINGS = settings_of_nobody(session_timeout_ms=1_000)
PARTITION = TopicPartition("activities", 0)


class Client:
    """A client at rest; the others are like it, but for one thing."""

    sessions = 0

    def __init__(self, **_: Any) -> None:
        Client.sessions += 1
        self._fetcher = SimpleNamespace()
        self._client = SimpleNamespace(_on_connection_closed=lambda *_: None)

    def subscribe(self, *_: Any, **__: Any) -> None: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def getmany(self, **_: Any) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0.001)
        return {}

    def assignment(self) -> set[TopicPartition]:
        return {PARTITION}

    def paused(self) -> set[TopicPartition]:
        return set()

    def last_poll_timestamp(self, _: TopicPartition) -> int:
        return int(time.time() * 1000)


class NeverAssigned(Client):
    async def start(self) -> None:
        await asyncio.Event().wait()


class NeverBalanced(Client):
    async def getmany(self, **_: Any) -> dict[TopicPartition, list[Any]]:
        await asyncio.Event().wait()
        raise AssertionError


class NeverPolled(Client):
    def last_poll_timestamp(self, _: TopicPartition) -> int:
        return 1


class OnHold(NeverPolled):
    def paused(self) -> set[TopicPartition]:
        return {PARTITION}


class Cancels(Client):
    async def getmany(self, **_: Any) -> dict[TopicPartition, list[Any]]:
        raise asyncio.CancelledError


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "STALLED_SESSIONS", 0.3)
    Client.sessions = 0


def _worker(monkeypatch: pytest.MonkeyPatch, client: type[Client]) -> Worker:
    monkeypatch.setattr(consumer, "AIOKafkaConsumer", client)
    listens = Consumer("activities", topics.ACTIVITIES, {ActivityRecorded: Record.of}, record)
    return Worker("probe", listens, Database(SETTINGS), SETTINGS)


@pytest.mark.parametrize("client", [NeverAssigned, NeverBalanced, NeverPolled, Cancels])
async def test_a_client_that_hangs_is_given_up_for_another(
    monkeypatch: pytest.MonkeyPatch, client: type[Client]
) -> None:
    worker, stop = _worker(monkeypatch, client), asyncio.Event()
    working = asyncio.create_task(worker.run(stop))
    await wait_until(lambda: Client.sessions >= 3)
    stop.set()
    await working
    assert worker.problem is None


@pytest.mark.parametrize("client", [Client, OnHold])
async def test_a_client_at_rest_is_kept(monkeypatch: pytest.MonkeyPatch, client: type[Client]) -> None:
    worker, stop = _worker(monkeypatch, client), asyncio.Event()
    working = asyncio.create_task(worker.run(stop))
    began_at = time.monotonic()
    await wait_until(lambda: time.monotonic() - began_at > 3 * worker._patience)
    stop.set()
    await working
    assert (Client.sessions, worker.problem) == (1, None)


async def test_patience_begins_anew_with_the_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, client = _worker(monkeypatch, NeverPolled), NeverPolled()
    worker._placed_at = time.time()
    worker._require_fetching(client)
    worker._placed_at -= 2 * worker._patience
    with pytest.raises(consumer.Stalled):
        worker._require_fetching(client)


async def test_the_workers_own_cancellation_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = _worker(monkeypatch, Client)
    working = asyncio.create_task(worker.run(asyncio.Event()))
    await wait_until(lambda: Client.sessions == 1)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert Client.sessions == 1


@pytest.mark.parametrize(
    "error", [TimeoutError(), RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed")]
)
async def test_a_hint_that_does_not_arrive_costs_nothing(error: Exception) -> None:
    worker = _at_a_hint()
    await worker._hint(_Refuses(error))
    assert worker._to_hint == {}


async def test_a_bug_in_a_hint_is_one() -> None:
    with pytest.raises(KeyError):
        await _at_a_hint()._hint(_Refuses(KeyError("a bug")))


def _at_a_hint() -> Worker:
    wanted = Consumer("activities", topics.ACTIVITIES, {ActivityRecorded: Record.of}, record)
    worker = Worker("probe", wanted, Database(SETTINGS), SETTINGS)
    worker._to_hint[PARTITION.topic, PARTITION.partition] = 7
    return worker


class _Refuses:
    """A client whose commits fail."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def commit(self, _: Any) -> None:
        raise self._error

    def highwater(self, _: TopicPartition) -> None: ...
