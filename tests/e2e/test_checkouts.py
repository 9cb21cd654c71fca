"""Paying with points: quote, hold, captured when paid, released on cancel, returned on refund."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from contracts.orders import OrderCancelled, OrderPaid, OrderRefunded, Tender
from testkit import wait_until

from .conftest import cancellation_of, refund_of

Shop = Any
Opener = Any


async def funded(shop: Shop, points: int, member: str = "anna") -> None:
    """Give a member points by an order."""
    await shop.sell(points * 100, member=member, order=f"funding-{member}")
    await shop.until_balance(member, available=points)


async def checkout(shop: Shop, *prices: int, points: int | None, checkout: str = "c-1", **given: Any) -> Any:
    """Hold points for a cart."""
    asked = {"checkout": checkout, "member": "anna", "cart": shop.cart(*prices), "points": points, **given}
    return await shop.post("checkouts", asked, status=201)


async def until_checkout(shop: Shop, checkout_id: str = "c-1", **wanted: Any) -> Any:
    """Wait until the checkout stands so."""

    async def stands() -> Any:
        found = await shop.get(f"checkouts/{checkout_id}")
        assert {name: found[name] for name in wanted} == wanted
        return found

    return await wait_until(stands, timeout_seconds=20, what=f"checkout {checkout_id} {wanted}")


def paid_with(held: Any, payable: int) -> tuple[Tender, ...]:
    """Tenders of an order that the held points pay a part of."""
    return (
        Tender(kind="points", amount=held["worth"], points=held["points"], checkout=held["checkout"]),
        Tender(kind="card", amount=payable - held["worth"]),
    )


async def test_a_quote_a_hold_and_a_paid_order_use_points_once(shop: Shop) -> None:
    await funded(shop, 100)
    quote = await shop.post("checkouts/quote", {"member": "anna", "cart": shop.cart(1_000)})
    assert (quote["points"], quote["worth"], quote["limited_by"]) == (50, 500, "maximum_share")
    held = await checkout(shop, 1_000, points=None)
    assert (held["state"], held["points"], held["worth"]) == ("held", 50, 500)
    await shop.until_balance(available=50, held=50)
    sold = await shop.sell(1_000, tenders=paid_with(held, 1_000))
    await until_checkout(shop, state="captured", captured=50)
    await shop.until_balance(available=55)  # and 5 earned by the part that money paid
    await shop.publish(sold)
    await shop.sell(100)
    await shop.until_balance(available=56)
    await shop.sums_are_right()


async def test_a_released_checkout_frees_the_points(shop: Shop) -> None:
    await funded(shop, 100)
    await checkout(shop, 2_000, points=80)
    await shop.until_balance(available=20, held=80)
    released = await shop.post("checkouts/c-1/release")
    assert released["state"] == "released"
    await shop.until_balance(available=100)
    assert (await shop.post("checkouts/c-1/release"))["state"] == "released"


async def test_a_cancelled_order_frees_the_points_and_a_failed_payment_does_not(shop: Shop) -> None:
    await funded(shop, 100)
    held = await checkout(shop, 2_000, points=60)
    placed = await shop.sell(2_000, paid_at=None, tenders=paid_with(held, 2_000))
    await shop.sell(100, order="a-later-one")
    await shop.until_balance(available=41, held=60)
    await shop.change(placed, OrderCancelled, cancellations=(cancellation_of(placed),))
    await shop.until_balance(available=101)
    await until_checkout(shop, state="released", captured=0)


async def test_points_refund(opener: Opener) -> None:
    """An order paid with points and money, all of it refunded: its award is taken back, all points come back."""
    shop = await opener(using={"online": {"points_per_unit": "1", "step": 1}})
    await funded(shop, 200)
    held = await checkout(shop, 22_000, points=150)
    sold = await shop.sell(22_000, tenders=paid_with(held, 22_000))
    await shop.until_balance(available=50 + 70)
    await shop.change(sold, OrderRefunded, refunds=(refund_of(1, amount=7_000),))
    await shop.until_balance(available=200)
    await until_checkout(shop, state="captured", captured=150, returned=150)
    await shop.sums_are_right()


async def test_half_a_refund_returns_half_the_points(opener: Opener) -> None:
    shop = await opener(using={"online": {"points_per_unit": "1", "step": 1}})
    await funded(shop, 100)
    held = await checkout(shop, 30_000, points=100)
    sold = await shop.sell(30_000, tenders=paid_with(held, 30_000))
    await shop.until_balance(available=200)
    await shop.change(sold, OrderRefunded, refunds=(refund_of(1, amount=10_000),))
    await shop.until_balance(available=200 - 100 + 50)
    kinds = sorted(entry["kind"] for entry in await shop.statement())
    assert kinds == ["award", "award", "give_back", "hold", "revoke", "spend"]


async def test_more_than_allowed_is_refused_with_the_maximum(shop: Shop) -> None:
    await funded(shop, 100)
    asked = {"checkout": "c-1", "member": "anna", "cart": shop.cart(1_000), "points": 51}
    refused = await shop.post("checkouts", asked, status=409)
    assert refused["code"] == "too_many_points"
    assert refused["maximum"] == 50
    assert await shop.balance() == {"available": 100, "pending": 0, "held": 0, "debt": 0}
    cut = await shop.post("checkouts", {**asked, "at_most": True}, status=201)
    assert cut["points"] == 50


async def test_double_spend(shop: Shop) -> None:
    """20 parallel checkouts of 100 points from 100: exactly one succeeds."""
    await funded(shop, 100)

    async def one(number: int) -> int:
        asked = {"checkout": f"c-{number}", "member": "anna", "cart": shop.cart(5_000), "points": 100}
        headers = {"idempotency-key": f"one-{number}"}
        answer = await shop.client.post(shop.path("checkouts"), json=asked, headers=headers)
        return answer.status_code

    statuses = await asyncio.gather(*(one(number) for number in range(20)))
    assert sorted(statuses) == [201] + [409] * 19
    await shop.until_balance(held=100)


async def test_the_same_key_gives_the_same_checkout(shop: Shop) -> None:
    await funded(shop, 100)
    asked = {"member": "anna", "cart": shop.cart(2_000), "points": 30}
    first = await shop.post("checkouts", asked, status=201, key="once")
    assert await shop.post("checkouts", asked, status=201, key="once") == first
    conflict = await shop.post("checkouts", {**asked, "points": 40}, status=409, key="once")
    assert conflict["code"] == "idempotency_conflict"
    await shop.until_balance(available=70, held=30)


async def test_cross_channel(opener: Opener) -> None:
    """Earned at the till, spent online: the debit is posted, the balance falls."""
    shop = await opener()
    await shop.sell(10_000, channel="pos")
    await shop.until_balance(available=100)
    held = await checkout(shop, 1_000, points=40)
    await shop.sell(1_000, tenders=paid_with(held, 1_000), channel="online")
    await shop.until_balance(available=60 + 6)


async def test_using_can_be_stopped_with_one_click_and_earning_goes_on(shop: Shop) -> None:
    await funded(shop, 100)
    await shop.put("redemption/switch", {"on": False})
    quote = await shop.post("checkouts/quote", {"member": "anna", "cart": shop.cart(1_000)})
    assert (quote["points"], [reason["code"] for reason in quote["reasons"]]) == (0, ["using_stopped"])
    await shop.sell(900)
    await shop.until_balance(available=109)
    await shop.put("redemption/switch", {"on": True})
    assert (await shop.post("checkouts/quote", {"member": "anna", "cart": shop.cart(1_000)}))["points"] == 50


async def test_an_order_paid_again_after_a_cancel_debits_its_points_again(shop: Shop) -> None:
    await funded(shop, 100)
    held = await checkout(shop, 2_000, points=100)
    sold = await shop.sell(2_000, tenders=paid_with(held, 2_000))
    await shop.until_balance(available=10)
    cancelled = await shop.change(sold, OrderCancelled, cancellations=(cancellation_of(sold),))
    await shop.until_balance(available=100)
    await shop.change(cancelled, OrderPaid, paid_at=datetime.now(UTC))
    await shop.until_balance(available=10)
    await shop.sums_are_right()
