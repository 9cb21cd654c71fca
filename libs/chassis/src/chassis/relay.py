"""The relay: rows of the log, in order, to Kafka.

One process leads, by a lease that expires. Per lane it reads behind its cursor, sends with `acks=all`, and moves the
cursor by compare-and-set. A leader that wakes too late can only repeat: every event carries its source, lane and
position.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from chassis import acknowledged, lease
from chassis.acknowledged import CutOff, End
from chassis.database import LONGEST_BACKOFF_SECONDS, Database, UseCase
from chassis.faults import is_transient
from chassis.fence import Partition
from chassis.outbox import Log, Outgoing
from chassis.pauses import pause
from chassis.producer import Producer
from chassis.settings import ServiceSettings
from chassis.telemetry import RELAY_LAG, RELAY_LEADER, RELAY_REGAINED, RELAY_SENT
from contracts import topics

LEASE: Final = "relay"

SMALL_ROUND = 100
GATHER_SECONDS = 0.02
"""After a round with fewer rows than that, this long is waited for more: a round is two statements and an answer of
Kafka, whatever it carries."""

BUSY_MS = 25
"""First pause after an empty look, or after a small round of this process' own rows: other processes may have some, and
those of this one wake it at once. Doubles up to `relay_idle_ms`; shorter, half of all looks found nothing while rows
came every few dozen milliseconds."""

HOUSEKEEPING_SECONDS = 5.0
"""How often the lag is measured and sent rows are dropped."""

STALLED_SECONDS = 60.0
"""For Kafka to take a round: over the client's own time-outs. One that hangs is given up; another sends all again."""

LAST_SECONDS = 5.0
"""For the rows that are left when it is told to stop."""

