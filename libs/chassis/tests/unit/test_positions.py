"""Where a consumer goes on: what it takes for a log that does not fit."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from aiokafka import TopicPartition

from chassis import Consumer, Outcome, consumer, fence
from chassis.consumer import Worker
from chassis.fence import Position
from contracts import topics

TOPIC_ID = UUID(int=7)
PARTITION = TopicPartition("activities", 0)


class _Log:
    """A partition that another owner is still reading while it grows."""

    def __init__(
        self, *, begin: int, end: int, position: int, latest: int | None = None, later: int | None = None
    ) -> None:
        self.begin, self.end, self.position = begin, end, position
        self.latest, self.later = latest, later
        self.moved: list[Any] = []
        self.grows_by = 0
        self.sought: int | None = None

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.begin)

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.end)

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        assert self.latest is not None
        assert set(times.values()) == {self.latest + 1}
        found = None if self.later is None else SimpleNamespace(offset=self.later)
        return dict.fromkeys(times, found)

    def seek(self, _: TopicPartition, position: int) -> None:
        self.sought = position

    @asynccontextmanager
    async def begin_transaction(self) -> AsyncIterator[Any]:
        self.end += self.grows_by
        self.position += self.grows_by
        yield SimpleNamespace(driver=None)


def _worker(log: _Log, monkeypatch: pytest.MonkeyPatch) -> Worker:
    async def ids(*_: Any) -> dict[str, UUID]:
        return {"activities": TOPIC_ID}

    async def positions(*_: Any) -> dict[tuple[str, int], Position]:
        return {("activities", 0): Position(log.position, TOPIC_ID, log.latest)}

    async def advance(_: Any, name: str, moves: Any) -> None:
        log.moved.append((name, moves))

    async def nothing(tx: Any, commands: Any) -> Outcome:
        return Outcome()

    monkeypatch.setattr(consumer, "topic_ids", ids)
    monkeypatch.setattr(fence, "read", positions)
    monkeypatch.setattr(fence, "advance", advance)
    settings: Any = SimpleNamespace(
        dead_letters_per_shop=100, dead_letter_shops=5, batch_size=1_000, session_timeout_ms=10_000
    )
    database: Any = SimpleNamespace(begin=log.begin_transaction)
    return Worker("test", Consumer("activities", topics.ACTIVITIES, {}, nothing), database, settings)


async def test_an_owner_still_at_work_beside_a_growing_log_is_no_fault_of_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = _Log(begin=0, end=1_000, position=1_000)
    log.grows_by = 10
    worker = _worker(log, monkeypatch)
    await worker.find_positions(log, [PARTITION])
    assert (worker.problem, log.sought) == (None, 1_010)
    assert worker._placed_at > 0


@pytest.mark.parametrize("position", [99, 1_001])
async def test_a_position_outside_the_log_stops_the_consumer(position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = _Log(begin=100, end=1_000, position=position)
    worker = _worker(log, monkeypatch)
    await worker.find_positions(log, [PARTITION])
    assert worker.problem is not None
    assert "outside the log" in worker.problem
    assert log.sought is None


@pytest.mark.parametrize(
    ("end", "later", "goes_on_at"),
    [
        (1_000, None, 1_000),  # nothing has come since
        (1_200, 1_000, 1_000),  # what came since stands behind what was read
        (1_200, 1_005, 1_000),  # behind others of the same millisecond
        (900, None, 900),  # the end is lost, and nobody has written since
        (950, 900, 900),  # somebody has
        (1_300, 900, 900),  # so much that the log is longer than it was
    ],
)
async def test_where_a_log_was_cut_off_the_consumer_goes_on_with_what_came_since(
    end: int, later: int | None, goes_on_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _Log(begin=0, end=end, position=1_000, latest=77, later=later)
    worker = _worker(log, monkeypatch)
    await worker.find_positions(log, [PARTITION])
    assert (worker.problem, log.sought) == (None, goes_on_at)
    moves = [("activities", {("activities", 0): (1_000, goes_on_at)})]
    assert log.moved == ([] if goes_on_at == 1_000 else moves)
