"""Redemption with a database of its own and a stand-in for the ledger that can be made to fail at the worst moment."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from chassis import Runtime
from chassis.http import create_app
from chassis.ids import new_uuid
from contracts.ledger import Buckets, PointsChanged
from contracts.orders import Cancellation, Line, Order, OrderChanged, Refund, RefundLine, Tender
from contracts.structs import as_struct
from local.child import free_port
from redemption.app import build
from redemption.domain.checkout import Checkout, State
from redemption.settings import RedemptionSettings
from redemption.store.terms import Programme
from redemption.usecases import entries, orders, terms
from redemption.usecases.checkouts import Begin, Intend
from redemption.usecases.states import SettleOrder
from testkit import wait_until
from testkit.conformance import conforming

SHOP = "corner"
T0 = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


class FakeLedger:
    """The ledger's HTTP face as far as redemption needs it: balances and holds, each write once per key."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.available: dict[str, int] = {}
        self.holds: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, tuple[str, JSONResponse]] = {}
        self.calls: list[str] = []
        self.is_down = False
        self.loses_answers = False
        self.answers_instead: JSONResponse | None = None
        """What a hold or a release is answered by somebody before the ledger."""
        self.before_hold: Callable[[], Any] = lambda: None
        """Called when a hold arrives, before it is decided."""
        self.app = Starlette(
            routes=[
                Route("/v1/shops/{shop}/members/{member}/balances", self._balances),
                Route("/v1/shops/{shop}/holds", self._hold, methods=["POST"]),
                Route("/v1/shops/{shop}/holds/{hold}/release", self._release, methods=["POST"]),
            ]
        )

    async def _balances(self, request: Request) -> Response:
        self.calls.append("balances")
        if self.is_down:
            return Response(status_code=503)
        available = self.available.get(request.path_params["member"], 0)
        points = [{"asset": "points", "available": available}]
        return JSONResponse({"balances": points, "frozen": False, "merged_into": None})

    async def _hold(self, request: Request) -> Response:
        return await self._once(request, "hold", self._place)

    async def _release(self, request: Request) -> Response:
        return await self._once(request, "release", self._free)

    async def _once(self, request: Request, name: str, act: Callable[[Request, Any], JSONResponse]) -> Response:
        self.calls.append(name)
        if self.is_down:
            return Response(status_code=503)
        if self.answers_instead is not None:
            return self.answers_instead
        key, body = request.headers["idempotency-key"], await request.body()
        if key not in self.answers:
            if name == "hold":
                self.before_hold()
            self.answers[key] = (body.decode(), act(request, json.loads(body)))
        content, answer = self.answers[key]
        assert content == body.decode(), "the same key came with another content"
        return Response(status_code=503) if self.loses_answers else answer

    def _place(self, request: Request, body: Any) -> JSONResponse:
        available = self.available.get(body["member"], 0)
        if datetime.fromisoformat(body["expires_at"]) <= datetime.now(UTC):
            return JSONResponse({"code": "dates_out_of_order"}, 422)
        if body["amount"] > available:
            facts = {"code": "insufficient_points", "available": available, "asked": body["amount"]}
            return JSONResponse(facts, 409)
        self.available[body["member"]] = available - body["amount"]
        self.holds[body["hold"]] = {**body, "state": "open"}
        return JSONResponse(self.holds[body["hold"]], 201)

    def _free(self, request: Request, _: Any) -> JSONResponse:
        hold = self.holds.get(request.path_params["hold"])
        if hold is None:
            return JSONResponse({"code": "hold_not_found"}, 404)
        if hold["state"] == "captured":
            return JSONResponse({"code": "hold_not_open", "state": "captured"}, 409)
        if hold["state"] == "open":
            hold["state"] = "released"
            self.available[hold["member"]] += hold["amount"]
        return JSONResponse(hold)


