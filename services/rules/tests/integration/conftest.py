"""Rules with a database of its own, its HTTP face in this process, and a reader of what it asks of the ledger."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio

from chassis import Runtime
from chassis.http import create_app
from contracts import encode
from contracts.orders import Order
from contracts.structs import as_struct
from local.databases import ServiceDatabase
from rules.app import build
from rules.settings import RulesSettings
from rules.usecases.settling import SettleOrder, settle_orders
from testkit.conformance import conforming
from testkit.tokens import Tokens

SHOP = "s"
BASE = {"title": "One point per unit", "earn": {"points": "1", "per": 100}}
PROGRAMME = {"on": True, "zone": "Europe/Madrid", "currency": "EUR"}


@dataclass
class Bench:
    """One service under test."""

    runtime: Runtime
    http: httpx.AsyncClient
    headers: dict[str, str]
    _keys: int = 0
    answers: list[Any] = field(default_factory=list)

    async def call(
        self, method: str, path: str, body: Any = None, *, shop: str = SHOP, **headers: str
    ) -> httpx.Response:
        """One request under /v1/shops/{shop}; a POST gets a key of its own unless one is given."""
        self._keys += 1
        sent = {**self.headers, "Idempotency-Key": f"k{self._keys}", **headers}
        return await self.http.request(method, f"/v1/shops/{shop}/{path}", json=body, headers=sent)

    async def open_shop(self, rules: dict[str, Any] | None = None, *, shop: str = SHOP, **programme: Any) -> int:
        """A programme with active rules; the version that holds."""
        await self.call("PUT", "programme", {**PROGRAMME, **programme}, shop=shop)
        return await self.use({"base": BASE} if rules is None else rules, shop=shop)

    async def use(self, rules: dict[str, Any], *, shop: str = SHOP, **more: Any) -> int:
        """Make a version of these rules and activate it."""
        made = await self.call("POST", "rule-sets", {"rules": rules, **more}, shop=shop)
        assert made.status_code == 200, made.text
        version: int = made.json()["version"]
        activated = await self.call("POST", f"rule-sets/{version}/activate", {}, shop=shop)
        assert activated.status_code == 200, activated.text
        return version

    async def tell(self, *orders: Order) -> list[dict[str, Any]]:
        """States arrive together; what they ask of the ledger."""
        before = len(await self.events("postings"))
        commands = [SettleOrder(as_struct(order), encode(order)) for order in orders]
        self.answers = list(await self.runtime.database.execute(settle_orders, commands))
        return (await self.events("postings"))[before:]

    async def events(self, topic: str) -> list[dict[str, Any]]:
        """Everything recorded for a topic, in order of recording."""
        async with self.runtime.database.begin() as tx:
            rows = await tx.driver.fetch("SELECT body FROM outbox WHERE topic = $1 ORDER BY created_at, id", topic)
        return [json.loads(row["body"]) for row in rows]

    async def left(self) -> dict[str, int]:
        """By member, what they keep, as a ledger would count it from what was asked."""
        awards: dict[str, tuple[str, int]] = {}
        taken: dict[str, int] = {}
        for posting in await self.events("postings"):
            effect = posting["effect"]
            if effect["kind"] == "award":
                assert posting["posting"] not in awards
                awards[posting["posting"]] = (posting["member"], effect["amount"])
            else:
                taken[effect["award"]] = max(taken.get(effect["award"], 0), effect["total"])
        kept: dict[str, int] = {}
        for key, (member, amount) in awards.items():
            kept[member] = kept.get(member, 0) + amount - taken.get(key, 0)
        return kept


def settings_for(database: ServiceDatabase, tokens: Tokens, kafka: str = "127.0.0.1:1") -> RulesSettings:
    """Settings of a service under test."""
    return RulesSettings(
        database_url=database.url,
        migration_database_url=database.migration_url,
        kafka_bootstrap_servers=kafka,
        jwks_file=Path(tokens.jwks_file),
        http_port=1,
    )


@pytest_asyncio.fixture
async def bench(service_database: Callable[[str], Awaitable[ServiceDatabase]], tokens: Tokens) -> AsyncIterator[Bench]:
    """The service without Kafka: its use cases, its database and its HTTP face."""
    runtime = Runtime(build(settings_for(await service_database("rules"), tokens)))
    transport = httpx.ASGITransport(create_app(runtime), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://rules", event_hooks=conforming()) as http:
        yield Bench(runtime, http, tokens.headers("rules:read rules:write operations", "*"))
    await runtime.database.close()