DROP_ROWS = 1_000
"""Sent rows are dropped in batches of so many per lane: short transactions, and little to look at while all rows are
too young."""

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
        self._source = f"/accrual/{service}".encode()
        self._database = database
        self._log = log
        self._settings = settings
        self._owner = owner
        self._present = present
        self._producer: Producer | None = None
        """Of this lead, once it has something to send or had something sent."""
        self.problem: str | None = None
        """A bug that keeps it from sending; readiness tells."""
        self._logger = structlog.get_logger().bind(relay=service)

    async def run(self, stop: asyncio.Event) -> None:
        """Lead whenever the lease is to be had, until told to stop. Each lead has a producer of its own and reads the
        cursors anew, so nothing of a lead that went wrong is carried on."""
        repeated = False
        while repeated or not stop.is_set():
            try:
                if repeated and self._present is not None:
                    # A leader that woke too late may have repeated an old state behind a newer one: the present is sent
                    # again, so that on a compacted topic the old one is not what stays.
                    await self._database.execute(self._present, [])
                    repeated = False
                elif await self._lease():
                    await self._lead(stop)
                else:
                    await pause(stop, self._settings.relay_lease_seconds / 2)
                self.problem = None
            except LostLead:
                self._logger.warning("relay_lost_lead")
                repeated = self._present is not None
            except Exception as error:
                if isinstance(error, KafkaError) or is_transient(error):
                    self._logger.warning("relay_again", error=repr(error))
                else:  # a bug: nothing is sent, and readiness, the log and the lag all say so
                    self.problem = repr(error)
                    self._logger.exception("relay_failed")
                repeated = repeated and not stop.is_set()
                await pause(stop, LONGEST_BACKOFF_SECONDS)
            finally:
                RELAY_LEADER.set(0)

    async def _lead(self, stop: asyncio.Event) -> None:
        RELAY_LEADER.set(1)
        cursors, ends = await self._cursors(), await self._acknowledged()
        housekeeping = asyncio.create_task(self._housekeep(cursors, stop))
        try:
            await self._send(cursors, ends, stop)
        except CutOff as cut:
            await self._send_again(cut)
            raise
        finally:
            housekeeping.cancel()
            await asyncio.gather(housekeeping, return_exceptions=True)
            await self._hang_up()
            if stop.is_set():
                async with self._database.begin() as tx:
                    await lease.give_up(tx.driver, LEASE, self._owner)

    async def _send(self, cursors: dict[int, int], ends: dict[Partition, End], stop: asyncio.Event) -> None:
        """Read, send, move the cursor; again and again."""
        if ends or self._present is not None:  # what is lost of them is noticed now, and not with the next row
            await self._connected(ends)
        if self._present is not None:  # behind the connection, or each try to get one would record it
            await self._database.execute(self._present, [])
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + self._settings.relay_lease_seconds / 3
        pause_ms = BUSY_MS
        end_at: float | None = None
        while True:
            if stop.is_set() and end_at is None:
                end_at = loop.time() + LAST_SECONDS
            woken = self._database.committed.is_set()
            self._database.committed.clear()  # before the look, so that what is committed after it wakes us
            async with self._database.look() as driver:
                rows = await self._log.read(driver, cursors, self._settings.relay_batch_size)
            if rows:
                # Only now, where nothing was told yet: Kafka refuses a service with nothing to tell as a writer.
                producer = await self._connected(ends)
                async with asyncio.timeout(STALLED_SECONDS):
                    sent = await producer.unless_broken(self._publish(producer, rows))
                reached = acknowledged.ends_of(sent, ends)
                await self._move(cursors, rows, reached)
                ends |= reached
                RELAY_SENT.inc(len(rows))
                pause_ms = BUSY_MS
            elif end_at is not None:
                return  # what this process recorded is out
            else:
                pause_ms = min(2 * pause_ms, self._settings.relay_idle_ms)
            if end_at is not None and loop.time() > end_at:
                return  # other processes go on recording; one of them will lead
            if loop.time() > renew_at:
                if not await self._lease():
                    raise LostLead
                renew_at = loop.time() + self._settings.relay_lease_seconds / 3
            if 0 < len(rows) < SMALL_ROUND:
                await pause(stop, GATHER_SECONDS)
            if not rows or (woken and len(rows) < SMALL_ROUND):
                # This process tells of its next rows; of those of others nobody does, so behind them it looks at once.
                await pause(self._database.committed, pause_ms / 1000)

    async def _connected(self, ends: Mapping[Partition, End]) -> Producer:
        """Kafka, which has all that it has acknowledged: looked up for each new connection. Raises `CutOff`."""
        if self._producer is None or self._producer.is_broken:
            await self._hang_up()
            async with asyncio.timeout(STALLED_SECONDS):
                if ends:
                    await acknowledged.require(self._settings, ends)
                self._producer = Producer(self._settings)
                await self._producer.start()
        return self._producer

    async def _hang_up(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.hang_up()

    async def _acknowledged(self) -> dict[Partition, End]:
        """Where what Kafka has acknowledged ends."""
        async with self._database.begin() as tx:
            return await acknowledged.read(tx.driver)

    async def _send_again(self, cut: CutOff) -> None:
        """What Kafka had acknowledged and has lost is sent by the next lead."""
        async with self._database.begin() as tx:
            await acknowledged.send_again(tx.driver, cut.lost)
        RELAY_REGAINED.inc(len(cut.lost))
        self._logger.error("topic_cut_off", goes_on_at={f"{topic}/{n}": end for (topic, n), end in cut.lost.items()})

    async def _publish(self, producer: Producer, rows: Sequence[Outgoing]) -> list[tuple[RecordMetadata, int]]:
        """Send rows as whole batches, a lane's rows to one partition in their order, and wait for every answer; each of
        them, with how many records it is about."""
        by_partition: dict[tuple[str, int], list[Outgoing]] = defaultdict(list)
        for row in rows:
            by_partition[row.topic, partition_of(row)].append(row)
        sent, records = [], []
        for (topic, partition), batch_rows in by_partition.items():
            builder = producer.create_batch()
            for row in batch_rows:
                timestamp, time = _instant(row.at)
                record: dict[str, Any] = {
                    "key": row.key.encode(),
                    "value": row.body,
                    "timestamp": timestamp,
                    "headers": self._headers(row, time),
                }
                if builder.append(**record) is None:
                    sent.append(await producer.send_batch(builder, topic, partition=partition))
                    records.append(builder.record_count())
                    builder = producer.create_batch()
                    if builder.append(**record) is None:
                        raise RuntimeError(f"event {row.id} of {len(row.body)} bytes does not fit a batch")
            sent.append(await producer.send_batch(builder, topic, partition=partition))
            records.append(builder.record_count())
        answers = await asyncio.gather(*map(asyncio.shield, sent))  # its own futures must not be cancelled
        return list(zip(answers, records, strict=True))

    def _headers(self, row: Outgoing, time: bytes) -> list[tuple[str, bytes]]:
        """CloudEvents attributes in binary mode, and the place, by which readers know a repeat."""
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", row.id.encode()),
            ("ce_source", self._source),
            ("ce_type", row.type.encode()),
            *([("ce_subject", row.subject.encode())] if row.subject else ()),  # early: readers look for it in each
            ("ce_time", time),
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

    async def _move(self, cursors: dict[int, int], rows: Sequence[Outgoing], ends: Mapping[Partition, End]) -> None:
        """Move the cursor by compare-and-set, each lane by itself: who lost the lead unawares moves none that the new
        leader has moved."""
        reached = {row.lane: row.position for row in rows}
        lanes = sorted(reached)
        async with self._database.look() as driver:
            status = await driver.execute(
                acknowledged.CURSORS,
                lanes,
                [cursors[lane] for lane in lanes],
                [reached[lane] for lane in lanes],
                [topic for topic, _ in ends],
                [number for _, number in ends],
                [end.next for end in ends.values()],
                [end.latest for end in ends.values()],
            )
        if status != f"UPDATE {len(lanes)}":
            raise LostLead
        cursors.update(reached)

    async def _lease(self) -> bool:
        async with self._database.look() as driver:
            return await lease.take(driver, LEASE, self._owner, self._settings.relay_lease_seconds)

    async def _drop(self, upto: Mapping[int, int]) -> int:
        async with self._database.look() as driver:
            return await self._log.drop(driver, upto, self._settings.outbox_keep_seconds, DROP_ROWS)

    async def _housekeep(self, cursors: Mapping[int, int], stop: asyncio.Event) -> None:
        """Measure the lag, settle what was sent a while ago, and drop what was long ago."""
        reached: deque[tuple[float, dict[int, int]]] = deque()
        settled: dict[int, int] = {}
        while not stop.is_set():
            try:
                async with self._database.begin() as tx:
                    highest = await self._log.highest(tx.driver, list(cursors))
                    RELAY_LAG.set(sum(highest.values()) - sum(cursors.values()))
                reached.append((time.monotonic(), dict(cursors)))
                settled = await self._settle(reached, settled)
                while await self._drop(settled) >= DROP_ROWS and not stop.is_set():
                    pass
            except Exception as error:  # noqa: BLE001  # sending goes on without it; the next round may work
                self._logger.warning("housekeeping_again", error=repr(error))
            await pause(stop, HOUSEKEEPING_SECONDS)

    async def _settle(self, reached: deque[tuple[float, dict[int, int]]], settled: dict[int, int]) -> dict[int, int]:
        """Note where cursors stood so long ago that no broker can lose it now; `reached`: where they stood when."""
        before = settled
        while reached and reached[0][0] <= time.monotonic() - acknowledged.LOST_SECONDS:
            _, settled = reached.popleft()
        if settled != before:
            async with self._database.look() as driver:
                await driver.execute(acknowledged.SETTLE, list(settled), list(settled.values()))
        return settled


@lru_cache(maxsize=1024)
def _instant(at: datetime) -> tuple[int, bytes]:
    """Kafka's milliseconds and the CloudEvents time; what was recorded together has the same."""
    return int(at.timestamp() * 1000), at.astimezone(UTC).isoformat().encode()


def partition_of(row: Outgoing) -> int:
    """Our own topics follow the lane, so that workers of lanes rarely meet; the same key, the same partition."""
    return row.lane % _PARTITIONS[row.topic]
