"""The ledger's promises over HTTP, one test each; on refusals also that nothing has changed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import asyncpg
import httpx
import pytest
from pydantic import TypeAdapter

from contracts.postings import Effect
from ledger import schemas
from ledger.api import STATUSES, checks
from ledger.asking import _KINDS
from ledger.domain import REFUSALS
from ledger.store import checking
from testkit import wait_until

from .conftest import SHOP, Ledger, iso

M = "m-1"
OPERATOR = {"operator": "ana", "reason": "goodwill"}


# -- reads


async def test_a_member_that_was_never_seen_has_zero_points(ledger: Ledger) -> None:
    balance = await ledger.balance("nobody")
    assert (balance["available"], balance["pending"], balance["held"], balance["debt"], balance["seq"]) == (
        0,
        0,
        0,
        0,
        0,
    )
    assert await ledger.entries("nobody") == []


async def test_a_shop_that_is_not_known_is_not_found(empty_ledger: Ledger) -> None:
    for response in (
        await empty_ledger.http.get(f"/v1/shops/{SHOP}/members/{M}/balances"),
        await empty_ledger.post(M, {"kind": "award", "amount": 1}),
        await empty_ledger.hold(M, 1, hold="h-1"),
    ):
        assert (response.status_code, response.json()["code"]) == (404, "shop_not_found")
    assert await empty_ledger.sql("SELECT FROM account") == []
    await empty_ledger.learn()
    assert (await empty_ledger.post(M, {"kind": "award", "amount": 1})).status_code == 200


async def test_a_balance_says_what_was_earned_and_spent_and_what_expires_next(ledger: Ledger) -> None:
    soon, later = iso(days=1), iso(days=60)
    await ledger.award(M, 30, expires_at=later)
    await ledger.award(M, 20, expires_at=soon)
    await ledger.award(M, 7, expires_at=soon)
    await ledger.award(M, 100)
    await ledger.hold(M, 10, hold="h-1")
    await ledger.end("h-1", "capture")
    balance = await ledger.balance(M)
    assert (balance["available"], balance["lifetime_earned"], balance["lifetime_spent"]) == (147, 157, 10)
    assert [dated["amount"] for dated in balance["next_expiries"]] == [17, 30]
    assert datetime.fromisoformat(balance["next_expiries"][0]["at"]) == datetime.fromisoformat(soon)


async def test_the_next_five_dates_are_told_of_each_kind(ledger: Ledger) -> None:
    """Soonest first; lots of one date are told together; those of one kind leave no less room for the other."""
    start = {day: iso(days=day) for day in range(1, 18)}
    for day in (7, 3, 6, 1, 5, 2, 4, 2):
        await ledger.award("m-1", day, expires_at=start[day])
    for day in (17, 12, 15, 11, 14, 13, 16):
        await ledger.award("m-1", day, activates_at=start[day])
    balance = await ledger.balance("m-1")
    assert [dated["amount"] for dated in balance["next_expiries"]] == [1, 4, 3, 4, 5]
    assert [dated["amount"] for dated in balance["next_activations"]] == [11, 12, 13, 14, 15]
    found = await ledger.http.post(f"/v1/shops/{SHOP}/balances/lookup", json={"members": ["m-1"]})
    (looked_up,) = found.json()["members"][0]["balances"]
    assert looked_up == balance


async def test_an_unchanged_balance_is_not_sent_again(ledger: Ledger) -> None:
    await ledger.award(M, 10, expires_at=iso(hours=1))
    url = f"/v1/shops/{SHOP}/members/{M}/balances"
    tag = (await ledger.http.get(url)).headers["etag"]
    assert (await ledger.http.get(url, headers={"if-none-match": tag})).status_code == 304
    await ledger.age(hours=2)  # what is due changes the balance, though no entry has been written
    changed = await ledger.http.get(url, headers={"if-none-match": tag})
    assert (changed.status_code, changed.json()["balances"][0]["available"]) == (200, 0)
    await ledger.award(M, 5)
    assert (await ledger.http.get(url, headers={"if-none-match": changed.headers["etag"]})).status_code == 200


async def test_the_balance_as_of_a_past_instant(ledger: Ledger) -> None:
    instants = []
    for amount in (10, 20, 30):
        await ledger.award(M, amount)
        instants.append(datetime.now(UTC))
    assert [(await ledger.balance(M, as_of=at.isoformat()))["available"] for at in instants] == [10, 30, 60]
    before = instants[0] - timedelta(days=1)
    assert (await ledger.balance(M, as_of=before.isoformat()))["available"] == 0
    ahead = await ledger.http.get(f"/v1/shops/{SHOP}/members/{M}/balances", params={"as_of": iso(days=1)})
    assert (ahead.status_code, ahead.json()["code"]) == (422, "as_of_in_the_future")


async def test_balances_asked_for_at_the_same_time_are_each_callers_own(ledger: Ledger) -> None:
    await ledger.learn("elsewhere")
    for number in range(1, 21):
        await ledger.award(f"m-{number}", number, expires_at=iso(hours=1) if number % 3 == 0 else None)
    await ledger.age(hours=2)
    await ledger.award("m-3", 300, expires_at=iso(hours=1))
    due = {f"m-{number}": 0 for number in range(3, 21, 3)}
    wanted = {f"m-{number}": number for number in range(1, 21)} | due | {"m-3": 300, "never": 0}
    members = [*wanted] * 3
    answers = await asyncio.gather(
        *(ledger.http.get(f"/v1/shops/{SHOP}/members/{member}/balances") for member in members),
        *(ledger.http.get(f"/v1/shops/elsewhere/members/{member}/balances") for member in members),
    )
    told = [(answer.json()["member"], answer.json()["balances"][0]["available"]) for answer in answers]
    assert told == [(member, wanted[member]) for member in members] + [(member, 0) for member in members]


async def test_a_balance_is_as_fresh_as_the_moment_it_was_asked_for(ledger: Ledger) -> None:
    async def crowd() -> None:
        while not done.is_set():
            await ledger.balance("m-2")

    done = asyncio.Event()
    others = [asyncio.create_task(crowd()) for _ in range(8)]  # there is always a query in flight
    for number in range(1, 21):
        await ledger.award(M, 1)
        assert (await ledger.balance(M))["available"] == number
    done.set()
    await asyncio.gather(*others)


async def test_balances_are_read_again_once_the_database_is_back(ledger: Ledger) -> None:
    await ledger.award(M, 7)
    assert (await ledger.balance(M))["available"] == 7
    ended = await ledger.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND usename = current_user AND pid <> pg_backend_pid()"
    )
    assert ended

    async def told() -> httpx.Response | None:
        answer = await ledger.http.get(f"/v1/shops/{SHOP}/members/{M}/balances")
        assert answer.status_code in (200, 503)
        return answer if answer.status_code == 200 else None

    assert (await wait_until(told)).json()["balances"][0]["available"] == 7


async def test_many_balances_in_one_call_in_the_order_asked(ledger: Ledger) -> None:
    await ledger.award("m-1", 1)
    await ledger.award("m-2", 2, expires_at=iso(hours=1))
    await ledger.award("m-3", 3)
    await ledger.age(hours=2)
    asked = ["m-3", "m-2", "never", "m-1", "m-3"]
    response = await ledger.http.post(f"/v1/shops/{SHOP}/balances/lookup", json={"members": asked})
    found = response.json()["members"]
    assert [one["member"] for one in found] == asked
    assert [one["balances"][0]["available"] for one in found] == [3, 0, 0, 1, 3]
    schemas.ManyBalances.model_validate_json(response.content)
    too_many = {"members": [f"x-{n}" for n in range(1001)]}
    assert (await ledger.http.post(f"/v1/shops/{SHOP}/balances/lookup", json=too_many)).status_code == 422


async def test_the_statement_pages_newest_first_with_refusals_among_the_entries(ledger: Ledger) -> None:
    for number in range(7):
        await ledger.award(M, number + 1, order=f"o-{number % 2}", cause={"rule": "r", "rule_version": 1})
        await ledger.post(M, {"kind": "debit", "amount": 1000}, cause=OPERATOR, key=f"too-much-{number}")
    lines: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        response = await ledger.http.get(f"/v1/shops/{SHOP}/members/{M}/entries", params=query)
        page = response.json()
        schemas.Statement.model_validate_json(response.content)
        lines += page["entries"]
        if page["next"] is None:
            break
        query["after"] = page["next"]
    assert [line["type"] for line in lines] == ["refusal", "entry"] * 7
    assert [line["seq"] for line in lines if line["type"] == "entry"] == [7, 6, 5, 4, 3, 2, 1]
    newest = lines[1]
    assert (newest["before"]["available"], newest["after"]["available"]) == (21, 28)
    assert (lines[0]["code"], lines[0]["facts"]) == ("insufficient_points", {"available": 28, "asked": 1000})
    assert {line["order"] for line in await ledger.entries(M, order="o-1")} == {"o-1"}
    assert {line["type"] for line in await ledger.entries(M, kind="debit")} == {"refusal"}
    assert await ledger.entries(M, until=iso(days=-1)) == []
    assert len(await ledger.entries(M, since=iso(days=-1))) == 14
    assert [line["seq"] for line in await ledger.entries(M, after_seq=4)] == [5, 6, 7]


async def test_write_offs_and_debts_are_visible_in_the_statement(ledger: Ledger) -> None:
    await ledger.learn(shortfall="debt", revision=2)
    award = await ledger.award(M, 70, order="o-1")
    await ledger.hold(M, 20, hold="h-1")
    await ledger.end("h-1", "capture")
    await ledger.done(M, {"kind": "revoke", "award": award, "total": 70})
    newest = (await ledger.entries(M))[0]
    assert (newest["kind"], newest["shortfall"], newest["after"]["debt"]) == ("revoke", 20, -20)


async def test_what_is_owed_for_a_payment_without_an_order_is_repaid_by_the_next_award(ledger: Ledger) -> None:
    await ledger.learn(shortfall="debt", revision=2)
    await ledger.done(M, {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 30})
    assert await ledger.buckets(M) == (0, 0, 0, -30)
    await ledger.award(M, 20)
    await ledger.award(M, 20)
    assert await ledger.buckets(M) == (10, 0, 0, 0)
    await ledger.done(M, {"kind": "give_back", "checkout": "c-1", "generation": 1, "total": 30})
    assert await ledger.buckets(M) == (40, 0, 0, 0)
    await ledger.check()


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


# -- what the database itself refuses


async def test_the_history_cannot_be_changed_by_the_app_role(ledger: Ledger) -> None:
    await ledger.award(M, 10)
    for statement in (
        "UPDATE entry SET available = 1000",
        "DELETE FROM entry",
        "TRUNCATE entry",
        "UPDATE refusal SET code = 'x'",
        "DELETE FROM refusal",
        "DELETE FROM posting",
        "UPDATE lot SET expires_at = NULL",
        "DROP TABLE entry",
        "ALTER TABLE entry DROP COLUMN hash",
        "CREATE TABLE other (id int)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ledger.sql(statement)
    assert await ledger.buckets(M) == (10, 0, 0, 0)


async def test_a_tampered_history_is_found(ledger: Ledger) -> None:
    await ledger.award(M, 10)
    await ledger.award(M, 20)
    owner = await asyncpg.connect(ledger.database.migration_url)
    await owner.execute("UPDATE entry SET available = 15, available_after = 15 WHERE seq = 1")
    await owner.execute("UPDATE account SET available = 35")
    await owner.execute("UPDATE lot SET remaining = 15, amount = 15 WHERE number = 1")
    await owner.close()
    response = await ledger.http.get(f"/v1/shops/{SHOP}/ledger/check", params={"chains": "true"})
    found = response.json()
    schemas.CheckedLedger.model_validate_json(response.content)
    assert (found["replay_mismatches"], found["chain_breaks"], found["sum_of_accounts"]) == (0, 1, 5)
    assert found["mismatched_members"] == [M]


async def pages(ledger: Ledger, **query: str) -> list[dict[str, Any]]:
    """All pages of a check."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["next"] is not None:
        after = {"after": found[-1]["next"]} if found else {}
        response = await ledger.http.get(f"/v1/shops/{SHOP}/ledger/check", params={**query, **after})
        assert response.status_code == 200, response.text
        found.append(response.json())
        assert len(found) < 50, "a check that does not get on"
    return found


