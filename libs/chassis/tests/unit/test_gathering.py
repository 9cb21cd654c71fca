"""How long Kafka may hold a fetch: at rest for long, while records keep coming only to gather more of them."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from chassis import Consumer
from chassis.gathering import FETCH_WAIT_MS, GATHER_BYTES, Gathering
from chassis.messages import GATHER_MS
from contracts import topics
from testkit.probe import record

PARTITION = (topics.ACTIVITIES.name, 0)
AT_REST, GATHERS = (FETCH_WAIT_MS, 1), (GATHER_MS, GATHER_BYTES)


class Kafka:
    """Gives the next record at each poll, after so many seconds; None: nothing comes in time."""

    def __init__(self, *waits: float | None) -> None:
        self._waits = list(waits)
        self._fetcher = SimpleNamespace()
        self._offset = 0

    @property
    def hold(self) -> tuple[int, int]:
        return self._fetcher._fetch_max_wait_ms, self._fetcher._fetch_min_bytes

    async def getmany(self, **_: Any) -> dict[TopicPartition, list[ConsumerRecord]]:
        wait = self._waits.pop(0)
        if wait is None:
            return {}
        await asyncio.sleep(wait)
        self._offset += 1
        it = ConsumerRecord(*PARTITION, self._offset - 1, 0, 0, b"corner", b"{}", None, 0, 2, ())
        return {TopicPartition(*PARTITION): [it]}


def _gathering(batch_size: int = 1_000) -> Gathering:
    gathering = Gathering(Consumer("activities", topics.ACTIVITIES, {}, record), batch_size)
    gathering.start_at({PARTITION: 0})
    return gathering


async def test_the_first_record_after_a_while_is_not_held_and_a_flow_is() -> None:
    kafka, gathering, idle = Kafka(3 * GATHER_MS / 1000, 0, None, 3 * GATHER_MS / 1000), _gathering(), asyncio.Event()
    idle.set()
    holds = []
    for _ in range(4):
        batch = await gathering.batch(kafka, idle)
        holds.append((batch.records, kafka.hold))
    assert holds == [(1, AT_REST), (1, GATHERS), (0, AT_REST), (1, AT_REST)]


async def test_what_fills_a_batch_flows_however_long_it_was_waited_for() -> None:
    kafka, gathering, idle = Kafka(3 * GATHER_MS / 1000), _gathering(batch_size=1), asyncio.Event()
    await gathering.batch(kafka, idle)
    assert kafka.hold == GATHERS


async def test_what_comes_first_is_applied_at_once_where_nothing_is_being_applied() -> None:
    kafka, idle = Kafka(0), asyncio.Event()
    idle.set()
    batch = await _gathering().batch(kafka, idle)  # a second poll has nothing to give and would raise
    assert (batch.records, batch.ends) == (1, {PARTITION: 1})


async def test_a_batch_goes_on_growing_until_the_last_one_is_applied() -> None:
    kafka, idle = Kafka(*[0] * 1_000), asyncio.Event()
    asyncio.get_running_loop().call_later(5 * GATHER_MS / 1000, idle.set)
    batch = await _gathering().batch(kafka, idle)
    assert idle.is_set()
    assert batch.records == batch.ends[PARTITION] > 1
