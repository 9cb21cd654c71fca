"""Cycles are sought by the clock, and only when there may be some."""

import asyncio

import pytest

from chassis import service


class Collector:
    """Stands in for the interpreter's: so many new objects at each look, and what was walked."""

    def __init__(self, new_objects: list[int], stop: asyncio.Event) -> None:
        self._new_objects = new_objects
        self._stop = stop
        self.walked: list[int] = []

    def collect(self, generation: int = 2) -> None:
        self.walked.append(generation)

    def freeze(self) -> None:
        pass

    def disable(self) -> None:
        pass

    def get_count(self) -> tuple[int, int, int]:
        count = self._new_objects.pop(0)
        if not self._new_objects:
            self._stop.set()
        return count, 0, 0


async def test_a_process_at_rest_walks_nothing_and_a_busy_one_its_old_objects_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy, rest = service.GARBAGE_OBJECTS, service.GARBAGE_OBJECTS - 1
    stop = asyncio.Event()
    collector = Collector([rest, busy, rest, busy, busy], stop)
    monkeypatch.setattr(service, "gc", collector)
    monkeypatch.setattr(service, "GARBAGE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(service, "FULL_GARBAGE_EVERY", 3)
    await service._collect_garbage(stop)
    assert collector.walked == [2, 1, 1, 2]  # the first before any work
