"""Assets beside points, through the gateway: topped up, held, used and looked at; growth only counts."""

from datetime import UTC, datetime, timedelta
from typing import Any

Shop = Any
Opener = Any


def posting(key: str, asset: str, **effect: Any) -> dict[str, Any]:
    """One posting of anna's."""
    return {"postings": [{"key": key, "member": "anna", "asset": asset, "effect": effect}]}


async def assets(shop: Shop) -> dict[str, int]:
    """What anna may use, by asset."""
    found = await shop.get("members/anna/balances")
    return {balance["asset"]: balance["available"] for balance in found["balances"]}


async def test_stored_value_is_topped_up_held_and_spent_in_the_shops_currency(shop: Shop) -> None:
    await shop.post("postings", posting("pay-1", "stored_value", kind="top_up", amount=5_000, currency="USD"))
    refused = posting("pay-2", "stored_value", kind="top_up", amount=5_000, currency="EUR")
    assert (await shop.post("postings", refused, status=422))["code"] == "currency_mismatch"
    ends = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    hold = {"hold": "h-1", "member": "anna", "asset": "stored_value", "amount": 2_000, "expires_at": ends}
    await shop.post("holds", hold, status=201)
    await shop.post("holds/h-1/capture", {"amount": 1_500})
    found = await shop.get("members/anna/balances")
    money = {balance["asset"]: (balance["available"], balance["currency"]) for balance in found["balances"]}
    assert money == {"points": (0, None), "stored_value": (3_500, "USD")}
    lines = (await shop.get("members/anna/entries", asset="stored_value"))["entries"]
    assert [line.get("code", line["kind"]) for line in lines] == ["capture", "hold", "currency_mismatch", "top_up"]
    assert lines[-1]["system"] == {"cash": -5_000}
    await shop.sums_are_right()


async def test_growth_counts_and_is_never_used(shop: Shop) -> None:
    await shop.sell(1_000)
    await shop.until_balance(available=10)
    await shop.post("postings", posting("g-1", "growth", kind="award", amount=70))
    spend = posting("g-2", "growth", kind="spend", checkout="c-1", generation=1, amount=1)
    assert (await shop.post("postings", spend, status=409))["code"] == "asset_not_spendable"
    top_up = posting("g-3", "points", kind="top_up", amount=1, currency="USD")
    assert (await shop.post("postings", top_up, status=422))["code"] == "asset_not_topped_up"
    await shop.post("postings", posting("p-1", "passes", kind="award", amount=10))
    await shop.post("postings", posting("p-2", "passes", kind="spend", checkout="visit-1", generation=1, amount=1))
    assert await assets(shop) == {"points": 10, "growth": 70, "passes": 9}
    quote = await shop.post("checkouts/quote", {"member": "anna", "cart": shop.cart(100_000)})
    assert quote["points"] == 10
    checked = await shop.get("ledger/check")
    assert {asset: sums["members"] for asset, sums in checked["assets"].items()} == {
        "points": 10,
        "growth": 70,
        "passes": 9,
    }
    await shop.sums_are_right()


async def test_an_award_waits_for_its_event_which_says_when_it_ends(shop: Shop) -> None:
    await shop.post("postings", posting("a-1", "points", kind="award", amount=50, activates_on="fulfilled"))
    await shop.until_balance(pending=50)
    dated = posting(
        "a-2", "points", kind="award", amount=50, activates_on="fulfilled", expires_at="2030-01-01T00:00:00Z"
    )
    assert (await shop.post("postings", dated, status=422))["code"] == "invalid_request"
    waits = posting("e-2", "points", kind="activate", award="a-2")
    assert (await shop.post("postings", waits, status=202))["outcomes"][0]["outcome"] == "parked"
    ends = datetime.now(UTC) + timedelta(days=30)
    await shop.post("postings", posting("e-1", "points", kind="activate", award="a-1", expires_at=ends.isoformat()))
    await shop.until_balance(available=50)
    (points,) = (await shop.get("members/anna/balances"))["balances"]
    assert [datetime.fromisoformat(due["at"]) for due in points["next_expiries"]] == [ends]
    assert [line["kind"] for line in await shop.statement()] == ["activate", "award"]
    await shop.sums_are_right()


async def test_above_the_shops_threshold_a_second_person_approves(opener: Opener) -> None:
    shop = await opener(programme={"approval_above": {"points": 100}})
    cause = {"operator": "ana", "reason": "goodwill"}

    def asked(amount: int) -> dict[str, Any]:
        body = posting(f"c-{amount}", "points", kind="credit", amount=amount)
        body["postings"][0]["cause"] = cause
        return body

    assert (await shop.post("postings", asked(100)))["outcomes"][0]["outcome"] == "posted"
    outcome = (await shop.post("postings", asked(500), status=202))["outcomes"][0]
    assert outcome["outcome"] == "pending_approval"
    proposal = f"ledger/proposals/{outcome['proposal']}"
    assert (await shop.post(f"{proposal}/approve", status=403))["code"] == "own_proposal"
    await shop.until_balance(available=100)
    approver = shop.system.tokens.headers("ledger:approve", shop.id, sub="ben")
    answer = await shop.client.post(
        shop.path(f"{proposal}/approve"), json={}, headers={**approver, "idempotency-key": "once"}
    )
    assert (answer.status_code, answer.json()["state"], answer.json()["outcome"]) == (200, "approved", "posted")
    await shop.until_balance(available=600)
    newest, _ = await shop.statement()
    assert (newest["cause"]["operator"], newest["cause"]["approver"]) == ("ana", "ben")
    assert [one["state"] for one in (await shop.get("ledger/proposals"))["proposals"]] == ["approved"]
    await shop.sums_are_right()
