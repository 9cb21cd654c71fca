"""The HTTP face of a service: its routes, and around them what every request meets."""

import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI
from fastapi.routing import APIRouter
from opentelemetry.trace import SpanKind
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from chassis import openapi, operations
from chassis.auth import Verifier, caller_of
from chassis.faults import is_transient
from chassis.hot import HotRoute, HotRouter, HotTable
from chassis.ids import new_id
from chassis.problems import Overloaded, Problems, answer_to, problem_response
from chassis.telemetry import IN_FLIGHT, REQUESTS, span

if TYPE_CHECKING:
    from chassis.service import Runtime, Service

UNLIMITED_PATHS = ("/health", "/ready", "/metrics")
"""Answered whatever the load: whoever asks them decides whether we live."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Told apart in metrics; a caller may invent others without end."""

_SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")


def create_app(runtime: "Runtime") -> FastAPI:
    """The service's ASGI application."""
    service = runtime.service
    app = _App(
        title=service.title,
        description=service.description,
        version="1",
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.database = runtime.database
    app.state.settings = service.settings
    app.state.verifier = Verifier(service.settings)
    app.state.runtime = runtime
    # First, because a service may have names of its own under its name: `rules/{rule}` would take `rules/dead-letters`.
    app.include_router(operations.router(service.name))
    for router in service.routes:
        app.include_router(router)
    app.include_router(_probes())
    app.edge = Edge(app, service, verifier=app.state.verifier)
    app.openapi = lambda: openapi.document(app, service.routes)  # type: ignore[method-assign]  # FastAPI's own way to change it
    return app


def database(request: Request) -> Any:
    """The service's database."""
    return request.app.state.database


def _probes() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "live"}

    @router.get("/ready")
    async def ready(request: Request) -> Response:
        good, faults = await request.app.state.runtime.readiness()
        return JSONResponse({"status": "ready" if good else "not ready", "faults": faults}, 200 if good else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


class _App(FastAPI):
    """The framework, with the edge before all of its layers."""

    edge: "Edge"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every request meets the edge first; most go on to the framework."""
        await self.edge(scope, receive, send)

    async def framework(self, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI's own way."""
        await super().__call__(scope, receive, send)


class Edge:
    """Around every request: an id, bounds on its body and on how many there are, a span, a metric, an answer.

    Hot routes are answered here; the framework answers all others.
    """

    def __init__(self, app: "_App", service: "Service", *, verifier: Verifier) -> None:
        self._app = app
        self._verifier = verifier
        self._problems = Problems(service.problems)
        self._problems.install(app)
        self._hot = HotTable(
            route for router in service.routes if isinstance(router, HotRouter) for route in router.hot_routes
        )
        self._most_at_once = service.settings.http_in_flight
        self._most_body_bytes = service.settings.http_body_bytes
        self._in_flight = 0
        IN_FLIGHT.set_function(lambda: self._in_flight)
        self._log = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] in UNLIMITED_PATHS:
            await self._app.framework(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))  # of one that is given twice the first counts, as in the framework
        found = self._hot.find(scope["method"], scope["path"])
        most_bytes = self._most_body_bytes if found is None else found[0].body_bytes or self._most_body_bytes
        exchange = _Exchange(receive, send, _request_id(headers), most_bytes)
        started = time.perf_counter()
        self._in_flight += 1
        try:
            refusal = self._refusal(headers, most_bytes)
            if refusal is not None:
                await exchange.answer(scope, refusal)
            else:
                await self._inside(scope, headers, exchange, found)
        finally:
            self._in_flight -= 1
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = getattr(scope.get("route"), "path", "none")
            _timed(method, route, exchange.status).observe(time.perf_counter() - started)

    async def _inside(
        self, scope: Scope, headers: dict[bytes, bytes], exchange: "_Exchange", found: "_Found | None"
    ) -> None:
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id)
        traceparent = headers.get(b"traceparent")
        try:
            if traceparent is None:
                await self._answer(scope, headers, exchange, found)
                return
            with span(f"{scope['method']} {scope['path']}", traceparent.decode("latin-1"), SpanKind.SERVER):
                await self._answer(scope, headers, exchange, found)
        except Exception as error:  # noqa: BLE001  # the caller gets an answer, whatever it was
            refusal = self._problems.refusal_of(error)
            if exchange.too_large:
                refusal = _too_large(exchange.most_body_bytes)
            elif is_transient(error):
                self._log.warning("request_failed", path=scope["path"], error=repr(error))
            elif refusal is None:
                self._log.exception("request_failed", path=scope["path"])
            if not exchange.begun:
                await exchange.answer(scope, refusal or answer_to(error))

    async def _answer(
        self, scope: Scope, headers: dict[bytes, bytes], exchange: "_Exchange", found: "_Found | None"
    ) -> None:
        if found is None:
            await self._app.framework(scope, exchange.receive, exchange.send)
            return
        route, names = found
        scope["app"], scope["route"], scope["path_params"] = self._app, route, names
        authorization = headers.get(b"authorization", b"")
        scope["caller"] = caller_of(self._verifier, authorization, route.scopes, names.get("shop"))
        answer = await route.handler(Request(scope, exchange.receive))
        await answer(scope, exchange.receive, exchange.send)

    def _refusal(self, headers: dict[bytes, bytes], most_bytes: int) -> Response | None:
        if self._in_flight > self._most_at_once:
            return answer_to(Overloaded())
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and (len(length) > 18 or int(length) > most_bytes):
            return _too_large(most_bytes)
        return None


_Found = tuple[HotRoute, dict[str, str]]
"""A hot route, and the parts of the path that have names."""


@lru_cache(maxsize=4_096)
def _timed(method: str, route: str, status: int) -> Any:
    """The metric of such requests; finding it costs as much as adding to it. Routes, methods and statuses are few."""
    return REQUESTS.labels(method, route, str(status))


class _Exchange:
    """One request and its answer, as they pass the edge."""

    def __init__(self, receive: Receive, send: Send, request_id: str, most_body_bytes: int) -> None:
        self.request_id = request_id
        self.status = 500
        self.begun = False
        """Whether an answer has begun; then no other one can be given."""
        self.too_large = False
        self._receive = receive
        self._send = send
        self.most_body_bytes = most_body_bytes
        self._received_bytes = 0

    async def receive(self) -> Message:
        """The same bytes, up to the limit; a body without a length is counted as it comes."""
        message = await self._receive()
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > self.most_body_bytes:
            self.too_large = True
            raise _TooLarge
        return message

    async def send(self, message: Message) -> None:
        """The same answer with the request's id; whatever the framework makes of a body cut off, we say that it was."""
        if self.too_large and not self.begun:
            raise _TooLarge
        await self._pass(message)

    async def answer(self, scope: Scope, response: Response) -> None:
        """An answer of the edge itself."""
        await response(scope, self._receive, self._pass)

    async def _pass(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self.request_id.encode())]
        await self._send(message)


class _TooLarge(Exception):
    """The body is over the limit."""


def _too_large(limit: int) -> Response:
    return problem_response(413, "body_too_large", f"at most {limit} bytes", {"limit_bytes": limit})


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _SAFE_REQUEST_ID.fullmatch(given) else new_id()
