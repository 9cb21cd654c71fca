"""Postings, holds and batches over HTTP, and the face's own promises; on refusals also that nothing has changed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, get_args

import httpx
import pytest
from pydantic import TypeAdapter

from contracts.postings import Effect
from ledger import schemas
from ledger.api import STATUSES
from ledger.asking import _KINDS
from ledger.domain import REFUSALS

from .conftest import SHOP, Ledger, iso

M = "m-1"
OPERATOR = {"operator": "ana", "reason": "goodwill"}


# -- operators


async def test_an_operator_credits_and_debits_with_reason_and_memo(ledger: Ledger) -> None:
    await ledger.done(M, {"kind": "credit", "amount": 25, "memo": "late parcel"}, cause=OPERATOR)
    await ledger.done(M, {"kind": "debit", "amount": 5, "memo": "typo"}, cause=OPERATOR)
    debit, credit = await ledger.entries(M)
    assert (debit["memo"], credit["memo"], credit["cause"]) == ("typo", "late parcel", OPERATOR)
    assert credit["system"] == {"adjusted": -25}
    await ledger.check()


async def test_an_operator_and_a_reason_must_be_named(ledger: Ledger) -> None:
    response = await ledger.post(M, {"kind": "credit", "amount": 25}, cause={"reason": "goodwill"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert await ledger.sql("SELECT FROM account") == []


async def erase(ledger: Ledger, posting: str, *, shop: str = SHOP, **more: Any) -> httpx.Response:
    url, headers = f"/v1/shops/{shop}/postings/memo", more.pop("headers", None)
    return await ledger.http.delete(url, params={"posting": posting, **more}, headers=headers)


async def test_a_memo_can_be_erased_and_the_proof_of_the_books_still_holds(ledger: Ledger) -> None:
    await ledger.done(M, {"kind": "credit", "amount": 25, "memo": "late parcel"}, cause=OPERATOR, key="c/1")
    await ledger.done(M, {"kind": "debit", "amount": 5, "memo": "typo"}, cause=OPERATOR, key="d/1")
    refused = await ledger.post(M, {"kind": "debit", "amount": 99, "memo": "said too much"}, cause=OPERATOR, key="d/2")
    assert refused.status_code == 409
    for posting in ("c/1", "c/1", "d/2"):  # repeating it changes nothing; what was refused has words as well
        answer = await erase(ledger, posting)
        assert (answer.status_code, answer.content) == (204, b"")
    assert await ledger.sql("SELECT memo FROM memo") == [("typo",)]
    _, debit, credit = await ledger.entries(M)
    assert (debit["memo"], credit["memo"], credit["cause"]) == ("typo", None, OPERATOR)
    await ledger.check()
    again = await ledger.post(M, {"kind": "credit", "amount": 25, "memo": "late parcel"}, cause=OPERATOR, key="c/1")
    assert again.json()["outcomes"][0]["repeated"]
    assert await ledger.sql("SELECT memo FROM memo") == [("typo",)], "a repeat does not bring words back"


async def test_whose_memo_is_erased(ledger: Ledger) -> None:
    await ledger.learn("elsewhere")
    await ledger.done(M, {"kind": "credit", "amount": 25, "memo": "late parcel"}, cause=OPERATOR, key="c")
    officer = ledger.tokens.headers("ledger:write", shop=SHOP, sub="privacy-officer")
    for answer, status, code in (
        (await erase(ledger, "c", shop="elsewhere"), 404, "posting_not_found"),
        (await erase(ledger, "c", headers=ledger.tokens.headers(shop="elsewhere")), 404, "shop_not_found"),
        (await erase(ledger, "c", headers=officer), 404, "posting_not_found"),
        (await erase(ledger, "never"), 404, "posting_not_found"),
        (await erase(ledger, "not a key"), 422, "invalid_request"),
        (await ledger.http.delete(f"/v1/shops/{SHOP}/postings/memo"), 422, "invalid_request"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert await ledger.sql("SELECT memo FROM memo") == [("late parcel",)]
    assert (await erase(ledger, "c", source="test", headers=officer)).status_code == 204
    assert await ledger.sql("SELECT memo FROM memo") == []


# -- keys


async def test_the_same_key_with_other_content_is_a_conflict_and_changes_nothing(ledger: Ledger) -> None:
    await ledger.award(M, 50, key="k")
    for effect, member in (({"kind": "award", "amount": 51}, M), ({"kind": "award", "amount": 50}, "m-2")):
        response = await ledger.post(member, effect, key="k")
        assert (response.status_code, response.json()["code"]) == (409, "idempotency_conflict")
    assert await ledger.buckets(M) == (50, 0, 0, 0)
    assert await ledger.buckets("m-2") == (0, 0, 0, 0)


async def test_the_same_key_at_the_same_time_is_one_posting(ledger: Ledger) -> None:
    answers = await asyncio.gather(
        *(ledger.post(M, {"kind": "award", "amount": 50}, key="k") for _ in range(10)),
    )
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json()["outcomes"][0]["repeated"] for answer in answers) == [False] + [True] * 9
    assert await ledger.buckets(M) == (50, 0, 0, 0)


async def test_a_refusal_is_kept_under_its_key(ledger: Ledger) -> None:
    asked = {"kind": "debit", "amount": 10}
    first = await ledger.post(M, asked, key="d", cause=OPERATOR)
    await ledger.award(M, 100)
    again = await ledger.post(M, asked, key="d", cause=OPERATOR)
    assert first.status_code == again.status_code == 409
    assert first.json() == again.json()
    assert first.headers["content-type"] == "application/problem+json"
    assert await ledger.buckets(M) == (100, 0, 0, 0)


async def test_a_repeated_hold_capture_and_release_get_their_first_answers(ledger: Ledger) -> None:
    await ledger.award(M, 100)
    until = iso(minutes=30)
    asks: list[Callable[[], Awaitable[httpx.Response]]] = [
        lambda: ledger.hold(M, 60, hold="h-1", key="k-1", expires_at=until),
        lambda: ledger.end("h-1", "capture", key="k-2", amount=40),
        lambda: ledger.hold(M, 10, hold="h-2", key="k-3", expires_at=until),
        lambda: ledger.end("h-2", "release", key="k-4"),
    ]
    firsts = [await ask() for ask in asks]
    for first, ask in zip(firsts, asks, strict=True):
        again = await ask()
        assert again.json() == {**first.json(), "repeated": True}
        assert again.status_code == first.status_code
        schemas.SettledHold.model_validate_json(again.content)
    captured = firsts[1].json()
    assert (captured["state"], captured["captured"], captured["released"]) == ("captured", 40, 20)
    assert captured["balance"] == {"available": 60, "pending": 0, "held": 0, "debt": 0}
    assert await ledger.buckets(M) == (60, 0, 0, 0)
    await ledger.check()


# -- holds


async def test_as_many_as_possible_is_cut_to_what_is_available(ledger: Ledger) -> None:
    await ledger.award(M, 30)
    cut = await ledger.hold(M, 100, hold="h-1", at_most=True)
    assert (cut.status_code, cut.json()["amount"], cut.json()["balance"]["held"]) == (201, 30, 30)
    none = await ledger.hold(M, 100, hold="h-2", at_most=True)
    assert (none.status_code, none.json()["code"]) == (409, "insufficient_points")


async def test_holds_that_cannot_be(ledger: Ledger) -> None:
    await ledger.award(M, 100)
    await ledger.award("m-2", 100)
    await ledger.hold(M, 60, hold="h-1")
    cases = [
        (await ledger.hold(M, 41, hold="h-2"), 409, "insufficient_points"),
        (await ledger.hold(M, 1, hold="h-1"), 409, "hold_exists"),
        (await ledger.hold("m-2", 1, hold="h-1"), 409, "hold_exists"),
        (await ledger.hold(M, 1, hold="h-3", expires_at=iso(minutes=-1)), 422, "dates_out_of_order"),
        (await ledger.hold(M, 0, hold="h-3"), 422, "invalid_request"),
        (await ledger.end("h-9", "capture"), 404, "hold_not_found"),
        (await ledger.end("h-1", "capture", amount=61), 409, "capture_exceeds_hold"),
    ]
    for response, status, code in cases:
        assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert await ledger.buckets(M) == (40, 0, 60, 0)
    assert await ledger.buckets("m-2") == (100, 0, 0, 0)
    await ledger.check()


async def test_a_hold_needs_an_idempotency_key(ledger: Ledger) -> None:
    asked = {"hold": "h-1", "member": M, "amount": 1, "expires_at": iso(minutes=5)}
    missing = await ledger.http.post(f"/v1/shops/{SHOP}/holds", json=asked)
    assert (missing.status_code, missing.json()["code"]) == (400, "idempotency_key_missing")


# -- batches


async def test_a_thousand_postings_in_one_call_each_with_its_outcome(ledger: Ledger) -> None:
    await ledger.award("m-0", 5)
    postings: list[dict[str, Any]] = [
        {"key": f"k-{n}", "member": f"m-{n % 50}", "effect": {"kind": "award", "amount": 1 + n % 3}} for n in range(998)
    ]
    postings.append({"key": "d", "member": "m-0", "effect": {"kind": "debit", "amount": 10_000}, "cause": OPERATOR})
    postings.append({"key": "r", "member": "m-0", "effect": {"kind": "revoke", "award": "later", "total": 1}})
    response = await ledger.http.post(f"/v1/shops/{SHOP}/postings", json={"postings": postings})
    assert response.status_code == 202
    schemas.SettledPostings.model_validate_json(response.content)
    outcomes = response.json()["outcomes"]
    assert [outcome["key"] for outcome in outcomes] == [posting["key"] for posting in postings]
    assert [outcome["outcome"] for outcome in outcomes[-3:]] == ["posted", "refused", "parked"]
    assert outcomes[-2]["refusal"]["code"] == "insufficient_points"
    found = await ledger.check()
    assert (found["accounts"], found["entries"], found["parked"]) == (50, 999, 1)
    again = await ledger.http.post(f"/v1/shops/{SHOP}/postings", json={"postings": postings})
    assert [outcome["repeated"] for outcome in again.json()["outcomes"]] == [True] * 1000
    assert (await ledger.check())["entries"] == 999
    one_more = {"postings": [*postings, {**postings[0], "key": "x"}]}
    assert (await ledger.http.post(f"/v1/shops/{SHOP}/postings", json=one_more)).status_code == 422


# -- input


@pytest.mark.parametrize(
    "posting",
    [
        {"key": "k", "member": "ana@example.com", "effect": {"kind": "award", "amount": 1}},
        {"key": "k", "member": "600123456", "effect": {"kind": "award", "amount": 1}},
        {"key": "k", "member": M, "effect": {"kind": "award", "amount": 1.5}},
        {"key": "k", "member": M, "effect": {"kind": "award", "amount": "1"}},
        {"key": "k", "member": M, "effect": {"kind": "award", "amount": -1}},
        {"key": "k", "member": M, "effect": {"kind": "award", "amount": 10**30}},
        {"key": "k", "member": M, "effect": {"kind": "mint", "amount": 1}},
        {"key": "k", "member": M, "effect": {"kind": "hold", "hold": "h", "amount": 1, "expires_at": iso(hours=1)}},
        {"key": "k\x00", "member": M, "effect": {"kind": "award", "amount": 1}},
        {"key": "k", "member": M, "effect": {"kind": "award", "amount": 1}, "now": iso(days=-1)},
        {"key": "k", "member": M, "asset": "gold", "effect": {"kind": "award", "amount": 1}},
        {"key": "k", "member": M, "effect": {"kind": "award", "amount": 1, "expires_at": "9999-12-31T23:59:59-12:00"}},
        {"key": "k", "member": M, "effect": {"kind": "award", "amount": 1, "expires_at": "2030-01-01T00:00:00"}},
    ],
)
async def test_bad_postings_are_refused_as_problems_and_change_nothing(ledger: Ledger, posting: dict[str, Any]) -> None:
    response = await ledger.http.post(f"/v1/shops/{SHOP}/postings", json={"postings": [posting]})
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert await ledger.sql("SELECT FROM account") == []


async def test_odd_paths_and_queries_are_refused_as_problems(ledger: Ledger) -> None:
    for path, query in (
        ("members/a%00b/balances", {}),
        ("members/ana%40example.com/balances", {}),
        ("members/m-1/balances", {"as_of": "yesterday"}),
        ("members/m-1/entries", {"limit": "0"}),
        ("members/m-1/entries", {"limit": "x"}),
        ("members/m-1/entries", {"after": "1-x"}),
        ("members/m-1/entries", {"after": "9" * 60}),
        ("members/m-1/entries", {"after_seq": "-1"}),
    ):
        response = await ledger.http.get(f"/v1/shops/{SHOP}/{path}", params=query)
        assert response.status_code == 422, (path, query, response.text)
        assert response.headers["content-type"] == "application/problem+json"
    broken = await ledger.http.post(f"/v1/shops/{SHOP}/postings", content=b"{")
    assert (broken.status_code, broken.json()["code"]) == (400, "malformed_json")


async def test_who_may_do_what(ledger: Ledger) -> None:
    award = {"postings": [{"key": "k", "member": M, "effect": {"kind": "award", "amount": 1}}]}
    hold = {"hold": "h", "member": M, "amount": 1, "expires_at": iso(hours=1)}
    base = f"/v1/shops/{SHOP}"
    for method, path, body, scope in (
        ("GET", "/members/m-1/balances", None, "ledger:read"),
        ("POST", "/balances/lookup", {"members": [M]}, "ledger:read"),
        ("GET", "/members/m-1/entries", None, "ledger:read"),
        ("POST", "/postings", award, "ledger:write"),
        ("POST", "/holds", hold, "holds:write"),
        ("POST", "/holds/h/capture", {}, "holds:write"),
        ("POST", "/holds/h/release", {}, "holds:write"),
        ("GET", "/ledger/check", None, "operations"),
        ("DELETE", "/postings/memo?posting=k", None, "ledger:write"),
    ):
        for headers, status, code in (
            ({"authorization": ""}, 401, "unauthorized"),
            ({"authorization": "Bearer nonsense"}, 401, "unauthorized"),
            (ledger.tokens.headers("rules:read"), 403, "scope_missing"),
            (ledger.tokens.headers(scope, shop="another"), 404, "shop_not_found"),
        ):
            response = await ledger.http.request(method, base + path, json=body, headers=headers)
            assert (response.status_code, response.json()["code"]) == (status, code), (method, path, headers)
    assert await ledger.sql("SELECT FROM account") == []


def test_every_refusal_has_a_status() -> None:
    assert set(STATUSES) == set(REFUSALS.values())


def test_every_kind_of_posting_can_be_asked() -> None:
    kinds = get_args(get_args(Effect)[0])
    assert set(_KINDS) == {kind.model_fields["kind"].default for kind in kinds}
    assert TypeAdapter(Effect) is not None


async def test_every_route_is_documented(ledger: Ledger) -> None:
    document = (await ledger.http.get("/openapi.json")).json()
    ours = {path: set(methods) for path, methods in document["paths"].items() if "dead-letters" not in path}
    base = "/v1/shops/{shop}"
    assert (
        ours.items()
        >= {
            f"{base}/postings": {"post"},
            f"{base}/holds": {"post"},
            f"{base}/holds/{{hold}}/capture": {"post"},
            f"{base}/holds/{{hold}}/release": {"post"},
            f"{base}/members/{{member}}/balances": {"get"},
            f"{base}/balances/lookup": {"post"},
            f"{base}/members/{{member}}/entries": {"get"},
            f"{base}/members/{{member}}/proof": {"get"},
            f"{base}/members/{{member}}/freeze": {"post"},
            f"{base}/members/{{member}}/unfreeze": {"post"},
            f"{base}/members/{{member}}/gifts": {"post"},
            f"{base}/members/{{member}}/merge": {"post"},
            f"{base}/merges/{{merge}}/undo": {"post"},
            f"{base}/ledger/check": {"get"},
            f"{base}/ledger/export": {"get"},
            f"{base}/postings/memo": {"delete"},
            f"{base}/ledger/proposals": {"get"},
            f"{base}/ledger/proposals/{{proposal}}": {"get"},
            f"{base}/ledger/proposals/{{proposal}}/approve": {"post"},
            f"{base}/ledger/proposals/{{proposal}}/reject": {"post"},
        }.items()
    )
    place = document["paths"][f"{base}/holds"]["post"]
    assert place["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("AskedHold")
    keyed = {
        path
        for path in ours
        for operation in document["paths"][path].values()
        if {"Idempotency-Key"}
        & {parameter["name"] for parameter in operation.get("parameters", []) if parameter["required"]}
    }
    proposals = f"{base}/ledger/proposals/{{proposal}}"
    assert keyed == {
        f"{base}/holds",
        f"{base}/holds/{{hold}}/capture",
        f"{base}/holds/{{hold}}/release",
        f"{proposals}/approve",
        f"{proposals}/reject",
        f"{base}/imports",
        f"{base}/members/{{member}}/freeze",
        f"{base}/members/{{member}}/unfreeze",
        f"{base}/members/{{member}}/gifts",
        f"{base}/members/{{member}}/merge",
        f"{base}/merges/{{merge}}/undo",
    }
