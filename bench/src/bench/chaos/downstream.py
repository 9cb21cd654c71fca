"""What a reader of the topic `ledger` saw, beside the entries that there are."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts import topics
from testkit.system import System


@dataclass
class Told:
    """What was told, and what was wrong with it."""

    entries: int = 0
    repeats: int = 0
    """Records of an entry that was told already, as a relay that was killed repeats them."""
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    _hashes: dict[tuple[str, int], str] = field(default_factory=dict)
    _ids: dict[tuple[str, int], str] = field(default_factory=dict)
    _highest: dict[str, int] = field(default_factory=dict)

    def note(self, event: dict[str, Any], ce_id: str) -> None:
        """One record."""
        account, seq = event["account"], event["seq"]
        place = (account, seq)
        self.repeats += place in self._hashes
        if self._hashes.setdefault(place, event["hash"]) != event["hash"]:
            self.duplicated.append(f"entry {place} was told with two hashes")
        if self._ids.setdefault(place, ce_id) != ce_id:
            self.duplicated.append(f"entry {place} was told under two ids")
        if seq > self._highest.get(account, 0) + 1:
            self.lost.append(f"entry {place} was told before the one below it")
        self._highest[account] = max(seq, self._highest.get(account, 0))

    def compare(self, stored: dict[tuple[str, int], str]) -> None:
        """Beside the hashes of all entries, by account and number."""
        self.entries = len(stored)
        self.lost += [f"entry {place} was never told" for place in stored.keys() - self._hashes.keys()]
        self.duplicated += [f"entry {place} was told and is not there" for place in self._hashes.keys() - stored.keys()]
        self.duplicated += [
            f"entry {place} was told with another hash"
            for place in stored.keys() & self._hashes.keys()
            if stored[place] != self._hashes[place]
        ]
        if len(set(self._ids.values())) != len(self._ids):
            self.duplicated.append("two entries were told under one id")


async def read(system: System, database: str = "ledger") -> Told:
    """Each entry, with one hash and one id, in order but for repeats."""
    told = Told()
    async with reader(system) as consumer:
        partitions = [TopicPartition(topics.LEDGER.name, number) for number in range(topics.LEDGER.partitions)]
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        while [tp for tp in partitions if await consumer.position(tp) < ends[tp]]:
            for records in (await consumer.getmany(timeout_ms=500, max_records=5_000)).values():
                for record in records:
                    headers = dict(record.headers)
                    if headers["ce_type"] == b"points-changed":
                        told.note(json.loads(record.value), headers["ce_id"].decode())
    connection = await asyncpg.connect(system.database_url(database))
    try:
        rows = await connection.fetch("SELECT account_id::text, seq, encode(hash, 'hex') AS hash FROM entry")
    finally:
        await connection.close()
    told.compare({(row["account_id"], row["seq"]): row["hash"] for row in rows})
    return told


@asynccontextmanager
async def reader(system: System) -> AsyncIterator[Any]:
    """A consumer without a group."""
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=system.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
