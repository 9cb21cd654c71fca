"""Waiting for a while, but not longer than until told otherwise."""

import asyncio
import contextlib


async def pause(until: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the event is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(until.wait(), seconds)
