"""The shop as its platform and its staff reach it: through the gateway, with a token, and nothing else."""

import asyncio
from types import TracebackType
from typing import Any, Self

import httpx

TRIES = 40
PAUSE_SECONDS = 0.25
TIMEOUT = httpx.Timeout(20, connect=5)


class Refused(Exception):
    """The API said no."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:300]}")
        self.status = answer.status_code


class Gateway:
    """Calls for one shop. What is limited or not ready yet is tried again, with the same key."""

    def __init__(self, url: str, token: str, shop: str) -> None:
        headers = {"authorization": f"Bearer {token}"}
        self._client = httpx.AsyncClient(base_url=f"{url}/v1/shops/{shop}/", headers=headers, timeout=TIMEOUT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def get(self, path: str, **query: Any) -> Any:
        """What is there."""
        return await self._call("GET", path, params=query)

    async def put(self, path: str, body: Any) -> Any:
        """Put it there."""
        return await self._call("PUT", path, json=body)

    async def post(self, path: str, body: Any, *, key: str) -> Any:
        """Ask for it, once per key."""
        return await self._call("POST", path, json=body, headers={"idempotency-key": key})

    async def _call(self, method: str, path: str, **given: Any) -> Any:
        answer = await self._client.request(method, path, **given)
        for _ in range(TRIES):
            if answer.status_code not in (429, 502, 503, 504):
                break
            await asyncio.sleep(float(answer.headers.get("retry-after", PAUSE_SECONDS)))
            answer = await self._client.request(method, path, **given)
        if answer.is_error:
            raise Refused(answer)
        return answer.json()
