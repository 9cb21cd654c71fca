"""Pauses end by time, by the event, or by a cancellation, which none of the others hides."""

import asyncio
import time

import pytest

from chassis.pauses import pause


async def test_a_pause_ends_with_its_time_or_its_event() -> None:
    event = asyncio.Event()
    await pause(event, 0.01)
    event.set()
    began_at = time.monotonic()
    await pause(event, 60)
    assert time.monotonic() - began_at < 30


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_that_comes_with_the_event_is_not_lost(turns: int) -> None:
    """However many turns of the loop lie between the two, as long as the pause has not ended."""
    event = asyncio.Event()
    task = asyncio.create_task(pause(event, 60))
    await asyncio.sleep(0.01)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    paused = task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() == paused
