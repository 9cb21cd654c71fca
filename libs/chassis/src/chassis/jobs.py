"""Jobs: what a service does on time, one runner at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from chassis import lease
from chassis.database import Database
from chassis.faults import is_transient
from chassis.pauses import pause
from chassis.telemetry import JOB_FAILURES, JOB_SECONDS

LEASE_SECONDS = 15.0
"""A runner that falls silent is replaced after this."""

RENEWALS = 3
"""How often it renews in that time, whether its job takes minutes or is done again every second: each is a write."""


@dataclass(frozen=True)
class Job:
    """Something to do again and again. Safe to run twice and to be killed anywhere: it resumes from what is stored."""

    name: str
    every_seconds: float
    run: Callable[[Database, asyncio.Event], Awaitable[None]]
    """`run(database, stop)`: does what is due in batches of its own transactions, and looks at `stop` between them."""


class JobRunner:
    """Runs one job in this process whenever no other process does."""

    def __init__(self, job: Job, database: Database, owner: str) -> None:
        self._job = job
        self._database = database
        self._owner = owner
        self._lease = f"job:{job.name}"
        self._renew_at = 0.0
        self._log = structlog.get_logger().bind(job=job.name)

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop."""
        while not stop.is_set():
            try:
                if time.monotonic() < self._renew_at or await self._renew():
                    await self._once(stop)
            except Exception as error:  # noqa: BLE001  # the next run may work; the metric and the log say so
                JOB_FAILURES.labels(self._job.name).inc()
                if is_transient(error):
                    self._log.warning("job_again", error=repr(error))
                else:
                    self._log.exception("job_failed")
            await pause(stop, self._job.every_seconds)
        try:
            async with self._database.begin() as tx:
                await lease.give_up(tx.driver, self._lease, self._owner)
        except Exception as error:  # noqa: BLE001  # it ends by itself
            self._log.info("lease_left_to_expire", error=repr(error))

    async def _once(self, stop: asyncio.Event) -> None:
        started = time.monotonic()
        work = asyncio.create_task(_as_coroutine(self._job.run(self._database, stop)))
        try:
            while not (await asyncio.wait([work], timeout=LEASE_SECONDS / RENEWALS))[0]:
                if not await self._renew():
                    self._log.warning("job_lost_lease")
                    return
        finally:
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
        await work
        JOB_SECONDS.labels(self._job.name).observe(time.monotonic() - started)

    async def _renew(self) -> bool:
        asked_at = time.monotonic()
        async with self._database.look() as driver:
            ours = await lease.take(driver, self._lease, self._owner, LEASE_SECONDS)
        self._renew_at = asked_at + LEASE_SECONDS / RENEWALS if ours else 0.0
        return ours


async def _as_coroutine(awaitable: Awaitable[None]) -> None:
    await awaitable
