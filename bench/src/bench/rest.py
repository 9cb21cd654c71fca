"""At rest: what the system costs while nothing flows, and how long it took to be ready."""

import asyncio
from typing import Final

import psutil

import workload
from bench.pipeline import cpu_seconds, orders, seen, through
from bench.results import Figure
from bench.shop import open_shop
from testkit.system import System

ORDERS: Final = 500
"""Sent before, so that nothing is still to be loaded, planned or compiled that a shop needs every day."""

MEMBERS: Final = 100

SETTLE_SECONDS: Final = 60
"""After the last award: Java goes on compiling what has just run, services send what they record on time."""

MEASURED_SECONDS: Final = 30
"""Longer than the rarest of what is done often (15 s)."""


async def measure(system: System) -> list[Figure]:
    """The share of one core and the memory of all parts together, measured a minute after the last order."""
    shop = "bench-rest"
    await open_shop(system, shop)
    async with seen(system, shop) as downstream:
        await through(system, downstream, orders(workload.load(), shop, MEMBERS, ORDERS, "rest"))
    await asyncio.sleep(SETTLE_SECONDS)
    before = _used(system)
    await asyncio.sleep(MEASURED_SECONDS)
    percent = {part: 100 * (used - before[part]) / MEASURED_SECONDS for part, used in _used(system).items()}
    mib = {part: sum(one.memory_full_info().pss for one in _family(system, part)) / 2**20 for part in percent}
    for part, share in percent.items():
        print(f"    {part:16} {share:6.2f} % of a core {mib[part]:8.1f} MiB", flush=True)
    return [
        Figure("rest_cpu_percent", round(sum(percent.values()), 2), "%"),
        Figure("rest_memory_mib", round(sum(mib.values())), "MiB"),
        Figure("up_to_ready_seconds", round(system.ready_after_seconds, 1), "s"),
    ]


def _used(system: System) -> dict[str, float]:
    """CPU seconds of each part, the supervisor among them; not our own."""
    supervisor = psutil.Process(system.state()["pid"]).cpu_times()
    used = {**cpu_seconds(system), "supervisor": supervisor.user + supervisor.system}
    del used["bench"]
    return used


def _family(system: System, part: str) -> list[psutil.Process]:
    """A part's processes. What they share with each other counts once: each has its proportion of it."""
    if part == "supervisor":
        return [psutil.Process(system.state()["pid"])]
    process = system.process(part)
    return [process, *process.children(recursive=True)]
