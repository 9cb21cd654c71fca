"""Points that wait for an event, over HTTP and in the database: visible, dated once, cancelled, redelivered."""

import asyncio
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from .conftest import SHOP, Ledger, iso

M = "m-1"
WAITING = {"kind": "award", "amount": 100, "activates_on": "fulfilled"}
OPERATOR = {"operator": "ana", "reason": "goodwill"}


async def test_an_award_waits_for_its_event_and_then_ends_when_that_says(ledger: Ledger) -> None:
    outcome = await ledger.done(M, WAITING, key="a", cause={"rule": "r", "rule_version": 1})
    assert outcome["entries"][0]["cause"] == {"activates_on": "fulfilled", "rule": "r", "rule_version": 1}
    await ledger.age(days=400)
    balance = await ledger.balance(M)
    assert (balance["available"], balance["pending"], balance["next_activations"]) == (0, 100, [])
    refused = await ledger.hold(M, 1, hold="h-1")
    assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_points")
    ends = iso(days=30)
    await ledger.done(M, {"kind": "activate", "award": "a", "expires_at": ends})
    balance = await ledger.balance(M)
    assert (balance["available"], balance["pending"]) == (100, 0)
    assert [datetime.fromisoformat(due["at"]) for due in balance["next_expiries"]] == [datetime.fromisoformat(ends)]
    await ledger.age(days=31)
    assert await ledger.buckets(M) == (0, 0, 0, 0)
    await ledger.check()


async def test_what_is_due_beside_waiting_points_leaves_them_waiting(ledger: Ledger) -> None:
    await ledger.done(M, WAITING, key="a")
    await ledger.award(M, 7, activates_at=iso(hours=1), expires_at=iso(hours=3))
    await ledger.age(hours=2)
    balance = await ledger.balance(M)
    assert (balance["available"], balance["pending"], balance["next_activations"]) == (7, 100, [])
    await ledger.award(M, 1)
    assert await ledger.buckets(M) == (8, 100, 0, 0)
    await ledger.check()


async def test_an_activation_before_its_award_waits_with_its_date(ledger: Ledger) -> None:
    ends = iso(days=30)
    parked = await ledger.post(M, {"kind": "activate", "award": "a", "expires_at": ends}, key="early")
    assert (parked.status_code, parked.json()["outcomes"][0]["outcome"]) == (202, "parked")
    await ledger.done(M, WAITING, key="a")
    assert await ledger.buckets(M) == (100, 0, 0, 0)
    ((expires_at,),) = await ledger.sql("SELECT expires_at FROM lot")
    assert expires_at == datetime.fromisoformat(ends)
    settled = await ledger.post(M, {"kind": "activate", "award": "a", "expires_at": ends}, key="early")
    assert [entry["kind"] for entry in settled.json()["outcomes"][0]["entries"]] == ["activate"]
    await ledger.check()


async def test_activations_at_the_same_time_are_one(ledger: Ledger) -> None:
    await ledger.done(M, WAITING, key="a")
    answers = await asyncio.gather(
        *(ledger.post(M, {"kind": "activate", "award": "a", "expires_at": iso(days=day)}) for day in range(1, 9))
    )
    outcomes = [answer.json()["outcomes"][0]["outcome"] for answer in answers]
    assert sorted(outcomes) == ["posted"] + ["unchanged"] * 7
    assert await ledger.buckets(M) == (100, 0, 0, 0)
    assert [line["kind"] for line in await ledger.entries(M)] == ["activate", "award"]
    await ledger.check()


async def test_a_waiting_credit_is_activated_or_cancelled_by_another_source(ledger: Ledger) -> None:
    effect = {"kind": "credit", "amount": 50, "activates_on": "card-signed"}
    for member, key in (("m-1", "c-1"), ("m-2", "c-2")):
        await ledger.done(member, effect, key=key, cause=OPERATOR)
    headers = ledger.tokens.headers("ledger:write", shop=SHOP, sub="shipping")
    for member, asked in (
        ("m-1", {"kind": "activate", "award": "c-1", "award_source": "tests"}),
        ("m-2", {"kind": "revoke", "award": "c-2", "total": 50, "award_source": "tests"}),
    ):
        ((source,),) = await ledger.sql("SELECT DISTINCT source FROM posting WHERE kind = 'credit'")
        body = {"postings": [{"key": f"of-{member}", "member": member, "effect": {**asked, "award_source": source}}]}
        answer = await ledger.http.post(f"/v1/shops/{SHOP}/postings", json=body, headers=headers)
        assert (answer.status_code, answer.json()["outcomes"][0]["outcome"]) == (200, "posted"), answer.text
    assert await ledger.buckets("m-1") == (50, 0, 0, 0)
    assert await ledger.buckets("m-2") == (0, 0, 0, 0)
    await ledger.check()


@pytest.mark.parametrize(
    "posting",
    [
        {"effect": {**WAITING, "activates_at": iso(days=1)}},
        {"effect": {**WAITING, "expires_at": iso(days=1)}},
        {"effect": {**WAITING, "activates_on": "no spaces"}},
        {"effect": {**WAITING, "activates_on": ""}},
        {"effect": {"kind": "award", "amount": 1}, "cause": {"activates_on": "fulfilled"}},
        {"effect": {"kind": "activate"}},
        {"effect": {"kind": "activate", "award": "a", "expires_at": "9999-12-31T23:59:59-12:00"}},
        {"effect": {"kind": "credit", "amount": 1, "activates_on": "x", "expires_at": iso(days=1)}, "cause": OPERATOR},
    ],
)
async def test_bad_events_are_refused_and_change_nothing(ledger: Ledger, posting: dict[str, Any]) -> None:
    body = {"postings": [{"key": "k", "member": M, **posting}]}
    answer = await ledger.http.post(f"/v1/shops/{SHOP}/postings", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text
    assert await ledger.sql("SELECT FROM account") == []


async def test_what_waits_for_no_event_is_not_activated(ledger: Ledger) -> None:
    await ledger.award(M, 10, key="a", expires_at=iso(days=1))
    answer = await ledger.post(M, {"kind": "activate", "award": "a"})
    assert (answer.status_code, answer.json()["code"]) == (409, "award_not_waiting")
    assert await ledger.buckets(M) == (10, 0, 0, 0)
    assert await ledger.sql("SELECT FROM lot WHERE expires_at IS NULL") == []


async def test_the_database_lets_nobody_date_a_lot_twice(ledger: Ledger) -> None:
    await ledger.award(M, 10)
    await ledger.done(M, WAITING, key="a")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ledger.sql("UPDATE lot SET expires_at = now() WHERE activates_on IS NULL")
    await ledger.done(M, {"kind": "activate", "award": "a"})
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ledger.sql("UPDATE lot SET activates_at = now()")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ledger.sql("UPDATE lot SET activates_on = 'x'")
