"""What no publisher of ours would send, through a real broker that takes it: nobody behind it waits."""

import struct
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.record.util import calc_crc32c

from chassis.messages import KEPT_BYTES
from chassis.packed import UNPACKED_BYTES
from contracts import encode, topics
from testkit import wait_until
from testkit.probe import Probe, activity


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
async def test_a_batch_that_unpacks_to_too_much_is_a_dead_letter_as_it_was_packed(probe: Probe, codec: str) -> None:
    await _send_packed(probe, b"\0" * (UNPACKED_BYTES + 1), codec)
    async with probe.running():
        await wait_until(lambda: _applied(probe, 2))
    ((code, detail, size),) = await probe.query("SELECT code, detail, octet_length(value) FROM dead_letter")
    assert code == "unpackable"
    assert detail.startswith("a batch of 1 records cannot be unpacked to 33554432 bytes at most: ")
    assert 0 < size < KEPT_BYTES
    assert await probe.effects() == ["corner/a-1"]


async def test_of_a_message_that_is_far_too_large_a_megabyte_is_kept(probe: Probe) -> None:
    await _send_packed(probe, b"x" * (UNPACKED_BYTES // 2), "zstd")
    async with probe.running():
        await wait_until(lambda: _applied(probe, 2))
    assert await probe.query("SELECT code, detail, octet_length(value) FROM dead_letter") == [
        ("malformed", "16777216 bytes, more than the 524288 allowed", KEPT_BYTES)
    ]
    assert await probe.effects() == ["corner/a-1"]


async def test_a_headers_name_that_is_no_text_stops_nobody(probe: Probe) -> None:
    async with probe.producer() as producer:
        await _send_named(producer, encode(activity(1)), b"\xff\xfe")
        await probe.send(producer, encode(activity(2)))
    async with probe.running():
        await wait_until(lambda: _applied(probe, 2))
    assert await probe.effects() == ["corner/a-1", "corner/a-2"]
    assert await probe.query("SELECT count(*) FROM dead_letter") == [0]


@pytest.mark.parametrize("claimed", [1_000_000, -5])
async def test_an_offset_that_a_publisher_made_up_loses_nothing(probe: Probe, claimed: int) -> None:
    async with probe.producer() as producer:
        await probe.send(producer, encode(activity(1)))
        await _send_claiming(producer, encode(activity(2)), claimed)
        await probe.send(producer, encode(activity(3)))
    async with probe.running():
        await wait_until(lambda: _applied(probe, 3))
    assert await probe.effects() == ["corner/a-1", "corner/a-2", "corner/a-3"]


async def _send_packed(probe: Probe, value: bytes, codec: str) -> None:
    """One large message, and a good one behind it."""
    producer = AIOKafkaProducer(
        bootstrap_servers=probe.bootstrap_servers,
        compression_type=codec,
        max_request_size=2 * len(value),
        max_batch_size=2 * len(value),
    )
    await producer.start()
    try:
        await probe.send(producer, value)
        await probe.send(producer, encode(activity(1)))
    finally:
        await producer.stop()


async def _send_named(producer: Any, value: bytes, name: bytes) -> None:
    """A message with a header of that name, which no client for Python would send."""
    batch = producer.create_batch()
    headers = [("ce_type", b"activity-recorded"), ("@" * len(name), b"1")]
    batch.append(timestamp=None, key=b"corner/m-1", value=value, headers=headers)
    batch._buffer = _checked(bytearray(batch._build()).replace(b"@" * len(name), name))
    await _send_to_its_partition(producer, batch)


async def _send_claiming(producer: Any, value: bytes, place: int) -> None:
    """A message that is alone in its batch, and says that it is at another place there."""
    batch = producer.create_batch()
    batch._relative_offset = place
    batch.append(timestamp=None, key=b"corner/m-1", value=value, headers=[("ce_type", b"activity-recorded")])
    built = bytearray(batch._build())
    struct.pack_into(">i", built, 23, 0)  # the batch's last place, which the broker compares with its count
    batch._buffer = _checked(built)
    await _send_to_its_partition(producer, batch)


def _checked(batch: bytearray) -> bytes:
    struct.pack_into(">I", batch, 17, calc_crc32c(bytes(batch[21:])))
    return bytes(batch)


async def _send_to_its_partition(producer: Any, batch: Any) -> None:
    """Where all others of its key are."""
    name = topics.ACTIVITIES.name
    partitions = sorted(await producer.partitions_for(name))
    partition = DefaultPartitioner()(b"corner/m-1", partitions, partitions)
    await (await producer.send_batch(batch, name, partition=partition))


async def _applied(probe: Probe, count: int) -> bool:
    return sum(await probe.query("SELECT next FROM consumer_offset")) == count
