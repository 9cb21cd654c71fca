"""Notifications and a real ledger process, over real HTTP and real Kafka: what the topic lost is told all the same."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from local.child import free_port
from testkit import process, wait_until
from testkit.conformance import conforming
from testkit.tokens import Tokens

from .conftest import SHOP
from .test_announcing import midnight

LEDGER_SECONDS = 30
"""For what the ledger does to be seen, on a machine that is busy with other tests."""


@pytest.fixture
async def real_ledger(
    service_database: Callable[[str], Awaitable[Any]], topics: str, tokens: Tokens, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """A ledger of its own, and a client that may post there."""
    database, port = await service_database("ledger"), free_port()
    environment = {
        "LEDGER_DATABASE_URL": database.url,
        "LEDGER_KAFKA_BOOTSTRAP_SERVERS": topics,
        "LEDGER_HTTP_PORT": str(port),
        "LEDGER_JWKS_FILE": str(tokens.jwks_file),
        "LEDGER_INSTANCE": "test",
    }
    async with (
        process.running("ledger", "all", environment, log=tmp_path / "ledger.log"),
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=tokens.headers(), event_hooks=conforming()
        ) as client,
    ):
        yield client


async def test_what_the_topic_lost_is_told_from_the_ledgers_statement(world: Any, real_ledger: Any) -> None:
    ledger_url = str(real_ledger.base_url)
    ends = midnight(61)

    async def award(points: int) -> None:
        effect = {"kind": "award", "amount": points, "expires_at": ends.isoformat()}
        posting = {"key": f"a-{points}", "member": "m-1", "order": f"o-{points}", "effect": effect}

        async def taken() -> bool:  # a shop that the ledger does not know yet is a 404
            answer = await real_ledger.post(f"/v1/shops/{SHOP}/postings", json={"postings": [posting]})
            return bool(answer.status_code == 200)

        await wait_until(taken, timeout_seconds=LEDGER_SECONDS, what=f"{points} points to be awarded")

    async with world.running(ledger_url=ledger_url):
        await world.open_shop("m-1")
        await award(1)
        await wait_until(lambda: len(world.mail.mails) == 1)
        await world.consumed(1)
    for points in (2, 3, 4):
        await award(points)
    # The next two records are lost to this reader, as by a topic that was cut short.
    database = world.database()
    async with database.begin() as tx:
        await tx.driver.execute("UPDATE consumer_offset SET next = 3 WHERE consumer = 'ledger' AND next = 1")
    await database.close()
    async with world.running(ledger_url=ledger_url):
        await wait_until(lambda: len(world.mail.mails) == 4, timeout_seconds=LEDGER_SECONDS, what="all four mails")
    assert world.mail.subjects() == [f"You earned {points} points" for points in (1, 2, 3, 4)]
    texts = [mail.get_body(("plain",)).get_content() for mail in world.mail.mails]
    for points, text in enumerate(texts, start=1):
        assert f"with order o-{points}" in text
        assert f"Your balance with corner: {sum(range(points + 1))} points." in text
    look_at = midnight(30) + timedelta(hours=9)
    assert await world.query("SELECT lot, remaining, expires_at, look_at FROM lot ORDER BY lot") == [
        (str(points), points, ends, look_at) for points in (1, 2, 3, 4)
    ]


async def test_after_a_restore_of_the_ledger_accounts_are_as_it_has_them(
    world: Any,
    postgres: str,
    service_database: Callable[[str], Awaitable[Any]],
    topics: str,
    tokens: Tokens,
    tmp_path: Path,
) -> None:
    """Post, copy the database, post more, put the copy in place: it does not run; restored, all are right again."""
    database, port = await service_database("ledger"), free_port()
    key = Ed25519PrivateKey.generate()
    (tmp_path / "seal.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    backup = f"{database.name}_backup"

    def environment(name: str) -> dict[str, str]:
        return {
            "LEDGER_DATABASE_URL": database.url.replace(database.name, name),
            "LEDGER_MIGRATION_DATABASE_URL": database.migration_url.replace(database.name, name),
            "LEDGER_KAFKA_BOOTSTRAP_SERVERS": topics,
            "LEDGER_HTTP_PORT": str(port),
            "LEDGER_JWKS_FILE": str(tokens.jwks_file),
            "LEDGER_SEAL_KEY_FILE": str(tmp_path / "seal.pem"),
            "LEDGER_RELAY_LEASE_SECONDS": "1",
        }

    def command(mode: str) -> subprocess.CompletedProcess[str]:
        told = {**os.environ, **environment(backup)}
        return subprocess.run(
            [sys.executable, "-m", "ledger", mode], env=told, capture_output=True, text=True, check=False
        )

    async def as_superuser(statement: str) -> None:
        connection = await asyncpg.connect(postgres)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    url = f"http://127.0.0.1:{port}"
    members = [f"m-{number}" for number in range(10)]
    ends = midnight(90).isoformat()
    keys = iter(range(1_000))
    async with httpx.AsyncClient(base_url=url, headers=tokens.headers()) as client:

        async def award(some: list[str], points: int) -> None:
            effect = {"kind": "award", "amount": points, "expires_at": ends}
            postings = [{"key": f"a-{next(keys)}", "member": member, "effect": effect} for member in some]

            async def taken() -> bool:
                answer = await client.post(f"/v1/shops/{SHOP}/postings", json={"postings": postings})
                return bool(answer.status_code == 200)

            await wait_until(taken, timeout_seconds=LEDGER_SECONDS, what="points to be awarded")

        async def as_the_ledger() -> bool:
            known = {row[0]: row[1:] for row in await world.query("SELECT member, seq, available FROM account")}
            answer = await client.post(f"/v1/shops/{SHOP}/balances/lookup", json={"members": members})
            points = {one["member"]: one["balances"] for one in answer.json()["members"]}
            told = {m: next(((b["seq"], b["available"]) for b in points[m] if b["seq"]), None) for m in members}
            return known == {member: place for member, place in told.items() if place}

        async with world.running(ledger_url=url):
            await world.open_shop(*members)
            async with process.running("ledger", "all", environment(database.name), log=tmp_path / "ledger.log"):
                await award(members, 10)
                await wait_until(as_the_ledger, timeout_seconds=LEDGER_SECONDS, what="all to be told")
            await as_superuser(f'CREATE DATABASE "{backup}" TEMPLATE "{database.name}" OWNER ledger_owner')
            try:
                async with process.running("ledger", "all", environment(database.name), log=tmp_path / "ledger.log"):
                    await award(members[:6], 5)
                    await award(members[:3], 2)
                    await wait_until(as_the_ledger, timeout_seconds=LEDGER_SECONDS, what="what will be lost")
                refused = command("all")
                assert (refused.returncode, "the topic was told of positions up to" in refused.stderr) == (1, True)
                restored = command("restore")
                assert restored.returncode == 0, restored.stderr
                async with process.running("ledger", "all", environment(backup), log=tmp_path / "ledger.log"):
                    await award(members[2:8], 1)
                    await wait_until(as_the_ledger, timeout_seconds=LEDGER_SECONDS, what="accounts to be right")
                    assert await world.query("SELECT DISTINCT epoch FROM account") == [2]
                    lots = await world.query("SELECT account, sum(remaining)::bigint FROM lot GROUP BY account")
                    available = await world.query("SELECT account, available FROM account")
                    assert sorted(lots) == sorted(available)
            finally:
                await as_superuser(f'DROP DATABASE "{backup}" WITH (FORCE)')
