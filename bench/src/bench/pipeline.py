"""The whole pipe: order events from Kafka, through rules and ledger, to points-changed seen downstream."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

import workload
from bench import floors
from bench.calm import caught_up
from bench.results import Figure
from bench.shop import open_shop
from contracts import topics
from testkit.system import System
from workload import OrderEvent, Year

ORDERS: Final = 60_000
"""Measured orders of each run: some ten seconds."""

EARNS_FROM: Final = 1_000
"""Cents: every basket from here on earns at least a point, so that its award can be waited for."""

LATENCY_RATE: Final = 3_000
LATENCY_SECONDS: Final = 20

GIVE_UP_SECONDS: Final = 600


async def measure(system: System) -> list[Figure]:
    """Orders per second with few and with many members, and the time from order to points at a fixed rate."""
    floor = floors.say("kafka_loop_per_second", await floors.kafka_loop(system.brokers("admin")))
    year = workload.load()
    figures = []
    for label, members in (("5k", 5_000), ("500k", 500_000)):
        shop = f"bench-{label}"
        await open_shop(system, shop)
        async with seen(system, shop) as downstream:
            await through(system, downstream, orders(year, shop, members, members, "fill"))
            rate = await _backlog(system, downstream, orders(year, shop, members, ORDERS, "run"))
            figures.append(Figure.beside(f"orders_per_second_{label}_members", rate, "orders/s", floor))
            if label == "5k":
                paced = orders(year, shop, members, LATENCY_RATE * LATENCY_SECONDS, "paced")
                await caught_up(system)
                figures += await _paced(system, downstream, paced)
    return figures


class Downstream:
    """Reads the topic `ledger` and notes when the award of each order was seen."""

    def __init__(self, shop: str) -> None:
        self._needle = f'"shop":"{shop}"'.encode()
        self.seen_at: dict[str, float] = {}
        self._missing: set[str] = set()
        self._complete = asyncio.Event()

    async def read(self, consumer: AIOKafkaConsumer) -> None:
        """Until cancelled."""
        while True:
            for records in (await consumer.getmany(timeout_ms=100, max_records=5_000)).values():
                now = time.time()
                for record in records:
                    if self._needle in record.value:
                        order = _order_of(record.value)
                        self.seen_at.setdefault(order, now)
                        self._missing.discard(order)
            if not self._missing:
                self._complete.set()

    async def all_of(self, orders: Sequence[str]) -> None:
        """Wait until the awards of all these orders have been seen."""
        async with asyncio.timeout(GIVE_UP_SECONDS):
            self._missing = {order for order in orders if order not in self.seen_at}
            self._complete.clear()
            if self._missing:
                await self._complete.wait()


@asynccontextmanager
async def seen(system: System, shop: str) -> AsyncIterator[Downstream]:
    """A downstream consumer, from now on."""
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=system.bootstrap_servers, auto_offset_reset="latest")
    await consumer.start()
    partitions = [TopicPartition(topics.LEDGER.name, number) for number in range(topics.LEDGER.partitions)]
    consumer.assign(partitions)
    await consumer.seek_to_end(*partitions)
    for partition in partitions:
        await consumer.position(partition)
    downstream = Downstream(shop)
    reading = asyncio.create_task(downstream.read(consumer))
    try:
        yield downstream
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await consumer.stop()


def orders(year: Year, shop: str, members: int, count: int, prefix: str) -> list[OrderEvent]:
    """One order-paid event of each of so many real baskets that earn, given out to that many members in turn."""
    events: list[OrderEvent] = []
    for turn in itertools.count():
        plan = workload.Plan(
            shop=shop, ends_at=datetime.now(UTC), members=members, mix={}, prefix=f"{prefix}{turn}", seed=turn
        )
        for life in workload.lives(year.everything(), plan):
            paid = next(event for event in life.events if event.type == "order-paid")
            if life.payable >= EARNS_FROM and b"gift_card" not in paid.body:
                events.append(paid)
                if len(events) == count:
                    return events
    raise AssertionError("there is always another turn")


async def through(system: System, downstream: Downstream, events: list[OrderEvent]) -> None:
    """Publish orders and wait until the award of each has been seen."""
    await workload.publish(system.bootstrap_servers, events)
    await downstream.all_of([event.order for event in events])


async def _backlog(system: System, downstream: Downstream, events: list[OrderEvent]) -> float:
    """Orders per second while there is always more: rules are paused while the backlog is published."""
    paused = system.pause("rules")
    try:
        await workload.publish(system.bootstrap_servers, events)
    finally:
        paused.resume()
    started, used = time.time(), cpu_seconds(system)
    await downstream.all_of([event.order for event in events])
    _say_used(system, used, len(events))
    return len(events) / (max(downstream.seen_at[event.order] for event in events) - started)


def _say_used(system: System, before: dict[str, float], orders: int) -> None:
    for part, seconds in cpu_seconds(system).items():
        print(f"    {part:16} {1e6 * (seconds - before[part]) / orders:8.1f} µs of CPU per order", flush=True)


def cpu_seconds(system: System) -> dict[str, float]:
    """CPU time that each part has used so far, its children's included; `bench` is this process."""
    used = {"bench": _cpu(psutil.Process())}
    for part in system.state()["parts"]:
        process = system.process(part)
        used[part] = sum(_cpu(one) for one in [process, *process.children(recursive=True)])
    return used


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _paced(system: System, downstream: Downstream, events: list[OrderEvent]) -> list[Figure]:
    """Time from an order's publication to its points, seen downstream, while orders keep coming at a fixed rate."""
    left_at: dict[str, float] = {}

    def noting() -> Any:
        for event in events:
            left_at[event.order] = time.time()
            yield event

    used = cpu_seconds(system)
    published = await workload.publish(system.bootstrap_servers, noting(), rate=LATENCY_RATE)
    await downstream.all_of([event.order for event in events])
    _say_used(system, used, len(events))
    waits = sorted(downstream.seen_at[order] - left for order, left in left_at.items())
    if published.behind_seconds > 0.5:
        print(f"  the publisher fell {published.behind_seconds:.1f} s behind: the rate was not {LATENCY_RATE}/s")
    return [
        Figure(f"order_to_points_{name}_ms_at_{LATENCY_RATE}", round(1000 * waits[int(len(waits) * part)], 1), "ms")
        for name, part in (("p50", 0.50), ("p99", 0.99))
    ]


def _order_of(body: bytes) -> str:
    """The order that a points-changed event names."""
    start = body.find(b'"order":"')
    if start < 0:
        return str(json.loads(body).get("posting"))
    return body[start + 9 : body.index(b'"', start + 9)].decode()
