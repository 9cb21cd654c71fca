"""One or more processes that post to one database, each with lanes of its own, as workers do."""

import asyncio
import gc
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from queue import Empty
from typing import Any, Final

from bench.ledger.workload import Keys, Spread, first_awards, members_of, operations
from chassis import Database
from chassis.lanes import LANES
from ledger import usecases
from ledger.domain.postings import Posting
from ledger.settings import LedgerSettings
from ledger.usecases import Asked, lane_key

FILLED_TOGETHER: Final = 2_000
"""Postings of a transaction while a database is filled."""
READY_SECONDS: Final = 600.0
"""For all processes to have made what they are going to post."""
LOOK_SECONDS: Final = 2.0
"""How often it is looked whether all processes are still there."""


@dataclass(frozen=True, slots=True)
class Load:
    """What each process posts."""

    members: int
    operations: int
    """Of all processes together; 0 only makes the members' first awards."""
    batch: int = 1_000
    spread: Spread = Spread.UNIFORM
    keys: Keys = Keys.TIME_ORDERED
    seed: int = 1
    """Another one makes other keys."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How it went."""

    postings: int
    keys: int
    """Different ones; the other postings are repeats."""
    seconds: float

    @property
    def per_second(self) -> float:
        """Postings per second."""
        return self.postings / self.seconds


async def run(settings: LedgerSettings, load: Load, *, processes: int = 1, streams: int = 1) -> Ran:
    """Post from so many processes at once, each in so many streams; from the first transaction to the last commit."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.Queue()
    children = [
        context.Process(target=_child, args=(settings, load, share, processes, streams, barrier, answers), daemon=True)
        for share in range(processes)
    ]
    for child in children:
        child.start()
    try:
        spans = [await _answer(answers, children) for _ in children]
    finally:
        for child in children:
            child.join(timeout=10)
            child.kill()
    return Ran(
        postings=sum(span.postings for span in spans),
        keys=sum(span.keys for span in spans),
        seconds=max(span.ended_at for span in spans) - min(span.started_at for span in spans),
    )


async def _answer(answers: "Queue[Any]", children: Sequence[BaseProcess]) -> "_Span":
    """What one of the processes did; raises when one has failed, or has ended without a word."""
    while True:
        try:
            answer = await asyncio.to_thread(answers.get, timeout=LOOK_SECONDS)
        except Empty:
            codes = [child.exitcode for child in children if child.exitcode]
            if codes:
                raise RuntimeError(f"a process of the bench ended with {codes[0]}") from None
            continue
        if isinstance(answer, _Span):
            return answer
        raise RuntimeError(answer)


@dataclass(frozen=True, slots=True)
class _Span:
    """What one process did."""

    started_at: float
    ended_at: float
    postings: int
    keys: int


def _child(
    settings: LedgerSettings,
    load: Load,
    share: int,
    processes: int,
    streams: int,
    barrier: Barrier,
    answers: "Queue[object]",
) -> None:
    shares = range(share * streams, (share + 1) * streams)
    try:
        answers.put(asyncio.run(_post(settings, load, shares, processes * streams, barrier)))
    except Exception as error:  # noqa: BLE001 - the parent raises it
        barrier.abort()
        answers.put(f"{type(error).__name__}: {error}")


async def _post(settings: LedgerSettings, load: Load, mine: range, shares: int, barrier: Barrier) -> _Span:
    """The streams of one process, each with members of its own."""
    made = [_made(load, share, shares) for share in mine]
    size = load.batch if load.operations else FILLED_TOGETHER
    database = Database(settings, events_from_log=True)

    async def stream(postings: Sequence[Posting]) -> None:
        for first in range(0, len(postings), size):
            asked = [Asked(posting) for posting in postings[first : first + size]]
            await database.execute(usecases.obey, asked, lane_key=lane_key)

    try:
        await database.lane_count()
        gc.collect()
        gc.freeze()
        gc.disable()  # as every service runs: cycles are looked for by the clock
        await asyncio.to_thread(barrier.wait, READY_SECONDS)
        started_at = time.time()
        await asyncio.gather(*(stream(postings) for postings in made))
        ended_at = time.time()
    finally:
        await database.close()
    keys = sum(len({posting.key for posting in postings}) for postings in made)
    return _Span(started_at, ended_at, sum(map(len, made)), keys)


def _made(load: Load, share: int, shares: int) -> Sequence[Posting]:
    """The postings of one stream, in order."""
    members = members_of(load.members, LANES, share, shares)
    if not load.operations:
        return list(first_awards(members))
    name = f"{load.seed}-{share + 1}-of-{shares}"
    return list(operations(members, load.operations // shares, spread=load.spread, keys=load.keys, name=name))
