"""Four assets over HTTP: what is refused changes nothing, sums stand beside each other, money says its currency."""

import asyncio
from typing import Any

import asyncpg
import pytest

from ledger import schemas

from .conftest import SHOP, Ledger, iso

M = "m-1"
BASE = f"/v1/shops/{SHOP}"


def top_up(amount: int, currency: str = "EUR", **more: Any) -> dict[str, Any]:
    return {"kind": "top_up", "amount": amount, "currency": currency, **more}


async def test_each_asset_has_a_balance_of_its_own_and_money_says_its_currency(ledger: Ledger) -> None:
    await ledger.done(M, top_up(5_000), asset="stored_value")
    told = (await ledger.http.get(f"{BASE}/members/{M}/balances")).json()["balances"]
    assert [(one["asset"], one["available"], one["currency"]) for one in told] == [
        ("points", 0, None),
        ("stored_value", 5_000, "EUR"),
    ]
    await ledger.award(M, 10)
    await ledger.done(M, {"kind": "award", "amount": 3}, asset="passes")
    await ledger.done(M, {"kind": "award", "amount": 70, "activates_at": iso(days=1)}, asset="growth")
    for answer in (
        await ledger.http.get(f"{BASE}/members/{M}/balances"),
        await ledger.http.get(f"{BASE}/members/{M}/balances", params={"as_of": iso(seconds=-0.001)}),
        await ledger.http.post(f"{BASE}/balances/lookup", json={"members": [M]}),
    ):
        body = answer.json()
        told = body["balances"] if "balances" in body else body["members"][0]["balances"]
        assert [(one["asset"], one["available"], one["pending"], one["currency"]) for one in told] == [
            ("points", 10, 0, None),
            ("stored_value", 5_000, 0, "EUR"),
            ("growth", 0, 70, None),
            ("passes", 3, 0, None),
        ]
    schemas.ManyBalances.model_validate_json(answer.content)


async def test_money_on_which_something_is_due_says_its_currency_too(ledger: Ledger) -> None:
    await ledger.done(M, top_up(5_000, expires_at=iso(hours=1)), asset="stored_value")
    await ledger.age(hours=2)
    balance = await ledger.balance(M, "stored_value")
    assert (balance["available"], balance["currency"]) == (0, "EUR")


@pytest.mark.parametrize("asset", ["points", "stored_value", "passes"])
async def test_what_can_be_used_is_held_captured_released_spent_and_given_back(ledger: Ledger, asset: str) -> None:
    await ledger.done(M, {"kind": "award", "amount": 100}, asset=asset)
    assert (await ledger.hold(M, 40, hold="h-1", asset=asset)).json()["asset"] == asset
    assert (await ledger.hold(M, 10, hold="h-2", asset=asset)).status_code == 201
    assert (await ledger.end("h-1", "capture", amount=30)).json()["balance"]["available"] == 60
    assert (await ledger.end("h-2", "release")).status_code == 200
    await ledger.done(M, {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 20}, asset=asset)
    await ledger.done(M, {"kind": "give_back", "checkout": "c-1", "generation": 1, "total": 5}, asset=asset)
    assert await ledger.buckets(M, asset) == (55, 0, 0, 0)
    lines = await ledger.entries(M, asset=asset)
    assert [line["kind"] for line in lines] == ["give_back", "spend", "release", "capture", "hold", "hold", "award"]
    others = {"points", "stored_value", "growth", "passes"} - {asset}
    assert [await ledger.entries(M, asset=other) for other in others] == [[]] * 3
    await ledger.check()


async def test_a_pass_is_used_once_however_many_ask_for_it(ledger: Ledger) -> None:
    await ledger.done(M, {"kind": "award", "amount": 3}, asset="passes")
    holds = await asyncio.gather(*(ledger.hold(M, 1, hold=f"visit-{n}", asset="passes") for n in range(10)))
    assert sorted(hold.status_code for hold in holds) == [201] * 3 + [409] * 7
    placed = [hold.json()["hold"] for hold in holds if hold.status_code == 201]
    ends = await asyncio.gather(*(ledger.end(hold, "capture") for hold in placed))
    assert [end.status_code for end in ends] == [200] * 3
    assert await ledger.buckets(M, "passes") == (0, 0, 0, 0)
    assert (await ledger.check())["assets"]["passes"] == {"members": 0, "system": {"issued": -3, "redeemed": 3}}


