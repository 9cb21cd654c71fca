"""Asking through the gateway of parts that are killed: again, under the same key, until there is an answer."""

import asyncio
import time
from typing import Any, Final

import httpx

from testkit.system import System

ANSWER_SECONDS: Final = 180.0
"""A call is repeated so long until it is answered."""

AGAIN_SECONDS: Final = 0.3


class Refused(Exception):
    """What the story asks is well-formed, so a refusal is a finding, and would hollow the story out."""


def client(system: System, shop: str) -> httpx.AsyncClient:
    """For paths of a shop."""
    return httpx.AsyncClient(
        base_url=f"{system.gateway_url}/v1/shops/{shop}/", headers=system.tokens.headers(), timeout=10
    )


async def ask(
    http: httpx.AsyncClient, method: str, path: str, body: Any = None, *, key: str | None = None
) -> dict[str, Any]:
    """The answer; until there is one the same call again, under the same key. Nothing here may be refused."""
    give_up_at = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            answer = await http.request(method, path, json=body, headers={"idempotency-key": key or path})
            if answer.is_success:
                return dict(answer.json())
            said = answer.text
            if answer.is_client_error and answer.status_code != 429:
                raise Refused(f"{method} {path}: {said}")
        except (httpx.TransportError, ValueError) as error:
            said = repr(error)
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{method} {path}: {said}")
        await asyncio.sleep(AGAIN_SECONDS)
