"""The HTTP face: who may call, how much, and that every refusal is a problem."""

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import APIRouter, Request
from joserfc import jwt
from joserfc.jwk import OKPKey
from pydantic import BaseModel
from pydantic.dataclasses import dataclass

from chassis import Overloaded
from chassis.auth import Caller, requires
from testkit import wait_until
from testkit.probe import Probe
from testkit.tokens import Tokens


class Note(BaseModel):
    """What the probe's route takes."""

    text: str
    number: int = 0


@dataclass
class OutOfPaper(Exception):
    """A refusal of the domain."""

    code = "out_of_paper"
    sheets: int

    def __str__(self) -> str:
        return f"{self.sheets} sheets are left"


router = APIRouter(prefix="/v1/shops/{shop}")
hold = asyncio.Event()


@router.get("/notes")
async def notes(shop: str, caller: Annotated[Caller, requires("rules:read")]) -> dict[str, str]:
    return {"shop": shop, "client": caller.client}


@router.post("/notes")
async def note(shop: str, body: Note, caller: Annotated[Caller, requires("rules:write")]) -> Note:
    return body


@router.get("/faults/{kind}")
async def fault(kind: str, request: Request) -> None:
    async with request.app.state.database.begin() as tx:
        match kind:
            case "bug":
                raise ZeroDivisionError("a secret")
            case "paper":
                raise OutOfPaper(sheets=2)
            case "overload":
                raise Overloaded
            case "overflow":
                await tx.driver.fetchval("SELECT $1::int", 2**40)
            case "nul":
                await tx.driver.fetchval("SELECT $1::text", "\x00")
            case "deadlock":
                await tx.driver.execute("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")
            case "held":
                await hold.wait()


@pytest.fixture
async def client(offline: Probe) -> AsyncIterator[httpx.AsyncClient]:
    hold.clear()
    offline.settings = offline.settings.model_copy(update={"http_in_flight": 4, "http_body_bytes": 2_000})
    async with offline.serving(routes=[router], problems={OutOfPaper: 409}) as client:
        yield client


