"""One order, one rule, one posting, one event, one message: through the gateway."""

from typing import Any

import httpx
import pytest

from testkit import wait_until

Shop = Any


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
