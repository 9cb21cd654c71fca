"""Publishing order events to Kafka as fast as one core can, or at a rate that waits for nobody."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

from contracts import topics
from workload.lives import OrderEvent

BATCH_BYTES: Final = 256 * 1024
"""Bytes of one Kafka batch: some two hundred orders."""

CHUNK: Final = 1_000
"""Events between two looks at the clock and at what is under way."""

UNDER_WAY: Final = 16
"""Batches that Kafka has not confirmed yet; more would only wait in memory."""

TICK_SECONDS: Final = 0.02
"""At a rate, how often what is due is sent, as clients linger: a Kafka batch of one order costs the broker and each
reader what one of twenty does."""

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Published:
    """What was sent."""

    events: int
    seconds: float
    behind_seconds: float = 0.0
    """At a rate: by how much the last event left after its time."""

    @property
    def per_second(self) -> float:
        """The rate that came of it."""
        return self.events / self.seconds if self.seconds else 0.0


def headers_of(event: OrderEvent, *, source: str = "/workload") -> Headers:
    """The CloudEvents attributes, binary mode."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event.id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", event.type.encode()),
        ("ce_time", f"{event.at.isoformat()[:19]}Z".encode()),
        ("content-type", b"application/json"),
    ]


class Publisher:
    """A producer of order events: `async with Publisher(bootstrap_servers) as publisher`."""

    def __init__(self, bootstrap_servers: str, *, topic: str = topics.ORDERS.name, source: str = "/workload") -> None:
        self._topic = topic
        self._source = source
        self._bootstrap_servers = bootstrap_servers
        self._producer: Any = None
        self._partitions: Sequence[int] = ()
        self._partition_of: dict[bytes, int] = {}
        self._under_way: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers,
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            linger_ms=0,
        )
        try:
            await self._producer.start()
            self._partitions = sorted(await self._producer.partitions_for(self._topic))
        except BaseException:  # also when given up in the midst of it
            await self._producer.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()

    @property
    def producer(self) -> Any:
        """The client itself, for whoever has to give up on its broker."""
        return self._producer

    async def send(self, events: Iterable[OrderEvent]) -> int:
        """Send events in their order, per key; Kafka has confirmed them after `flush()`. How many."""
        count = 0
        batches: dict[int, Any] = {}
        now = int(time.time() * 1000)
        for event in events:
            count += 1
            partition = self._partition(event.key)
            batch = batches.get(partition)
            if batch is None:
                batch = batches[partition] = self._producer.create_batch()
            message = {"key": event.key, "value": event.body, "headers": headers_of(event, source=self._source)}
            if batch.append(timestamp=now, **message) is None:
                await self._send(batch, partition)
                batch = batches[partition] = self._producer.create_batch()
                if batch.append(timestamp=now, **message) is None:
                    raise ValueError(f"{event.id} does not fit into a batch of {BATCH_BYTES} bytes")
        for partition, batch in batches.items():
            await self._send(batch, partition)
        return count

    async def flush(self) -> None:
        """Wait until Kafka has confirmed all that was sent."""
        while self._under_way:
            await self._confirmed(asyncio.ALL_COMPLETED)

    def _partition(self, key: bytes) -> int:
        partition = self._partition_of.get(key)
        if partition is None:
            # As Kafka's own clients choose it, so that all publishers agree.
            partition = self._partitions[(murmur2(key) & 0x7FFFFFFF) % len(self._partitions)]
            self._partition_of[key] = partition
        return partition

    async def _send(self, batch: Any, partition: int) -> None:
        sent = await self._producer.send_batch(batch, self._topic, partition=partition)
        sent.add_done_callback(_seen)
        self._under_way.add(sent)
        while len(self._under_way) > UNDER_WAY:
            await self._confirmed(asyncio.FIRST_COMPLETED)

    async def _confirmed(self, when: str) -> None:
        done, self._under_way = await asyncio.wait(self._under_way, return_when=when)
        for future in done:
            future.result()  # raises what Kafka refused


def _seen(sent: "asyncio.Future[Any]") -> None:
    """A publisher that is given up with batches under way has nobody left to ask what became of them."""
    if not sent.cancelled():
        sent.exception()


async def publish(
    bootstrap_servers: str,
    events: Iterable[OrderEvent],
    *,
    rate: float | None = None,
    on_progress: Callable[[int], None] | None = None,
    source: str = "/workload",
    topic: str = topics.ORDERS.name,
) -> Published:
    """Publish events and wait until Kafka has them all.

    With a `rate` (events per second) the load is open: each event leaves at its own time whether or not anybody keeps
    up, and Kafka's timestamp of a record is when it left.
    """
    iterator = iter(events)
    async with Publisher(bootstrap_servers, topic=topic, source=source) as publisher:
        started_at = time.monotonic()
        sent, behind_seconds = 0, 0.0
        while True:
            wanted = CHUNK
            if rate is not None:
                wanted = min(int((time.monotonic() - started_at) * rate) - sent, CHUNK)
                if wanted <= 0:
                    await asyncio.sleep(TICK_SECONDS)
                    continue
            count = await publisher.send(islice(iterator, wanted))
            sent += count
            if rate is not None:
                behind_seconds = max(time.monotonic() - started_at - sent / rate, 0.0)
            if on_progress is not None:
                on_progress(sent)
            if count < wanted:
                break
            # The producer's own task sends what is there; what a rate makes due until then goes with the next tick.
            await asyncio.sleep(0 if rate is None else TICK_SECONDS)
        await publisher.flush()
        return Published(sent, time.monotonic() - started_at, behind_seconds)
