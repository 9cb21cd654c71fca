"""A service is a value: what it listens to, what it does on time, what it answers. The chassis runs it."""

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import uvicorn
import uvloop
from fastapi import APIRouter

from chassis import deadletters, lease, schema, telemetry, waiting
from chassis.consumer import Worker
from chassis.database import LONGEST_BACKOFF_SECONDS, Database, UseCase
from chassis.faults import is_transient
from chassis.ids import new_id
from chassis.jobs import Job, JobRunner
from chassis.messages import Consumer
from chassis.outbox import OUTBOX, Log
from chassis.pauses import is_cancelled, pause
from chassis.postgres import NotLetIn
from chassis.relay import Relay
from chassis.settings import ServiceSettings

STOP_SECONDS = 20
"""How long a graceful stop may take: requests and batches in flight end well within it."""

KEEP_ALIVE_SECONDS = 75
"""An idle connection stays longer here than in any proxy, so that it is never closed under a request on its way."""

READY_SECONDS = 2.0
"""The database answers in milliseconds, or we are not ready."""

START_SECONDS = 60.0
"""How long a starting process waits for its database before it gives up; whoever runs it will start it again."""

HOUSEKEEPING_SECONDS = 15.0
"""How often the ages of dead and waiting messages are measured, and old dead letters dropped."""

EXPIRED_LETTERS_PER_RUN = 1_000

GARBAGE_EVERY_SECONDS = 5.0
"""How often cycles are looked for. A batch holds some 100,000 objects that end by themselves when it does; a collector
that runs by their number walks them again and again, and took a quarter of the processor."""

GARBAGE_OBJECTS = 2_000
"""Fewer new objects than that are not worth a walk, which costs the same for one of them: a process at rest makes none.
What they hold is under a megabyte."""

FULL_GARBAGE_EVERY = 60
"""Every so many walks the old objects are walked too."""

MODES = ("api", "worker", "jobs", "migrate", "all")


@dataclass(frozen=True)
class Service:
    """Everything that a service is."""

    name: str
    settings: ServiceSettings
    title: str
    description: str
    migrations: Path
    """The service's Alembic folder."""
    routes: Sequence[APIRouter] = ()
    consumers: Sequence[Consumer] = ()
    jobs: Sequence[Job] = ()
    problems: Mapping[type[Exception], int] = field(default_factory=dict)
    """HTTP statuses of the domain's errors."""
    log: Log | None = None
    """The service's own log, where that is its outbox; None: the chassis' outbox."""
    present: UseCase | None = None
    """The present state of every key of the compacted topics that the service writes, as events."""
    startup: Callable[["Runtime"], Awaitable[None]] | None = None
    """Makes what lives as long as the process (clients, groups) and puts it on `runtime.extras`."""
    shutdown: Callable[["Runtime"], Awaitable[None]] | None = None


class CannotStart(Exception):
    """The service must not run on things as they are; the message says why, and what to do."""


