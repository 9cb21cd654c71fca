"""A service is a value: what it listens to, what it does on time, what it answers. The chassis runs it."""

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import uvicorn
import uvloop
from fastapi import APIRouter
from sqlalchemy import text

from chassis import deadletters, migrations, telemetry
from chassis.consumer import Worker
from chassis.database import Database, UseCase
from chassis.ids import new_id
from chassis.jobs import Job, JobRunner
from chassis.messages import Consumer
from chassis.outbox import OUTBOX, Log
from chassis.relay import Relay
from chassis.settings import ServiceSettings

STOP_SECONDS = 20
"""How long a graceful stop may take: requests and batches in flight end well within it."""

HOUSEKEEPING_SECONDS = 15.0
"""How often the ages of dead and waiting messages are measured, and old dead letters dropped."""

EXPIRED_LETTERS_PER_RUN = 1_000

GC_THRESHOLDS = (50_000, 20, 20)
"""Batches make many short-lived objects and no cycles; the collector's default walks them for nothing."""

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


class Runtime:
    """A service in this process."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.database = Database(service.settings, events_from_log=service.log is not None)
        self.owner = f"{service.settings.instance or 'process'}.{os.getpid()}.{new_id()}"
        """Names this process in leases; never the same twice."""
        self.extras: dict[str, Any] = {}
        self.workers: list[Worker] = []

    async def faults(self) -> list[str]:
        """Why this process is not ready; empty when it is."""
        faults = [f"{worker.name}: {worker.problem}" for worker in self.workers if worker.problem]
        try:
            async with self.database.engine.connect() as conn:
                await conn.execute(text("SELECT 1"))
        except Exception as error:
            faults.append(f"database: {type(error).__name__}")
        return faults

    def relay(self) -> Relay:
        """The relay of the service's log."""
        service = self.service
        return Relay(service.name, self.database, service.log or OUTBOX, service.settings, self.owner, service.present)

    async def run(self, mode: str, stop: asyncio.Event) -> None:
        """Run the parts of a mode until told to stop; then let what is in flight end."""
        service = self.service
        if service.startup is not None:
            await service.startup(self)
        parts: list[Coroutine[Any, Any, None]] = []
        if mode in ("worker", "all"):
            self.workers = [Worker(service.name, c, self.database, service.settings) for c in service.consumers]
            parts += [worker.run(stop) for worker in self.workers]
            parts.append(self.relay().run(stop))
        if mode in ("jobs", "all"):
            jobs = [*service.jobs, Job("housekeeping", HOUSEKEEPING_SECONDS, self._housekeep)]
            parts += [JobRunner(job, self.database, self.owner).run(stop) for job in jobs]
        parts.append(self._serve(stop))  # also workers answer health, readiness and metrics
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        tasks = [asyncio.create_task(part) for part in parts]
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

    async def _serve(self, stop: asyncio.Event) -> None:
        from chassis.http import create_app

        settings = self.service.settings
        config = uvicorn.Config(
            create_app(self),
            host=settings.http_host,
            port=settings.http_port,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=STOP_SECONDS // 2,
        )
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # ours stop the other parts as well

        async def end() -> None:
            await stop.wait()
            server.should_exit = True

        ending = asyncio.create_task(end())
        try:
            await server._serve()  # noqa: SLF001  # `serve` would take the signals
        finally:
            ending.cancel()

    async def _housekeep(self, database: Database, stop: asyncio.Event) -> None:
        async with database.begin() as tx:
            await deadletters.expire(tx.driver, self.service.settings.dead_letter_days, EXPIRED_LETTERS_PER_RUN)
            for table, condition, count, age in (
                ("dead_letter", "AND replayed_at IS NULL", telemetry.DEAD_LETTERS_WAITING, telemetry.DEAD_LETTER_AGE),
                ("waiting", "", telemetry.WAITING, telemetry.WAITING_AGE),
            ):
                for consumer in self.service.consumers:
                    row = await tx.driver.fetchrow(
                        "SELECT count(*) AS count, COALESCE(EXTRACT(epoch FROM clock_timestamp() - min(received_at)), 0)::float"
                        f" AS age FROM {table} WHERE consumer = $1 {condition}",
                        consumer.name,
                    )
                    count.labels(consumer.name).set(row["count"])
                    age.labels(consumer.name).set(row["age"])


def run(build: Callable[[], Service]) -> None:
    """The `__main__` of every service: `python -m <service> api | worker | jobs | migrate | all`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=MODES)
    mode = parser.parse_args().mode
    service = build()
    telemetry.set_up(service.name, service.settings)
    url = service.settings.database_url.get_secret_value()
    if mode == "migrate":
        owner_url = service.settings.migration_database_url
        if owner_url is None:
            sys.exit(f"{service.name}: MIGRATION_DATABASE_URL is needed to migrate")
        migrations.upgrade(owner_url.get_secret_value(), service.migrations, migrations.role_of(url))
        return
    try:
        uvloop.run(_run(service, mode, url))
    except migrations.StaleSchema as error:
        sys.exit(f"{service.name}: {error}")


async def _run(service: Service, mode: str, url: str) -> None:
    await migrations.check(url, service.migrations)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    structlog.get_logger().info("starting", mode=mode, port=service.settings.http_port)
    await Runtime(service).run(mode, stop)
