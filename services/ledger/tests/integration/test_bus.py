"""The ledger on the bus: what is asked of it by Kafka, and what it tells."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from chassis import Runtime, acknowledged
from chassis.lanes import lane_of
from contracts import decode, topics
from contracts.ledger import EntryCause, PointsChanged, PostingRefused
from contracts.postings import Award, Cause, Debit, PostingRequested, Revoke
from contracts.programmes import ProgrammeChanged
from contracts.seals import LogSealed
from contracts.structs import as_struct
from ledger.app import build
from ledger.settings import LedgerSettings
from local.child import free_port
from local.databases import ServiceDatabase
from testkit import wait_until
from testkit.tokens import Tokens

from .kafka import publish, told
from .sealed import key_file

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@dataclass
class Bus:
    """A broker and a ledger that can be run beside it."""

    servers: str
    settings: LedgerSettings
    url: str

    @asynccontextmanager
    async def running(self, mode: str = "worker") -> AsyncIterator[Runtime]:
        """The ledger in this process; ends gracefully."""
        stop = asyncio.Event()
        runtime = Runtime(build(self.settings))
        task = asyncio.create_task(runtime.run(mode, stop))
        try:
            yield runtime
        finally:
            stop.set()
            await task

    async def sql(self, statement: str) -> list[asyncpg.Record]:
        """A statement as the app role."""
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()


@pytest.fixture
async def bus(service_database: Callable[[str], Awaitable[ServiceDatabase]], topics: str, tokens: Tokens) -> Bus:
    """An empty ledger and empty topics."""
    database = await service_database("ledger")
    settings = LedgerSettings(
        database_url=database.url,
        kafka_bootstrap_servers=topics,
        http_port=free_port(),
        jwks_file=tokens.jwks_file,
        log_format="text",
        session_timeout_ms=6_000,
    )
    return Bus(topics, settings, database.url)


def asked(key: str, effect: Award | Revoke | Debit, *, member: str = "m-1", shop: str = "corner") -> PostingRequested:
    """A posting that rules ask for."""
    return PostingRequested(
        shop=shop,
        member=member,
        source="rules",
        posting=key,
        order="o-1",
        cause=Cause(rule="everything", rule_version=7),
        effect=effect,
    )


PROGRAMME = ProgrammeChanged(shop="corner", revision=1, on=True, zone="Europe/Madrid", currency="EUR")


async def test_a_posting_by_kafka_becomes_an_entry_and_its_event(bus: Bus) -> None:
    await publish(bus.servers, topics.PROGRAMMES.name, PROGRAMME)
    await publish(bus.servers, topics.POSTINGS.name, asked("a-1", Award(amount=50)), trace=TRACE)
    async with bus.running():
        (record,) = await told(bus.servers, 1)
    event = decode(PointsChanged, record.raw)
    assert record.key == "corner/m-1"
    assert record.headers["traceparent"] == TRACE
    assert record.headers["ce_id"] == event.entry
    assert record.headers["ce_position"] == "1"
    assert (event.kind, event.posting, event.source, event.order) == ("award", "a-1", "rules", "o-1")
    assert event.cause == as_struct(EntryCause(rule="everything", rule_version=7))
    assert event.changes.available == 50
    assert event.balances.available == 50
    assert event.system == {"issued": -50}
    assert event.lots[0].remaining == 50
    assert event.seq == 1


async def test_redelivery(bus: Bus) -> None:
    """The same posting five times, and once more by another event: one award, one event."""
    award = asked("a-1", Award(amount=50))
    await publish(bus.servers, topics.PROGRAMMES.name, PROGRAMME)
    await publish(bus.servers, topics.POSTINGS.name, *[award] * 5, award, asked("a-2", Award(amount=1)))
    async with bus.running():
        records = await told(bus.servers, 2)
    assert [(record.body["posting"], record.body["seq"]) for record in records] == [("a-1", 1), ("a-2", 2)]
    assert [row["available"] for row in await bus.sql("SELECT available FROM account")] == [51]


async def test_postings_of_a_shop_that_is_not_known_yet_wait_and_are_applied_in_order(bus: Bus) -> None:
    await publish(
        bus.servers, topics.POSTINGS.name, asked("a-1", Award(amount=50)), asked("r-1", Revoke(award="a-1", total=20))
    )
    async with bus.running():
        await wait_until(lambda: _waiting(bus, 2))
        assert await bus.sql("SELECT * FROM account") == []
        await publish(bus.servers, topics.PROGRAMMES.name, PROGRAMME)
        records = await told(bus.servers, 2)
    assert [record.body["kind"] for record in records] == ["award", "revoke"]
    assert [row["available"] for row in await bus.sql("SELECT available FROM account")] == [30]


async def _waiting(bus: Bus, count: int) -> bool:
    return len(await bus.sql("SELECT FROM waiting")) == count


async def test_a_shop_whose_books_are_broken_waits_and_the_others_go_on(bus: Bus) -> None:
    mill = PROGRAMME.model_copy(update={"shop": "mill"})
    await publish(bus.servers, topics.PROGRAMMES.name, PROGRAMME, mill)
    await publish(bus.servers, topics.POSTINGS.name, asked("a-1", Award(amount=50)))
    await publish(bus.servers, topics.POSTINGS.name, asked("a-1", Award(amount=50), shop="mill"))
    async with bus.running() as runtime:
        await told(bus.servers, 2)
        await bus.sql("UPDATE lot SET remaining = 30 WHERE account_id = (SELECT id FROM account WHERE shop = 'corner')")
        before = await bus.sql("SELECT * FROM account WHERE shop = 'corner'")
        for shop in ("corner", "mill"):
            await publish(bus.servers, topics.POSTINGS.name, asked("d-1", Debit(amount=40), shop=shop))
        records = await told(bus.servers, 3)
        await wait_until(lambda: _waiting(bus, 1))
        assert await runtime.faults() == []
    assert (records[-1].key, records[-1].body["posting"]) == ("mill/m-1", "d-1")
    assert [tuple(row) for row in await bus.sql("SELECT shop, reason FROM quarantine")] == [
        ("corner", "a bug: BrokenBooks")
    ]
    assert await bus.sql("SELECT * FROM account WHERE shop = 'corner'") == before


async def test_a_refusal_is_an_event_at_its_place_in_the_log(bus: Bus) -> None:
    await publish(bus.servers, topics.PROGRAMMES.name, PROGRAMME)
    await publish(
        bus.servers,
        topics.POSTINGS.name,
        asked("a-1", Award(amount=50)),
        asked("d-1", Debit(amount=80)),
        asked("a-2", Award(amount=1)),
    )
    async with bus.running():
        records = await told(bus.servers, 3)
    assert [record.headers["ce_position"] for record in records] == ["1", "2", "3"]
    refused = decode(PostingRefused, records[1].raw)
    assert (refused.code, refused.posting, refused.kind) == ("insufficient_points", "d-1", "debit")
    assert refused.facts == {"available": 50, "asked": 80}
    assert records[2].body["balances"]["available"] == 51


async def test_a_key_used_for_other_content_is_a_dead_letter_and_changes_nothing(bus: Bus) -> None:
    await publish(bus.servers, topics.PROGRAMMES.name, PROGRAMME)
    await publish(
        bus.servers,
        topics.POSTINGS.name,
        asked("a-1", Award(amount=50)),
        asked("a-1", Award(amount=60)),
        asked("a-2", Award(amount=1)),
    )
    async with bus.running():
        records = await told(bus.servers, 2)
    assert [record.body["posting"] for record in records] == ["a-1", "a-2"]
    assert [row["code"] for row in await bus.sql("SELECT code FROM dead_letter")] == ["idempotency_conflict"]
    assert [row["available"] for row in await bus.sql("SELECT available FROM account")] == [51]


async def test_a_restarted_ledger_tells_nothing_twice_and_leaves_nothing_out(bus: Bus) -> None:
    await publish(bus.servers, topics.PROGRAMMES.name, PROGRAMME)
    await publish(bus.servers, topics.POSTINGS.name, *[asked(f"a-{n}", Award(amount=1)) for n in range(10)])
    async with bus.running():
        await told(bus.servers, 10)
    await publish(bus.servers, topics.POSTINGS.name, *[asked(f"b-{n}", Award(amount=1)) for n in range(10)])
    async with bus.running():
        records = await told(bus.servers, 20)
    assert [record.body["seq"] for record in records] == list(range(1, 21))
    assert len({record.headers["ce_id"] for record in records}) == 20


async def test_what_kafka_may_have_lost_is_told_again_and_nothing_is_left_to_tell(bus: Bus) -> None:
    await publish(bus.servers, topics.PROGRAMMES.name, PROGRAMME)
    await publish(bus.servers, topics.POSTINGS.name, *[asked(f"a-{n}", Award(amount=1)) for n in range(3)])
    async with bus.running():
        await told(bus.servers, 3)
    cursors = await bus.sql("SELECT lane, position FROM relay_cursor ORDER BY lane")
    connection = await asyncpg.connect(bus.url)
    await acknowledged.send_again(connection, {})
    await connection.close()
    async with bus.running():
        records = await told(bus.servers, 6)

        async def all_is_sent() -> bool:
            return await bus.sql("SELECT lane, position FROM relay_cursor ORDER BY lane") == cursors

        await wait_until(all_is_sent, what="the cursors, those of seals and epochs too, to stand where they stood")
    assert [record.headers["ce_position"] for record in records] == ["1", "2", "3", "1", "2", "3"]
    assert len({record.headers["ce_id"] for record in records}) == 3


async def test_every_seal_is_told_once_and_also_lies_in_a_file(bus: Bus, tmp_path: Path) -> None:
    told_keys = {"seal_key_file": key_file(tmp_path), "seal_folder": tmp_path / "seals", "seal_every_seconds": 0.1}
    bus.settings = bus.settings.model_copy(update=told_keys)
    await publish(bus.servers, topics.PROGRAMMES.name, PROGRAMME)
    for key in ("a", "b"):
        await publish(bus.servers, topics.POSTINGS.name, asked(key, Award(amount=1)))
        async with bus.running("all"):
            seals = await told(bus.servers, 1 if key == "a" else 2, topics.SEALS)
    events = [decode(LogSealed, record.raw) for record in seals]
    lane = lane_of("corner/m-1", 8)
    assert [(event.lane, event.number, event.first, event.last) for event in events] == [
        (lane, 1, 1, 1),
        (lane, 2, 2, 2),
    ]
    assert [record.key for record in seals] == [f"*/{lane}"] * 2
    (file,) = (tmp_path / "seals").iterdir()
    assert [{"shop": "*", **json.loads(line)} for line in file.read_text().splitlines()] == [r.body for r in seals]
