"""The consumer: batches from Kafka, handed over between owners without loss.

Kafka only delivers; where this consumer stands is in the database (`fence`), and what becomes of a batch is decided in
`batch`. After the commit Kafka gets a hint, for lag tools.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from chassis import fence, queues, waiting
from chassis.batch import Applier, Ending
from chassis.database import FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, Database, Superseded
from chassis.faults import is_transient
from chassis.fence import Partition, Position
from chassis.fetched import bound_fetches
from chassis.flood import Flood
from chassis.gathering import FETCH_WAIT_MS, Batch, Gathering
from chassis.kafka import brokers, cut_off, tell_of_ends, topic_ids
from chassis.messages import Consumer, Message
from chassis.pauses import is_cancelled, pause
from chassis.settings import ServiceSettings
from chassis.telemetry import BATCH_MESSAGES, BATCH_SECONDS, CONSUMER_LAG, CONSUMER_STOPPED, LOG_CUT

HEARTBEATS = 5
"""In the length of a session: four may be lost, and after one a worker notices that another has come."""

FETCH_MAX_BYTES = 16 * 1024 * 1024
"""Bytes of one fetch over all partitions: several full batches, bounded memory."""

METADATA_MAX_AGE_MS = 10_000
"""After this a topic that was not there, or a partition that was added, is noticed."""

MAX_POLL_INTERVAL_MS = 600_000
"""An outage of the database that is shorter than this moves no partitions between members of the group."""

HINT_SECONDS = 1.0
"""How often Kafka is told where we stand, at most; each time is a round trip."""

HINT_TIMEOUT_SECONDS = 5.0
"""A broker that is away must not hold a batch up for its hint."""

LEAVE_SECONDS = 5.0
"""For leaving the group; a broker that is away never answers."""

STALLED_SESSIONS = 3
"""Lengths of a session without any answer to a fetch, after which another one begins. Handing partitions over takes one
at most, so does the return of a broker; a client that has hung itself up goes on greeting its group for ever."""

QUEUE_CHECK_SECONDS = 1.0
"""How often the queues of waiting shops are looked at; a shop goes live at most this long after it has become known."""


ASK = "messages are lost or were never these: a person must say where to go on"


async def leave(kafka: AIOKafkaConsumer) -> None:
    """End a client that reads, in whatever state its broker is. Never raises a cancellation that is not the caller's:
    ending it cancels its own tasks, and where the broker has just gone away one of them passes that on."""
    leaving = asyncio.create_task(kafka.stop())
    try:
        await asyncio.wait([leaving], timeout=LEAVE_SECONDS)
    finally:
        cut_off = leaving.cancel() or leaving.cancelled()
    if cut_off or leaving.exception() is not None:
        await _abandon(kafka)
    if not cut_off:
        leaving.result()


async def _abandon(kafka: AIOKafkaConsumer) -> None:
    """End what a client has left behind whose own end was cut off or failed, or it goes on in vain for ever: greeting
    its group, fetching, and saying ten times a second that it cannot."""
    if kafka._coordinator is not None:  # noqa: SLF001
        kafka._coordinator.reset_generation()  # noqa: SLF001  # who is in no group greets none
    if kafka._fetcher is not None:  # noqa: SLF001
        await asyncio.gather(kafka._fetcher.close(), return_exceptions=True)  # noqa: SLF001
    await kafka._client.close()  # noqa: SLF001


class Stopped(Exception):
    """The consumer must not go on without a person."""


class Stalled(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    """The client takes part in its group and fetches nothing; another one will."""


class Worker:
    """Runs one `Consumer` in this process."""

    def __init__(self, service: str, consumer: Consumer, database: Database, settings: ServiceSettings) -> None:
        self.name = f"{service}.{consumer.name}"
        self.consumer = consumer
        self.problem: str | None = None
        """Why it has stopped, if it has; readiness tells."""
        self._database = database
        self._settings = settings
        self._applier = Applier(self.name, consumer, database)
        self._gathering = Gathering(consumer, settings.batch_size)
        self._flood = Flood(settings)
        self._to_quarantine: set[str] = set()
        self._busy = asyncio.Lock()
        """Held while a batch is applied, or positions are looked up again, so that a revocation waits for it."""
        self._patience = STALLED_SESSIONS * settings.session_timeout_ms / 1000
        self._reconnecting = False
        """A connection has ended since positions were last read; what comes over the next one may be of a log that was
        cut off and grew again."""
        self._placed_at = 0.0
        """When positions were last read, by the wall clock."""
        self._hinted_at = 0.0
        self._to_hint: dict[Partition, int] = {}
        self._log = structlog.get_logger().bind(consumer=self.name)

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until told to stop. Faults of Kafka itself start the session anew; a bug ends it for good."""
        CONSUMER_STOPPED.labels(self.name).set(0)
        emptying = asyncio.create_task(self._empty_queues(stop))
        try:
            await self._sessions(stop)
        except Exception as error:  # noqa: BLE001  # a bug stops this consumer and nothing else of the process
            self.problem = str(error) if isinstance(error, Stopped) else repr(error)
            CONSUMER_STOPPED.labels(self.name).set(1)
            self._log.exception("consumer_stopped", reason=self.problem)
        finally:
            emptying.cancel()
            await asyncio.gather(emptying, return_exceptions=True)

    # -- sessions with Kafka

    async def _sessions(self, stop: asyncio.Event) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while not stop.is_set():
            began_at = time.monotonic()
            try:
                await self._session(stop)
            except (Exception, asyncio.CancelledError) as error:
                if not _is_lost(error):
                    raise
                self._log.warning("session_lost", error=repr(error))
                if time.monotonic() - began_at > LONGEST_BACKOFF_SECONDS:
                    backoff = FIRST_BACKOFF_SECONDS  # it had been running
                await pause(stop, backoff)
                backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    async def _session(self, stop: asyncio.Event) -> None:
        self._applier.next.clear()
        self._gathering.forget_all()
        self._to_hint.clear()
        self._reconnecting = False
        bound_fetches()
        kafka = AIOKafkaConsumer(
            **brokers(self._settings),
            group_id=self.name,
            # With a name that stays, a killed member's partitions wait for it instead of for the session's end.
            group_instance_id=f"{self.name}.{self._settings.instance}" if self._settings.instance else None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=self._settings.session_timeout_ms,
            heartbeat_interval_ms=self._settings.session_timeout_ms // HEARTBEATS,
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            fetch_max_bytes=FETCH_MAX_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            consumer_timeout_ms=FETCH_WAIT_MS,
        )
        tell_of_ends(kafka._client, self._note_end)  # noqa: SLF001
        kafka.subscribe([self.consumer.topic.name], listener=_Assignment(self, kafka, stop))
        try:
            await asyncio.wait_for(kafka.start(), self._patience)
            await self._work(kafka, stop)
        except Ending:
            return
        finally:
            await leave(kafka)

    async def _work(self, kafka: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        """Apply batch after batch; while one waits for the database the next one is gathered."""
        idle = asyncio.Event()
        idle.set()
        stopping = asyncio.create_task(stop.wait())
        coming = asyncio.create_task(self._gathering.batch(kafka, idle))
        try:
            while True:
                if self.problem:
                    raise Stopped(self.problem)
                # A rebalance that does not end holds the gathering up, but no stop.
                await asyncio.wait({coming, stopping}, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    return
                if not coming.done():
                    raise Stalled(f"no end to a rebalance in {self._patience} s")
                batch = coming.result()
                if not batch.records:
                    self._require_fetching(kafka)
                elif self._reconnecting:
                    async with self._busy:
                        await self._look_again(kafka)
                idle.clear()
                coming = asyncio.create_task(self._gathering.batch(kafka, idle))
                async with self._busy:
                    await self._apply(kafka, batch, stop)
                idle.set()
                await self._hint(kafka)
        finally:
            stopping.cancel()
            coming.cancel()
            for left in await asyncio.gather(coming, return_exceptions=True):
                if isinstance(left, Batch):
                    left.end()

    def _note_end(self) -> None:
        self._reconnecting = True

    async def _look_again(self, kafka: AIOKafkaConsumer) -> None:
        """Go on where the log that there is now goes on; what was gathered before is dropped with its position."""
        self._reconnecting = False
        partitions = list(kafka.assignment())
        self.forget([(tp.topic, tp.partition) for tp in partitions])
        await self.find_positions(kafka, partitions)

    async def find_positions(self, kafka: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
        """Read where these partitions stand, in the database, and seek there. A log that does not fit stops us."""
        names: list[Partition] = [(tp.topic, tp.partition) for tp in partitions]
        ids = await topic_ids(kafka, (topic for topic, _ in names))
        begins = await kafka.beginning_offsets(partitions)
        async with self._database.begin() as tx:
            positions = await fence.read(tx.driver, self.consumer.name, names)
            missing = {p: Position(begins[TopicPartition(*p)], ids[p[0]]) for p in names if p not in positions}
            if missing:
                await fence.begin_at(tx.driver, self.consumer.name, missing)
                positions = await fence.read(tx.driver, self.consumer.name, names)
        # Read after the positions: another owner that is still at work moves those over what was the end before.
        ends = await kafka.end_offsets(partitions)
        for (topic, number), (position, topic_id, _) in positions.items():
            if topic_id != ids[topic]:
                self.problem = (
                    f"{topic}/{number}: position {position} is of topic {topic_id}, the topic is {ids[topic]}; {ASK}"
                )
                return
        try:
            positions = await self._before_what_was_cut_off(kafka, positions, ends)
        except Superseded:  # another owner was faster: it stands where that says now
            await self.find_positions(kafka, partitions)
            return
        for (topic, number), (position, *_) in positions.items():
            tp = TopicPartition(topic, number)
            if not begins[tp] <= position <= ends[tp]:
                log = f"{begins[tp]} to {ends[tp]}"
                self.problem = f"{topic}/{number}: position {position} is outside the log ({log}); {ASK}"
                return
            kafka.seek(tp, position)
        found = {partition: position.next for partition, position in positions.items()}
        self._applier.next.update(found)
        self._gathering.start_at(found)
        self._placed_at = time.time()

    async def _before_what_was_cut_off(
        self, kafka: AIOKafkaConsumer, positions: dict[Partition, Position], ends: Mapping[TopicPartition, int]
    ) -> dict[Partition, Position]:
        """Positions, and where the log was cut off below one, moved to what came since."""
        known = {TopicPartition(*p): (at.next, at.latest) for p, at in positions.items() if at.latest is not None}
        cut = await cut_off(kafka, known, ends) if known else {}
        if not cut:
            return positions
        LOG_CUT.labels(self.name).inc(len(cut))
        moves: dict[Partition, tuple[int, int]] = {tp: (positions[tp].next, begin) for tp, begin in cut.items()}
        self._log.error("log_cut_off", positions={f"{topic}/{n}": move for (topic, n), move in moves.items()})
        async with self._database.begin() as tx:
            await fence.advance(tx.driver, self.consumer.name, moves)
        return positions | {tp: positions[tp]._replace(next=begin) for tp, begin in cut.items()}

    def _require_fetching(self, kafka: AIOKafkaConsumer) -> None:
        """With nothing left to gather, every partition that is not paused is asked for again and again."""
        for tp in kafka.assignment() - kafka.paused():
            answered_at = max((kafka.last_poll_timestamp(tp) or 0) / 1000, self._placed_at)
            if time.time() - answered_at > self._patience:
                raise Stalled(f"{tp.topic}/{tp.partition}: no answer to a fetch in {self._patience} s")

    def forget(self, partitions: Sequence[Partition]) -> None:
        """Let go of partitions; records of them that are still on their way are dropped."""
        self._gathering.forget(partitions)
        for partition in partitions:
            self._applier.next.pop(partition, None)
            self._to_hint.pop(partition, None)

    async def settle(self) -> None:
        """Wait for the batch in flight."""
        async with self._busy:
            pass

    # -- one batch

    async def _apply(self, kafka: AIOKafkaConsumer, batch: Batch, stop: asyncio.Event) -> None:
        self._gathering.keep_current(batch, self._applier.next)
        messages, ends = batch.messages, batch.ends
        if not ends:
            return
        self._applier.latest.update(batch.latest)
        try:
            await self._applier.apply(messages, ends, stop)
        except Superseded:
            self._log.info("superseded", partitions=sorted(ends))
            self.forget(list(ends))
            await self.find_positions(kafka, [TopicPartition(*partition) for partition in ends])
            return
        finally:
            batch.end()
        BATCH_SECONDS.labels(self.name).observe(time.monotonic() - batch.began_at)
        BATCH_MESSAGES.labels(self.name).observe(len(messages))
        self._to_hint.update(ends)
        await self._stem(messages)

    async def _stem(self, messages: Sequence[Message]) -> None:
        """Quarantine shops that flood the dead letters; stop when there are many of them."""
        now = time.monotonic()
        self._flood.aside(self._applier.aside, now)
        self._applier.aside.clear()
        self._to_quarantine |= self._flood.over(messages, now)
        while self._to_quarantine:
            shop = min(self._to_quarantine)
            reason = f"{self._settings.dead_letters_per_shop} dead letters within a minute"
            try:
                async with self._database.begin() as tx:
                    await waiting.quarantine(tx.driver, self.consumer.name, shop, reason)
            except Exception as error:
                if not is_transient(error):
                    raise
                return  # with the next batch
            self._log.error("shop_quarantined", shop=shop, reason=reason)
            self._to_quarantine.remove(shop)
        if self._flood.reason_to_stop:
            raise Stopped(self._flood.reason_to_stop)

    async def _hint(self, kafka: AIOKafkaConsumer) -> None:
        """Tell Kafka where we stand, for lag tools only; a session that was lost meanwhile refuses it, harmlessly."""
        now = time.monotonic()
        if now - self._hinted_at < HINT_SECONDS:
            return
        self._hinted_at = now
        highwaters = ((kafka.highwater(TopicPartition(*p)) or 0, end) for p, end in self._applier.next.items())
        CONSUMER_LAG.labels(self.name).set(sum(max(0, highwater - end) for highwater, end in highwaters))
        if not self._to_hint:
            return
        hints = {TopicPartition(*partition): end for partition, end in self._to_hint.items()}
        self._to_hint.clear()
        try:
            await asyncio.wait_for(kafka.commit(hints), HINT_TIMEOUT_SECONDS)
        except Exception as error:
            if not _is_lost(error):
                raise
            self._log.info("hint_refused", error=repr(error))

    # -- queues of waiting shops

    async def _empty_queues(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                emptied = await queues.empty_all(
                    self._database, self.name, self.consumer, self._settings.batch_size, stop
                )
                self._applier.went_well(emptied.applied)
                self._flood.aside(emptied.aside, time.monotonic())
            except Exception as error:  # noqa: BLE001  # a task of its own: the worker's loop raises the problem
                if not is_transient(error):
                    self.problem = f"a queue could not be emptied: {error!r}"
                    self._log.exception("queue_stuck")
                    return
                self._log.info("queue_again", error=repr(error))
            await pause(stop, QUEUE_CHECK_SECONDS)


def _is_lost(error: BaseException) -> bool:
    """Whether only this session is over: by a fault of Kafka, of the network, or of the client, which may cancel what
    waits for it when its broker goes away; a cancellation that is ours is none of these."""
    if isinstance(error, asyncio.CancelledError):
        return not is_cancelled()
    return isinstance(error, KafkaError) or is_transient(error)


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Hands partitions over: the batch in flight ends first; nothing is applied before its position is read."""

    def __init__(self, worker: Worker, kafka: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        self._worker = worker
        self._kafka = kafka
        self._stop = stop

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
        while not self._stop.is_set():
            try:
                await self._worker.find_positions(self._kafka, partitions)
            except Exception as error:  # noqa: BLE001  # aiokafka would swallow it: the worker's own loop raises it
                if not is_transient(error) and not isinstance(error, KafkaError):
                    self._worker.problem = repr(error)
                    return
            else:
                self._kafka.resume(*partitions)
                return
            await pause(self._stop, backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)
