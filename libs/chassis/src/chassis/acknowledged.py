"""How far Kafka had what was sent, kept beside the relay's cursor: a broker that loses its power may lose the end of a
topic that it had acknowledged. What it lost is sent again."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from chassis.consumer import leave
from chassis.fence import Partition
from chassis.kafka import brokers, cut_off
from chassis.settings import ServiceSettings

LOST_SECONDS: Final = 120.0
"""A system writes what it has in memory within half a minute. What was acknowledged so long ago is settled; of what
came later some may be lost with a broker's power, and then all of it is sent again, which harms nobody."""

LOG_APPEND_TIME: Final = 1
"""The type of a time that the broker gave. A publisher's own say nothing about where a log was cut."""

CURSORS: Final = (
    "WITH acknowledged AS (INSERT INTO relay_end AS e (topic, partition, next, latest)"
    " SELECT * FROM unnest($4::text[], $5::int[], $6::bigint[], $7::bigint[]) ON CONFLICT (topic, partition)"
    " DO UPDATE SET next = GREATEST(e.next, excluded.next), latest = GREATEST(e.latest, excluded.latest))"
    " UPDATE relay_cursor AS c SET position = m.new FROM unnest($1::int[], $2::bigint[], $3::bigint[])"
    " AS m (lane, old, new) WHERE c.lane = m.lane AND c.position = m.old"
)
"""Moves cursors by compare-and-set and notes what was acknowledged, in one statement."""

SETTLE: Final = (
    "UPDATE relay_cursor AS c SET settled = s.position FROM unnest($1::int[], $2::bigint[]) AS s (lane, position)"
    " WHERE c.lane = s.lane AND s.position > c.settled AND s.position <= c.position"
)
"""Notes where cursors stood a while ago."""


class End(NamedTuple):
    """The end of a partition, as far as it is ours."""

    next: int
    """The offset behind our last record."""
    latest: int
    """When the broker took that, in its milliseconds."""


class CutOff(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    """A broker has lost the end of what it had acknowledged."""

    def __init__(self, lost: Mapping[Partition, int]) -> None:
        """`lost`: where partitions go on now."""
        super().__init__(f"what was acknowledged is gone from {sorted(lost.items())} on")
        self.lost = lost


def ends_of(sent: Iterable[tuple[RecordMetadata, int]], before: Mapping[Partition, End]) -> dict[Partition, End]:
    """What a broker's answers say: each of a batch, and how many records that had. Raises `CutOff`."""
    ends: dict[Partition, End] = {}
    for answer, records in sent:
        if answer.offset < 0 or answer.timestamp_type != LOG_APPEND_TIME:
            continue
        partition = (answer.topic, answer.partition)
        if partition in before and answer.offset < before[partition].next:
            raise CutOff({partition: answer.offset})
        end = End(answer.offset + records, answer.timestamp)
        ends[partition] = max(end, ends.get(partition, end))
    return ends


async def require(settings: ServiceSettings, ends: Mapping[Partition, End]) -> None:
    """Raise `CutOff` where the broker no longer has all that it acknowledged; `KafkaError` or `TimeoutError` when it
    gives no answer."""
    kafka = AIOKafkaConsumer(**brokers(settings), enable_auto_commit=False)
    try:
        await kafka.start()
        there = await kafka.topics()
        ours = {TopicPartition(*p): end for p, end in ends.items() if p[0] in there}
        if not ours:
            return
        cut = await cut_off(kafka, ours, await kafka.end_offsets(list(ours)))
    finally:
        await leave(kafka)
    if cut:
        raise CutOff({(tp.topic, tp.partition): offset for tp, offset in cut.items()})


async def read(driver: asyncpg.Connection) -> dict[Partition, End]:
    """What was acknowledged so far."""
    rows = await driver.fetch("SELECT topic, partition, next, latest FROM relay_end")
    return {(row["topic"], row["partition"]): End(row["next"], row["latest"]) for row in rows}


async def send_again(driver: asyncpg.Connection, lost: Mapping[Partition, int]) -> None:
    """Let cursors stand where all is settled; partitions end where they go on."""
    await driver.execute("UPDATE relay_cursor SET position = settled WHERE position > settled")
    await driver.execute(
        "UPDATE relay_end AS e SET next = c.next FROM unnest($1::text[], $2::int[], $3::bigint[])"
        " AS c (topic, partition, next) WHERE e.topic = c.topic AND e.partition = c.partition",
        [topic for topic, _ in lost],
        [number for _, number in lost],
        list(lost.values()),
    )