@asynccontextmanager
async def serving(app: Any, port: int) -> AsyncIterator[None]:
    """An ASGI application on a real socket."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, ws="none", lifespan="off"))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server._serve())
    await wait_until(lambda: server.started, what="the stand-in to listen")
    try:
        yield
    finally:
        server.should_exit = True
        await task


@dataclass
class Counter:
    """A shop's counter: redemption as its clients see it, and what it has recorded."""

    settings: RedemptionSettings
    ledger: FakeLedger
    runtime: Runtime
    http: httpx.AsyncClient
    headers: dict[str, str]
    keys: Any = field(default_factory=itertools.count)

    # -- over HTTP

    async def call(self, method: str, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
        headers = {**self.headers, "idempotency-key": key or f"key-{next(self.keys)}"}
        return await self.http.request(method, f"/v1/shops/{SHOP}/{path}", json=body, headers=headers)

    async def configure(self, **online: Any) -> None:
        """Open the shop: its programme as rules tell it, and settings of the online channel."""
        programme = Programme(SHOP, 1, is_on=True, currency="EUR", hold_minutes=30)
        await self.runtime.database.execute(terms.follow_programmes, [programme])
        answer = await self.call("PUT", "redemption/settings", {"online": {"points_per_unit": "100", **online}})
        assert answer.status_code == 200, answer.text

    async def hold(self, checkout: str = "c-1", *, key: str | None = None, **body: Any) -> httpx.Response:
        return await self.call("POST", "checkouts", {"checkout": checkout, **_asked(body)}, key)

    async def quote(self, **body: Any) -> httpx.Response:
        return await self.call("POST", "checkouts/quote", _asked(body))

    async def state(self, checkout: str = "c-1") -> dict[str, Any]:
        answer = await self.call("GET", f"checkouts/{checkout}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    # -- what events bring

    async def tell(self, *states: Order) -> list[Any]:
        """Order states in order of arrival, in one batch."""
        return list(
            await self.runtime.database.execute(orders.settle, [SettleOrder.of(as_struct(state)) for state in states])
        )

    async def entry(self, kind: str, seq: int, **more: Any) -> None:
        """An entry of the ledger, through the same mapping as from Kafka."""
        from redemption.consumers import follow_entry

        known = {"posting": "some-key", "source": "redemption", **more, "changes": Buckets(**more.get("changes", {}))}
        event = PointsChanged.example().model_copy(update={"shop": SHOP, "kind": kind, "seq": seq, **known})
        command = follow_entry(event, None)  # type: ignore[arg-type]
        if command is not None:
            await self.runtime.database.execute(entries.follow, [command])

    # -- what it has recorded

    async def query(self, statement: str, *arguments: Any) -> list[Any]:
        connection = await asyncpg.connect(self.settings.database_url.get_secret_value())
        try:
            rows = await connection.fetch(statement, *arguments)
        finally:
            await connection.close()
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]

    async def asked(self) -> list[tuple[str, str, Any]]:
        """What was asked of the ledger over Kafka: member, key, and points (or None)."""
        bodies = [json.loads(body) for body in await self.query("SELECT body FROM outbox ORDER BY created_at, id")]
        return [
            (body["member"], body["posting"], body["effect"].get("amount", body["effect"].get("total")))
            for body in bodies
        ]

    async def used(self) -> int:
        """Points used in all: spent less given back."""
        (points,) = await self.query("SELECT COALESCE(sum(points - given_back), 0)::bigint FROM spend")
        return int(points)


def _asked(body: dict[str, Any]) -> dict[str, Any]:
    return {"member": "ann", "cart": cart(), **body}


def cart(*values: int, **more: Any) -> dict[str, Any]:
    """A cart of lines worth these amounts."""
    lines = [{"product": f"p{n}", "quantity": 1, "unit_price": value} for n, value in enumerate(values or (5000,))]
    return {"currency": "EUR", "lines": lines, **more}


def order(
    revision: int,
    *,
    points: int | None = 100,
    checkout: str | None = "c-1",
    paid: bool = True,
    values: tuple[int, ...] = (5000,),
    refunds: tuple[Refund, ...] = (),
    cancelled: int = 0,
    again: bool = False,
    **more: Any,
) -> Order:
    """An order of a member who paid a part with points. `cancelled` times, and paid `again` after the last one."""
    total = sum(values)
    worth = points or 0
    paid_at = T0 + timedelta(minutes=2)
    cancellations = tuple(
        Cancellation(cancellation=f"x-{n}", at=T0 + timedelta(hours=n + 1), paid_at=paid_at if paid else None)
        for n in range(cancelled)
    )
    if again:
        paid_at = T0 + timedelta(hours=cancelled + 1)
    tenders = [Tender(kind="card", amount=total - worth)]
    if worth:
        tenders.append(Tender(kind="points", amount=worth, points=points, checkout=checkout))
    known: dict[str, Any] = {
        "shop": SHOP,
        "order": "o-1",
        "revision": revision,
        "member": "ann",
        "currency": "EUR",
        "lines": tuple(
            Line(line=str(n), product=f"p{n}", quantity=2, unit_price=value // 2) for n, value in enumerate(values)
        ),
        "tenders": tuple(tenders),
        "placed_at": T0,
        "paid_at": paid_at if paid else None,
        "refunds": refunds,
        "cancellations": cancellations,
    }
    return OrderChanged(**{**known, **more})


def intending(checkout: str, member: str, points: int, *, minutes: float = 30) -> Intend:
    """What a request for a hold is about to record; a shop itself can ask for whole minutes only."""
    begin = Begin(SHOP, "test", uuid4().hex, b"content", checkout)
    draft = partial(
        Checkout,
        id=new_uuid(),
        shop=SHOP,
        checkout=checkout,
        client="test",
        idempotency_key=begin.idempotency_key,
        content_hash=begin.content_hash,
        member=member,
        channel="online",
        currency="EUR",
        points=points,
        worth=points,
        settings_revision=1,
        cart={},
        state=State.INTENDED,
        hold=new_uuid(),
    )
    return Intend(begin, draft, minutes)


def refund(number: int, *, line: str | None = None, quantity: int | None = None, amount: int | None = None) -> Refund:
    """The so-and-so-many-th return."""
    lines = (RefundLine(line=line, quantity=quantity),) if line else ()
    return Refund(refund=f"r-{number}", at=T0 + timedelta(days=number), amount=amount, lines=lines)


@pytest_asyncio.fixture
async def counter(
    service_database: Callable[[str], Awaitable[Any]], tokens: Any, tmp_path: Path
) -> AsyncIterator[Counter]:
    """Redemption's own HTTP face and use cases on a real database, with a stand-in for the ledger."""
    database = await service_database("redemption")
    token_file = tmp_path / "token"
    token_file.write_text(tokens.mint("ledger:read holds:write"))
    ledger = FakeLedger(free_port())
    settings = RedemptionSettings(
        database_url=database.url,
        kafka_bootstrap_servers="127.0.0.1:1",
        http_port=free_port(),
        jwks_file=tokens.jwks_file,
        ledger_url=f"http://127.0.0.1:{ledger.port}",
        service_token_file=token_file,
        finish_after_seconds=1e-6,
    )
    service = build(settings)
    runtime = Runtime(service)
    assert service.startup is not None
    assert service.shutdown is not None
    await service.startup(runtime)
    transport = httpx.ASGITransport(create_app(runtime))
    async with (
        serving(ledger.app, ledger.port),
        httpx.AsyncClient(transport=transport, base_url="http://counter", event_hooks=conforming()) as http,
    ):
        yield Counter(settings, ledger, runtime, http, tokens.headers(shop=SHOP))
    await service.shutdown(runtime)
    await runtime.database.close()


@pytest.fixture
def member_has(counter: Counter) -> Callable[[int], None]:
    """`member_has(500)`: what the ledger says of the member."""

    def has(points: int) -> None:
        counter.ledger.available["ann"] = points

    return has


@pytest_asyncio.fixture
async def ann_has_500(counter: Counter) -> None:
    """The shop is open, and its one member can spend."""
    await counter.configure()
    counter.ledger.available["ann"] = 500


async def held(counter: Counter, points: int = 100, checkout: str = "c-1", **more: Any) -> str:
    """Hold points; the hold's id at the ledger."""
    answer = await counter.hold(checkout, points=points, **more)
    assert answer.status_code == 201, answer.text
    (hold,) = await counter.query("SELECT hold::text FROM checkout WHERE checkout = $1 AND state = 'held'", checkout)
    return str(hold)


async def effects(counter: Counter) -> list[dict[str, Any]]:
    """The effects asked of the ledger, in order."""
    return [
        json.loads(body)["effect"] for body in await counter.query("SELECT body FROM outbox ORDER BY lane, position")
    ]
