"""The outbox: outgoing events recorded in the transaction that caused them, each with a place in its lane."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import asyncpg

from chassis import lanes as lane_locks
from chassis.ids import new_uuid
from chassis.lanes import lane_of
from chassis.telemetry import current_traceparent
from contracts import Event, encode, topics

TOPIC_OF: Final[Mapping[str, str]] = {event.type: topic.name for topic in topics.ALL for event in topic.events}
"""The one topic of each type of event."""


class Outgoing(NamedTuple):
    """An event at its place, ready to be sent."""

    lane: int
    position: int
    id: str
    """The CloudEvents id, a UUID; with the source it names the event for ever."""
    topic: str
    key: str
    type: str
    body: bytes
    at: datetime
    trace: str | None
    subject: str | None = None
    """What of its kind the event is, by which readers may pass it over without decoding it; header `ce_subject`."""


class Log(Protocol):
    """What the relay reads: rows with gap-free positions per lane, such as the outbox or a service's own log."""

    async def read(self, driver: asyncpg.Connection, after: Mapping[int, int], limit: int) -> Sequence[Outgoing]:
        """Up to `limit` rows of each lane behind the given positions, in order within a lane."""

    async def highest(self, driver: asyncpg.Connection, lanes: Sequence[int]) -> Mapping[int, int]:
        """The highest position ever given in each lane; 0 when none was."""

    async def drop(self, driver: asyncpg.Connection, upto: Mapping[int, int], keep_seconds: float, limit: int) -> int:
        """Drop sent rows that are older than that, of each lane the oldest, up to `limit`; how many it dropped.

        There may be more when it is that many. A log that is kept for ever drops none.
        """


class Outbox:
    """The outbox table as a log."""

    async def read(self, driver: asyncpg.Connection, after: Mapping[int, int], limit: int) -> Sequence[Outgoing]:
        rows = await driver.fetch(
            "SELECT o.lane, o.position, o.id::text, o.topic, o.key, o.type, o.body, o.created_at, o.trace"
            " FROM unnest($1::int[], $2::bigint[]) AS c (lane, position)"
            " CROSS JOIN LATERAL (SELECT * FROM outbox AS o WHERE o.lane = c.lane AND o.position > c.position"
            " ORDER BY o.position LIMIT $3) AS o",
            list(after.keys()),
            list(after.values()),
            limit,
        )
        return [Outgoing(*row) for row in rows]

    async def highest(self, driver: asyncpg.Connection, lanes: Sequence[int]) -> Mapping[int, int]:
        rows = await driver.fetch(
            "SELECT lane, GREATEST("
            "(SELECT o.position FROM outbox AS o WHERE o.lane = l.lane ORDER BY o.position DESC LIMIT 1),"
            " (SELECT c.position FROM relay_cursor AS c WHERE c.lane = l.lane), 0) AS position"
            " FROM unnest($1::int[]) AS l (lane)",
            lanes,
        )
        return dict(rows)

    async def drop(self, driver: asyncpg.Connection, upto: Mapping[int, int], keep_seconds: float, limit: int) -> int:
        # A lane's rows are in the order of their age: only its oldest are looked at, however many are too young.
        status = await driver.execute(
            "DELETE FROM outbox AS o USING ("
            "SELECT o.lane, o.position FROM unnest($1::int[], $2::bigint[]) AS c (lane, position)"
            " CROSS JOIN LATERAL (SELECT o.lane, o.position, o.created_at FROM outbox AS o"
            " WHERE o.lane = c.lane AND o.position <= c.position ORDER BY o.position LIMIT $4) AS o"
            " WHERE o.created_at < clock_timestamp() - make_interval(secs => $3)"
            ") AS old WHERE o.lane = old.lane AND o.position = old.position",
            list(upto.keys()),
            list(upto.values()),
            keep_seconds,
            limit,
        )
        return int(status.removeprefix("DELETE "))


OUTBOX: Final = Outbox()

COPY_FROM: Final = 200
"""Events from which COPY beats an INSERT with arrays; below it, its extra round trip costs more than it saves."""


async def append(
    driver: asyncpg.Connection, events: Sequence[Event], traces: Sequence[str | None] = (), *, lanes: int
) -> None:
    """Record events in the open transaction.

    Takes the lanes of their keys, which stay locked until commit, so it comes last in a transaction. The highest
    position is read after the lock, in a statement of its own, so that rows of whoever held the lane before are seen.
    """
    if not events:
        return
    keys = [event.key for event in events]
    lane_by_event = [lane_of(key, lanes) for key in keys]
    taken = await lane_locks.take(driver, lane_by_event)
    position = dict(await OUTBOX.highest(driver, taken))
    positions = []
    for lane in lane_by_event:
        position[lane] += 1
        positions.append(position[lane])
    columns = (
        lane_by_event,
        positions,
        [new_uuid() for _ in events],
        [TOPIC_OF[event.type] for event in events],
        keys,
        [event.type for event in events],
        [encode(event) for event in events],
        list(traces) or [current_traceparent()] * len(events),
    )
    if len(events) >= COPY_FROM:
        await driver.copy_records_to_table("outbox", records=zip(*columns, strict=True), columns=_COLUMNS)
    else:
        await driver.execute(
            f"INSERT INTO outbox ({', '.join(_COLUMNS)}) SELECT * FROM unnest("  # noqa: S608  # our own names
            "$1::int[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[])",
            *columns,
        )


_COLUMNS: Final = ("lane", "position", "id", "topic", "key", "type", "body", "trace")
