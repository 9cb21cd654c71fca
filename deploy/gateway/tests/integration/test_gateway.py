"""What the gateway lets through, what it answers itself, and how."""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn

from local import child
from testkit import wait_until
from testkit.tokens import DevelopmentIssuer, Tokens

from .conftest import ARRIVED, Running, answer

POSTINGS = "/v1/shops/demo/postings"


def _problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, f"urn:accrual:problem:{code}")
    assert set(problem) == {"type", "title", "status", "code", "detail", "request_id"}
    return problem


@pytest.mark.parametrize(
    ("path", "service"),
    [
        (POSTINGS, "ledger"),
        ("/v1/shops/demo/members/m-1/balances", "ledger"),
        ("/v1/shops/demo/orders/o-1/earnings", "rules"),
        ("/v1/shops/demo/checkouts/quote", "redemption"),
        ("/v1/shops/demo/members/m-1/messages", "notifications"),
    ],
)
async def test_paths_reach_their_service(
    running: Running, client: httpx.AsyncClient, tokens: Tokens, path: str, service: str
) -> None:
    answer = await client.get(path, headers=tokens.headers())
    assert answer.status_code == 200, answer.text
    assert answer.json()["port"] == running.upstreams[service].config.port
    assert answer.json()["path"] == path


async def test_no_token_wrong_tokens_and_old_ones_are_401(client: httpx.AsyncClient, tokens: Tokens) -> None:
    stranger = DevelopmentIssuer.generate()
    unsigned = tokens.mint().rsplit(".", 1)[0] + "."
    wrong = [
        {},
        {"authorization": "Bearer nonsense"},
        {"authorization": f"Bearer {unsigned}"},
        {"authorization": f"Bearer {stranger.mint()}"},
        tokens.headers(iss="another-issuer"),
        tokens.headers(aud="another-audience"),
        tokens.headers(lifetime_seconds=-60),
    ]
    for headers in wrong:
        answer = await client.get(POSTINGS, headers=headers)
        _problem(answer, 401, "unauthorized")


async def test_services_own_refusals_pass_unchanged(client: httpx.AsyncClient, tokens: Tokens) -> None:
    for status in (401, 403, 404, 409, 413, 429, 500, 503):
        answer = await client.get(f"{POSTINGS}?{status}", headers=tokens.headers())
        assert answer.status_code == status
        assert answer.json()["path"] == POSTINGS, "the gateway replaced a service's own answer"


async def test_unknown_paths_are_404_and_inner_ones_are_not_reachable(
    client: httpx.AsyncClient, tokens: Tokens
) -> None:
    for path in ("/v1/shops/demo/nothing", "/metrics", "/ready", "/v1/shops/demo/postings/../../../metrics", "/v2/x"):
        _problem(await client.get(path, headers=tokens.headers()), 404, "not_found")


async def test_escaped_slashes_are_refused(client: httpx.AsyncClient, tokens: Tokens) -> None:
    _problem(await client.get("/v1/shops/demo%2Fpostings/postings", headers=tokens.headers()), 400, "bad_request")


