"""Gathering: the next batch is fetched and read while the last one is being applied.

A batch remembers of each partition where it begins. It is applied only from there: what was gathered before a partition
changed hands, or before another owner turned out to be faster, no longer fits and is dropped.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from chassis.fence import Partition
from chassis.messages import Consumer, Message, Raw, read
from chassis.telemetry import open_span

POLL_MS = 500
"""Longest wait for a batch; a stop is noticed after it."""

GATHER_MS = 10
"""A batch that is not full waits so long for more: a transaction costs the same for one message as for a hundred, and
what a relay sends at once arrives in several parts."""


@dataclass(slots=True)
class Part:
    """What a batch holds of one partition."""

    begin: int
    """The offset that must come next there when the part is applied."""
    end: int
    """The offset that comes next after it; messages nobody wants are below it too."""
    messages: list[Message] = field(default_factory=list)
    spans: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """Records of some partitions, read and not yet applied."""

    parts: dict[Partition, Part] = field(default_factory=dict)
    records: int = 0
    began_at: float = 0.0
    """When its first record came, by the monotonic clock."""

    def drop_misfits(self, positions: Mapping[Partition, int]) -> None:
        """Drop the parts that do not begin where their partition stands, or do not move it."""
        for partition, part in list(self.parts.items()):
            if positions.get(partition) != part.begin or part.begin == part.end:
                end_spans(self.parts.pop(partition).spans)

    @property
    def messages(self) -> list[Message]:
        """All that is wanted of it, in order within a partition."""
        return [message for part in self.parts.values() for message in part.messages]

    @property
    def ends(self) -> dict[Partition, int]:
        """The next offset of each partition once all of it is applied."""
        return {partition: part.end for partition, part in self.parts.items()}


class Gathering:
    """What one consumer has fetched."""

    def __init__(self, consumer: Consumer, batch_size: int) -> None:
        self.next: dict[Partition, int] = {}
        """The offset that is to be read next, by partition; records of others are not ours, or not yet."""
        self._consumer = consumer
        self._batch_size = batch_size

    async def batch(self, kafka: AIOKafkaConsumer, idle: asyncio.Event) -> Batch:
        """The next batch; an empty one when nothing comes for a while. While one is being applied it grows until
        `idle`, since it could not be applied anyway."""
        batch = Batch()
        wait_ms = POLL_MS
        while batch.records < self._batch_size:
            fetched = await kafka.getmany(timeout_ms=wait_ms, max_records=self._batch_size - batch.records)
            self.read(fetched, batch)
            if batch.records == 0:
                if idle.is_set():
                    return batch
                continue
            if not batch.began_at:
                batch.began_at = time.monotonic()
            if idle.is_set() and time.monotonic() - batch.began_at >= GATHER_MS / 1000:
                return batch
            wait_ms = GATHER_MS
        return batch

    def read(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]], batch: Batch) -> None:
        """Read records into a batch: those at or behind the place that comes next in their partition."""
        consumer, wants = self._consumer, self._consumer.wants
        for tp, records in fetched.items():
            partition = (tp.topic, tp.partition)
            reached = self.next.get(partition)
            if reached is None:
                continue  # not ours, or not ours yet: records can arrive before the position is known
            part = batch.parts.get(partition)
            if part is not None and part.end != reached:  # of before the partition was given away and came back
                end_spans(part.spans)
                part = None
            if part is None:
                part = batch.parts[partition] = Part(reached, reached)
            name = f"apply {tp.topic}"
            batch.records += len(records)
            for record in records:
                if record.offset < reached:
                    continue  # applied already
                reached = record.offset + 1  # gaps are normal: a transactional publisher leaves them
                raw = Raw(record.topic, record.partition, record.offset, record.key, record.headers, record.value)
                if wants is not None and not wants(raw):
                    continue
                span, traceparent = open_span(name, raw.traceparent)
                if span is not None:
                    part.spans.append(span)
                message = read(consumer, raw, traceparent)
                if message.wanted:
                    part.messages.append(message)
            self.next[partition] = part.end = reached


def end_spans(spans: Sequence[Any]) -> None:
    """What they stood for is over."""
    for span in spans:
        span.end()
