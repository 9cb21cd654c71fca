"""Waiting for a while, but not longer than until told otherwise."""

import asyncio
import contextlib


async def pause(until: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the event is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # `wait_for` loses a cancellation that comes with the event
            await until.wait()


def is_cancelled() -> bool:
    """Whether the task that asks is being cancelled; if it is not, a cancellation that it meets is of something else,
    which it was only waiting for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
