"""The fence: which message of each partition comes next, kept in the database with the effects.

Positions in Kafka are only a hint for lag tools. A batch and its advance commit together or not at all; a second owner
of the same partition finds the position moved and rolls back.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from chassis.database import Superseded

Partition = tuple[str, int]
"""Topic and partition number."""


class Position(NamedTuple):
    """Where a consumer stands in a partition."""

    next: int
    """The offset that comes next."""
    topic_id: UUID
    """Kafka's id of the topic that the offset is of: one made anew under its name has other messages."""
    latest: int | None = None
    """The latest time, in Kafka's milliseconds, of what is below the offset; None where nothing was read yet."""


async def read(driver: asyncpg.Connection, consumer: str, partitions: Sequence[Partition]) -> dict[Partition, Position]:
    """The position in each partition that this consumer has one for."""
    rows = await driver.fetch(
        "SELECT o.topic, o.partition, o.next, o.topic_id, o.latest FROM consumer_offset AS o"
        " JOIN unnest($2::text[], $3::int[]) AS p (topic, partition) USING (topic, partition) WHERE o.consumer = $1",
        consumer,
        [topic for topic, _ in partitions],
        [number for _, number in partitions],
    )
    return {(row["topic"], row["partition"]): Position(row["next"], row["topic_id"], row["latest"]) for row in rows}


async def begin_at(driver: asyncpg.Connection, consumer: str, starts: Mapping[Partition, Position]) -> None:
    """Record where partitions that were never read begin; one that another owner recorded meanwhile stays as it is."""
    await driver.execute(
        "INSERT INTO consumer_offset (consumer, topic, partition, next, topic_id)"
        " SELECT $1, p.* FROM unnest($2::text[], $3::int[], $4::bigint[], $5::uuid[]) AS p ON CONFLICT DO NOTHING",
        consumer,
        [topic for topic, _ in starts],
        [number for _, number in starts],
        [position.next for position in starts.values()],
        [position.topic_id for position in starts.values()],
    )


async def advance(
    driver: asyncpg.Connection,
    consumer: str,
    moves: Mapping[Partition, tuple[int, int]],
    latest: Mapping[Partition, int] | None = None,
) -> None:
    """Move positions from what this owner last knew to what comes next, or raise `Superseded` and let all roll back.

    `latest`: times of what is read now.
    """
    assert moves, "what does not move a position is not fenced"
    ordered = sorted(moves.items())  # one order for all owners: two of them cannot wait for each other
    status = await driver.execute(
        "UPDATE consumer_offset AS o SET next = p.new, latest = GREATEST(o.latest, p.latest)"
        " FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[])"
        " AS p (topic, partition, old, new, latest)"
        " WHERE o.consumer = $1 AND o.topic = p.topic AND o.partition = p.partition AND o.next = p.old",
        consumer,
        [topic for (topic, _), _ in ordered],
        [number for (_, number), _ in ordered],
        [old for _, (old, _) in ordered],
        [new for _, (_, new) in ordered],
        [(latest or {}).get(partition) for partition, _ in ordered],
    )
    if status != f"UPDATE {len(ordered)}":
        raise Superseded(consumer)
