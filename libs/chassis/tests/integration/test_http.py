"""The HTTP face: who may call, how much, and that every refusal is a problem."""

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import APIRouter, Request
from joserfc import jwt
from joserfc.jwk import OKPKey
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from chassis import Overloaded, telemetry
from chassis.auth import Caller, requires
from chassis.hot import HotRouter, JsonAnswer, body_of
from testkit import wait_until
from testkit.probe import Probe
from testkit.tokens import Tokens


class Note(BaseModel):
    """What the probe's route takes."""

    text: str
    number: int = 0
    numbers: tuple[int, ...] = ()


@dataclass
class OutOfPaper(Exception):
    """A refusal of the domain."""

    code = "out_of_paper"
    sheets: int

    def __str__(self) -> str:
        return f"{self.sheets} sheets are left"


class Reader(BaseModel):
    """What the probe's route gives."""

    shop: str
    client: str


router = APIRouter(prefix="/v1/shops/{shop}/framework")
hot_router = HotRouter(prefix="/v1/shops/{shop}/hot", tag="probe")
SHOP: Final = {"shop": str}
hold = asyncio.Event()


@router.get("/notes")
async def notes(shop: str, caller: Annotated[Caller, requires("rules:read")]) -> Reader:
    return Reader(shop=shop, client=caller.client)


@hot_router.hot("GET", "/notes", scopes=["rules:read"], names=SHOP, gives=Reader)
async def hot_notes(request: Request) -> JsonAnswer:
    found = Reader(shop=request.path_params["shop"], client=request.scope["caller"].client)
    return JsonAnswer(found.model_dump_json().encode())


@router.post("/notes")
async def note(shop: str, body: Note, caller: Annotated[Caller, requires("rules:write")]) -> Note:
    return body


@hot_router.hot("POST", "/notes", scopes=["rules:write"], names=SHOP, takes=Note, gives=Note)
async def hot_note(request: Request) -> JsonAnswer:
    return JsonAnswer((await body_of(request, Note)).model_dump_json().encode())


@router.get("/faults/{kind}", dependencies=[requires("rules:read")])
async def fault(kind: str, request: Request) -> None:
    await _fault(kind, request)


@hot_router.hot("GET", "/faults/{kind}", scopes=["rules:read"], names={**SHOP, "kind": str}, gives=Note)
async def hot_fault(request: Request) -> JsonAnswer:
    await _fault(request.path_params["kind"], request)
    return JsonAnswer(b"null")


async def _fault(kind: str, request: Request) -> None:
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
    async with offline.serving(routes=[router, hot_router], problems={OutOfPaper: 409}) as client:
        yield client


@pytest.fixture(params=["framework", "hot"])
def base(request: pytest.FixtureRequest) -> str:
    """The same routes twice: whoever runs them, a caller sees no difference."""
    return f"/v1/shops/corner/{request.param}"


