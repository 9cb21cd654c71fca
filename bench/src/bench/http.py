"""The HTTP face: balance reads and holds per second and their latencies, direct and through the gateway."""

import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Final

import httpx

from bench import floors
from bench.callers import Answers, closed_loop, open_loop, request
from bench.calm import caught_up
from bench.results import Figure
from bench.shop import open_shop
from testkit.system import System

SHOP: Final = "bench-http"
MEMBERS: Final = 5_000
POINTS: Final = 1_000_000
CALLERS: Final = (1, 16, 64)
SECONDS: Final = 5.0
HOLDS_PER_SECOND: Final = 300
HOLDS_SECONDS: Final = 15.0


async def measure(system: System) -> list[Figure]:
    """Closed loops of 1, 16 and 64 callers, then holds at a fixed rate."""
    token = system.tokens.mint()
    await open_shop(system, SHOP)
    await _fill(system, token)
    figures = []
    with tempfile.TemporaryDirectory() as folder, floors.bare_asgi(Path(folder)) as bare_port:
        bare = {}
        for callers in CALLERS:
            answers = await closed_loop(bare_port, callers, SECONDS, lambda: request("GET", "/", bare_port, token))
            bare[callers] = answers.per_second
        floors.say("bare_asgi_per_second", bare[16])
    for where, port in (("", system.settings.ledger_port), ("gateway_", system.settings.gateway_port)):
        for name, make in (("balance_reads", _balance(port, token)), ("holds", _hold(port, token))):
            for callers in CALLERS:
                answers = await closed_loop(port, callers, SECONDS, make)
                figures += _figures(f"{where}{name}", callers, answers, bare[callers])
    port = system.settings.ledger_port
    await caught_up(system)
    answers = await open_loop(port, HOLDS_PER_SECOND, HOLDS_SECONDS, _hold(port, token))
    _only(answers, 201)
    figures.append(Figure("hold_p99_ms_at_300", round(answers.percentile_ms(99), 2), "ms"))
    figures.append(Figure("hold_p50_ms_at_300", round(answers.percentile_ms(50), 2), "ms"))
    return figures


def _figures(name: str, callers: int, answers: Answers, floor: float) -> list[Figure]:
    _only(answers, 201 if name.endswith("holds") else 200)
    return [
        Figure.beside(f"{name}_per_second_{callers}", answers.per_second, "answers/s", floor),
        Figure(f"{name}_p50_ms_{callers}", round(answers.percentile_ms(50), 3), "ms"),
        Figure(f"{name}_p99_ms_{callers}", round(answers.percentile_ms(99), 3), "ms"),
    ]


def _only(answers: Answers, status: int) -> None:
    """A run with refusals measures refusals."""
    if set(answers.statuses) != {status}:
        raise AssertionError(f"answers other than {status}: {answers.statuses}")


def _balance(port: int, token: str) -> Callable[[], bytes]:
    requests = [
        request("GET", f"/v1/shops/{SHOP}/members/m-{member}/balances", port, token) for member in range(MEMBERS)
    ]
    numbers = count()
    return lambda: requests[next(numbers) * 7_919 % MEMBERS]


_holds = count()


def _hold(port: int, token: str) -> Callable[[], bytes]:
    expires_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

    def make() -> bytes:
        number = next(_holds)
        body = {"hold": f"h-{number}", "member": f"m-{number * 7_919 % MEMBERS}", "amount": 1, "expires_at": expires_at}
        return request("POST", f"/v1/shops/{SHOP}/holds", port, token, json.dumps(body).encode(), key=f"h-{number}")

    return make


async def _fill(system: System, token: str) -> None:
    """Points for every member."""
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=system.service_url("ledger"), headers=headers, timeout=30) as http:
        for first in range(0, MEMBERS, 1_000):
            postings = [
                {"key": f"fill-{member}", "member": f"m-{member}", "effect": {"kind": "award", "amount": POINTS}}
                for member in range(first, first + 1_000)
            ]
            answer = await http.post(f"/v1/shops/{SHOP}/postings", json={"postings": postings})
            answer.raise_for_status()
