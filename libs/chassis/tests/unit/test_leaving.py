"""A client that reads is ended whatever its broker does, and no cancellation but the caller's own comes out of it."""

import asyncio
from typing import Any

import pytest

from chassis import consumer
from chassis.consumer import leave


class Client:
    """A client whose end goes as it is told."""

    def __init__(self, *, ends: asyncio.Event | None = None, error: BaseException | None = None) -> None:
        self.closed = False
        self._client = self
        self._coordinator = self._fetcher = None
        self._ends = ends
        self._error = error

    async def stop(self) -> None:
        if self._ends is not None:
            await self._ends.wait()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        self.closed = True


async def test_a_cancellation_of_its_own_tasks_stays_inside() -> None:
    client: Any = Client(error=asyncio.CancelledError())
    await leave(client)
    assert client.closed


async def test_an_end_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "LEAVE_SECONDS", 0.01)
    client: Any = Client(ends=asyncio.Event())
    await leave(client)
    assert client.closed


async def test_other_faults_and_good_ends_are_as_they_are() -> None:
    client: Any = Client(error=OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await leave(client)
    assert client.closed
    client = Client()
    await leave(client)
    assert not client.closed


async def test_the_callers_own_cancellation_is_raised() -> None:
    client: Any = Client(ends=asyncio.Event())
    leaving = asyncio.create_task(leave(client))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
