"""Freezing a member over HTTP: who, when and why is kept; nothing new takes points, whatever happens at once."""

import asyncio
from typing import Any

import httpx
import pytest

from contracts.postings import Spend
from ledger import schemas
from ledger.asking import asked_of

from .conftest import SHOP, Ledger

M = "m-1"
LOST = {"operator": "ana", "reason": "lost_card"}


async def freeze(ledger: Ledger, how: str = "freeze", *, member: str = M, key: str | None = None) -> httpx.Response:
    return await ledger.http.post(
        f"/v1/shops/{SHOP}/members/{member}/{how}", json=LOST, headers={"idempotency-key": key or ledger.key()}
    )


async def frozen(ledger: Ledger, member: str = M) -> bool:
    response = await ledger.http.get(f"/v1/shops/{SHOP}/members/{member}/balances")
    return bool(response.json()["frozen"])


async def test_a_frozen_members_points_cannot_be_held_or_spent_anew(ledger: Ledger) -> None:
    await ledger.award(M, 100)
    assert not await frozen(ledger)
    response = await freeze(ledger, key="f-1")
    told = schemas.FrozenMember.model_validate_json(response.content)
    assert (response.status_code, told.frozen, told.outcome, told.repeated) == (200, True, "posted", False)
    assert told.entry is not None
    assert (told.entry.kind, told.entry.cause, told.entry.posting) == ("freeze", LOST, "f-1")
    assert await frozen(ledger)
    refused = await ledger.hold(M, 10, hold="h-1")
    assert (refused.status_code, refused.json()["code"], refused.json()["member"]) == (409, "account_frozen", M)
    spend = {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 10}
    assert (await ledger.post(M, spend)).json()["code"] == "account_frozen"
    assert await ledger.buckets(M) == (100, 0, 0, 0)
    assert await ledger.sql("SELECT FROM hold") == []
    assert await ledger.sql("SELECT FROM spend") == []
    assert [line["kind"] for line in await ledger.entries(M)] == ["spend", "hold", "freeze", "award"]
    assert (await freeze(ledger, "unfreeze")).json()["frozen"] is False
    assert not await frozen(ledger)
    assert (await ledger.hold(M, 10, hold="h-2")).status_code == 201
    await ledger.check()


async def test_what_was_begun_goes_on_while_frozen(ledger: Ledger) -> None:
    award = await ledger.award(M, 100, order="o-1")
    await ledger.hold(M, 10, hold="h-1")
    await ledger.hold(M, 10, hold="h-2")
    await freeze(ledger)
    assert (await ledger.end("h-1", "capture")).status_code == 200
    paid = asked_of(
        Spend(checkout="c-1", generation=1, amount=5, hold="long-gone"),
        shop=SHOP, member=M, source="redemption", key="c-1/1/spend",
    )  # fmt: skip
    tender = asked_of(
        Spend(checkout="c-2", generation=1, amount=5), shop=SHOP, member=M, source="redemption", key="c-2/1/spend"
    )
    assert [one.outcome.result for one in await ledger.settle([paid, tender])] == ["posted", "posted"]
    assert (await ledger.end("h-2", "release")).status_code == 200
    await ledger.done(M, {"kind": "give_back", "checkout": "c-1", "generation": 1, "total": 5})
    await ledger.done(M, {"kind": "revoke", "award": award, "total": 50})
    await ledger.award(M, 7)
    await ledger.done(M, {"kind": "debit", "amount": 2}, cause=LOST)
    assert await ledger.buckets(M) == (40, 0, 0, 0)
    await ledger.check()


async def test_freezing_is_repeated_with_its_key_and_changes_nothing_with_another(ledger: Ledger) -> None:
    first = (await freeze(ledger, key="f-1")).json()
    again = (await freeze(ledger, key="f-1")).json()
    assert (again["repeated"], again["entry"]) == (True, first["entry"])
    other = (await freeze(ledger)).json()
    assert (other["outcome"], other["entry"], other["frozen"]) == ("unchanged", None, True)
    conflict = await freeze(ledger, "unfreeze", key="f-1")
    assert (conflict.status_code, conflict.json()["code"]) == (409, "idempotency_conflict")
    assert await frozen(ledger)
    await freeze(ledger, "unfreeze")
    assert (await freeze(ledger, key="f-1")).json()["repeated"] is True
    assert not await frozen(ledger)
    assert [line["kind"] for line in await ledger.entries(M)] == ["unfreeze", "freeze"]


