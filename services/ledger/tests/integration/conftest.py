"""A ledger of its own for each test: real Postgres, in this process, reached over HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
import structlog

from chassis import Runtime
from chassis.http import create_app
from ledger import usecases
from ledger.app import build
from ledger.settings import LedgerSettings
from ledger.usecases import Asked, LearnProgramme
from local.databases import ServiceDatabase
from testkit.conformance import conforming
from testkit.tokens import Tokens

SHOP = "corner-grocer"


@dataclass
class Ledger:
    """The service under test, with shortcuts for what tests say often."""

    runtime: Runtime
    http: httpx.AsyncClient
    database: ServiceDatabase
    tokens: Tokens
    _keys: int = 0

    def key(self) -> str:
        """A key that was not used before."""
        self._keys += 1
        return f"test/{self._keys}"

    async def learn(
        self,
        shop: str = SHOP,
        *,
        shortfall: str = "forgive",
        revision: int = 1,
        currency: str = "EUR",
        approval_above: dict[str, int] | None = None,
    ) -> None:
        """Make a shop known."""
        told = LearnProgramme(
            shop=shop,
            revision=revision,
            shortfall=shortfall,
            zone="Europe/Madrid",
            currency=currency,
            approval_above=approval_above or {},
        )
        await self.runtime.database.execute(usecases.learn_programmes, [told])

    async def post(
        self, member: str, effect: dict[str, Any], *, key: str | None = None, **shared: Any
    ) -> httpx.Response:
        """One posting over HTTP."""
        posting = {"key": key or self.key(), "member": member, "effect": effect, **shared}
        return await self.http.post(f"/v1/shops/{SHOP}/postings", json={"postings": [posting]})

    async def done(self, member: str, effect: dict[str, Any], **shared: Any) -> dict[str, Any]:
        """One posting that must be posted; its outcome."""
        response = await self.post(member, effect, **shared)
        assert response.status_code == 200, response.text
        outcome: dict[str, Any] = response.json()["outcomes"][0]
        assert outcome["outcome"] == "posted", outcome
        return outcome

    async def award(self, member: str, amount: int, **more: Any) -> str:
        """An award; its key."""
        key = more.pop("key", None) or self.key()
        shared = {name: more.pop(name) for name in ("order", "cause") if name in more}
        await self.done(member, {"kind": "award", "amount": amount, **more}, key=key, **shared)
        return key

    async def hold(self, member: str, amount: int, *, hold: str, **more: Any) -> httpx.Response:
        """Ask for a hold."""
        key = more.pop("key", None) or self.key()
        asked = {"hold": hold, "member": member, "amount": amount, "expires_at": iso(minutes=30), **more}
        return await self.http.post(f"/v1/shops/{SHOP}/holds", json=asked, headers={"idempotency-key": key})

    async def end(self, hold: str, how: str, *, key: str | None = None, **body: Any) -> httpx.Response:
        """Capture or release a hold."""
        return await self.http.post(
            f"/v1/shops/{SHOP}/holds/{hold}/{how}", json=body, headers={"idempotency-key": key or self.key()}
        )

    async def act(self, path: str, body: Mapping[str, Any], *, key: str | None = None) -> dict[str, Any]:
        """Anything else that is asked for of the shop, and done."""
        headers = {"idempotency-key": key or self.key()}
        response = await self.http.post(f"/v1/shops/{SHOP}/{path}", json=dict(body), headers=headers)
        assert response.is_success, response.text
        return dict(response.json())

    async def balance(self, member: str, asset: str = "points", **query: str) -> dict[str, Any]:
        """What a member has of an asset."""
        response = await self.http.get(f"/v1/shops/{SHOP}/members/{member}/balances", params=query)
        assert response.status_code == 200, response.text
        (balance,) = [balance for balance in response.json()["balances"] if balance["asset"] == asset]
        return dict(balance)

    async def buckets(self, member: str, asset: str = "points") -> tuple[int, int, int, int]:
        """Available, pending, held, debt."""
        balance = await self.balance(member, asset)
        return balance["available"], balance["pending"], balance["held"], balance["debt"]

    async def entries(self, member: str, **query: Any) -> list[dict[str, Any]]:
        """The newest lines of a statement."""
        response = await self.http.get(f"/v1/shops/{SHOP}/members/{member}/entries", params=query)
        assert response.status_code == 200, response.text
        return list(response.json()["entries"])

    async def check(self) -> dict[str, Any]:
        """The proof of the books, chains included; it must hold."""
        response = await self.http.get(f"/v1/shops/{SHOP}/ledger/check", params={"chains": "true"})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        faults = ("sum_of_accounts", "replay_mismatches", "seq_gaps", "book_mismatches", "chain_breaks")
        assert {name: found[name] for name in faults} == dict.fromkeys(faults, 0), found
        return found

    async def settle(self, asked: Sequence[Asked]) -> Sequence[Any]:
        """Postings as one Kafka batch would bring them."""
        return await self.runtime.database.execute(usecases.post, asked, lane_key=usecases.lane_key)

    async def sql(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """A statement as the app role."""
        connection = await asyncpg.connect(self.database.url)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    async def age(self, **by: float) -> None:
        """Let time pass, by moving all instants of the books into the past; as the owner, for the app role may not."""
        connection = await asyncpg.connect(self.database.migration_url)
        columns = await connection.fetch(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND data_type = 'timestamp with time zone' AND table_name IN ('account', 'lot', 'hold', 'shortfall',"
            " 'parked', 'proposal')"
        )
        try:
            for table, column in columns:
                await connection.execute(f"UPDATE {table} SET {column} = {column} - $1::interval", timedelta(**by))
        finally:
            await connection.close()


def iso(**ahead: float) -> str:
    """An instant so far from now."""
    return (datetime.now(UTC) + timedelta(**ahead)).isoformat()


@asynccontextmanager
async def ledger_of(database: ServiceDatabase, tokens: Tokens) -> AsyncIterator[Ledger]:
    """The service on a database."""
    settings = LedgerSettings(
        database_url=database.url, kafka_bootstrap_servers="127.0.0.1:1", jwks_file=tokens.jwks_file
    )
    service = build(settings)
    runtime = Runtime(service)
    assert service.startup is not None
    assert service.shutdown is not None
    await service.startup(runtime)
    transport = httpx.ASGITransport(create_app(runtime))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://ledger", headers=tokens.headers(), event_hooks=conforming()
    ) as http:
        yield Ledger(runtime, http, database, tokens)
    await service.shutdown(runtime)
    await runtime.database.close()


@pytest_asyncio.fixture
async def empty_ledger(
    service_database: Callable[[str], Awaitable[ServiceDatabase]], tokens: Tokens
) -> AsyncIterator[Ledger]:
    """A ledger that knows no shop."""
    async with ledger_of(await service_database("ledger"), tokens) as ledger:
        yield ledger


@pytest.fixture
async def ledger(empty_ledger: Ledger) -> Ledger:
    """A ledger that knows the shop."""
    await empty_ledger.learn()
    return empty_ledger


@pytest.fixture(autouse=True, scope="session")
def _plain_tracebacks() -> None:
    """structlog's own default paints tracebacks with all locals, which takes longer than the tests."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()])
