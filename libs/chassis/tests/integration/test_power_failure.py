"""A broker that loses its power loses the end of its topics, though it had acknowledged it: a system keeps what it
writes in memory for half a minute. Databases do not: what they know of is more than what is there."""

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError
from prometheus_client import REGISTRY

from chassis import consumer
from chassis.producer import Producer
from contracts import Event, encode, topics
from local import child
from local import topics as made
from local.kafka import Kafka
from testkit import wait_until
from testkit.power import cut_off
from testkit.probe import Probe, activity

START_SECONDS = 60
AGAIN_SECONDS = 60
"""For clients to find a broker that was away."""


@dataclass
class Broker:
    """A broker of our own that can lose its power."""

    kafka: Kafka
    _process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        log = self.kafka.folder / "kafka.log"
        with log.open("ab") as output:
            self._process = child.spawn(self.kafka.command(), log=output)
        child.wait_ready(self._process, self.kafka.ready, what="kafka", timeout_seconds=START_SECONDS, log=log)

    def lose_power(self, **kept: int) -> None:
        """It ends, and of each partition of these topics only so many batches are left."""
        self.stop()
        for topic, batches in kept.items():
            for segment in (self.kafka.folder / "data").glob(f"{topic}-*/*.log"):
                cut_off(segment, batches)

    def halt(self) -> None:
        """It answers nobody any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    kafka = Kafka(folder=tmp_path / "kafka", port=child.free_port(), controller_port=child.free_port())
    kafka.prepare()
    broker = Broker(kafka)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
async def probe(offline: Probe, broker: Broker) -> Probe:
    """The probe on that broker."""
    address = broker.kafka.bootstrap_servers
    await made.ensure({"bootstrap_servers": address}, [topics.ACTIVITIES, topics.POSTINGS])
    settings = offline.settings.model_copy(update={"kafka_bootstrap_servers": address})
    return Probe(offline.url, address, settings)


async def test_what_came_since_is_read_and_what_is_lost_is_sent_again(probe: Probe, broker: Broker) -> None:
    """Also where so much came since that the log is longer than it was."""
    async with probe.running():
        await _ten(probe)
    broker.lose_power(activities=6, postings=1)
    broker.start()
    assert (await _names(probe)) < {f"a-{n}" for n in range(10)}
    await probe.publish(*(activity(n) for n in range(10, 20)))
    before = _counted()
    async with probe.running() as runtime:
        await wait_until(lambda: _posted(probe, range(20)), timeout_seconds=AGAIN_SECONDS, what="twenty postings")
        assert (await runtime.readiness()) == (True, [])
    assert await probe.effects() == [f"corner/a-{n}" for n in range(20)]
    assert _counted() == (before[0] + 1, before[1] + 1)
    async with probe.running():  # and from then on all fits
        await probe.publish(activity(20))
        await wait_until(lambda: _posted(probe, range(21)), what="one more")
    assert _counted() == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("kept", [1, 0])
async def test_services_that_live_through_it_go_on_by_themselves(probe: Probe, broker: Broker, kept: int) -> None:
    """Whether or not the broker remembers that they have written there before."""
    async with probe.running() as runtime:
        await _ten(probe)
        broker.lose_power(activities=3, postings=kept)
        broker.start()
        await probe.publish(activity(10))
        await wait_until(lambda: _posted(probe, range(11)), timeout_seconds=AGAIN_SECONDS, what="all postings")
        assert (await runtime.readiness()) == (True, [])
    assert await probe.effects() == [f"corner/a-{n}" for n in range(11)]
    # Nothing newer stands before what was lost: a reader that meets it would take the others for repeats.
    reached: dict[bytes, int] = {}
    for record in await _records(probe):
        headers = dict(record.headers)
        lane, position = headers["ce_lane"], int(headers["ce_position"])
        assert position <= reached.get(lane, 0) + 1
        reached[lane] = max(position, reached.get(lane, 0))


async def test_a_worker_that_lives_through_it_reads_all_that_came_since_though_the_log_has_grown_longer(
    probe: Probe, broker: Broker
) -> None:
    async with probe.running() as runtime:
        await _ten(probe)
        broker.lose_power(activities=3)
        broker.start()
        since = [activity(n) for n in range(10, 30)]
        with ThreadPoolExecutor(1) as elsewhere:  # the worker's own loop stands still until they are there
            elsewhere.submit(asyncio.run, _published(broker, since)).result()
        await wait_until(lambda: _posted(probe, range(30)), timeout_seconds=AGAIN_SECONDS, what="thirty postings")
        assert (await runtime.readiness()) == (True, [])
    assert await probe.effects() == [f"corner/a-{n}" for n in range(30)]


async def _published(broker: Broker, events: Sequence[Event]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker.kafka.bootstrap_servers) as producer:
        for event in events:
            headers = [("ce_type", event.type.encode())]
            await producer.send_and_wait(topics.ACTIVITIES.name, encode(event), key=event.key.encode(), headers=headers)


async def test_what_is_under_way_when_a_connection_breaks_is_not_sent_again_by_the_client(
    probe: Probe, broker: Broker
) -> None:
    """Behind it the broker may lack what came before: only whoever sends knows, after a look."""
    producer = Producer(probe.settings)
    await producer.start()
    try:
        await producer.unless_broken(_sent(producer, b"first"))
        broker.halt()
        under_way = asyncio.create_task(producer.unless_broken(_sent(producer, b"second", b"third")))
        await wait_until(lambda: producer._sender._in_flight, what="the second to be under way")
        broker.lose_power()
        with pytest.raises(KafkaConnectionError):
            await under_way
        assert producer.is_broken
        broker.start()
        assert [record.value for record in await _records(probe)] == [b"first"]
    finally:
        await producer.hang_up()
    assert [record.value for record in await _records(probe)] == [b"first"]


async def test_a_client_that_is_cut_off_leaves_nothing_behind_that_goes_on(
    probe: Probe, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "LEAVE_SECONDS", 0.5)
    others = asyncio.all_tasks()
    kafka = AIOKafkaConsumer(
        topics.ACTIVITIES.name, bootstrap_servers=probe.bootstrap_servers, group_id="left", heartbeat_interval_ms=100
    )
    await kafka.start()
    await wait_until(lambda: kafka._coordinator._heartbeat_task is not None, what="heartbeats")
    broker.halt()
    await consumer.leave(kafka)
    await wait_until(lambda: asyncio.all_tasks() <= others, what="its tasks to end")


async def _sent(producer: Producer, *values: bytes) -> None:
    """A batch of each; the next of a partition waits until the one before has left."""
    sent = []
    for value in values:
        builder = producer.create_batch()
        builder.append(key=None, value=value, timestamp=None, headers=[])
        sent.append(await producer.send_batch(builder, topics.POSTINGS.name, partition=0))
    await asyncio.gather(*map(asyncio.shield, sent))


async def _ten(probe: Probe) -> None:
    """The first ten, in two batches of postings at least."""
    for upto in (5, 10):
        await probe.publish(*(activity(n) for n in range(upto - 5, upto)))
        await wait_until(lambda: _posted(probe, range(upto)), what=f"{upto} postings")  # noqa: B023  # waited for here


async def _posted(probe: Probe, numbers: range) -> bool:
    return await _names(probe) == {f"a-{n}" for n in numbers}


async def _names(probe: Probe) -> set[str]:
    """Of all postings that are on the topic now."""
    return {json.loads(record.value)["posting"] for record in await _records(probe)}


async def _records(probe: Probe) -> list[ConsumerRecord]:
    """All that is on the topic of postings now."""
    found = []
    async with AIOKafkaConsumer(bootstrap_servers=probe.bootstrap_servers, auto_offset_reset="earliest") as kafka:
        partitions = [TopicPartition(topics.POSTINGS.name, number) for number in range(topics.POSTINGS.partitions)]
        kafka.assign(partitions)
        ends = await kafka.end_offsets(partitions)
        while [tp for tp in partitions if await kafka.position(tp) < ends[tp]]:
            for records in (await kafka.getmany(timeout_ms=200)).values():
                found += records
    return found


def _counted() -> tuple[float, float]:
    """Partitions that were found cut off: of what is read, and of what is sent."""
    read = REGISTRY.get_sample_value("accrual_consumer_log_cut_total", {"consumer": "probe.activities"})
    return read or 0, REGISTRY.get_sample_value("accrual_relay_regained_total") or 0
