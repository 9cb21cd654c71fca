"""One campaign: the ledger's processes, a story, faults, a verdict."""

import asyncio
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.chaos.ledger.callers import Story
from bench.chaos.ledger.clock import Clock
from bench.chaos.ledger.disk import disk_at
from bench.chaos.ledger.faults import Faults
from bench.chaos.ledger.mixture import FORGIVING, OWING
from bench.chaos.ledger.proxy import proxy_to
from bench.chaos.ledger.replicas import replicas
from bench.chaos.ledger.verdict import Verdict, judge
from bench.ledger import books
from bench.ledger.books import Books
from bench.results import Figure
from chassis import Database
from ledger import usecases
from local import system as parts
from testkit import wait_until
from testkit.system import running_system

DATABASE: Final = "ledger"
OPERATIONS: Final = 200_000
GIFTS: Final = 1_000_000
"""A day, and points of them: more than any member gives here."""
FLOW_SECONDS: Final = 7_200.0
"""For all operations; the slowest machine asks fifty a second."""


async def run(
    kills: int, *, operations: int, seed: int, told: Callable[[str], None] = print
) -> tuple[Verdict, list[Figure]]:
    """Hurt the ledger so many times while at least so many operations are asked of it.

    A Ctrl-C ends faults and operations early; what they have led to is judged all the same.
    """
    with tempfile.TemporaryDirectory(prefix="accrual-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # noqa: ASYNC240 - one call before anything runs
        with disk_at(folder / "postgres", folder / "disk.img") as disk:
            if disk is None:
                told("no disk of its own can be mounted here: none gets full")
            async with running_system(folder, engines_only=True) as system:
                on = await books.make(system, DATABASE)
                await _open_shops(on)
                clock = Clock(on, random.Random(seed))
                await clock.install()
                async with (
                    proxy_to(parts.postgres(system.settings).port) as proxy,
                    replicas(system, on, proxy.port) as processes,
                ):
                    started = time.monotonic()
                    ports = [process.port for process in processes if process.mode == "api"]
                    story = Story(system, ports, seed)
                    faults = Faults(system, proxy, processes, disk, clock, random.Random(seed))
                    stop = asyncio.Event()
                    flow = asyncio.create_task(story.flow(stop))
                    with _interrupting(faults.enough):
                        await _until(story, flow, answers=operations // 100)  # all are up before the first is hurt
                        await faults.campaign(kills, told, asked=lambda: story.operations, operations=operations)
                        if not faults.enough.is_set():
                            await _until(story, flow, operations=operations, answers=operations // 10)
                    stop.set()
                    await flow
                    told(f"no more faults after {story.operations} operations; waiting for calm")
                    verdict = await judge(system, on, story, clock, processes)
                    for process in processes:
                        verdict.stuck += [f"{process.name} ended by itself: {said}" for said in process.ended_by_itself]
                    seconds = time.monotonic() - started
    told(str(verdict))
    return verdict, [
        Figure("faults", faults.counts.total(), "faults"),
        *(Figure(_name(what), number, "faults") for what, number in sorted(faults.counts.items())),
        Figure("operations", verdict.operations, "operations"),
        Figure("postings_by_kafka", story.published, "postings"),
        Figure("keys", len(story.asked), "keys"),
        Figure("entries", verdict.entries, "entries"),
        Figure("ambiguous", verdict.ambiguous, "answers"),
        Figure("lost", len(verdict.lost), "findings"),
        Figure("duplicated", len(verdict.duplicated), "findings"),
        Figure("disordered", len(verdict.disordered), "findings"),
        Figure("stuck", len(verdict.stuck), "findings"),
        Figure("seconds", round(seconds), "s"),
    ]  # fmt: skip


@contextmanager
def _interrupting(enough: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, enough.set)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _until(story: Story, flow: "asyncio.Task[None]", *, operations: int = 0, answers: int) -> None:
    """So many were asked for, and so many of them answered: Kafka takes thousands while no API is up."""
    await wait_until(
        lambda: flow.done() or (story.operations >= operations and story.answers >= answers),
        timeout_seconds=FLOW_SECONDS, every_seconds=0.1, what=f"{operations} operations, {answers} of them answered",
    )  # fmt: skip
    if flow.done():
        await flow  # it ends before it is told to only by a bug


def _name(what: str) -> str:
    return what.replace(" ", "_").replace(",", "")


async def _open_shops(on: Books) -> None:
    """Both policies, and gifts without end."""
    told = [
        usecases.LearnProgramme(
            shop=shop, revision=2, shortfall=shortfall, zone="UTC", currency="EUR",
            gifts_per_day=GIFTS, gift_points_per_day=GIFTS,
        )
        for shop, shortfall in ((FORGIVING, "forgive"), (OWING, "debt"))
    ]  # fmt: skip
    database = Database(on.settings, events_from_log=True)
    try:
        await database.execute(usecases.learn_programmes, told)
    finally:
        await database.close()