def _refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["code"], body["status"]) == (status, code, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    assert body["type"] == f"urn:accrual:problem:{code}"
    return body


async def test_a_valid_token_with_scope_and_shop_is_let_in(client: httpx.AsyncClient, tokens: Tokens) -> None:
    for shop in ("corner", "*"):
        answer = await client.get("/v1/shops/corner/notes", headers=tokens.headers("rules:read", shop))
        assert answer.json() == {"shop": "corner", "client": "test"}


async def test_a_missing_or_malformed_token_is_401(client: httpx.AsyncClient, tokens: Tokens) -> None:
    token = tokens.mint()
    for value in (
        None,
        "",
        "Bearer",
        "Bearer x",
        "Bearer a.b.c",
        f"Basic {token}",
        token,
        f"Bearer {token}x",
    ):
        headers = {} if value is None else {"authorization": value}
        answer = await client.get("/v1/shops/corner/notes", headers=headers)
        _refused(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_token_that_is_expired_or_for_others_is_401(client: httpx.AsyncClient, tokens: Tokens) -> None:
    wrong: list[dict[str, Any]] = [
        {"exp": 1},
        {"exp": "never"},
        {"exp": None},
        {"nbf": 4_000_000_000},
        {"iss": "someone-else"},
        {"aud": "something-else"},
        {"aud": ["a", "b"]},
        {"sub": 5},
        {"shop": None},
        {"shop": ["corner"]},
        {"scope": ["rules:read"]},
    ]
    for claims in wrong:
        answer = await client.get("/v1/shops/corner/notes", headers=tokens.headers(**claims))
        assert _refused(answer, 401, "unauthorized"), claims


async def test_a_token_of_another_key_or_algorithm_is_401(client: httpx.AsyncClient, tokens: Tokens) -> None:
    def segment(part: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    good = tokens.mint()
    claims = json.loads(base64.urlsafe_b64decode(good.split(".")[1] + "=="))
    kid = tokens.issuer.key.kid
    public = tokens.issuer.key.as_pem(private=False)
    stranger = OKPKey.import_key(Ed25519PrivateKey.generate(), {"kid": kid})
    forged = {
        "none": f"{segment({'alg': 'none', 'kid': kid})}.{segment(claims)}.",
        "none, signed": f"{segment({'alg': 'none', 'kid': kid})}.{segment(claims)}.{good.split('.')[2]}",
        "HS256 with the public key": _hs256({"alg": "HS256", "kid": kid}, claims, public),
        "a stranger's key": jwt.encode({"alg": "Ed25519", "kid": kid}, claims, stranger, algorithms=["Ed25519"]),
        "other claims": f"{good.split('.')[0]}.{segment({**claims, 'shop': '*', 'x': 1})}.{good.split('.')[2]}",
    }
    for how, token in forged.items():
        answer = await client.get("/v1/shops/corner/notes", headers={"authorization": f"Bearer {token}"})
        assert _refused(answer, 401, "unauthorized"), how


def _hs256(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    signed = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)
    )
    mac = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


async def test_a_token_without_the_scope_is_403(client: httpx.AsyncClient, tokens: Tokens) -> None:
    answer = await client.get("/v1/shops/corner/notes", headers=tokens.headers("rules:write ledger:read"))
    assert _refused(answer, 403, "scope_missing")["scopes"] == ["rules:read"]


async def test_a_token_of_another_shop_is_404(client: httpx.AsyncClient, tokens: Tokens) -> None:
    for shop, path in (("other", "corner"), ("corner", "*"), ("*", "*"), ("*", "%00"), ("*", "a%20b"), ("*", "x" * 65)):
        answer = await client.get(f"/v1/shops/{path}/notes", headers=tokens.headers(shop=shop))
        _refused(answer, 404, "shop_not_found")


async def test_a_withdrawn_key_lets_nobody_in(offline: Probe, tokens: Tokens, tmp_path: Any, monkeypatch: Any) -> None:
    from chassis import auth

    file = tmp_path / "jwks.json"
    file.write_text(tokens.jwks_file.read_text())
    verifier = auth.Verifier(offline.settings.model_copy(update={"jwks_file": file}))
    token, other = tokens.mint(), tokens.mint("rules:read")
    assert verifier.verify(token).client == "test"
    file.write_text('{"keys": []}')
    clock = auth.time.time() + auth.CACHE_SECONDS + 1, auth.time.monotonic() + auth.CACHE_SECONDS + 1
    monkeypatch.setattr(auth.time, "time", lambda: clock[0])
    monkeypatch.setattr(auth.time, "monotonic", lambda: clock[1])
    for withdrawn in (token, other):
        with pytest.raises(auth.Problem, match="signature"):
            verifier.verify(withdrawn)


async def test_a_body_over_the_limit_is_413_whether_its_length_is_told_or_not(
    client: httpx.AsyncClient, tokens: Tokens
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"text": "'
        for _ in range(4):
            yield b"x" * 600
        yield b'"}'

    headers = tokens.headers() | {"content-type": "application/json"}
    for content in (b'{"text": "' + b"x" * 2_400 + b'"}', chunks()):
        answer = await client.post("/v1/shops/corner/notes", headers=headers, content=content)
        assert _refused(answer, 413, "body_too_large")["limit_bytes"] == 2_000
    assert (await client.post("/v1/shops/corner/notes", headers=headers, json={"text": "x" * 1_900})).status_code == 200


async def test_more_requests_at_once_than_can_be_answered_are_429(client: httpx.AsyncClient) -> None:
    held = [asyncio.create_task(client.get("/v1/shops/corner/faults/held")) for _ in range(4)]
    answer = await wait_until(lambda: _overloaded(client))
    assert _refused(answer, 429, "overloaded")
    assert answer.headers["retry-after"] == "1"
    assert (await client.get("/health")).status_code == 200
    hold.set()
    assert {(await one).status_code for one in held} == {200}
    assert (await client.get("/v1/shops/corner/nothing")).status_code == 404


async def _overloaded(client: httpx.AsyncClient) -> httpx.Response | None:
    answer = await client.get("/v1/shops/corner/nothing")
    return answer if answer.status_code == 429 else None


async def test_a_body_that_does_not_fit_is_a_problem_that_says_where(client: httpx.AsyncClient, tokens: Tokens) -> None:
    headers = tokens.headers() | {"content-type": "application/json"}
    for content, status, code in (
        (b"{", 400, "malformed_json"),
        (b"", 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
        (b"\xff\xfe", 400, "malformed_json"),
        (b'{"text": 5}', 422, "invalid_request"),
        (b'{"number": 1}', 422, "invalid_request"),
    ):
        refused = _refused(await client.post("/v1/shops/corner/notes", headers=headers, content=content), status, code)
        if content == b'{"number": 1}':
            assert refused["errors"] == [{"at": "body.text", "reason": "Field required"}]
    deep = await client.post("/v1/shops/corner/notes", headers=headers, content=b"[" * 1_999)
    assert deep.status_code == 400
    assert deep.headers["content-type"] == "application/problem+json"


async def test_every_fault_is_a_problem_and_tells_nothing_of_what_is_inside(client: httpx.AsyncClient) -> None:
    for kind, status, code in (
        ("bug", 500, "internal_error"),
        ("paper", 409, "out_of_paper"),
        ("overload", 429, "overloaded"),
        ("overflow", 422, "invalid_request"),
        ("nul", 422, "invalid_request"),
        ("deadlock", 503, "unavailable"),
    ):
        answer = await client.get(f"/v1/shops/corner/faults/{kind}", headers={"accept": "text/html"})
        body = _refused(answer, status, code)
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text
        if kind == "paper":
            assert (body["sheets"], body["detail"]) == (2, "2 sheets are left")


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient, tokens: Tokens) -> None:
    _refused(await client.get("/nothing"), 404, "not_found")
    answer = await client.delete("/v1/shops/corner/notes", headers=tokens.headers())
    _refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"]


async def test_a_request_keeps_its_id_or_gets_one(client: httpx.AsyncClient) -> None:
    given = await client.get("/nothing", headers={"x-request-id": "r-1.a_b"})
    assert given.headers["x-request-id"] == "r-1.a_b"
    for unsafe in ("a b", "x" * 65, "<script>", ""):
        made = await client.get("/nothing", headers={"x-request-id": unsafe})
        assert len(made.headers["x-request-id"]) == 36


async def test_the_openapi_document_says_that_refusals_are_problems(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for operations in document["paths"].values():
        for operation in operations.values():
            content = operation["responses"]["default"]["content"]
            assert content["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert "422" not in operation["responses"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_requests_are_measured_by_route_and_not_by_what_callers_invent(client: httpx.AsyncClient) -> None:
    await client.get("/v1/shops/corner-17/notes")
    await client.get("/invented/path-17")
    metrics = (await client.get("/metrics")).text
    assert 'route="/v1/shops/{shop}/notes",status="401"' in metrics
    assert "-17" not in metrics
