"""HTTP from one service to another."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from chassis.telemetry import current_traceparent

CONNECT_SECONDS = 1.0
"""A service that is up accepts at once."""

ANSWER_SECONDS = 5.0
"""Longer than any answer that is worth waiting for at a checkout."""

TRIES = 3
"""Of a call that is safe to repeat; a service that restarts is back within the pauses between them."""

FIRST_PAUSE_SECONDS = 0.1

MAX_CONNECTIONS = 100
"""Kept open to one service at most."""


class Unreachable(Exception):
    """The other service gave no answer, or none that settles anything; whether it acted is not known."""


class Client:
    """Calls one service. Every call must be safe to repeat: a GET, or a write with a key of its own."""

    def __init__(self, base_url: str, token_file: Path) -> None:
        """`token_file` holds a bearer token; it is read for each connection pool's life and again after a 401."""
        self._token_file = token_file
        self._token = ""
        self._http = httpx.AsyncClient(
            base_url=base_url,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def call(
        self, method: str, path: str, *, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """The answer, whatever its status below 500 but 429; `Unreachable` when there is none after all tries."""
        failure = "no answer"
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            try:
                response = await self._http.request(method, path, json=json, headers=self._headers(headers))
            except httpx.TransportError as error:
                failure = repr(error)
                continue
            if response.status_code == 401:
                self._token = ""
            if response.status_code < 500 and response.status_code not in (401, 429):
                return response
            failure = f"status {response.status_code}"
        raise Unreachable(f"{method} {path}: {failure}")

    def _headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        if not self._token:
            self._token = self._token_file.read_text().strip()
        headers = {"Authorization": f"Bearer {self._token}", **(more or {})}
        traceparent = current_traceparent()
        if traceparent:
            headers["traceparent"] = traceparent
        return headers
