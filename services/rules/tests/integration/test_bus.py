"""The whole service with real Kafka: orders in, postings out; and the file commands against a running API."""

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from chassis import Runtime
from contracts import encode
from contracts.orders import Order
from local.databases import ServiceDatabase
from rules import cli, store
from rules.app import build
from rules.documents import RuleSetDocument
from rules.settings import RulesSettings
from rules.store import Programme
from rules.testing import order, refund
from rules.usecases.configuring import Activate, MakeRuleSet, SetProgramme, activate, make_rule_sets, set_programme
from testkit import wait_until
from testkit.probe import place_of
from testkit.tokens import Tokens

FILE = """
shop: corner
programme: {on: true, zone: Europe/Madrid, currency: EUR}
rules:
  base: {title: A point a euro, earn: 1 per 1.00, valid: 12 months to month end}
  weekend: {multiply: 2, when: {weekdays: [sat, sun]}}
"""


PROGRAMME = Programme(
    "s",
    0,
    on=True,
    zone="UTC",
    currency="EUR",
    shortfall="forgive",
    points_name="points",
    language="en",
    hold_minutes=30,
    gifts_per_day=10,
    gift_points_per_day=10_000,
    approval_above={"points": 500},
)


@asynccontextmanager
async def running(database: ServiceDatabase, tokens: Tokens, kafka: str, port: int) -> AsyncIterator[Runtime]:
    settings = RulesSettings(
        database_url=database.url,
        kafka_bootstrap_servers=kafka,
        jwks_file=tokens.jwks_file,
        http_port=port,
        session_timeout_ms=6_000,
        relay_idle_ms=20,
    )
    runtime = Runtime(build(settings))
    stop = asyncio.Event()
    running = asyncio.create_task(runtime.run("all", stop))
    try:
        yield runtime
    finally:
        stop.set()
        await running


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def publish(kafka: str, *orders: Order) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    await producer.start()
    try:
        for told in orders:
            headers = [("ce_type", told.type.encode()), ("ce_id", uuid.uuid4().hex.encode()), ("ce_source", b"/shop")]
            await producer.send_and_wait("orders", encode(told), key=told.key.encode(), headers=headers)
    finally:
        await producer.stop()


async def read(kafka: str, topic: str, count: int) -> list[Any]:
    """The first records, without the repeats of a relay that had to begin anew."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    records: dict[Any, Any] = {}
    try:
        async with asyncio.timeout(30):
            while len(records) < count:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    for record in batch:
                        records.setdefault(place_of(record), record)
    finally:
        await consumer.stop()
    return list(records.values())


async def test_orders_from_kafka_become_postings_on_kafka_and_wait_for_their_shop(
    topics: str, service_database: Callable[[str], Awaitable[ServiceDatabase]], tokens: Tokens
) -> None:
    database = await service_database("rules")
    async with running(database, tokens, topics, free_port()) as runtime:
        await publish(
            topics, order(10_000), order(10_000), order(10_000, revision=2, refunds=(refund(1, amount=4000),))
        )
        await publish(topics, order(100, order="dead", currency="USD"))

        async def waiting() -> bool:
            async with runtime.database.begin() as tx:
                return int(await tx.driver.fetchval("SELECT count(*) FROM waiting")) == 4

        await wait_until(waiting, what="messages wait for their shop")
        document = RuleSetDocument.model_validate({"rules": {"base": {"earn": {"points": "1", "per": 100}}}})
        async with runtime.database.begin() as tx:
            # In one transaction, so that no order meets a shop without rules.
            told = await set_programme(tx, [SetProgramme(PROGRAMME)])
            await make_rule_sets(tx, [MakeRuleSet("s", document, None, "", "test")])
            await activate(tx, [Activate("s", 1, None, "test")])
            await runtime.database.append(tx, told)
        award, revoke = await read(topics, "postings", 2)
        assert dict(award.headers)["ce_type"] == b"posting-requested"
        assert (award.key, b'"amount":100' in award.value) == (b"s/m", True)
        assert b'"total":40' in revoke.value
        programmes_told = await read(topics, "programmes", 1)  # whoever begins to lead tells it again
        assert {record.key for record in programmes_told} == {b"s"}

        async def dead() -> bool:
            async with runtime.database.begin() as tx:
                return await tx.driver.fetchval("SELECT code FROM dead_letter") == "rate_missing"

        await wait_until(dead, what="the order without a rate is a dead letter")


async def test_a_database_that_was_put_back_takes_over_what_others_know_of_its_programmes(
    topics: str, service_database: Callable[[str], Awaitable[ServiceDatabase]], tokens: Tokens
) -> None:
    """Else its next changes, under revisions that others know already, would be passed over: the shop's stop, say."""

    async def change(runtime: Runtime, **settings: Any) -> Programme:
        (now,) = await runtime.database.execute(set_programme, [SetProgramme(replace(PROGRAMME, **settings))])
        assert isinstance(now, Programme)
        return now

    async with running(await service_database("rules"), tokens, topics, free_port()) as lost:
        await change(lost)
        await change(lost, hold_minutes=20)
        last = await change(lost, hold_minutes=20, on=False)
        await change(lost, shop="opened-since")
        await told(topics, {"s": 3, "opened-since": 1})
    async with running(await service_database("rules"), tokens, topics, free_port()) as put_back:
        await change(put_back)

        async def taken_over() -> bool:
            async with put_back.database.begin() as tx:
                return [await store.programme(tx, shop) for shop in ("s", "opened-since")] == [
                    last,
                    replace(PROGRAMME, shop="opened-since", revision=1),
                ]

        await wait_until(taken_over, what="the programmes as they were told")
        await told(topics, {"s": 3, "opened-since": 1})
        assert (await change(put_back)).revision == 4
        await told(topics, {"s": 4, "opened-since": 1})


