"""A small service that the chassis runs in these tests: each activity becomes one row and one posting."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from chassis import Consumer, Outcome, Poison, Runtime, Service, ServiceSettings, Transaction, run
from chassis.messages import Received
from contracts import encode, topics
from contracts.activities import ActivityRecorded
from contracts.postings import Award, PostingRequested
from local.paths import ROOT
from testkit.waiting import wait_until

MIGRATIONS = ROOT / "libs/chassis/tests/migrations"


HELD = 4242
"""An advisory lock: while a test holds it, activities of the kind `held` stay in the middle of their transaction."""


def settings_of_nobody(**more: Any) -> ServiceSettings:
    """Settings for what needs them and no server: their addresses answer to nobody."""
    told = {
        "database_url": "postgresql://nobody@localhost:1/nothing",
        "kafka_bootstrap_servers": "localhost:1",
        "http_port": 1,
        "jwks_file": Path("jwks.json"),
    }
    return ServiceSettings(**{**told, **more})


class ProbeSettings(ServiceSettings):
    """The probe as a process of its own reads them from the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="PROBE_")


@dataclass(frozen=True, slots=True)
class Record:
    """The probe's command: note an activity."""

    shop: str
    member: str
    activity: str
    kind: str
    trace: str | None

    @classmethod
    def of(cls, event: ActivityRecorded, received: Received) -> "Record":
        if event.kind == "unmappable":
            raise Poison("unmappable", "the mapping refuses it")
        return cls(event.shop, event.member, event.activity, event.kind, received.traceparent)


async def record(tx: Transaction, commands: Sequence[Record]) -> Outcome:
    """One row and one event for each activity that is new."""
    new = await tx.driver.fetch(
        "INSERT INTO effect (activity, member) SELECT * FROM unnest($1::text[], $2::text[])"
        " ON CONFLICT (activity) DO NOTHING RETURNING activity",
        [f"{c.shop}/{c.activity}" for c in commands],
        [c.member for c in commands],
    )
    fresh = {row["activity"] for row in new}
    if any(c.kind == "bug" for c in commands):
        raise ZeroDivisionError("a bug")
    if any(c.kind == "held" for c in commands):
        await tx.driver.execute("SELECT pg_advisory_xact_lock_shared($1)", HELD)  # until the test lets go of it
    if any(c.kind == "bad-data" for c in commands):
        await tx.driver.execute("SELECT 1 / 0")
    first = {f"{c.shop}/{c.activity}": c for c in reversed(commands)}
    posted = [c for c in commands if f"{c.shop}/{c.activity}" in fresh and first[f"{c.shop}/{c.activity}"] is c]
    return Outcome(
        answers=[Poison("unusable", "the use case refuses it") if c.kind == "poison" else None for c in commands],
        events=[
            PostingRequested(shop=c.shop, member=c.member, source="probe", posting=c.activity, effect=Award(amount=1))
            for c in posted
        ],
        traces=[c.trace for c in posted],
    )


