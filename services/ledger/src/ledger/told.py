"""The end of the topic `ledger`: what was told of each lane last, read from the broker itself."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from chassis.consumer import leave
from chassis.kafka import brokers
from contracts import topics
from ledger.settings import LedgerSettings
from ledger.store.log import EPOCH_LANES

RECORDS: Final = 200
"""Of each partition, read from its end. The last one alone would do, but a late leader may have repeated older ones,
and a restore looks here for the last one that it still has."""

READ_MS: Final = 200
"""How long one look for records waits; they are there."""

REQUEST_MS: Final = 5_000
"""A broker that is up answers in milliseconds."""


@dataclass(slots=True)
class Told:
    """What a lane's last records say."""

    epoch: int = 1
    position: int = 0
    """The last one told in that epoch."""
    ids: dict[int, str] = field(default_factory=dict)
    """Of the epoch's events at the end, by position."""


class _Body(msgspec.Struct):
    """What is wanted of an event's body."""

    epoch: int | None = None
    position: int = 0


_decode: Final = msgspec.json.Decoder(_Body).decode


async def ends(settings: LedgerSettings, seconds: float) -> dict[int, Told]:
    """The last that was told of each lane, of those that were told of. Raises `KafkaError` or `TimeoutError` when the
    broker gives no answer within that time; a topic that is not there has told nothing."""
    async with asyncio.timeout(seconds):
        kafka = AIOKafkaConsumer(
            **brokers(settings),
            enable_auto_commit=False,
            auto_offset_reset="none",
            request_timeout_ms=REQUEST_MS,
            isolation_level="read_committed",
        )
        try:
            await kafka.start()
            if topics.LEDGER.name not in await kafka.topics():
                return {}
            return await _read(kafka)
        finally:
            await leave(kafka)


async def _read(kafka: AIOKafkaConsumer) -> dict[int, Told]:
    partitions = [TopicPartition(topics.LEDGER.name, n) for n in range(topics.LEDGER.partitions)]
    kafka.assign(partitions)
    begins, stops = await kafka.beginning_offsets(partitions), await kafka.end_offsets(partitions)
    left = {}
    for partition in partitions:
        kafka.seek(partition, max(begins[partition], stops[partition] - RECORDS))
        if stops[partition] > begins[partition]:
            left[partition] = stops[partition]
        else:
            kafka.pause(partition)
    lanes: dict[int, Told] = {}
    while left:
        for partition, records in (await kafka.getmany(timeout_ms=READ_MS)).items():
            for record in records:
                note(lanes, record.headers, record.value)
            if await kafka.position(partition) >= left.get(partition, 0):
                left.pop(partition, None)
    return lanes


def note(lanes: dict[int, Told], headers: Iterable[tuple[str, bytes]], value: bytes) -> None:
    """One more record. Of an older epoch than what came before it is a late repeat."""
    facts: Mapping[str, str] = {name: header.decode() for name, header in headers}
    try:
        body = _decode(value)
        lane, position, event_id = int(facts["ce_lane"]), int(facts["ce_position"]), facts["ce_id"]
    except (KeyError, ValueError, msgspec.DecodeError):
        return  # not from a ledger's relay
    if lane >= EPOCH_LANES:
        lane, position = lane - EPOCH_LANES, body.position
    known = lanes.get(lane)
    epoch = body.epoch or (known.epoch if known else 1)
    if known is None or epoch > known.epoch:
        known = lanes[lane] = Told(epoch)
    if epoch == known.epoch:
        known.position = max(known.position, position)
        known.ids[position] = event_id
