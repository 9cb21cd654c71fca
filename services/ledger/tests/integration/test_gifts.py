"""Gifts over HTTP: both accounts or neither, limits that hold at the same time, and problems that change nothing."""

import asyncio
from typing import Any

import httpx
import pytest

from ledger import schemas, usecases
from ledger.usecases import LearnProgramme

from .conftest import SHOP, Ledger, iso

A, B = "ann", "bob"


async def give(ledger: Ledger, amount: int, *, giver: str = A, to: str = B, key: str | None = None) -> httpx.Response:
    return await ledger.http.post(
        f"/v1/shops/{SHOP}/members/{giver}/gifts",
        json={"to": to, "amount": amount},
        headers={"idempotency-key": key or ledger.key()},
    )


async def limit(ledger: Ledger, gifts: int, points: int) -> None:
    told = LearnProgramme(
        SHOP, 2, "forgive", "Europe/Madrid", currency="EUR", gifts_per_day=gifts, gift_points_per_day=points
    )
    await ledger.runtime.database.execute(usecases.learn_programmes, [told])


async def test_a_gift_goes_from_one_account_to_the_other_with_its_dates(ledger: Ledger) -> None:
    soon = iso(days=3)
    await ledger.award(A, 30, expires_at=soon)
    await ledger.award(A, 30)
    response = await give(ledger, 40, key="g-1")
    gift = schemas.Gift.model_validate_json(response.content)
    assert (response.status_code, gift.member, gift.to, gift.amount, gift.repeated) == (201, A, B, 40, False)
    assert gift.balance.available == 20
    assert [await ledger.buckets(member) for member in (A, B)] == [(20, 0, 0, 0), (40, 0, 0, 0)]
    balance = await ledger.balance(B)
    assert [due["amount"] for due in balance["next_expiries"]] == [30]
    assert (balance["lifetime_earned"], (await ledger.balance(A))["lifetime_spent"]) == (0, 0)
    (out, *_), (got,) = await ledger.entries(A), await ledger.entries(B)
    assert (out["kind"], out["cause"]) == ("gift_out", {"gift": gift.gift, "member": B})
    assert (got["kind"], got["cause"]) == ("gift_in", {"gift": gift.gift, "member": A})
    assert [lot["change"] for lot in got["lots"]] == [30, 10]
    assert (await ledger.check())["system"] == {"issued": -60}
    again = (await give(ledger, 40, key="g-1")).json()
    assert again == response.json() | {"repeated": True}
    assert (await give(ledger, 41, key="g-1")).json()["code"] == "idempotency_conflict"
    await ledger.age(days=4)
    assert [await ledger.buckets(member) for member in (A, B)] == [(20, 0, 0, 0), (10, 0, 0, 0)]


async def test_refused_gifts_change_nothing(ledger: Ledger) -> None:
    await limit(ledger, 2, 50)
    await ledger.award(A, 100)
    cases = [
        (await give(ledger, 101), 409, "insufficient_points", {"available": 100, "asked": 101}),
        (await give(ledger, 1, to=A), 422, "gift_to_oneself", {"member": A}),
        (await give(ledger, 51), 409, "gift_limit_reached", {"limit": "gift_points_per_day", "maximum": 50}),
        (await give(ledger, 10**12 + 1), 422, "amount_out_of_range", {"amount": 10**12 + 1}),
        (await give(ledger, 1, giver="never-seen"), 409, "insufficient_points", {"available": 0}),
    ]
    for response, status, code, facts in cases:
        problem = response.json()
        assert (response.status_code, problem["code"]) == (status, code)
        assert facts.items() <= problem.items()
    assert await ledger.buckets(A) == (100, 0, 0, 0)
    assert await ledger.sql("SELECT FROM account WHERE member = $1", B) == []
    assert await ledger.sql("SELECT FROM gift_day") == []
    assert (await give(ledger, 25)).status_code == (await give(ledger, 25)).status_code == 201
    assert (await give(ledger, 1)).json()["limit"] == "gifts_per_day"
    await ledger.check()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"to": B},
        {"amount": 1},
        {"to": B, "amount": 0},
        {"to": B, "amount": -1},
        {"to": B, "amount": "1"},
        {"to": B, "amount": 1.5},
        {"to": "bob@example.com", "amount": 1},
        {"to": "600123456", "amount": 1},
        {"to": B, "amount": 1, "asset": "gold"},
        {"to": B, "amount": 1, "message": "happy birthday"},
    ],
)
async def test_bad_bodies_give_nothing(ledger: Ledger, body: dict[str, Any]) -> None:
    await ledger.award(A, 10)
    url = f"/v1/shops/{SHOP}/members/{A}/gifts"
    response = await ledger.http.post(url, json=body, headers={"idempotency-key": "k"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert (await ledger.http.post(url, json={"to": B, "amount": 1})).json()["code"] == "idempotency_key_missing"
    assert len(await ledger.sql("SELECT FROM entry")) == 1


async def test_gifts_in_circles_at_the_same_time_lose_and_make_no_point(ledger: Ledger) -> None:
    """Each takes two lanes, in one order for all: nobody waits for anybody for ever."""
    await limit(ledger, 1_000, 100_000)
    members = [f"m-{number}" for number in range(6)]
    for member in members:
        await ledger.award(member, 20)
    answers = await asyncio.gather(
        *(give(ledger, 1, giver=a, to=b) for a in members for b in members if a != b for _ in range(3)),
        *(ledger.award(member, 1, key=f"more/{member}") for member in members),
    )
    assert {answer.status_code for answer in answers if isinstance(answer, httpx.Response)} == {201}
    assert [await ledger.buckets(member) for member in members] == [(21, 0, 0, 0)] * 6
    await ledger.check()


async def test_a_day_has_as_many_gifts_as_it_may_whoever_asks_at_the_same_time(ledger: Ledger) -> None:
    await limit(ledger, 5, 100_000)
    await ledger.award(A, 1_000)
    answers = await asyncio.gather(*(give(ledger, 1, to=f"m-{number}") for number in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] * 5 + [409] * 15
    assert await ledger.buckets(A) == (995, 0, 0, 0)
    await ledger.check()


async def test_twenty_gifts_of_the_same_points_give_them_once(ledger: Ledger) -> None:
    await ledger.award(A, 100)
    answers = await asyncio.gather(*(give(ledger, 100, to=f"m-{number}") for number in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    same = await asyncio.gather(*(give(ledger, 10, giver="nobody", key="same") for _ in range(5)))
    assert len({answer.json()["code"] for answer in same}) == 1
    await ledger.check()


async def test_a_gift_repays_what_the_receiver_owes_for_a_payment_without_an_order(ledger: Ledger) -> None:
    await ledger.learn(shortfall="debt", revision=2)
    spend = {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 30}
    await ledger.done(B, spend)
    assert await ledger.buckets(B) == (0, 0, 0, -30)
    await ledger.award(A, 50)
    assert (await give(ledger, 50)).status_code == 201
    assert await ledger.buckets(B) == (20, 0, 0, 0)
    await ledger.done(B, {"kind": "give_back", "checkout": "c-1", "generation": 1, "total": 30})
    assert await ledger.buckets(B) == (50, 0, 0, 0)
    await ledger.check()
