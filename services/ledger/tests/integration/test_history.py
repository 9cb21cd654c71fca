"""A thousand callers at once on one account: what each was told fits one order of everything."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import httpx

from ledger.app import READ_CONNECTIONS
from testkit.history import Call, Line, Read, answer_of, check, line_of, read_of

from .conftest import SHOP, Ledger, iso

M: Final = "m-1"
CALLERS: Final = 1_000
IN_FLIGHT: Final = 200
"""Requests at once: callers and service share one core here, and more would only make each other late."""
STATEMENT_PAGE: Final = 200
LOCKS_OF_A_CONNECTION: Final = 120
"""Tables and indexes of the ledger, and its lanes: a transaction locks each of them at most once."""

OPERATOR: Final = {"cause": {"operator": "ana", "reason": "correction"}}


class Callers:
    """Each does a few things, asks for some of them twice at once, and writes down what it saw."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.calls: list[Call] = []
        self.reads: list[Read] = []
        self.effects: dict[str, dict[str, Any]] = {}
        """What was asked for, by key."""
        self.statuses: Counter[int] = Counter()
        self._turn = asyncio.Semaphore(IN_FLIGHT)

    async def act(self, number: int) -> None:
        """One caller's day."""
        chance = random.Random(number)
        expires_at = iso(hours=1)
        for step in range(2):
            key, amount = f"{number}/{step}", chance.randrange(1, 60)
            match chance.randrange(6):
                case 0 | 1:
                    await self.post(key, {"kind": "award", "amount": amount})
                case 2:
                    await self.post(key, {"kind": "debit", "amount": amount}, **OPERATOR)
                case 3:
                    shared = {"checkout": f"c-{number}-{step}", "generation": 1}
                    spend = {"kind": "spend", "amount": amount, **shared}
                    back = {"kind": "give_back", "total": chance.randrange(amount + 1), **shared}
                    # At the same time: a return that comes before its spend waits for it.
                    await asyncio.gather(self.post(key, spend), self.post(f"{key}/back", back))
                case 4:
                    await self.hold(key, f"h-{number}-{step}", amount, chance, expires_at)
                case _:
                    await self.read()

    async def post(self, key: str, effect: dict[str, Any], **shared: Any) -> None:
        """One posting; every fourth twice at once."""
        self.effects[key] = effect
        body = {"postings": [{"key": key, "member": M, "effect": effect, **shared}]}
        await self._ask(key, effect["kind"], "postings", body, twice=effect.get("amount", 0) % 4 == 0)

    async def hold(self, key: str, hold: str, amount: int, chance: random.Random, expires_at: str) -> None:
        """Hold, then capture and release at the same time: one of them ends it."""
        at_most = chance.random() < 0.5
        body = {"hold": hold, "member": M, "amount": amount, "at_most": at_most, "expires_at": expires_at}
        if not await self._ask(key, "hold", "holds", body, twice=chance.random() < 0.3):
            return
        await asyncio.gather(
            self._ask(f"{key}/capture", "capture", f"holds/{hold}/capture", {}, twice=chance.random() < 0.3),
            self._ask(f"{key}/release", "release", f"holds/{hold}/release", {}, twice=chance.random() < 0.3),
        )

    async def read(self) -> None:
        """The balance now."""
        invoked_at = time.monotonic()
        response = await self._request("GET", f"members/{M}/balances")
        assert response.status_code == 200, response.text
        self.reads.append(read_of(M, invoked_at, time.monotonic(), response.json()))

    async def _ask(self, key: str, kind: str, path: str, body: dict[str, Any], *, twice: bool) -> bool:
        done = await asyncio.gather(*(self._call(key, kind, path, body) for _ in range(1 + twice)))
        return all(done)

    async def _call(self, key: str, kind: str, path: str, body: dict[str, Any]) -> bool:
        invoked_at = time.monotonic()
        response = await self._request("POST", path, json=body, headers={"idempotency-key": key})
        answer = answer_of(response.status_code, response.json())
        assert answer is not None, response.text
        self.calls.append(Call(M, key, kind, invoked_at, time.monotonic(), answer))
        return answer.result != "refused"

    async def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        async with self._turn:
            response = await self.ledger.http.request(method, f"/v1/shops/{SHOP}/{path}", **more)
        self.statuses[response.status_code] += 1
        return response


async def ask_again(callers: Callers) -> None:
    """A return that came before its spend was told that it waits; by now its end is known."""
    waited = {call.key for call in callers.calls if call.answer is not None and call.answer.result == "parked"}
    for key in sorted(waited):
        await callers.post(key, callers.effects[key])


async def statement(ledger: Ledger) -> list[Line]:
    """All entries, oldest first."""
    lines: list[Line] = []
    while page := await ledger.entries(M, after_seq=len(lines), limit=STATEMENT_PAGE):
        lines += [line_of(entry) for entry in page]
    return lines


@asynccontextmanager
async def most_seen(ledger: Ledger) -> AsyncIterator[Counter[str]]:
    """The most connections and locks that the service had at a time."""
    most: Counter[str] = Counter()
    watcher = await asyncpg.connect(ledger.database.migration_url)

    async def watch() -> None:
        while True:
            seen = await watcher.fetchrow(
                "SELECT (SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = $1) AS connections,"
                " (SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid() AND database ="
                " (SELECT oid FROM pg_database WHERE datname = current_database())) AS locks",
                ledger.database.app_role,
            )
            for name, count in seen.items():
                most[name] = max(most[name], count)
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    try:
        yield most
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await watcher.close()


async def test_a_thousand_parallel_callers_on_one_account_see_one_order_of_everything(ledger: Ledger) -> None:
    """No deadlock, no update lost, nothing twice; connections and locks stay bounded."""
    callers = Callers(ledger)
    await callers.post("first", {"kind": "award", "amount": 5_000})
    async with most_seen(ledger) as most, asyncio.TaskGroup() as group:
        for number in range(CALLERS):
            group.create_task(callers.act(number))
    assert {status for status in callers.statuses if status >= 500} == set(), callers.statuses
    kinds = Counter(call.kind for call in callers.calls)
    assert min(kinds[k] for k in ("award", "debit", "spend", "give_back", "hold", "capture", "release")) > 50, kinds

    await ask_again(callers)
    lines = await statement(ledger)
    assert check(callers.calls, callers.reads, {M: lines}) == []
    anew = Counter(
        call.key
        for call in callers.calls
        if call.answer is not None and call.answer.result != "refused" and not call.answer.repeated
    )
    posted = {line.posting for line in lines}
    assert posted <= anew.keys()
    assert set(anew.values()) == {1}
    last = lines[-1].after
    assert await ledger.buckets(M) == tuple(last)

    settings = ledger.runtime.service.settings
    connections = settings.database_connections + READ_CONNECTIONS + 1  # and the one that is kept for balances
    assert 1 <= most["connections"] <= connections
    assert most["locks"] <= connections * LOCKS_OF_A_CONNECTION
    (deadlocks,) = await ledger.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks["deadlocks"] == 0
    await ledger.check()