async def test_a_check_of_a_big_shop_goes_on_where_the_page_before_had_no_more_time(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ledger.learn("elsewhere")
    for member in ("m-1", "m-2", "m-3"):
        for _ in range(5):
            await ledger.award(member, 10)
    whole = await ledger.check()
    monkeypatch.setattr(checks, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(checking, "LINKS_TOGETHER", 2)
    found = await pages(ledger, chains="true")
    assert [page["next"] for page in found] == [
        "m-1/points/2",
        "m-1/points/4",
        "m-2/points/2",
        "m-2/points/4",
        "m-3/points/2",
        "m-3/points/4",
        None,
    ]
    for name in ("accounts", "entries", "replay_mismatches", "seq_gaps", "book_mismatches", "chain_breaks"):
        assert sum(page[name] for page in found) == whole[name], name
    assert {page["sum_of_accounts"] for page in found} == {0}
    assert [page["accounts"] for page in await pages(ledger)] == [1, 1, 1, 0]


async def test_accounts_with_many_entries_are_checked_in_statements_of_their_own(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for member in ("m-1", "m-2", "m-3"):
        for _ in range(3):
            await ledger.award(member, 10)
    monkeypatch.setattr(checking, "ENTRIES_TOGETHER", 4)
    found = await ledger.check()
    assert (found["accounts"], found["entries"], found["next"]) == (3, 9, None)


@pytest.mark.parametrize("seq", range(1, 6))
async def test_a_tampered_entry_is_found_on_whichever_page_it_is(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, seq: int
) -> None:
    for _ in range(5):
        await ledger.award(M, 10)
    owner = await asyncpg.connect(ledger.database.migration_url)
    await owner.execute("UPDATE entry SET source = 'somebody' WHERE seq = $1", seq)
    await owner.close()
    monkeypatch.setattr(checks, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(checking, "LINKS_TOGETHER", 2)
    found = await pages(ledger, chains="true")
    assert sum(page["chain_breaks"] for page in found) == 1
    assert [member for page in found for member in page["mismatched_members"]] == [M]


async def test_a_check_goes_on_only_from_a_next_of_its_own(ledger: Ledger) -> None:
    for cursor in ("", "m-1", "m-1/points", "m-1/points/x", "m-1/points/1/2", "m 1/points/1", "m-1/points/" + "9" * 30):
        response = await ledger.http.get(f"/v1/shops/{SHOP}/ledger/check", params={"after": cursor})
        assert (response.status_code, response.json()["code"]) == (422, "cursor_invalid"), cursor
