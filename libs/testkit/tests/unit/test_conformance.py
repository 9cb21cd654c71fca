"""An answer that the API's document does not have fails whoever asked."""

import json
from typing import Any

import httpx
import pytest
from schemathesis.core.failures import Failure

from testkit.conformance import conforming

BALANCES = "/v1/shops/corner/members/anna/balances"
NOTHING = {
    "member": "anna",
    "as_of": "2026-03-02T09:00:00Z",
    "frozen": False,
    "merged_into": None,
    "balances": [],
}  # fmt: skip
REFUSAL = {
    "type": "urn:accrual:problem:not_found",
    "title": "Not found",
    "status": 404,
    "detail": "No service has this path.",
    "code": "not_found",
}


async def asked(path: str, status: int, body: Any, kind: str = "application/json", method: str = "GET") -> int:
    """The status that a client with these hooks is given by a server that answers so."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"content-type": kind}, content=json.dumps(body).encode())

    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", event_hooks=conforming()) as http:
        return (await http.request(method, path)).status_code


@pytest.mark.parametrize(
    ("path", "status", "body", "kind"),
    [
        (BALANCES, 200, NOTHING, "application/json"),
        (BALANCES, 404, REFUSAL, "application/problem+json"),
        ("/ready", 299, ["whatever"], "text/plain"),
    ],
)
async def test_what_the_document_has_and_what_is_none_of_its_passes(
    path: str, status: int, body: Any, kind: str
) -> None:
    assert await asked(path, status, body, kind) == status


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (201, NOTHING, "application/json", "was answered 201; the document has"),
        (200, NOTHING, "text/html", "was answered 200 with text/html; the document has"),
        (404, REFUSAL, "application/json", "was answered 404 with application/json; the document has"),
    ],
)
async def test_another_status_or_type_is_a_failure(status: int, body: Any, kind: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        await asked(BALANCES, status, body, kind)


@pytest.mark.parametrize("lacking", ["member", "balances"])
async def test_another_body_is_a_failure(lacking: str) -> None:
    body = {name: value for name, value in NOTHING.items() if name != lacking}
    with pytest.raises(Failure):
        await asked(BALANCES, 200, body)
    with pytest.raises(Failure):
        await asked(BALANCES, 404, {**REFUSAL, "status": "404"}, "application/problem+json")
