"""Gathering: the next batch is fetched and read while the last one is being applied.

Each time a position is read anew (a partition changed hands, or another owner was faster) gathering starts anew there.
What was gathered since an earlier start is dropped, even where it seems to fit: reading has gone back behind it.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from chassis.fence import Partition
from chassis.kafka import hold_fetches
from chassis.messages import Consumer, Message, Raw, read
from chassis.pauses import pause
from chassis.telemetry import open_span

POLL_MS = 500
"""Longest wait for a batch; a stop is noticed after it."""

FETCH_WAIT_MS = 2_000
"""At rest, how long Kafka holds an empty fetch, and how long the fetcher waits for its end before it looks around; the
first record ends both at once, so longer only means fewer of them. An idle worker that gets other partitions finds
their positions behind its last fetch, so not much longer."""

GATHER_BYTES = 1024 * 1024
"""So much is never held back to gather more: a batch of a thousand orders is two megabytes."""

BATCH_BYTES = 16 * 1024 * 1024
"""Of bodies in one batch; two batches live at a time, and an event may have half a megabyte."""


class Start:
    """One reading of a position; whatever was gathered since has it in common."""


@dataclass(slots=True)
class Part:
    """What a batch holds of one partition."""

    start: Start
    begin: int
    """The offset that comes next there when the part is applied."""
    end: int
    """The offset that comes next after it; messages nobody wants are below it too."""
    latest: int | None = None
    """The latest time of its records, in Kafka's milliseconds."""
    messages: list[Message] = field(default_factory=list)
    spans: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """Records of some partitions, read and not yet applied."""

    parts: dict[Partition, Part] = field(default_factory=dict)
    records: int = 0
    body_bytes: int = 0
    began_at: float = 0.0
    """When its first records came, or it was last seen that none had; by the monotonic clock."""

    def drop(self, partition: Partition) -> None:
        """Drop what it holds of a partition."""
        part = self.parts.pop(partition, None)
        for span in part.spans if part else ():
            span.end()

    def end(self) -> None:
        """Over, whatever became of it."""
        for partition in list(self.parts):
            self.drop(partition)

    @property
    def messages(self) -> list[Message]:
        """All that is wanted of it, in order within a partition."""
        return [message for part in self.parts.values() for message in part.messages]

    @property
    def ends(self) -> dict[Partition, int]:
        """The next offset of each partition once all of it is applied."""
        return {partition: part.end for partition, part in self.parts.items()}

    @property
    def latest(self) -> dict[Partition, int]:
        """The latest time of each partition's records."""
        return {partition: part.latest for partition, part in self.parts.items() if part.latest is not None}


class Gathering:
    """What one consumer has fetched."""

    def __init__(self, consumer: Consumer, batch_size: int) -> None:
        self._next: dict[Partition, int] = {}
        """The offset that is to be read next, by partition; records of others are not ours, or not yet."""
        self._starts: dict[Partition, Start] = {}
        self._consumer = consumer
        self._batch_size = batch_size

    def start_at(self, positions: Mapping[Partition, int]) -> None:
        """Go on from these offsets; what was gathered of these partitions before is worth nothing any more."""
        self._next.update(positions)
        self._starts.update((partition, Start()) for partition in positions)

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Gather nothing more of these, and let go of what was."""
        for partition in partitions:
            self._next.pop(partition, None)
            self._starts.pop(partition, None)

    def forget_all(self) -> None:
        """A new session begins."""
        self._next.clear()
        self._starts.clear()

    def keep_current(self, batch: Batch, positions: Mapping[Partition, int]) -> None:
        """Drop what was gathered since an earlier start, or moves nothing. The rest begins where its partition is."""
        for partition, part in list(batch.parts.items()):
            if part.start is not self._starts.get(partition) or part.begin == part.end:
                batch.drop(partition)
            elif positions.get(partition) != part.begin:  # a bug: going on would leave messages out
                raise RuntimeError(f"{partition} stands at {positions.get(partition)}, not at {part.begin}")

    async def batch(self, kafka: AIOKafkaConsumer, idle: asyncio.Event) -> Batch:
        """The next batch; an empty one when nothing comes for a while. While one is being applied it grows until
        `idle`, since it could not be applied anyway."""
        batch = Batch()
        try:
            await self._fill(batch, kafka, idle)
        except BaseException:  # also when it is cancelled
            batch.end()
            raise
        return batch

    async def _fill(self, batch: Batch, kafka: AIOKafkaConsumer, idle: asyncio.Event) -> None:
        gather_seconds = self._consumer.gather_ms / 1000
        while batch.records < self._batch_size and batch.body_bytes < BATCH_BYTES:
            asked_at, wanted = time.monotonic(), self._batch_size - batch.records
            fetched = await kafka.getmany(timeout_ms=0 if batch.records else POLL_MS, max_records=wanted)
            if not batch.records:
                batch.began_at = time.monotonic()
                came, soon = sum(map(len, fetched.values())), batch.began_at - asked_at < 2 * gather_seconds
                self._hold_fetches(kafka, flows=came == wanted or (came > 0 and soon))
            self.read(fetched, batch)
            if idle.is_set():
                return
            if batch.records:
                await pause(idle, gather_seconds)

    def _hold_fetches(self, kafka: AIOKafkaConsumer, *, flows: bool) -> None:
        """While records keep coming Kafka gathers them; at rest it answers the first one at once. A fetch of partitions
        that have nothing new holds up those that have, so it must not wait long beside them."""
        if flows:
            hold_fetches(kafka, wait_ms=self._consumer.gather_ms, min_bytes=GATHER_BYTES)
        else:
            hold_fetches(kafka, wait_ms=FETCH_WAIT_MS, min_bytes=1)

    def read(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]], batch: Batch) -> None:
        """Read records into a batch: those at or behind the place that comes next in their partition."""
        consumer, wants = self._consumer, self._consumer.wants
        for tp, records in fetched.items():
            partition = (tp.topic, tp.partition)
            reached, start = self._next.get(partition), self._starts.get(partition)
            if reached is None or start is None:
                continue  # not ours, or not ours yet: records can arrive before the position is known
            part = batch.parts.get(partition)
            if part is None or part.start is not start:
                batch.drop(partition)
                part = batch.parts[partition] = Part(start, reached, reached)
            name = f"apply {tp.topic}"
            batch.records += len(records)
            for record in records:
                if record.offset < reached:
                    continue  # applied already
                reached = record.offset + 1  # gaps are normal: a transactional publisher leaves them
                batch.body_bytes += len(record.value or b"")
                raw = Raw(record.topic, record.partition, record.offset, record.key, record.headers, record.value)
                if wants is not None and not wants(raw):
                    continue
                span, traceparent = open_span(name, raw.traceparent)
                if span is not None:
                    part.spans.append(span)
                message = read(consumer, raw, traceparent)
                if message.wanted:
                    part.messages.append(message)
            self._next[partition] = part.end = reached
            part.latest = max([part.latest or 0, *(record.timestamp for record in records)])
