"""What members have, over HTTP: now and at a past instant, one by one and many in one call."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx

from ledger import schemas
from testkit import wait_until

from .conftest import SHOP, Ledger, iso

M = "m-1"


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
