"""Postings per second in batches: one process and two, spread and hot, small and grown; each run is checked."""

import hashlib
import time
from typing import Final

from bench import floors as machine
from bench.ledger import books, floors
from bench.ledger.books import Books
from bench.ledger.processes import Load, Ran, run
from bench.ledger.workload import Keys, Spread
from bench.results import Figure
from testkit.system import System

FLOOR_OPERATIONS: Final = 100_000
HASHED: Final = 500_000
ENTRY_BYTES: Final = 450
"""About what an entry hashes."""


async def measure(system: System, *, members: int, operations: int) -> list[Figure]:
    """Every shape of load on a database of its own that starts with one award for every member."""
    tpcb = machine.say("tpcb_per_second", machine.tpcb(system.database_url("postgres")))
    sha256 = machine.say("sha256_per_second", _sha256())
    start = await books.make(system, "ledger_start")
    await run(start.settings, Load(members=members, operations=0))
    await start.settle()
    unnest, figures = await _floors(system, start, members)
    rates: dict[str, float] = {}
    for name, load, processes, streams in (
        ("one_process_1000", Load(members, operations), 1, 2),
        ("one_process_1000_random_keys", Load(members, operations, keys=Keys.RANDOM), 1, 2),
        ("one_process_1000_zipf", Load(members, operations, spread=Spread.ZIPF), 1, 2),
        ("one_stream_1000", Load(members, operations // 4), 1, 1),
        ("one_stream_1000_hot", Load(members, operations // 4, spread=Spread.HOT), 1, 1),
        ("one_process_100", Load(members, operations // 4, batch=100), 1, 2),
        ("two_processes_1000", Load(members, operations), 2, 1),
    ):
        ran, wal_bytes = await _run(system, start, name, load, processes, streams)
        rates[name] = ran.per_second
        figures.append(_say(Figure.beside(name, ran.per_second, "postings/s", unnest)))
        if name == "one_process_1000":
            figures.append(Figure("wal_bytes_per_posting", round(wal_bytes / ran.postings), "bytes"))
    uniform = rates["one_process_1000"]
    hot = rates["one_stream_1000_hot"] / rates["one_stream_1000"]  # a member has one lane, so one stream
    figures.append(Figure("hot_ratio", round(hot, 3), "of uniform"))
    figures.append(Figure.beside("tpcb_ratio", uniform, "postings/s", tpcb))
    figures.append(Figure.beside("sha256_ratio", uniform, "postings/s", sha256))
    await books.drop(system, start)
    return figures


async def _floors(system: System, start: Books, members: int) -> tuple[float, list[Figure]]:
    """The same rows with no logic."""
    first = await books.copy(system, start, "ledger_recorded")
    recorded, rate = await floors.record(first, members, FLOOR_OPERATIONS)
    await books.drop(system, first)
    rows = {}
    for way in ("unnest", "copy"):
        again = await books.copy(system, start, f"ledger_repeated_{way}")
        rows[way] = await floors.repeat(again, recorded, FLOOR_OPERATIONS, way)
        await books.drop(system, again)
    machine.say("same_rows_by_unnest_per_second", rows["unnest"])
    machine.say("same_rows_by_copy_per_second", rows["copy"])
    return rows["unnest"], [
        _say(Figure.beside("floor_ratio", rate, "postings/s", rows["unnest"])),
        _say(Figure.beside("copy_floor_ratio", rate, "postings/s", rows["copy"])),
    ]


async def _run(system: System, start: Books, name: str, load: Load, processes: int, streams: int) -> tuple[Ran, int]:
    """On a copy of the start; what it wrote to the write-ahead log beside it."""
    on = await books.copy(system, start, f"ledger_{name}")
    try:
        before, keys = await on.wal_bytes(), await on.count("posting")
        ran = await run(on.settings, load, processes=processes, streams=streams)
        wal_bytes = await on.wal_bytes() - before
        await books.check(on, outcomes=keys + ran.keys)
        return ran, wal_bytes
    finally:
        await books.drop(system, on)


def _say(figure: Figure) -> Figure:
    print(f"  {figure.name:40} {figure.value:>12,.1f} {figure.unit}", flush=True)
    return figure


def _sha256() -> float:
    """Hashes of an entry's size per second: what tamper evidence costs at the least."""
    entry = bytes(ENTRY_BYTES)
    started = time.perf_counter()
    for _ in range(HASHED):
        hashlib.sha256(entry).digest()
    return HASHED / (time.perf_counter() - started)
