"""One order, one rule, one posting, one event, one message: through the gateway."""

from typing import Any

import httpx
import pytest

from contracts.orders import OrderRefunded
from testkit import wait_until

from .conftest import refund_of

Shop = Any
Opener = Any


async def mails_to(shop: Shop, address: str) -> list[dict[str, Any]]:
    """What the mailbox took for an address."""
    async with httpx.AsyncClient(base_url=shop.system.mailbox_url) as mailbox:
        answer = await mailbox.get("/api/messages", params={"to": address})
        found: list[dict[str, Any]] = answer.json()["messages"]
        return found


async def test_one_order_becomes_points_a_balance_and_an_email(shop: Shop) -> None:
    address = f"anna@{shop.id}.example"
    await shop.put("members/anna/contact", {"email": address, "name": "Anna", "language": "en"})
    order = await shop.sell(1_234, 800)
    await shop.until_balance(available=20)
    (entry,) = await shop.statement()
    assert (entry["kind"], entry["order"], entry["changes"]["available"]) == ("award", order.order, 20)
    assert entry["cause"]["rule"] == "every-dollar"
    (mail,) = await wait_until(lambda: mails_to(shop, address), timeout_seconds=20, what="the e-mail")
    assert "20" in mail["subject"] + mail.get("text", "")
    await shop.sums_are_right()


async def test_what_several_rules_give_for_an_order_is_one_email(opener: Opener) -> None:
    rules = {
        "every-dollar": {"title": "A point for every dollar", "earn": {"points": "1", "per": 100}},
        "each-order": {"title": "For each order", "earn": {"points": "5", "each": "order"}, "stack": True},
    }
    shop = await opener(rules=rules)
    address = f"anna@{shop.id}.example"
    await shop.put("members/anna/contact", {"email": address, "name": "Anna", "language": "en"})
    sold = await shop.sell(2_000)
    await shop.until_balance(available=25)
    assert [entry["order"] for entry in await shop.statement()] == [sold.order] * 2
    await shop.change(sold, OrderRefunded, refunds=(refund_of(1, amount=2_000),))
    await shop.until_balance(available=0)

    async def told() -> list[str]:
        subjects = [mail["subject"] for mail in await mails_to(shop, address)]
        assert len(subjects) > 1
        return subjects

    subjects = await wait_until(told, timeout_seconds=20, what="the e-mails")
    assert sorted(subjects) == ["25 points have been taken back", "You earned 25 points"]
    await shop.sums_are_right()


@pytest.mark.parametrize("times", [5])
async def test_redelivery(shop: Shop, times: int) -> None:
    """The same order event five times, and once more with a new event id: one award."""
    order = await shop.sell(1_000)
    for _ in range(times - 1):
        await shop.publish(order, event_id="the-same")
    await shop.publish(order, event_id="a-new-one")
    await shop.until_balance(available=10)
    after = await shop.sell(500)
    await shop.until_balance(available=15)
    assert [entry["order"] for entry in await shop.statement()] == [after.order, order.order]
