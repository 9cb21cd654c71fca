"""The relay: rows of the log, in order, to Kafka.

One process leads, by a lease that expires. Per lane it reads behind its cursor, sends with `acks=all`, and moves the
cursor by compare-and-set. A leader that wakes too late can only repeat: every event carries its source, lane and
position.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from chassis import lease
from chassis.database import LONGEST_BACKOFF_SECONDS, Database, UseCase, is_transient
from chassis.outbox import Log, Outgoing
from chassis.settings import ServiceSettings
from chassis.telemetry import RELAY_LAG, RELAY_LEADER, RELAY_SENT
from contracts import topics

LEASE: Final = "relay"

BUSY_MS = 5
"""Pause between looks while rows keep coming; doubles up to `relay_idle_ms` while none come."""

MAX_BATCH_BYTES = 512 * 1024
"""Bytes of one Kafka batch; half of the broker's limit on a request's batch."""

DROP_EVERY_SECONDS = 30.0
DROP_ROWS = 10_000
"""Sent rows are dropped in batches of so many per lane: short transactions, no bloat to speak of."""

_PARTITIONS: Final = {topic.name: topic.partitions for topic in topics.ALL}


class LostLead(Exception):
    """Another relay has moved the cursor; let it lead."""


class Relay:
    """Sends one service's log. At most one of its replicas does at a time."""

    def __init__(
        self,
        service: str,
        database: Database,
        log: Log,
        settings: ServiceSettings,
        owner: str,
        present: UseCase | None = None,
    ) -> None:
        """`present` gives the present state of every key of the service's compacted topics; it is sent again whenever
        the lead changes hands, so that a late repeat of an old leader is never what stays."""
        self._source = f"/accrual/{service}"
        self._database = database
        self._log = log
        self._settings = settings
        self._owner = owner
        self._present = present
        self._logger = structlog.get_logger().bind(relay=service)

    async def run(self, stop: asyncio.Event) -> None:
        """Lead whenever the lease is to be had, until told to stop."""
        while not stop.is_set():
            try:
                if await self._lease():
                    await self._lead(stop)
                else:
                    await _wait(stop, self._settings.relay_lease_seconds / 2)
            except LostLead:
                self._logger.warning("relay_lost_lead")
            except Exception as error:
                if not isinstance(error, KafkaError) and not is_transient(error):
                    self._logger.exception("relay_failed")
                else:
                    self._logger.warning("relay_again", error=repr(error))
                await _wait(stop, LONGEST_BACKOFF_SECONDS)
            finally:
                RELAY_LEADER.set(0)

    async def _lead(self, stop: asyncio.Event) -> None:
        RELAY_LEADER.set(1)
        if self._present is not None:
            await self._database.execute(self._present, [])
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers,
            acks="all",
            enable_idempotence=True,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=4 * MAX_BATCH_BYTES,
            linger_ms=0,
        )
        await producer.start()
        try:
            cursors = await self._cursors()
            await asyncio.gather(self._send(producer, cursors, stop), self._housekeep(cursors, stop))
        finally:
            await producer.stop()
            if stop.is_set():
                async with self._database.begin() as tx:
                    await lease.give_up(tx.driver, LEASE, self._owner)

    async def _send(self, producer: AIOKafkaProducer, cursors: dict[int, int], stop: asyncio.Event) -> None:
        """Read, send, move the cursor; again and again."""
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + self._settings.relay_lease_seconds / 3
        pause_ms = BUSY_MS
        while True:
            self._database.committed.clear()
            async with self._database.begin() as tx:
                rows = await self._log.read(tx.driver, cursors, self._settings.relay_batch_size)
            if rows:
                await self._publish(producer, rows)
                await self._move(cursors, rows)
                RELAY_SENT.inc(len(rows))
                pause_ms = BUSY_MS
            elif stop.is_set():
                return  # what this process recorded is out
            else:
                pause_ms = min(2 * pause_ms, self._settings.relay_idle_ms)
            if loop.time() > renew_at:
                if not await self._lease():
                    raise LostLead
                renew_at = loop.time() + self._settings.relay_lease_seconds / 3
            if not rows:
                await _wait(self._database.committed, pause_ms / 1000)

    async def _publish(self, producer: AIOKafkaProducer, rows: Sequence[Outgoing]) -> None:
        """Send rows as whole batches, a lane's rows to one partition in their order, and wait for every answer."""
        by_partition: dict[tuple[str, int], list[Outgoing]] = defaultdict(list)
        for row in rows:
            by_partition[row.topic, partition_of(row)].append(row)
        sent = []
        for (topic, partition), batch_rows in by_partition.items():
            builder = producer.create_batch()
            for row in batch_rows:
                record: dict[str, Any] = {
                    "key": row.key.encode(),
                    "value": row.body,
                    "timestamp": int(row.at.timestamp() * 1000),
                    "headers": self._headers(row),
                }
                if builder.append(**record) is None:
                    sent.append(await producer.send_batch(builder, topic, partition=partition))
                    builder = producer.create_batch()
                    if builder.append(**record) is None:
                        raise RuntimeError(f"event {row.id} of {len(row.body)} bytes does not fit a batch")
            sent.append(await producer.send_batch(builder, topic, partition=partition))
        await asyncio.gather(*sent)

    def _headers(self, row: Outgoing) -> list[tuple[str, bytes]]:
        """CloudEvents attributes in binary mode, and the place, by which readers know a repeat."""
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", str(row.id).encode()),
            ("ce_source", self._source.encode()),
            ("ce_type", row.type.encode()),
            ("ce_time", row.at.astimezone(UTC).isoformat().encode()),
            ("ce_lane", b"%d" % row.lane),
            ("ce_position", b"%d" % row.position),
            ("content-type", b"application/json"),
        ]
        if row.trace:
            headers.append(("traceparent", row.trace.encode()))
        return headers

    async def _cursors(self) -> dict[int, int]:
        async with self._database.begin() as tx:
            return dict(await tx.driver.fetch("SELECT lane, position FROM relay_cursor"))

    async def _move(self, cursors: dict[int, int], rows: Sequence[Outgoing]) -> None:
        """Move the cursor by compare-and-set: who lost the lead unawares moves nothing."""
        reached = {row.lane: row.position for row in rows}
        lanes = sorted(reached)
        async with self._database.begin() as tx:
            status = await tx.driver.execute(
                "UPDATE relay_cursor AS c SET position = m.new FROM unnest($1::int[], $2::bigint[], $3::bigint[])"
                " AS m (lane, old, new) WHERE c.lane = m.lane AND c.position = m.old",
                lanes,
                [cursors[lane] for lane in lanes],
                [reached[lane] for lane in lanes],
            )
            if status != f"UPDATE {len(lanes)}":
                raise LostLead
        cursors.update(reached)

    async def _lease(self) -> bool:
        async with self._database.begin() as tx:
            return await lease.take(tx.driver, LEASE, self._owner, self._settings.relay_lease_seconds)

    async def _housekeep(self, cursors: Mapping[int, int], stop: asyncio.Event) -> None:
        """Drop what was sent long ago, and measure the lag."""
        while not stop.is_set():
            try:
                async with self._database.begin() as tx:
                    highest = await self._log.highest(tx.driver, list(cursors))
                    RELAY_LAG.set(sum(highest.values()) - sum(cursors.values()))
                    await self._log.drop(tx.driver, cursors, self._settings.outbox_keep_seconds, DROP_ROWS)
            except Exception as error:
                if not is_transient(error):
                    raise
            await _wait(stop, DROP_EVERY_SECONDS)


def partition_of(row: Outgoing) -> int:
    """Our own topics follow the lane, so that workers of lanes rarely meet; the same key, the same partition."""
    return row.lane % _PARTITIONS[row.topic]


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        pass
