"""Members that give, are frozen, and turn out to be one, through the gateway and all services."""

import uuid
from typing import Any

from contracts.orders import OrderRefunded
from testkit import wait_until

from .conftest import PROGRAMME, refund_of
from .test_checkouts import checkout, funded, paid_with, until_checkout

Shop = Any

OPERATOR = {"operator": "op-1", "reason": "duplicate"}


async def test_the_programme_says_how_much_a_member_gives_in_a_day(shop: Shop) -> None:
    await funded(shop, 100)
    await shop.put("programme", {**PROGRAMME, "gifts_per_day": 1, "gift_points_per_day": 40})

    await funded(shop, 100, "probe")

    async def limited() -> bool:
        headers = {"idempotency-key": uuid.uuid4().hex}
        asked = {"to": "sink", "amount": 1}
        answer = await shop.client.post(shop.path("members/probe/gifts"), json=asked, headers=headers)
        return bool(answer.json().get("maximum") == 1)

    await wait_until(limited, what="the ledger to know the limit", timeout_seconds=20)
    refused = await shop.post("members/anna/gifts", {"to": "bert", "amount": 41}, status=409)
    assert (refused["limit"], refused["maximum"]) == ("gift_points_per_day", 40)
    gift = await shop.post("members/anna/gifts", {"to": "bert", "amount": 40}, status=201)
    assert (gift["amount"], gift["balance"]["available"]) == (40, 60)
    again = await shop.post("members/anna/gifts", {"to": "bert", "amount": 1}, status=409)
    assert again["limit"] == "gifts_per_day"
    await shop.until_balance("bert", available=40)
    assert [line["kind"] for line in await shop.statement("bert")] == ["gift_in"]
    await shop.sums_are_right()


async def test_a_frozen_member_pays_with_nothing_new(shop: Shop) -> None:
    await funded(shop, 100)
    held = await checkout(shop, 1_000, points=30)
    assert (await shop.post("members/anna/freeze", {**OPERATOR, "reason": "lost_card"}))["frozen"]
    quote = await shop.post("checkouts/quote", {"member": "anna", "cart": shop.cart(1_000)})
    assert (quote["points"], [reason["code"] for reason in quote["reasons"]]) == (0, ["member_frozen"])
    body = {"checkout": "c-2", "member": "anna", "cart": shop.cart(1_000), "points": 10}
    assert (await shop.post("checkouts", body, status=409))["code"] == "points_not_usable"
    assert (await shop.post("members/anna/gifts", {"to": "bert", "amount": 1}, status=409))["code"] == "account_frozen"
    await shop.sell(1_000, tenders=paid_with(held, 1_000))
    await until_checkout(shop, state="captured", captured=30)
    await shop.until_balance(available=77, held=0)
    await shop.post("members/anna/unfreeze", OPERATOR)
    assert (await shop.post("checkouts/quote", {"member": "anna", "cart": shop.cart(1_000)}))["points"] == 50
    await shop.sums_are_right()


async def test_an_order_goes_on_while_its_member_is_merged_and_parted(shop: Shop) -> None:
    """Held under the old id, paid while merged, refunded in part while merged and in part after: to the point."""
    await funded(shop, 100)
    held = await checkout(shop, 1_000, points=50)
    merge = (await shop.post("members/anna/merge", {"into": "anna-2", **OPERATOR}))["merge"]
    await shop.until_balance("anna-2", available=50, held=50)
    assert (await shop.get("members/anna/balances"))["merged_into"] == "anna-2"
    sold = await shop.sell(1_000, tenders=paid_with(held, 1_000))
    await until_checkout(shop, state="captured", captured=50)
    await shop.until_balance("anna-2", available=55, held=0)
    await shop.change(sold, OrderRefunded, refunds=(refund_of(1, amount=250),))
    await shop.until_balance("anna-2", available=55 - 3 + 25)
    await until_checkout(shop, returned=25)
    await shop.until_balance("anna", available=0, held=0)
    await shop.sums_are_right()
    undone = await shop.post(f"merges/{merge}/undo", OPERATOR)
    (points,) = undone["returned"]
    assert (points["asset"], points["held"], points["debt"]) == ("points", 0, 0)
    balances = [await shop.balance(member) for member in ("anna", "anna-2")]
    assert sum(balance["available"] for balance in balances) == 77
    assert (await shop.get("members/anna/balances"))["merged_into"] is None
    await shop.sell(300)
    await shop.until_balance(available=balances[0]["available"] + 3)
    await shop.sums_are_right()