@dataclass
class Probe:
    """The probe service with its database and broker, and what tests ask of them."""

    url: str
    bootstrap_servers: str
    settings: ServiceSettings
    known: Any = None
    runtimes: list[Runtime] = field(default_factory=list)

    def service(self, **changes: Any) -> Service:
        return Service(
            name="probe",
            settings=self.settings,
            title="Probe",
            description="Notes activities.",
            migrations=MIGRATIONS,
            consumers=[
                Consumer(
                    name="activities",
                    topic=topics.ACTIVITIES,
                    commands={ActivityRecorded: Record.of},
                    usecase=record,
                    known=self.known,
                )
            ],
            **changes,
        )

    def environment(self, **changes: Any) -> dict[str, str]:
        """The settings as a process of its own reads them, with changes by their field's name."""
        fields = {**self.settings.model_dump(), **changes}
        shown = {
            name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in fields.items()
            if value is not None
        }
        return {f"PROBE_{name.upper()}": value for name, value in shown.items()}

    @asynccontextmanager
    async def process(self, mode: str = "worker", **changes: Any) -> AsyncIterator[asyncio.subprocess.Process]:
        """The service as a process of its own, that can be killed and frozen."""
        environment = {**os.environ, **self.environment(**changes)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "testkit.probe", mode, env=environment, stdin=asyncio.subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @asynccontextmanager
    async def serving(self, mode: str = "api", **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
        """The service in this process, and a client of its HTTP face."""
        address = f"http://127.0.0.1:{self.settings.http_port}"
        async with self.running(mode, **changes), httpx.AsyncClient(base_url=address, timeout=20) as client:
            await wait_until(partial(_answers, client), what="the probe to listen")
            yield client

    @asynccontextmanager
    async def running(self, mode: str = "worker", **changes: Any) -> AsyncIterator[Runtime]:
        """The service in this process; ends gracefully."""
        stop = asyncio.Event()
        runtime = Runtime(self.service(**changes))
        task = asyncio.create_task(runtime.run(mode, stop))
        try:
            yield runtime
        finally:
            stop.set()
            await task

    async def publish(self, *activities: ActivityRecorded, **more: Any) -> None:
        """Publish activities in order."""
        async with self.producer() as producer:
            for activity in activities:
                await self.send(producer, encode(activity), key=activity.key, **more)

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap_servers, acks="all")
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def send(
        self,
        producer: AIOKafkaProducer,
        value: bytes | None,
        *,
        key: str | None = "corner/m-1",
        kind: str | None = "activity-recorded",
        headers: Mapping[str, bytes] | None = None,
    ) -> None:
        """Publish raw bytes."""
        all_headers = dict(headers or {})
        if kind is not None:
            all_headers["ce_type"] = kind.encode()
        await producer.send_and_wait(
            topics.ACTIVITIES.name, value, key=key.encode() if key else None, headers=list(all_headers.items())
        )

    async def query(self, statement: str, *arguments: Any) -> list[Any]:
        """Rows of the probe's database; single columns as values."""
        connection = await asyncpg.connect(self.url)
        try:
            rows = await connection.fetch(statement, *arguments)
        finally:
            await connection.close()
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]

    async def is_held(self) -> bool:
        """Whether a transaction of the probe waits in the middle of its use case, for whoever has `HELD`."""
        (waiting,) = await self.query(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            HELD,
        )
        return bool(waiting)

    async def effects(self) -> list[str]:
        """Activities that took effect, in order."""
        return await self.query("SELECT activity FROM effect ORDER BY place")

    async def postings(self, count: int) -> list[Any]:
        """The first `count` records on the topic `postings`, repeats among them; those of one key in their order."""
        return await self.records(topics.POSTINGS.name, count)

    async def postings_without_repeats(self, count: int) -> list[Any]:
        """The same after an outage: a relay that lost its database between sending and noting it repeats, and a place
        seen before is passed over, as every reader does."""
        return await self._records(topics.POSTINGS.name, count, place=place_of)

    async def records(self, topic: str, count: int) -> list[Any]:
        """The first `count` records of a topic, repeats among them; those of one key in their order."""
        return await self._records(topic, count, place=lambda record: (record.partition, record.offset))

    async def _records(self, topic: str, count: int, *, place: Callable[[Any], Any]) -> list[Any]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap_servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partitions = next(known.partitions for known in topics.ALL if known.name == topic)
            consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
            records: dict[Any, Any] = {}
            async with asyncio.timeout(20):
                while len(records) < count:
                    for batch in (await consumer.getmany(timeout_ms=200)).values():
                        for record in batch:
                            records.setdefault(place(record), record)
            return list(records.values())
        finally:
            await consumer.stop()


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health")).is_success
    except httpx.TransportError:
        return False


def place_of(record: Any) -> tuple[bytes, bytes]:
    """The place that an event's record names: that of a repeat is the same."""
    headers = dict(record.headers)
    return headers["ce_lane"], headers["ce_position"]


def activity(number: int, *, shop: str = "corner", member: str = "m-1", kind: str = "check-in") -> ActivityRecorded:
    """The activity of that number."""
    return ActivityRecorded(
        shop=shop, member=member, activity=f"a-{number}", kind=kind, at=datetime(2026, 3, 2, tzinfo=UTC)
    )


def _build() -> Service:
    settings = ProbeSettings()
    return Probe(settings.database_url.get_secret_value(), settings.kafka_bootstrap_servers, settings).service()


if __name__ == "__main__":
    run(_build)