def _refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["code"], body["status"]) == (status, code, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    assert body["type"] == f"urn:accrual:problem:{code}"
    return body


async def test_a_valid_token_with_scope_and_shop_is_let_in(
    client: httpx.AsyncClient, tokens: Tokens, base: str
) -> None:
    for shop in ("corner", "*"):
        answer = await client.get(f"{base}/notes", headers=tokens.headers("rules:read", shop))
        assert answer.json() == {"shop": "corner", "client": "test"}


async def test_a_missing_or_malformed_token_is_401(client: httpx.AsyncClient, tokens: Tokens, base: str) -> None:
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
        answer = await client.get(f"{base}/notes", headers=headers)
        _refused(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_token_that_is_expired_or_for_others_is_401(
    client: httpx.AsyncClient, tokens: Tokens, base: str
) -> None:
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
        answer = await client.get(f"{base}/notes", headers=tokens.headers(**claims))
        assert _refused(answer, 401, "unauthorized"), claims


async def test_a_token_of_another_key_or_algorithm_is_401(client: httpx.AsyncClient, tokens: Tokens, base: str) -> None:
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
        answer = await client.get(f"{base}/notes", headers={"authorization": f"Bearer {token}"})
        assert _refused(answer, 401, "unauthorized"), how


def _hs256(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    signed = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)
    )
    mac = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


async def test_a_token_without_the_scope_is_403(client: httpx.AsyncClient, tokens: Tokens, base: str) -> None:
    answer = await client.get(f"{base}/notes", headers=tokens.headers("rules:write ledger:read"))
    assert _refused(answer, 403, "scope_missing")["scopes"] == ["rules:read"]


async def test_a_token_of_another_shop_is_404(client: httpx.AsyncClient, tokens: Tokens, base: str) -> None:
    for shop, path in (("other", "corner"), ("corner", "*"), ("*", "*"), ("*", "%00"), ("*", "a%20b"), ("*", "x" * 65)):
        answer = await client.get(f"{base}/notes".replace("corner", path), headers=tokens.headers(shop=shop))
        _refused(answer, 404, "shop_not_found")


async def test_a_body_over_the_limit_is_413_whether_its_length_is_told_or_not(
    client: httpx.AsyncClient, tokens: Tokens, base: str
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"text": "'
        for _ in range(4):
            yield b"x" * 600
        yield b'"}'

    headers = tokens.headers() | {"content-type": "application/json"}
    for content in (b'{"text": "' + b"x" * 2_400 + b'"}', chunks()):
        answer = await client.post(f"{base}/notes", headers=headers, content=content)
        assert _refused(answer, 413, "body_too_large")["limit_bytes"] == 2_000
    assert (await client.post(f"{base}/notes", headers=headers, json={"text": "x" * 1_900})).status_code == 200


async def test_more_requests_at_once_than_can_be_answered_are_429(
    client: httpx.AsyncClient, tokens: Tokens, base: str
) -> None:
    held = [asyncio.create_task(client.get(f"{base}/faults/held", headers=tokens.headers())) for _ in range(4)]
    answer = await wait_until(lambda: _overloaded(client, f"{base}/notes"))
    assert _refused(answer, 429, "overloaded")
    assert answer.headers["retry-after"] == "1"
    assert (await client.get("/health")).status_code == 200
    hold.set()
    assert {(await one).status_code for one in held} == {200}
    assert (await client.get("/v1/shops/corner/nothing")).status_code == 404


async def _overloaded(client: httpx.AsyncClient, base: str) -> httpx.Response | None:
    answer = await client.get("/v1/shops/corner/nothing")
    return answer if answer.status_code == 429 else None


async def test_a_body_that_does_not_fit_is_a_problem_that_says_where(
    client: httpx.AsyncClient, tokens: Tokens, base: str
) -> None:
    headers = tokens.headers() | {"content-type": "application/json"}
    for content, status, code in (
        (b"{", 400, "malformed_json"),
        (b"", 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
        (b"\xff\xfe", 400, "malformed_json"),
        (b'{"text": 5}', 422, "invalid_request"),
        (b'{"number": 1}', 422, "invalid_request"),
    ):
        refused = _refused(await client.post(f"{base}/notes", headers=headers, content=content), status, code)
        if content == b'{"number": 1}':
            assert refused["errors"] == [{"at": "body.text", "reason": "Field required"}]
    many = json.dumps({"text": "", "numbers": ["x"] * 300}).encode()
    refused = _refused(await client.post(f"{base}/notes", headers=headers, content=many), 422, "invalid_request")
    assert (len(refused["errors"]), refused["errors"][99]["at"], refused["more"]) == (100, "body.numbers.99", 200)
    deep = await client.post(f"{base}/notes", headers=headers, content=b"[" * 1_999)
    assert deep.status_code == 400
    assert deep.headers["content-type"] == "application/problem+json"


async def test_every_fault_is_a_problem_and_tells_nothing_of_what_is_inside(
    client: httpx.AsyncClient, tokens: Tokens, base: str
) -> None:
    for kind, status, code in (
        ("bug", 500, "internal_error"),
        ("paper", 409, "out_of_paper"),
        ("overload", 429, "overloaded"),
        ("overflow", 422, "invalid_request"),
        ("nul", 422, "invalid_request"),
        ("deadlock", 503, "unavailable"),
    ):
        answer = await client.get(f"{base}/faults/{kind}", headers={**tokens.headers(), "accept": "text/html"})
        body = _refused(answer, status, code)
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text
        if kind == "paper":
            assert (body["sheets"], body["detail"]) == (2, "2 sheets are left")


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient, tokens: Tokens, base: str) -> None:
    _refused(await client.get("/nothing"), 404, "not_found")
    answer = await client.delete(f"{base}/notes", headers=tokens.headers())
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


async def test_requests_are_measured_by_route_and_not_by_what_callers_invent(
    client: httpx.AsyncClient, base: str
) -> None:
    await client.get(f"{base}/notes".replace("corner", "corner-17"))
    await client.get("/invented/path-17")
    metrics = (await client.get("/metrics")).text
    route = base.replace("corner", "{shop}")
    assert f'route="{route}/notes",status="401"' in metrics
    assert "-17" not in metrics
    assert "accrual_requests_in_flight 0.0" in metrics


async def test_what_a_request_caused_is_traced(client: httpx.AsyncClient, tokens: Tokens, base: str) -> None:
    provider, spans = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry.trace, "get_tracer", provider.get_tracer)
        for flags in ("01", "00"):
            trace = {"traceparent": f"00-{1:032x}-{2:016x}-{flags}"}
            assert (await client.get(f"{base}/notes", headers=tokens.headers() | trace)).status_code == 200
    assert [span.name for span in spans.get_finished_spans()] == [f"GET {base}/notes"]


async def test_of_a_header_given_twice_the_first_counts(client: httpx.AsyncClient, tokens: Tokens, base: str) -> None:
    good, bad = tokens.headers()["authorization"], "Bearer nonsense"
    for values, status in (((good, bad), 200), ((bad, good), 401)):
        answer = await client.get(f"{base}/notes", headers=[("authorization", value) for value in values])
        assert answer.status_code == status


async def test_hot_routes_are_in_the_document_as_the_others_are(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for method in ("get", "post"):
        framework, hot = (paths[f"/v1/shops/{{shop}}/{how}/notes"][method] for how in ("framework", "hot"))
        assert hot["security"] == framework["security"]
        assert hot["responses"]["200"] == framework["responses"]["200"]
        assert hot.get("requestBody") == framework.get("requestBody")
        assert [parameter["name"] for parameter in hot["parameters"]] == ["shop"]


async def test_an_answer_comes_in_one_piece_and_pipelined_requests_in_their_order(
    client: httpx.AsyncClient, tokens: Tokens, base: str, offline: Probe
) -> None:
    authorization = tokens.headers()["authorization"]
    asks = [
        f"GET {base.replace('corner', shop)}/notes HTTP/1.1\r\nhost: probe\r\nauthorization: {authorization}\r\n\r\n"
        for shop in ("one", "two", "three")
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", offline.settings.http_port)
    writer.write(asks[0].encode())
    assert b'"shop":"one"' in await reader.read(65_536)
    writer.write(
        "".join(asks[1:])
        .replace("host:", "connection: close\r\nhost:", 2)
        .replace("connection: close\r\n", "", 1)
        .encode()
    )
    rest = await reader.read()
    assert rest.count(b"HTTP/1.1 200 OK") == 2
    assert rest.index(b'"shop":"two"') < rest.index(b'"shop":"three"')
    writer.close()
