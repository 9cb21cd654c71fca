"""A batch, applied exactly once: one transaction of lanes, fence, effects, dead letters and outgoing events.

What goes wrong is one of four kinds, each decided here and nowhere else:

- *transient*: the whole batch again, with back-off;
- *poison*: to the dead letters in the same transaction, the stream goes on; a database error that one message causes is
  bisected out;
- *refused by the business*: a stored outcome of the use case, no error at all;
- *a bug*: if only some shops' messages meet it, those shops are set aside and the others go on; else it is raised, and
  the consumer stops and says so.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import structlog

from chassis import fence, waiting
from chassis.aside import set_aside, shops_at_fault
from chassis.database import (
    FIRST_BACKOFF_SECONDS,
    KEY_VIOLATION_TRIES,
    LONGEST_BACKOFF_SECONDS,
    Database,
    Superseded,
    Transaction,
    with_lanes,
)
from chassis.faults import is_bad_data, is_key_violation, is_transient, sqlstate_of
from chassis.fence import Partition
from chassis.messages import Consumer, Message
from chassis.outcome import Poison
from chassis.pauses import pause
from chassis.processing import lanes_of, process
from chassis.telemetry import MESSAGES

GOOD_SHOPS = 2
"""Remembered at least: one that fails, and another that does not."""


class Ending(Exception):
    """Told to stop while a batch could not be applied; nothing is lost, its position has not moved."""


class Applier:
    """Applies the batches of one consumer."""

    def __init__(self, name: str, consumer: Consumer, database: Database) -> None:
        self.next: dict[Partition, int] = {}
        """Next offset by partition, as this owner last read or wrote it; a partition without one is not ours yet."""
        self.latest: dict[Partition, int] = {}
        """Times, in Kafka's milliseconds, that no record below the next offset is later than."""
        self.aside: list[str] = []
        """Shops that were set aside since the worker last looked."""
        self._good: set[str] = set()
        """Shops whose messages were applied: some of them, so that one that fails can be told from all that would."""
        self._name = name
        self._consumer = consumer
        self._database = database
        self._log = structlog.get_logger().bind(consumer=name)

    async def apply(self, messages: Sequence[Message], ends: Mapping[Partition, int], stop: asyncio.Event) -> None:
        """Apply a batch however long it takes: transient faults again and again, bad data taken apart.

        `ends`: the next offset of each partition when all of it is applied; messages nobody wants are below it too.
        """
        backoff = FIRST_BACKOFF_SECONDS
        key_violations = 0
        bug: Exception | None = None
        while True:
            try:
                if bug is not None:
                    await self._set_aside(messages, bug)
                    bug = None
                await self._apply_once(messages, ends)
                return
            except Superseded:
                raise
            except Exception as error:  # the four kinds are told apart here
                key_violations += is_key_violation(error)
                if is_transient(error) and key_violations < KEY_VIOLATION_TRIES:
                    self._log.warning("batch_again", error=repr(error), backoff_seconds=backoff)
                elif is_bad_data(error):
                    await self._take_apart(messages, ends, stop, error)
                    return
                elif bug is None:
                    bug = error
                    continue
                else:
                    raise
            if stop.is_set():
                raise Ending
            await pause(stop, backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    def went_well(self, shops: Iterable[str]) -> None:
        """Messages of these shops were applied, here or from their queues."""
        if len(self._good) < GOOD_SHOPS:
            self._good.update(shops)

    async def _set_aside(self, messages: Sequence[Message], bug: Exception) -> None:
        """Set the shops aside that alone meet a bug, so that the batch is applied without them; or raise it."""
        async with self._database.begin() as tx:
            blocked = await self._blocked(tx, _shops(messages))
        live = [message for message in messages if message.shop not in blocked]
        shops = await shops_at_fault(self._database, self._consumer, live, self._good)
        if not shops:
            raise bug
        await set_aside(self._database, self._name, self._consumer, shops, bug)
        self.aside += sorted(shops)

    async def _take_apart(
        self, messages: Sequence[Message], ends: Mapping[Partition, int], stop: asyncio.Event, error: Exception
    ) -> None:
        """Halve a batch that the database refused, down to the message that is at fault: that is a dead letter."""
        live = [message for message in messages if message.command is not None]
        if not live:
            raise error  # nothing was asked of the use case, so no message is at fault
        if len(live) == 1:
            live[0].kill(Poison("refused_by_database", f"{type(error).__name__} {sqlstate_of(error) or ''}".strip()))
            await self.apply(messages, ends, stop)
            return
        middle = len(messages) // 2
        first, second = messages[:middle], messages[middle:]
        reached = dict(self.next)
        for message in first:
            reached[message.raw.topic, message.raw.partition] = message.raw.offset + 1
        await self.apply(first, {partition: reached[partition] for partition in ends}, stop)
        await self.apply(second, ends, stop)

    async def _apply_once(self, messages: Sequence[Message], ends: Mapping[Partition, int]) -> None:
        """Apply a batch once: the fence, the effects and the outgoing events commit together or not at all."""
        moves = {p: (self.next[p], end) for p, end in ends.items() if end != self.next[p]}
        if not messages:  # no effects: whatever part of it is kept is right, so one statement does
            async with self._database.look() as driver:
                await fence.advance(driver, self._consumer.name, moves, self.latest)
            self.next.update(ends)
            return

        async def once(lanes: set[int]) -> list[Message]:
            async with self._database.begin(lanes) as tx:
                await fence.advance(tx.driver, self._consumer.name, moves, self.latest)
                now_live = await self._park(tx, messages)
                await process(self._database, tx, self._consumer, now_live)
            return now_live

        now_live = await with_lanes(await lanes_of(self._database, self._consumer, messages), once)
        self.next.update(ends)
        # From here on nothing may raise: the batch is committed and must not be taken for one that failed.
        self.went_well(message.shop for message in now_live if message.command is not None and not message.dead)
        dead = sum(message.dead is not None for message in now_live)
        MESSAGES.labels(self._name, "applied").inc(len(now_live) - dead)
        MESSAGES.labels(self._name, "dead").inc(dead)
        MESSAGES.labels(self._name, "waiting").inc(len(messages) - len(now_live))

    async def _park(self, tx: Transaction, messages: Sequence[Message]) -> list[Message]:
        """Let messages of unknown or blocked shops wait; give back the others."""
        blocked = await self._blocked(tx, _shops(messages))
        if blocked:  # rare: look again under the lock that whoever empties a queue takes too
            await waiting.lock(tx.driver, self._consumer.name, blocked)
            blocked = await self._blocked(tx, blocked)
        held = [m for m in messages if m.command is not None and m.shop in blocked]
        if not held:
            return list(messages)
        await waiting.join(tx.driver, self._consumer.name, held)
        return [m for m in messages if m.command is None or m.shop not in blocked]

    async def _blocked(self, tx: Transaction, shops: set[str]) -> set[str]:
        if not shops:
            return shops
        blocked = await waiting.blocked(tx.driver, self._consumer.name, list(shops))
        if self._consumer.known is not None:
            blocked |= shops - await self._consumer.known(tx, shops)
        return blocked


def _shops(messages: Sequence[Message]) -> set[str]:
    return {message.shop for message in messages if message.command is not None}
