"""The HTTP face of a service: its routes, and around them what every request meets."""

import re
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI
from fastapi.routing import APIRouter
from opentelemetry.trace import SpanKind
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import operations, problems
from chassis.auth import Verifier
from chassis.ids import new_id
from chassis.problems import problem_response
from chassis.settings import ServiceSettings
from chassis.telemetry import IN_FLIGHT, REQUESTS, span

if TYPE_CHECKING:
    from chassis.service import Runtime

UNLIMITED_PATHS = ("/health", "/ready", "/metrics")
"""Answered whatever the load: whoever asks them decides whether we live."""

_SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")


def create_app(runtime: "Runtime") -> FastAPI:
    """The service's ASGI application."""
    service = runtime.service
    app = FastAPI(
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
    for router in service.routes:
        app.include_router(router)
    app.include_router(operations.router(service.name))
    app.include_router(_probes())
    problems.install(app, service.problems)
    app.add_middleware(Edge, settings=service.settings)
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
        faults = await request.app.state.runtime.faults()
        return JSONResponse(
            {"status": "ready" if not faults else "not ready", "faults": faults}, 503 if faults else 200
        )

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


class Edge:
    """Around every request: an id, a bound on the body and on requests at once, a span, a metric."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self._app = app
        self._most_at_once = settings.http_in_flight
        self._most_body_bytes = settings.http_body_bytes
        self._in_flight = 0
        self._log = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] in UNLIMITED_PATHS:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        refusal = self._refusal(headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        self._in_flight += 1

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            traceparent = headers.get(b"traceparent", b"").decode("latin-1") or None
            with span(f"{scope['method']} {scope['path']}", traceparent, SpanKind.SERVER):
                await self._app(scope, self._bounded(receive), send_and_note)
        except _TooLarge:
            await _too_large(self._most_body_bytes)(scope, receive, send)
        except Exception:
            self._log.exception("request_failed", request_id=request_id.decode(), path=scope["path"])
        finally:
            self._in_flight -= 1
            IN_FLIGHT.set(self._in_flight)
            REQUESTS.labels(scope["method"], str(status)).observe(time.perf_counter() - started)

    def _refusal(self, headers: dict[bytes, bytes]) -> Response | None:
        if self._in_flight >= self._most_at_once:
            retry = {"Retry-After": str(problems.RETRY_AFTER_SECONDS)}
            return problem_response(429, "overloaded", "too many requests at once", headers=retry)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._most_body_bytes:
            return _too_large(self._most_body_bytes)
        return None

    def _bounded(self, receive: Receive) -> Callable[[], Awaitable[Message]]:
        """The same bytes, up to the limit; a body without a length is counted as it comes."""
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most_body_bytes:
                raise _TooLarge
            return message

        return bounded


class _TooLarge(Exception):
    """The body is over the limit."""


def _too_large(limit: int) -> Response:
    return problem_response(413, "body_too_large", f"at most {limit} bytes", {"limit_bytes": limit})


def _request_id(headers: dict[bytes, bytes]) -> bytes:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given.encode() if _SAFE_REQUEST_ID.fullmatch(given) else new_id().encode()
