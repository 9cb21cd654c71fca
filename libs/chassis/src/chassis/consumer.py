"""The consumer: batches from Kafka, each applied exactly once.

A batch is one transaction: lanes, fence, effects, dead letters, outgoing events, commit; only then a hint to Kafka. What goes
wrong is one of four kinds, each decided here and nowhere else:

- *transient*: the whole batch again, with back-off;
- *poison*: to the dead letters in the same transaction, the stream goes on; a database error that one message causes is
  bisected out; many from one shop quarantine the shop, many shops stop the consumer;
- *refused by the business*: a stored outcome of the use case, no error at all;
- *a bug*: stop and say so.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from chassis import fence, waiting
from chassis.database import (
    FIRST_BACKOFF_SECONDS,
    LONGEST_BACKOFF_SECONDS,
    Database,
    Superseded,
    is_bad_data,
    is_transient,
    sqlstate_of,
)
from chassis.messages import Consumer, Message, Raw, read
from chassis.outcome import Poison
from chassis.processing import lanes_of, process
from chassis.settings import ServiceSettings
from chassis.telemetry import BATCH_MESSAGES, BATCH_SECONDS, CONSUMER_LAG, CONSUMER_STOPPED, MESSAGES, open_span

POLL_MS = 500
"""Longest wait for a batch; a stop is noticed after it."""

FETCH_MAX_BYTES = 16 * 1024 * 1024
"""Bytes of one fetch over all partitions: several full batches, bounded memory."""

DEAD_LETTER_WINDOW_SECONDS = 60.0
"""Over which the limits on dead letters count."""

QUEUE_CHECK_SECONDS = 1.0
"""How often the queues of waiting shops are looked at; a shop goes live at most this long after it has become known."""

KEY_VIOLATION_TRIES = 3
"""A unique violation is a race at first; the same batch failing so this often holds a message that can never work."""

Partition = fence.Partition


class Stopped(Exception):
    """The consumer must not go on without a person."""


class _Ending(Exception):
    """Told to stop while a batch could not be applied; nothing is lost, its position has not moved."""


class Worker:
    """Runs one `Consumer` in this process."""

    def __init__(self, service: str, consumer: Consumer, database: Database, settings: ServiceSettings) -> None:
        self.name = f"{service}.{consumer.name}"
        self.consumer = consumer
        self.problem: str | None = None
        """Why it has stopped, if it has; readiness tells."""
        self._database = database
        self._settings = settings
        self._next: dict[Partition, int] = {}
        """Next offset by partition, as this owner last read or wrote it; a partition without one is not ours yet."""
        self._busy = asyncio.Lock()
        """Held while a batch is applied, so that a revocation waits for it."""
        self._recent_dead: deque[tuple[float, str]] = deque()
        self._recent_quarantines: deque[float] = deque()
        self._log = structlog.get_logger().bind(consumer=self.name)

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until told to stop. Faults of Kafka itself start the session anew; a bug ends it for good."""
        CONSUMER_STOPPED.labels(self.name).set(0)
        queues = asyncio.create_task(self._empty_queues(stop))
        backoff = FIRST_BACKOFF_SECONDS
        try:
            while not stop.is_set():
                try:
                    await self._session(stop)
                    backoff = FIRST_BACKOFF_SECONDS
                except Exception as error:
                    if not isinstance(error, KafkaError) and not is_transient(error):
                        raise
                    self._log.warning("session_lost", error=repr(error))
                    await _pause(stop, backoff)
                    backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)
        except Exception as error:
            self.problem = str(error) if isinstance(error, Stopped) else repr(error)
            CONSUMER_STOPPED.labels(self.name).set(1)
            self._log.exception("consumer_stopped", reason=self.problem)
        finally:
            queues.cancel()
            await asyncio.gather(queues, return_exceptions=True)

    # -- one session with Kafka

    async def _session(self, stop: asyncio.Event) -> None:
        self._next.clear()
        kafka = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers,
            group_id=self.name,
            group_instance_id=f"{self.name}.{self._settings.instance}" if self._settings.instance else None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=self._settings.session_timeout_ms,
            heartbeat_interval_ms=max(200, self._settings.session_timeout_ms // 10),
            max_poll_interval_ms=600_000,
            fetch_max_bytes=FETCH_MAX_BYTES,
            fetch_max_wait_ms=POLL_MS,
        )
        kafka.subscribe([self.consumer.topic.name], listener=_Assignment(self, kafka))
        await kafka.start()
        try:
            while not stop.is_set():
                if self.problem:
                    raise Stopped(self.problem)
                fetched = await kafka.getmany(timeout_ms=POLL_MS, max_records=self._settings.batch_size)
                async with self._busy:
                    await self._apply(kafka, fetched, stop)
        except _Ending:
            return
        finally:
            await kafka.stop()

    async def find_positions(self, kafka: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
        """Read where these partitions stand, in the database, and seek there. A log that does not fit stops us."""
        names: list[Partition] = [(tp.topic, tp.partition) for tp in partitions]
        begins = await kafka.beginning_offsets(partitions)
        ends = await kafka.end_offsets(partitions)
        async with self._database.begin() as tx:
            positions = await fence.read(tx.driver, self.consumer.name, names)
            missing = {p: begins[TopicPartition(*p)] for p in names if p not in positions}
            if missing:
                await fence.begin_at(tx.driver, self.consumer.name, missing)
                positions = await fence.read(tx.driver, self.consumer.name, names)
        for (topic, number), position in positions.items():
            tp = TopicPartition(topic, number)
            if not begins[tp] <= position <= ends[tp]:
                self.problem = (
                    f"{topic}/{number}: position {position} is outside the log ({begins[tp]} to {ends[tp]}); the topic was"
                    " made anew or retention has overtaken us"
                )
                return
            kafka.seek(tp, position)
        self._next.update(positions)

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Let go of partitions; records of them that are still on their way are dropped."""
        for partition in partitions:
            self._next.pop(partition, None)

    async def settle(self) -> None:
        """Wait for the batch in flight."""
        async with self._busy:
            pass

    # -- one batch

    async def _apply(
        self, kafka: AIOKafkaConsumer, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]], stop: asyncio.Event
    ) -> None:
        received_at = time.monotonic()
        messages: list[Message] = []
        spans = []
        ends: dict[Partition, int] = {}
        for tp, records in fetched.items():
            partition = (tp.topic, tp.partition)
            start = self._next.get(partition)
            if start is None:
                continue  # not ours, or not ours yet: records can arrive before the position is known
            for record in records:
                if record.offset < start:
                    continue
                ends[partition] = record.offset + 1
                message, span = self._read(record)
                spans.append(span)
                if message.wanted:
                    messages.append(message)
        if not ends:
            return
        try:
            await self._until_applied(messages, ends, stop)
        except Superseded:
            self._log.info("superseded", partitions=sorted(ends))
            self.forget(list(ends))
            await self.find_positions(kafka, [TopicPartition(*partition) for partition in ends])
            return
        finally:
            for span in spans:
                if span is not None:
                    span.end()
        BATCH_SECONDS.labels(self.name).observe(time.monotonic() - received_at)
        BATCH_MESSAGES.labels(self.name).observe(len(messages))
        await self._hint(kafka, ends)

    def _read(self, record: ConsumerRecord[bytes, bytes]) -> tuple[Message, Any]:
        raw = Raw(record.topic, record.partition, record.offset, record.key, tuple(record.headers), record.value)
        span, traceparent = open_span(f"apply {record.topic}", raw.header("traceparent"))
        return read(self.consumer, raw, traceparent), span

    async def _until_applied(
        self, messages: Sequence[Message], ends: Mapping[Partition, int], stop: asyncio.Event
    ) -> None:
        """Apply a batch however long it takes: transient faults again and again, bad data taken apart."""
        backoff = FIRST_BACKOFF_SECONDS
        key_violations = 0
        while True:
            try:
                await self._apply_once(messages, ends)
                return
            except Exception as error:
                key_violations += sqlstate_of(error) in ("23505", "23503")
                if is_transient(error) and key_violations < KEY_VIOLATION_TRIES:
                    self._log.warning("batch_again", error=repr(error), backoff_seconds=backoff)
                elif is_bad_data(error):
                    await self._take_apart(messages, ends, stop, error)
                    return
                else:
                    raise
            if stop.is_set():
                raise _Ending
            await _pause(stop, backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    async def _take_apart(
        self, messages: Sequence[Message], ends: Mapping[Partition, int], stop: asyncio.Event, error: Exception
    ) -> None:
        """Halve a batch that the database refused, down to the message that is at fault; that one goes to the dead letters."""
        live = [message for message in messages if message.command is not None]
        if len(live) <= 1:
            for message in live:
                message.command = None
                message.dead = Poison(
                    "refused_by_database", f"{type(error).__name__} {sqlstate_of(error) or ''}".strip()
                )
            await self._until_applied(messages, ends, stop)
            return
        middle = len(messages) // 2
        first, second = messages[:middle], messages[middle:]
        reached = dict(self._next)
        for message in first:
            partition = (message.raw.topic, message.raw.partition)
            reached[partition] = message.raw.offset + 1
        part = {p: reached[p] for p in ends}
        await self._until_applied(first, part, stop)
        await self._until_applied(second, ends, stop)

    async def _apply_once(self, messages: Sequence[Message], ends: Mapping[Partition, int]) -> None:
        """Apply a batch once: the fence, the effects and the outgoing events commit together or not at all."""
        lanes = await lanes_of(self._database, self.consumer, messages)
        moves = {p: (self._next[p], end) for p, end in ends.items() if end != self._next[p]}
        async with self._database.begin(lanes) as tx:
            await fence.advance(tx.driver, self.consumer.name, moves)
            now_live = await self._park(tx, messages)
            await process(self._database, tx, self.consumer, now_live)
        self._next.update(ends)
        self._count(now_live)
        await self._limit_dead_letters(now_live)

    async def _park(self, tx: Any, messages: Sequence[Message]) -> list[Message]:
        """Let messages of unknown or blocked shops wait; give back the others."""
        shops = {m.shop for m in messages if m.command is not None}
        blocked = set(await waiting.blocked(tx.driver, self.consumer.name, list(shops)))
        if self.consumer.known is not None:
            blocked |= shops - await self.consumer.known(tx, shops)
        if blocked:  # rare: look again under the lock that whoever empties a queue takes too
            await waiting.lock(tx.driver, self.consumer.name, blocked)
            still = set(await waiting.blocked(tx.driver, self.consumer.name, list(blocked)))
            if self.consumer.known is not None:
                still |= blocked - await self.consumer.known(tx, blocked)
            held = [m for m in messages if m.command is not None and m.shop in still]
            await waiting.join(tx.driver, self.consumer.name, held)
            return [m for m in messages if m.command is None or m.shop not in still]
        return list(messages)

    def _count(self, messages: Sequence[Message]) -> None:
        dead = sum(message.dead is not None for message in messages)
        MESSAGES.labels(self.name, "applied").inc(len(messages) - dead)
        if dead:
            MESSAGES.labels(self.name, "dead").inc(dead)

    async def _limit_dead_letters(self, messages: Sequence[Message]) -> None:
        """Quarantine a shop that floods the dead letters; stop when several do, for then the fault is ours."""
        now = time.monotonic()
        self._recent_dead.extend((now, m.shop) for m in messages if m.dead is not None)
        while self._recent_dead and self._recent_dead[0][0] < now - DEAD_LETTER_WINDOW_SECONDS:
            self._recent_dead.popleft()
        if len(self._recent_dead) < self._settings.dead_letters_per_shop:
            return
        for shop, count in Counter(shop for _, shop in self._recent_dead).items():
            if count >= self._settings.dead_letters_per_shop and shop != waiting.NO_SHOP:
                self._log.error("shop_quarantined", shop=shop, dead_letters=count)
                async with self._database.begin() as tx:
                    await waiting.quarantine(
                        tx.driver, self.consumer.name, shop, f"{count} dead letters within a minute"
                    )
                self._recent_dead = deque(entry for entry in self._recent_dead if entry[1] != shop)
                self._recent_quarantines.append(now)
        while self._recent_quarantines and self._recent_quarantines[0] < now - DEAD_LETTER_WINDOW_SECONDS:
            self._recent_quarantines.popleft()
        if len(self._recent_quarantines) >= self._settings.dead_letter_shops:
            raise Stopped(f"{len(self._recent_quarantines)} shops quarantined within a minute")

    async def _hint(self, kafka: AIOKafkaConsumer, ends: Mapping[Partition, int]) -> None:
        """Tell Kafka where we stand, for lag tools only; a session that was lost meanwhile refuses it, harmlessly."""
        try:
            await kafka.commit({TopicPartition(*partition): end for partition, end in ends.items()})
            lag = 0
            for partition, end in ends.items():
                highwater = kafka.highwater(TopicPartition(*partition))
                lag += max(0, (highwater or end) - end)
            CONSUMER_LAG.labels(self.name).set(lag)
        except KafkaError as error:
            self._log.info("hint_refused", error=repr(error))

    # -- queues of waiting shops

    async def _empty_queues(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                async with self._database.begin() as tx:
                    shops = await waiting.shops_with_queue(tx.driver, self.consumer.name)
                for shop in shops:
                    while await empty_some(self._database, self.consumer, shop, self._settings.batch_size):
                        pass
            except Exception as error:
                if not is_transient(error):
                    self.problem = f"a queue could not be emptied: {error!r}"
                    self._log.exception("queue_stuck")
                    return
            await _pause(stop, QUEUE_CHECK_SECONDS)


async def empty_some(database: Database, consumer: Consumer, shop: str, limit: int) -> bool:
    """Apply the head of a shop's queue in one transaction; false when there is nothing (more) to apply."""
    async with database.begin() as tx:
        head = await waiting.first(tx.driver, consumer.name, shop, limit)
    messages = [read(consumer, raw, raw.header("traceparent")) for _, raw in head]
    if not messages:
        return False
    places = [place for place, _ in head]
    try:
        return await _apply_head(database, consumer, shop, places, messages)
    except Exception as error:
        if not is_bad_data(error):
            raise
        if limit > 1:
            return await empty_some(database, consumer, shop, limit // 2)
        for message in messages:
            message.command, message.dead = None, Poison("refused_by_database", type(error).__name__)
        return await _apply_head(database, consumer, shop, places, messages)


async def _apply_head(
    database: Database, consumer: Consumer, shop: str, places: Sequence[int], messages: Sequence[Message]
) -> bool:
    async with database.begin(await lanes_of(database, consumer, messages)) as tx:
        await waiting.lock(tx.driver, consumer.name, [shop])
        if consumer.known is not None and shop not in await consumer.known(tx, {shop}):
            return False
        if not await waiting.leave(tx.driver, consumer.name, shop, places):
            raise asyncpg.SerializationError("another process empties this queue")  # transient: look again
        await process(database, tx, consumer, messages)
    return True


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Hands partitions over: the batch in flight ends first; nothing is applied before its position is read."""

    def __init__(self, worker: Worker, kafka: AIOKafkaConsumer) -> None:
        self._worker = worker
        self._kafka = kafka

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Let the batch in flight end, then let go."""
        await self._worker.settle()
        self._worker.forget([(tp.topic, tp.partition) for tp in revoked])

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """aiokafka fetches while this runs: pause and forget first, then read positions, seek, resume."""
        partitions = sorted(assigned)
        if not partitions:
            return
        self._kafka.pause(*partitions)
        self._worker.forget([(tp.topic, tp.partition) for tp in partitions])
        for tp in partitions:
            self._kafka.seek(tp, 0)  # any position: without one aiokafka asks the group for its own and fails
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            try:
                await self._worker.find_positions(self._kafka, partitions)
                break
            except Exception as error:
                if not is_transient(error) and not isinstance(error, KafkaError):
                    self._worker.problem = repr(error)
                    return
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)
        self._kafka.resume(*partitions)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until told to stop."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        pass
