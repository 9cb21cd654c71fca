"""Sending to a broker that is killed now and then: until it has confirmed, so that some records come twice."""

import asyncio
import contextlib
from typing import Final

from chassis.producer import abandon
from workload import Publisher
from workload.lives import OrderEvent

CONFIRM_SECONDS: Final = 15.0
"""A living broker confirms in milliseconds; a killed one is back by then, and the next try finds it."""

AGAIN_SECONDS: Final = 0.2


class Sender:
    """One producer at a time, and a new one when it fails."""

    def __init__(self, bootstrap_servers: str, *, topic: str | None = None) -> None:
        """Orders by default."""
        self._bootstrap_servers = bootstrap_servers
        self._more = {} if topic is None else {"topic": topic}
        self._publisher: Publisher | None = None
        self._turn = asyncio.Lock()

    async def send(self, events: list[OrderEvent]) -> None:
        """Return when Kafka has confirmed them; what failed is sent once more."""
        while True:
            try:
                async with asyncio.timeout(CONFIRM_SECONDS), self._turn:
                    if self._publisher is None:
                        self._publisher = await Publisher(self._bootstrap_servers, **self._more).__aenter__()
                    await self._publisher.send(events)
                    await self._publisher.flush()
                return
            except Exception:  # noqa: BLE001 - the broker was killed: whatever it says, the answer is to send again
                broken, self._publisher = self._publisher, None
                if broken is not None:
                    with contextlib.suppress(Exception):
                        await abandon(broken.producer)
                await asyncio.sleep(AGAIN_SECONDS)

    async def close(self) -> None:
        """Hang up."""
        if self._publisher is not None:
            await self._publisher.__aexit__(None, None, None)