async def told(kafka: str, revisions: dict[str, int]) -> None:
    """Wait until the last that the topic tells of each shop is of these revisions: what stays when it is compacted."""
    consumer = AIOKafkaConsumer("programmes", bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    last: dict[str, int] = {}
    try:
        async with asyncio.timeout(30):
            while last != revisions:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    last |= {record.key.decode(): json.loads(record.value)["revision"] for record in batch}
    finally:
        await consumer.stop()


async def test_export_plan_and_apply_copy_a_shop(
    topics: str,
    service_database: Callable[[str], Awaitable[ServiceDatabase]],
    tokens: Tokens,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    port = free_port()
    token_file, file, copy = tmp_path / "token", tmp_path / "shop.yaml", tmp_path / "copy.yaml"
    token_file.write_text(tokens.mint("rules:read rules:write", "*"))
    file.write_text(FILE)
    to = ["--url", f"http://127.0.0.1:{port}", "--token-file", str(token_file)]

    async def command(*arguments: str) -> tuple[int, str]:
        status = await asyncio.to_thread(cli.main, [*to, *arguments])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    async with running(await service_database("rules"), tokens, topics, port):
        await wait_until(lambda: listens(port), what="the API listens")
        status, planned = await command("plan", str(file))
        assert (status, "+ rule base" in planned, "+ rule weekend" in planned) == (0, True, True)
        status, said = await command("apply", str(file))
        assert (status, "rules version 1 of shop corner is active" in said) == (0, True)
        assert await command("plan", str(file)) == (0, "nothing changes\n")
        assert (await command("export", "corner", str(copy)))[0] == 0
        assert (await command("apply", str(copy), "--shop", "production"))[0] == 0
        assert await command("plan", str(file), "--shop", "production") == (0, "nothing changes\n")
        file.write_text(FILE.replace("multiply: 2", "multiply: 3").replace("base:", "basis:"))
        status, planned = await command("plan", str(file))
        assert [line for line in planned.splitlines() if "rule" in line] == [
            "- rule base",
            "+ rule basis",
            "~ rule weekend",
        ]
        file.write_text("shop: corner")
        assert (await command("plan", str(file)))[0] == 2
        token_file.write_text(tokens.mint("rules:read", "corner"))
        file.write_text(FILE.replace("1 per", "2 per"))
        status, said = await command("apply", str(file))
        assert (status, "scope_missing" in said) == (1, True)