class Runtime:
    """A service in this process."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.database = Database(service.settings, events_from_log=service.log is not None)
        self.owner = f"{service.settings.instance or '-'}.{os.getpid()}.{new_id()}"
        """Names this process in leases; never the same twice."""
        self.extras: dict[str, Any] = {}
        self.workers: list[Worker] = []
        self.relay: Relay | None = None
        self.mode = ""
        self.parts: list[Callable[[asyncio.Event], Coroutine[Any, Any, None]]] = []
        """What the service's startup wants to run until the end; one that raises ends the process."""

    async def readiness(self) -> tuple[bool, list[str]]:
        """Whether this process should get requests, and all that is wrong with it.

        A process that only works is not ready when its work has stopped. One that also answers requests goes on
        answering them: a consumer that needs a person must not take the API away from everyone.
        """
        faults = await self.faults()
        return not any(self.mode == "worker" or fault.startswith("database") for fault in faults), faults

    async def faults(self) -> list[str]:
        """What is wrong with this process; empty when nothing is."""
        faults = [f"{worker.name}: {worker.problem}" for worker in self.workers if worker.problem]
        if self.relay is not None and self.relay.problem:
            faults.append(f"relay: {self.relay.problem}")
        try:
            async with asyncio.timeout(READY_SECONDS), self.database.look() as driver:
                await driver.execute("SELECT 1")
        except Exception as error:  # noqa: BLE001  # whatever it is, without the database nothing works
            faults.append(f"database: {type(error).__name__}")
        return faults

    async def run(self, mode: str, stop: asyncio.Event) -> None:
        """Run the parts of a mode until told to stop; then let what is in flight end."""
        service = self.service
        self.mode = mode
        if mode != "api":  # which holds none
            await self._inherit()
        if service.startup is not None:
            await service.startup(self)
        parts = [part(stop) for part in self.parts]
        if mode in ("worker", "all"):
            self.workers = [Worker(service.name, c, self.database, service.settings) for c in service.consumers]
            parts += [worker.run(stop) for worker in self.workers]
        if mode in ("jobs", "all"):
            jobs = [*service.jobs, Job("housekeeping", HOUSEKEEPING_SECONDS, self._housekeep)]
            parts += [JobRunner(job, self.database, self.owner).run(stop) for job in jobs]
        parts.append(self._serve(stop))  # also workers answer health, readiness and metrics
        parts.append(_collect_garbage(stop))
        parts.append(self._stay_in_the_same_timeline(stop))
        tasks = [asyncio.create_task(_seen_to_its_end(part)) for part in parts]
        if mode in ("worker", "all"):
            log = service.log or OUTBOX
            self.relay = Relay(service.name, self.database, log, service.settings, self.owner, service.present)
            last = asyncio.Event()  # until the others have ended they record what is to be sent
            parts = [_set_behind(tuple(tasks), last), self.relay.run(last)]
            tasks += [asyncio.create_task(_seen_to_its_end(part)) for part in parts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            stop.set()
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result
        finally:
            if service.shutdown is not None:
                await service.shutdown(self)
            await self.database.close()

    async def _stay_in_the_same_timeline(self, stop: asyncio.Event) -> None:
        """What this process remembers, and what it has told others, may be gone where another host took over or a
        backup was restored. It begins anew, so that whatever a service looks at when it starts is looked at."""
        moved = self.database.server.moved
        waiting = [asyncio.create_task(event.wait()) for event in (moved, stop)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        if moved.is_set():
            raise CannotStart("the database goes on in another timeline than this process began in; start it again")

    async def _inherit(self) -> None:
        instance = self.service.settings.instance
        if instance is None:
            return
        try:
            async with self.database.look() as driver:
                await lease.inherit(driver, instance)
        except Exception as error:
            if not is_transient(error):
                raise
            structlog.get_logger().warning("leases_left_to_expire", error=repr(error))

    async def _serve(self, stop: asyncio.Event) -> None:
        from chassis.http import create_app
        from chassis.server import Protocol

        settings = self.service.settings
        config = uvicorn.Config(
            create_app(self),
            host=settings.http_host,
            port=settings.http_port,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,  # who calls is in the token
            timeout_graceful_shutdown=STOP_SECONDS // 2,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            http=Protocol,
            ws="none",
            lifespan="off",
        )
        await _Server(config, stop)._serve()  # noqa: SLF001  # `serve` would take the signals

    async def _housekeep(self, database: Database, _: asyncio.Event) -> None:
        async with database.begin() as tx:
            await deadletters.expire(tx.driver, self.service.settings.dead_letter_days, EXPIRED_LETTERS_PER_RUN)
            for consumer in self.service.consumers:
                dead = await deadletters.backlog(tx.driver, consumer.name)
                telemetry.DEAD_LETTERS_WAITING.labels(consumer.name).set(dead.count)
                telemetry.DEAD_LETTER_AGE.labels(consumer.name).set(dead.age_seconds)
                parked = await waiting.backlog(tx.driver, consumer.name)
                telemetry.WAITING.labels(consumer.name).set(parked.count)
                telemetry.WAITING_AGE.labels(consumer.name).set(parked.age_seconds)
                telemetry.QUARANTINED.labels(consumer.name).set(await waiting.quarantined(tx.driver, consumer.name))


async def _seen_to_its_end(part: Coroutine[Any, Any, None]) -> None:
    """A part whose client cancels what waits for it would end unseen; the process ends then, and is started anew."""
    try:
        await part
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise RuntimeError("a part was cancelled by what it waited for") from error


async def _set_behind(parts: Collection[asyncio.Task[None]], event: asyncio.Event) -> None:
    """Set an event when these parts have ended."""
    await asyncio.wait(parts)
    event.set()


class _Server(uvicorn.Server):
    """Serves until told to stop. uvicorn's own loop looks ten times a second whether it should end, and what the time
    is for a header that we do not send."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._stop = stop

    async def main_loop(self) -> None:
        await self._stop.wait()


async def _collect_garbage(stop: asyncio.Event) -> None:
    """Look for cycles by the clock instead of by the number of new objects, which is highest amid a batch."""
    gc.collect()
    gc.freeze()
    gc.disable()
    walks = 0
    while not stop.is_set():
        await pause(stop, GARBAGE_EVERY_SECONDS)
        if gc.get_count()[0] >= GARBAGE_OBJECTS:
            walks += 1
            gc.collect(2 if walks % FULL_GARBAGE_EVERY == 0 else 1)


def run(build: Callable[[], Service]) -> None:
    """The `__main__` of every service: `python -m <service> api | worker | jobs | migrate | all`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=MODES)
    mode = parser.parse_args().mode
    service = build()
    telemetry.set_up(service.name, service.settings)
    try:
        if mode == "migrate":
            # Imported here: no other process needs it, and it is half a second and twenty megabytes.
            from chassis import migrations

            role = schema.role_of(service.settings.database_url.get_secret_value())
            migrations.upgrade(_owner_url(service), service.migrations, role)
        else:
            uvloop.run(_run(service, mode))
    except (schema.UnfitDatabase, NotLetIn, CannotStart) as error:
        sys.exit(f"{service.name}: {error}")


def _owner_url(service: Service) -> str:
    url = service.settings.migration_database_url
    if url is None:
        raise CannotStart("MIGRATION_DATABASE_URL is needed to migrate")
    return url.get_secret_value()


async def _run(service: Service, mode: str) -> None:
    runtime, stop = Runtime(service), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log = structlog.get_logger()
    log.info("starting", mode=mode, port=service.settings.http_port)
    give_up_at = loop.time() + START_SECONDS
    while not stop.is_set():
        try:
            await schema.check(runtime.database.server, service.migrations)
        except Exception as error:
            if not is_transient(error) or loop.time() > give_up_at:
                raise
            log.warning("waiting_for_database", error=repr(error))
            await pause(stop, LONGEST_BACKOFF_SECONDS)
        else:
            await runtime.run(mode, stop)
            return