async def test_bodies_are_limited_whether_their_length_is_told_or_not(
    client: httpx.AsyncClient, tokens: Tokens
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1000

    fitting = await client.post(POSTINGS, headers=tokens.headers(), content=b"x" * 10_000)
    assert fitting.json()["size"] == 10_000
    for content in (b"x" * 10_001, chunks()):
        _problem(await client.post(POSTINGS, headers=tokens.headers(), content=content), 413, "body_too_large")


async def test_a_route_that_streams_passes_long_bodies_on_as_they_come_and_may_take_long(
    client: httpx.AsyncClient, tokens: Tokens
) -> None:
    ARRIVED.clear()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 20_000
        await wait_until(lambda: _arrived(20_000), what="the service to have the first piece before the second is sent")
        for _ in range(100):
            yield b"x" * 20_000

    answer = await client.post("/v1/shops/demo/imports?stream", headers=tokens.headers(), content=chunks(), timeout=20)
    assert answer.json()["size"] == 2_020_000, "200 times as much as other routes take"
    assert (await client.get("/v1/shops/demo/entries.csv?slow", headers=tokens.headers())).status_code == 200
    assert (
        await client.get("/v1/shops/demo/members/m-1/entries.csv?slow", headers=tokens.headers())
    ).status_code == 200
    _problem(await client.get("/v1/shops/demo/imports/1?slow", headers=tokens.headers()), 504, "timeout")
    for path in ("imports/1", "members/m-1/entries"):
        answer = await client.post(f"/v1/shops/demo/{path}", headers=tokens.headers(), content=b"x" * 10_001)
        _problem(answer, 413, "body_too_large")


async def test_a_body_that_is_cut_off_is_no_whole_one(running: Running, tokens: Tokens) -> None:
    """The service sees that it ended early."""
    ARRIVED.clear()
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = "POST /v1/shops/demo/imports?stream HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n"
    writer.write(f"{head}authorization: {tokens.headers()['authorization']}\r\n\r\n".encode() + b"x" * 5_000)
    await writer.drain()
    await wait_until(lambda: _arrived(5_000), what="what was sent to arrive")
    writer.close()
    await wait_until(lambda: _arrived(5_000, ended=True), what="the service to see the end")
    assert sum(ARRIVED) == 5_000
    assert reader is not None


async def _arrived(size: int, *, ended: bool = False) -> bool:
    return sum(ARRIVED) >= size and (not ended or ARRIVED[-1] == 0)


async def test_one_client_is_limited_and_others_are_not(client: httpx.AsyncClient, tokens: Tokens) -> None:
    greedy = tokens.headers(sub=f"greedy-{uuid.uuid4()}")
    began_at = time.monotonic()
    answers: list[httpx.Response] = []
    while len(answers) < 300 or (len(answers) < 1_000 and all(answer.status_code != 429 for answer in answers)):
        answers += await asyncio.gather(*(client.get(POSTINGS, headers=greedy) for _ in range(50)))
    seconds = time.monotonic() - began_at
    refused = [answer for answer in answers if answer.status_code == 429]
    # Two seconds' worth at once, and fifty for each second that begins meanwhile.
    assert 100 <= len(answers) - len(refused) <= 100 + 50 * (seconds + 1), len(refused)
    _problem(refused[0], 429, "too_many_requests")
    assert refused[0].headers["retry-after"] == "1"
    assert (await client.get(POSTINGS, headers=tokens.headers(sub="modest"))).status_code == 200


async def test_a_slow_service_is_answered_for(client: httpx.AsyncClient, tokens: Tokens) -> None:
    _problem(await client.get(f"{POSTINGS}?slow", headers=tokens.headers()), 504, "timeout")


async def test_request_ids_are_made_and_told(client: httpx.AsyncClient, tokens: Tokens) -> None:
    answer = await client.get(POSTINGS, headers=tokens.headers())
    assert uuid.UUID(answer.headers["x-request-id"])
    assert answer.json()["headers"]["x-request-id"] == answer.headers["x-request-id"]
    assert answer.json()["headers"]["authorization"].startswith("Bearer "), "services check the token once more"


async def test_pages_are_ours_and_need_no_token(client: httpx.AsyncClient) -> None:
    for path, kind in (
        ("/openapi.json", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
        ("/docs.js", "text/javascript; charset=utf-8"),
        ("/health", "application/json"),
    ):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert (await client.get("/")).headers["location"].endswith("/docs")


async def test_browsers_of_allowed_origins_may_ask(client: httpx.AsyncClient) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    allowed = await client.options(POSTINGS, headers={"origin": "http://localhost:3000", **asks})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "idempotency-key" in allowed.headers["access-control-allow-headers"]
    foreign = await client.options(POSTINGS, headers={"origin": "http://evil.example", **asks})
    assert "access-control-allow-origin" not in foreign.headers


async def test_the_access_log_names_the_client_and_never_the_token(
    running: Running, client: httpx.AsyncClient, tokens: Tokens
) -> None:
    headers = tokens.headers(sub="logged-client")
    answer = await client.get(POSTINGS, headers=headers)

    def line() -> dict[str, Any] | None:
        lines = running.access_log.read_text().splitlines()
        return next((json.loads(text) for text in lines if answer.headers["x-request-id"] in text), None)

    written = await wait_until(line, what="the access log")
    assert written is not None
    assert (written["client"], written["shop"], written["service"], written["status"]) == (
        "logged-client",
        "*",
        "ledger",
        200,
    )
    assert headers["authorization"].split()[1] not in running.access_log.read_text()


async def test_a_service_that_is_away_is_503_and_back_at_once(
    running: Running, client: httpx.AsyncClient, tokens: Tokens
) -> None:
    server = running.upstreams["rules"]
    path = "/v1/shops/demo/rules/any"
    server.should_exit = True
    await wait_until(lambda: not child.listens(server.config.port), what="the service to end")
    _problem(await client.get(path, headers=tokens.headers(sub="away")), 503, "unavailable")
    again = uvicorn.Server(uvicorn.Config(answer, port=server.config.port, log_level="warning", lifespan="off"))
    task = asyncio.create_task(again._serve())

    async def answers() -> bool:
        return (await client.get(path, headers=tokens.headers(sub="back"))).status_code == 200

    await wait_until(answers, timeout_seconds=3, every_seconds=0.1, what="the service to be reached again")
    again.should_exit = True
    await task


async def test_what_a_service_did_not_live_to_answer_is_asked_again(running: Running, tokens: Tokens) -> None:
    """With its key: whatever the service had done by then, it does nothing twice."""
    server, asked = running.upstreams["redemption"], list[bytes]()
    server.should_exit = True
    await wait_until(lambda: not child.listens(server.config.port), what="the service to end")

    async def end_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if b"GET /health" in head:
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    continue
                asked.append(head)
                if len(asked) == 1:
                    break
                writer.write(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    async with (
        await asyncio.start_server(end_first, "127.0.0.1", server.config.port),
        httpx.AsyncClient(base_url=running.url) as client,
    ):
        headers = {**tokens.headers(sub="asked-again"), "idempotency-key": "k-1"}
        answered = await client.post("/v1/shops/demo/checkouts/c-1/release", headers=headers)
    assert (answered.status_code, answered.json()) == (201, {})
    assert [b"idempotency-key: k-1" in head for head in asked] == [True, True]
