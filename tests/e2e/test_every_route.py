"""Every route: without a token, a scope, the right shop or a sound body; and answers as the document says."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from local.paths import ROOT
from testkit.exploring import examples
from testkit.system import System
from testkit.tokens import ALL_SCOPES, Tokens

Shop = Any
Opener = Any

DOCUMENT: Final = json.loads((ROOT / "docs" / "openapi.json").read_text())
METHODS: Final = ("get", "put", "post", "delete", "patch")
KEYED: Final = {
    "post checkouts",
    "post checkouts/{checkout}/release",
    "post holds",
    "post holds/{hold}/capture",
    "post holds/{hold}/release",
    "post ledger/proposals/{proposal}/approve",
    "post ledger/proposals/{proposal}/reject",
    "post imports",
    "post members/{member}/freeze",
    "post members/{member}/gifts",
    "post members/{member}/merge",
    "post members/{member}/unfreeze",
    "post merges/{merge}/undo",
    "post notifications/deliveries/replay-dead",
    "post notifications/deliveries/{delivery}/replay",
    "post notifications/templates/{scenario}/{language}/test-send",
    "post rule-sets",
    "post rule-sets/rollback",
    "post rule-sets/{version}/activate",
    "post webhooks/{endpoint}/rotate-secret",
}
"""Writes that need an `Idempotency-Key`."""

EXAMPLES: Final = 10
"""Requests by chance per route; those at the bounds of what the document says come besides, some seven thousand."""


@dataclass(frozen=True)
class Route:
    """One operation of the document."""

    method: str
    path: str
    scope: str
    service: str

    def url(self, shop: str) -> str:
        """With something plausible for each name in the path."""
        path = self.path.replace("{shop}", shop).replace("{version}", "1")
        for name in ("letter", "delivery", "message", "proposal"):
            path = path.replace(f"{{{name}}}", str(uuid.UUID(int=1)))
        path = path.replace("{scenario}", "points_earned").replace("{language}", "en")
        while "{" in path:
            start, end = path.index("{"), path.index("}")
            path = f"{path[:start]}anything{path[end + 1 :]}"
        return path

    def call(self, client: httpx.Client, shop: str, headers: dict[str, str]) -> httpx.Response:
        """Call it with an empty document."""
        sent = {"idempotency-key": uuid.uuid4().hex, **headers}
        body = {} if self.method in ("get", "delete") else {"json": {}}
        return client.request(self.method, self.url(shop), headers=sent, **body)


def routes() -> Iterator[Route]:
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                (needed,) = item[method]["security"]
                (scopes,) = needed.values()
                (scope,) = scopes
                (service,) = item[method]["tags"]
                yield Route(method, path, scope, service)


ROUTES: Final = list(routes())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tried(opener: Opener) -> Shop:
    """A shop that may be ruined."""
    return await opener()


def code_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    problem = answer.json()
    assert problem["status"] == answer.status_code
    return str(problem["code"])


def test_the_committed_document_is_the_one_that_is_served(system: System) -> None:
    answer = httpx.get(f"{system.gateway_url}/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == DOCUMENT


def test_every_route_needs_a_scope_of_ours() -> None:
    assert len(ROUTES) > 50
    assert {route.scope for route in ROUTES} <= set(ALL_SCOPES.split())


@pytest.mark.parametrize("behind", [False, True], ids=["through the gateway", "behind the gateway"])
def test_every_route_refuses_callers_without_a_valid_token(tried: Shop, behind: bool) -> None:
    system: System = tried.system
    tokens: Tokens = system.tokens
    stranger = type(tokens.issuer).generate()
    bad = {
        "none": {},
        "nonsense": {"authorization": "Bearer nonsense"},
        "another scheme": {"authorization": "Basic YTpi"},
        "expired": {"authorization": f"Bearer {tokens.mint(shop=tried.id, lifetime_seconds=-3600)}"},
        "another audience": {"authorization": f"Bearer {tokens.mint(shop=tried.id, aud='somebody')}"},
        "another issuer": {"authorization": f"Bearer {tokens.mint(shop=tried.id, iss='somebody')}"},
        "another key": {"authorization": f"Bearer {stranger.mint(shop=tried.id)}"},
    }
    let_in = []
    for route in ROUTES:
        with httpx.Client(base_url=_base(system, route, behind=behind)) as client:
            for what, headers in bad.items():
                answer = route.call(client, tried.id, headers)
                if answer.status_code != 401:
                    let_in.append(f"{route.method} {route.path} with {what}: {answer.status_code}")
    assert let_in == []


@pytest.mark.parametrize("behind", [False, True], ids=["through the gateway", "behind the gateway"])
def test_every_route_refuses_a_token_without_its_scope(tried: Shop, behind: bool) -> None:
    let_in = []
    for route in ROUTES:
        others = " ".join(scope for scope in ALL_SCOPES.split() if scope != route.scope)
        headers = tried.system.tokens.headers(others, tried.id)
        with httpx.Client(base_url=_base(tried.system, route, behind=behind)) as client:
            answer = route.call(client, tried.id, headers)
        if (answer.status_code, code_of(answer)) != (403, "scope_missing"):
            let_in.append(f"{route.method} {route.path} without {route.scope}: {answer.status_code}")
    assert let_in == []


@pytest.mark.parametrize("behind", [False, True], ids=["through the gateway", "behind the gateway"])
def test_every_route_hides_a_shop_from_another_shops_token(tried: Shop, behind: bool) -> None:
    let_in = []
    for route in ROUTES:
        headers = tried.system.tokens.headers(shop="another-shop")
        with httpx.Client(base_url=_base(tried.system, route, behind=behind)) as client:
            answer = route.call(client, tried.id, headers)
        if (answer.status_code, code_of(answer)) != (404, "shop_not_found"):
            let_in.append(f"{route.method} {route.path}: {answer.status_code}")
    assert let_in == []


def test_every_route_answers_nonsense_with_a_problem(tried: Shop) -> None:
    bodies = [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"a": 1' + b"0" * 400 + b"}", b"[" * 5_000]
    broken = []
    with httpx.Client(base_url=tried.system.gateway_url, headers=tried.system.tokens.headers(shop=tried.id)) as client:
        for route in ROUTES:
            if route.method not in ("put", "post"):
                continue
            for body in bodies:
                headers = {"content-type": "application/json", "idempotency-key": uuid.uuid4().hex}
                answer = client.request(route.method, route.url(tried.id), content=body, headers=headers)
                if answer.status_code >= 500 or (answer.is_error and not code_of(answer)):
                    broken.append(
                        f"{route.method} {route.path} {body[:20]!r}: {answer.status_code} {answer.text[:100]}"
                    )
    assert broken == []


schema = schemathesis.openapi.from_dict(DOCUMENT)


@schema.parametrize()
@settings(
    max_examples=examples(EXAMPLES),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
def test_every_answer_is_as_the_document_says_and_never_a_server_error(case: Any, tried: Shop) -> None:
    """With an idempotency key where the document asks for one, and not without it there."""
    case.path_parameters = {**(case.path_parameters or {}), "shop": tried.id}
    case.headers = {name: value for name, value in (case.headers or {}).items() if name.lower() != "idempotency-key"}
    headers = tried.system.tokens.headers(shop=tried.id)
    keyed = "Idempotency-Key" in {
        parameter["name"] for parameter in case.operation.definition.raw.get("parameters", [])
    }
    if keyed:
        keyless = case.call(base_url=tried.system.gateway_url, headers=headers)
        assert 400 <= keyless.status_code < 500
        headers["idempotency-key"] = uuid.uuid4().hex
    answer = case.call_and_validate(
        base_url=tried.system.gateway_url,
        headers=headers,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_headers_conformance,
            response_schema_conformance,
        ],
    )
    assert keyed or answer.status_code != 400 or answer.json()["code"] != "idempotency_key_missing"


def test_the_writes_that_need_an_idempotency_key_say_so() -> None:
    """Whatever is not the same when it is done twice and has no key of its own, as each posting and dead letter has."""
    asking = {
        f"{method} {path.removeprefix('/v1/shops/{shop}/')}"
        for path, item in DOCUMENT["paths"].items()
        for method in METHODS
        if method in item
        and "Idempotency-Key" in {parameter["name"] for parameter in item[method].get("parameters", [])}
    }
    assert asking == KEYED


def _base(system: System, route: Route, *, behind: bool) -> str:
    return system.service_url(route.service) if behind else system.gateway_url