async def test_a_member_that_was_never_seen_is_frozen_before_its_first_points(ledger: Ledger) -> None:
    await freeze(ledger, member="stranger")
    assert await frozen(ledger, "stranger")
    await ledger.award("stranger", 10)
    assert (await ledger.hold("stranger", 1, hold="h-1")).json()["code"] == "account_frozen"
    assert await ledger.buckets("stranger") == (10, 0, 0, 0)
    looked_up = await ledger.http.post(f"/v1/shops/{SHOP}/balances/lookup", json={"members": ["stranger", M]})
    assert [one["frozen"] for one in looked_up.json()["members"]] == [True, False]
    await ledger.check()


async def test_a_balance_that_is_polled_says_at_once_that_the_member_is_frozen(ledger: Ledger) -> None:
    await ledger.award(M, 10)
    url = f"/v1/shops/{SHOP}/members/{M}/balances"
    tag = (await ledger.http.get(url)).headers["etag"]
    await freeze(ledger)
    answer = await ledger.http.get(url, headers={"if-none-match": tag})
    assert (answer.status_code, answer.json()["frozen"]) == (200, True)


async def test_holds_and_a_freeze_at_the_same_time(ledger: Ledger) -> None:
    """Whoever comes first: a hold stands exactly if it is before the freeze in the history."""
    await ledger.award(M, 1_000)
    answers = await asyncio.gather(
        *(ledger.hold(M, 1, hold=f"h-{n}") for n in range(15)),
        *(freeze(ledger) for _ in range(5)),
        *(ledger.hold(M, 1, hold=f"h-{n}") for n in range(15, 30)),
    )
    assert {answer.status_code for answer in answers} <= {200, 201, 409}
    assert sum(answer.json().get("outcome") == "posted" for answer in answers) == 1
    held = [answer for answer in answers if answer.status_code == 201]
    lines = [line["kind"] for line in await ledger.entries(M, limit=100) if line["type"] == "entry"][::-1]
    assert lines == ["award", *["hold"] * len(held), "freeze"]
    assert await ledger.buckets(M) == (1_000 - len(held), 0, len(held), 0)
    await ledger.check()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"operator": "ana"},
        {"reason": "fraud"},
        {"operator": "ana", "reason": "she phoned us"},
        {"operator": "ana@example.com", "reason": "fraud"},
        {**LOST, "until": "tomorrow"},
        {"operator": 7, "reason": "fraud"},
    ],
)
async def test_bad_bodies_freeze_nobody(ledger: Ledger, body: dict[str, Any]) -> None:
    url = f"/v1/shops/{SHOP}/members/{M}/freeze"
    response = await ledger.http.post(url, json=body, headers={"idempotency-key": "k"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert await ledger.sql("SELECT FROM member") == []
    assert await ledger.sql("SELECT FROM account") == []


async def test_other_bad_requests_freeze_nobody(ledger: Ledger) -> None:
    url = f"/v1/shops/{SHOP}/members/{M}/freeze"
    assert (await ledger.http.post(url, json=LOST)).json()["code"] == "idempotency_key_missing"
    spaces = await ledger.http.post(url, json=LOST, headers={"idempotency-key": "a b"})
    assert (spaces.status_code, spaces.json()["code"]) == (400, "idempotency_key_invalid")
    phone = f"/v1/shops/{SHOP}/members/600123456/freeze"
    assert (await ledger.http.post(phone, json=LOST, headers={"idempotency-key": "k"})).status_code == 422
    nowhere = "/v1/shops/nowhere/members/m-1/freeze"
    headers = {"idempotency-key": "k", **ledger.tokens.headers(shop="nowhere")}
    assert (await ledger.http.post(nowhere, json=LOST, headers=headers)).json()["code"] == "shop_not_found"
    assert await ledger.sql("SELECT FROM member") == []
