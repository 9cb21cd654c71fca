"""The year goes through: real baskets to Kafka, and waiting until the last entry has been seen behind the ledger."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from demo.lag import Lag
from demo.screen import Screen
from demo.watching import Watcher
from workload import OrderEvent, Publisher
from workload.publisher import CHUNK

QUIET_SECONDS = 1.5
"""Topics that have not grown for so long, with nothing unread, are quiet: a relay looks many times in it."""

LOOK_SECONDS = 0.25

STALLED_SECONDS = 90.0
"""Without any movement for so long something is wrong; there is no point in waiting on."""


class Stalled(Exception):
    """Nothing moves any more, and not everything has gone through."""


@dataclass(slots=True)
class Replay:
    """What was sent, and how long it took to go through."""

    events: int = 0
    seconds: float = 0.0


async def replay(
    bootstrap_servers: str, events: Iterable[OrderEvent], watcher: Watcher, screen: Screen, *, expected: int
) -> Replay:
    """Send everything as fast as Kafka takes it, and wait until it has gone through. `expected`: for the bar."""
    done = Replay()
    seen_before = watcher.entries
    started_at = time.monotonic()
    sending = asyncio.create_task(_send(bootstrap_servers, events, done))
    async with Lag(bootstrap_servers) as lag:
        while not sending.done():
            await _show(done, watcher, lag, screen, expected=expected, started_at=started_at)
            await asyncio.wait([sending], timeout=LOOK_SECONDS)
        sending.result()  # raises what went wrong
        ended_at = await settled(
            watcher, lag, lambda: _show(done, watcher, lag, screen, expected=done.events, started_at=started_at)
        )
    # What counts is the last entry that came; where none did (all of it was known), when all of it had been read.
    done.seconds = (watcher.last_at if watcher.entries > seen_before else ended_at) - started_at
    rate = done.events / done.seconds
    screen.end_progress(
        f"{done.events:,} events sent, {watcher.entries:,} entries seen in {done.seconds:.1f} s: {rate:,.0f} events/s"
    )
    return done


async def _send(bootstrap_servers: str, events: Iterable[OrderEvent], done: Replay) -> None:
    async with Publisher(bootstrap_servers, source="/shops/demo") as publisher:
        chunk: list[OrderEvent] = []
        for event in events:
            chunk.append(event)
            if len(chunk) == CHUNK:
                done.events += await publisher.send(chunk)
                chunk.clear()
                await asyncio.sleep(0)  # the watcher's turn
        done.events += await publisher.send(chunk)
        await publisher.flush()


async def settled(watcher: Watcher, lag: Lag, show: Callable[[], Awaitable[None]] | None = None) -> float:
    """Wait until every service has read all there is and the topics have stopped growing; when that was."""
    ends = await lag.ends()
    behind = await lag.behind()
    moved_at = quiet_since = time.monotonic()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if show is not None:
            await show()
        now = time.monotonic()
        ends_now, behind_now = await lag.ends(), await lag.behind()
        if ends_now != ends or any(behind_now.values()) or not await watcher.is_at_end():
            quiet_since = now
        if (ends_now, behind_now) != (ends, behind):
            moved_at = now
        ends, behind = ends_now, behind_now
        if now - quiet_since > QUIET_SECONDS:
            return quiet_since
        if now - moved_at > STALLED_SECONDS:
            raise Stalled(f"nothing has moved for {STALLED_SECONDS:.0f} s; unread: {behind}")


async def _show(done: Replay, watcher: Watcher, lag: Lag, screen: Screen, *, expected: int, started_at: float) -> None:
    seconds, sent = time.monotonic() - started_at, done.events  # before asking: what is sent meanwhile is not through
    unread = (await lag.behind())["rules.orders"]
    through = max(sent - unread, 0)
    screen.progress(
        through,
        expected,
        f"{through:>9,} of {expected:,} events · {through / seconds if seconds else 0:>6,.0f}/s"
        f" · {watcher.kinds['award']:,} awards · {watcher.kinds['revoke']:,} revokes",
    )
