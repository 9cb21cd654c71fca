"""A reader of the topic `ledger`, as any other service could be one: it counts what happened, each entry once."""

import asyncio
import time
from collections import Counter, defaultdict
from typing import Any, Final, Self

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts import topics
from demo.lag import partitions_of

TOPIC: Final = topics.LEDGER.name


class _Buckets(msgspec.Struct):
    available: int = 0


class _Changed(msgspec.Struct):
    """Of a points-changed event what is counted here."""

    shop: str
    member: str
    account: str
    seq: int
    kind: str
    system: dict[str, int]
    balances: _Buckets
    order: str | None = None


class Watcher:
    """Reads the topic from its beginning and goes on until it is stopped."""

    def __init__(self, bootstrap_servers: str, shop: str) -> None:
        self._shop = shop
        self._kafka = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, isolation_level="read_committed")
        self._decode = msgspec.json.Decoder(_Changed).decode
        self._seq: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._partitions: list[TopicPartition] = []
        self.kinds: Counter[str] = Counter()
        self.refusals = 0
        self.repeats = 0
        self.gaps = 0
        self.kept: dict[str, int] = defaultdict(int)
        """By order, the points that its awards leave with the member."""
        self.available: dict[str, int] = {}
        """By member, what can be used; pending points that have become usable since are not counted."""
        self.last_at = time.monotonic()
        """When the newest entry was seen."""

    async def __aenter__(self) -> Self:
        await self._kafka.start()
        self._partitions = await partitions_of(self._kafka, [TOPIC])
        self._kafka.assign(self._partitions)
        await self._kafka.seek_to_beginning(*self._partitions)
        self._task = asyncio.create_task(self._run())
        while not await self.is_at_end():  # noqa: ASYNC110 - no event tells how far another process is
            await asyncio.sleep(0.1)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._kafka.stop()

    @property
    def entries(self) -> int:
        """How many entries were seen, each once."""
        return sum(self.kinds.values())

    async def is_at_end(self) -> bool:
        """Whether all that is on the topic has been seen."""
        if self._task is not None and self._task.done():
            self._task.result()  # raises what went wrong
        ends = await self._kafka.end_offsets(self._partitions)
        for partition, end in ends.items():
            if await self._kafka.position(partition) < end:
                return False
        return True

    async def _run(self) -> None:
        while True:
            batches: dict[Any, list[Any]] = await self._kafka.getmany(timeout_ms=200, max_records=5_000)
            for records in batches.values():
                for record in records:
                    self._see(record)

    def _see(self, record: Any) -> None:
        if ("ce_type", b"points-changed") not in record.headers:
            self.refusals += 1
            return
        changed = self._decode(record.value)
        if changed.shop != self._shop:
            return
        before = self._seq.get(changed.account, 0)
        if changed.seq <= before:
            self.repeats += 1
            return
        self.gaps += changed.seq != before + 1
        self._seq[changed.account] = changed.seq
        self.kinds[changed.kind] += 1
        self.available[changed.member] = changed.balances.available
        if changed.order is not None:
            self.kept[changed.order] -= changed.system.get("issued", 0) + changed.system.get("revoked", 0)
        self.last_at = time.monotonic()