@pytest.mark.parametrize(
    "effect",
    [
        {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 1},
        {"kind": "give_back", "checkout": "c-1", "generation": 1, "total": 1},
    ],
)
async def test_growth_is_not_used_and_nothing_changes(ledger: Ledger, effect: dict[str, Any]) -> None:
    await ledger.done(M, {"kind": "award", "amount": 100}, asset="growth")
    for answer in (
        await ledger.post(M, effect, asset="growth"),
        await ledger.hold(M, 1, hold="h-1", asset="growth"),
    ):
        assert (answer.status_code, answer.json()["code"], answer.json()["asset"]) == (
            409,
            "asset_not_spendable",
            "growth",
        )
    assert await ledger.buckets(M, "growth") == (100, 0, 0, 0)
    lines = await ledger.entries(M, asset="growth")
    assert [line["type"] for line in lines] == ["refusal", "refusal", "entry"]
    assert await ledger.sql("SELECT FROM parked") == []
    assert await ledger.sql("SELECT FROM hold") == []


@pytest.mark.parametrize(
    ("asset", "effect", "status", "code"),
    [
        ("points", top_up(100), 422, "asset_not_topped_up"),
        ("passes", top_up(100), 422, "asset_not_topped_up"),
        ("growth", top_up(100), 409, "asset_not_spendable"),
        ("stored_value", top_up(100, "USD"), 422, "currency_mismatch"),
        ("stored_value", top_up(0), 422, "invalid_request"),
        ("stored_value", top_up(100, "eur"), 422, "invalid_request"),
        ("stored_value", {"kind": "top_up", "amount": 100}, 422, "invalid_request"),
        ("gold", top_up(100), 422, "invalid_request"),
    ],
)
async def test_a_bad_top_up_is_refused_and_changes_nothing(
    ledger: Ledger, asset: str, effect: dict[str, Any], status: int, code: str
) -> None:
    answer = await ledger.post(M, effect, asset=asset)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await ledger.sql("SELECT FROM entry") == []


async def test_a_top_up_happens_once_and_is_taken_back_by_its_key(ledger: Ledger) -> None:
    effect = top_up(5_000)
    answers = await asyncio.gather(*(ledger.post(M, effect, asset="stored_value", key="pay-1") for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert sorted(answer.json()["outcomes"][0]["repeated"] for answer in answers) == [False] + [True] * 4
    assert (await ledger.post(M, top_up(5_001), asset="stored_value", key="pay-1")).status_code == 409
    await ledger.done(M, {"kind": "revoke", "award": "pay-1", "total": 2_000}, asset="stored_value")
    assert await ledger.buckets(M, "stored_value") == (3_000, 0, 0, 0)
    found = await ledger.check()
    assert found["assets"] == {"stored_value": {"members": 3_000, "system": {"cash": -5_000, "revoked": 2_000}}}
    assert found["system"] == {}


async def test_the_same_shortfall_of_two_assets_is_seen_in_each(ledger: Ledger) -> None:
    """What one asset has too much and another too little does not cancel out."""
    await ledger.award(M, 10)
    await ledger.done(M, top_up(10), asset="stored_value")
    owner = await asyncpg.connect(ledger.database.migration_url)
    await owner.execute("UPDATE account SET available = available + 5 WHERE asset = 'points'")
    await owner.execute("UPDATE account SET available = available - 5 WHERE asset = 'stored_value'")
    await owner.close()
    found = (await ledger.http.get(f"{BASE}/ledger/check")).json()
    assert (found["sum_of_accounts"], found["replay_mismatches"]) == (10, 2)
    assert {asset: sums["members"] for asset, sums in found["assets"].items()} == {"points": 15, "stored_value": 5}


async def test_the_currency_stays_once_money_is_stored_in_it(ledger: Ledger) -> None:
    await ledger.learn(revision=2, currency="USD")
    await ledger.done(M, top_up(100, "USD"), asset="stored_value")
    await ledger.learn(revision=3, currency="JPY", shortfall="debt")
    assert (await ledger.balance(M, "stored_value"))["currency"] == "USD"
    assert (await ledger.post(M, top_up(100, "JPY"), asset="stored_value")).json()["code"] == "currency_mismatch"
    assert await ledger.sql("SELECT revision, shortfall, currency FROM programme") == [(3, "debt", "USD")]


async def test_a_programme_of_before_currencies_learns_its_own_when_it_is_told_again(ledger: Ledger) -> None:
    await ledger.sql("UPDATE programme SET currency = NULL")
    refused = await ledger.post(M, top_up(100), asset="stored_value")
    assert (refused.json()["code"], refused.json()["of_shop"]) == ("currency_mismatch", "")
    await ledger.done(M, {"kind": "award", "amount": 5}, asset="stored_value")
    assert (await ledger.balance(M, "stored_value"))["currency"] is None
    await ledger.learn()
    assert (await ledger.balance(M, "stored_value"))["currency"] == "EUR"
    await ledger.done(M, top_up(100), asset="stored_value")
