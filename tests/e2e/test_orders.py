"""The life of an order as a member's points tell it, through the gateway."""

from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.orders import Line, OrderCancelled, OrderChanged, OrderPaid, OrderPlaced, OrderRefunded, RefundLine
from testkit import wait_until

from .conftest import cancellation_of, refund_of

Shop = Any
Opener = Any


async def test_nothing_is_earned_before_the_order_is_paid(shop: Shop) -> None:
    placed = await shop.sell(2_000, paid_at=None, tenders=())
    settled = await shop.sell(500, order="settled-after-it")
    await shop.until_balance(available=5)
    await shop.change(placed, OrderPaid, paid_at=datetime.now(UTC))
    await shop.until_balance(available=25)
    assert [entry["order"] for entry in await shop.statement()] == [placed.order, settled.order]


async def test_per_line_return(opener: Opener) -> None:
    """Lines A 20.00 (earned 20 by its own rule), B 20.00 (excluded); return B, then A: 0, then −20."""
    shop = await opener(
        rules={"a": {"match": {"products": ["p-1"]}, "earn": {"points": "1", "per": 100}}},
    )
    sold = await shop.sell(2_000, 2_000)
    await shop.until_balance(available=20)
    without_b = await shop.change(sold, OrderRefunded, refunds=(refund_of(1, RefundLine(line="2")),))
    await shop.sell(100, order="after-b")
    await wait_until(lambda: _knows(shop, "after-b"), timeout_seconds=20, what="what came after the first return")
    assert (await shop.balance())["available"] == 21
    returns = (*without_b.refunds, refund_of(2, RefundLine(line="1")))
    await shop.change(without_b, OrderRefunded, refunds=returns)
    await shop.until_balance(available=1)
    revokes = [entry for entry in await shop.statement() if entry["kind"] == "revoke"]
    assert [entry["changes"]["available"] for entry in revokes] == [-20]


async def test_partial_refunds(shop: Shop) -> None:
    """Any split of an order into returns takes back exactly what it earned."""
    sold = await shop.sell(1_999, 1_001)
    await shop.until_balance(available=30)
    returns: tuple[Any, ...] = ()
    for number, amount in enumerate((700, 1_300, 999, 1), start=1):
        returns = (*returns, refund_of(number, amount=amount))
        sold = await shop.change(sold, OrderRefunded, refunds=returns)
    await shop.until_balance()
    changes = [entry["changes"]["available"] for entry in await shop.statement()]
    assert sum(changes) == 0
    assert sum(change for change in changes if change < 0) == -30
    await shop.sums_are_right()


async def test_stale_revision(shop: Shop) -> None:
    """Paid (rev 3), cancelled (rev 4), paid (rev 3) again; then paid (rev 5): awarded again exactly once."""
    paid = await shop.sell(1_000, revision=3)
    await shop.until_balance(available=10)
    cancelled = await shop.change(paid, OrderCancelled, cancellations=(cancellation_of(paid),))
    await shop.until_balance()
    await shop.publish(paid)
    again = await shop.change(cancelled, OrderPaid, paid_at=datetime.now(UTC) + timedelta(seconds=1))
    await shop.until_balance(available=10)
    await shop.publish(again)
    await shop.publish(cancelled)
    await shop.sell(100)
    await shop.until_balance(available=11)
    kinds = [entry["kind"] for entry in reversed(await shop.statement())]
    assert kinds == ["award", "revoke", "award", "award"]
    await shop.sums_are_right()


async def test_states_that_overtake_each_other_end_the_same(shop: Shop) -> None:
    sold = await shop.sell(3_000, paid_at=None, tenders=(), member="ben")
    paid = OrderPaid(**{**sold.__dict__, "revision": 2, "paid_at": datetime.now(UTC)})
    back = OrderRefunded(**{**paid.__dict__, "revision": 3, "refunds": (refund_of(1, amount=1_000),)})
    for state in (back, paid, OrderPlaced(**sold.__dict__), back):
        await shop.publish(state)
    await shop.sell(100, member="ben")
    await shop.until_balance("ben", available=21)


async def test_a_changed_order_earns_the_difference(shop: Shop) -> None:
    sold = await shop.sell(1_000)
    await shop.until_balance(available=10)
    bigger = (*sold.lines, Line(line="2", product="p-2", quantity=3, unit_price=500))
    changed = await shop.change(sold, OrderChanged, lines=bigger)
    await shop.until_balance(available=25)
    await shop.change(changed, OrderChanged, lines=sold.lines)
    await shop.until_balance(available=10)


async def test_a_guest_earns_once_the_order_is_theirs(shop: Shop) -> None:
    bought = await shop.sell(1_500, member=None)
    earnings = await wait_until(lambda: _earnings(shop, bought.order), timeout_seconds=20, what="the guest's order")
    assert (earnings["member"], earnings["points"]) == (None, 0)
    await shop.change(bought, OrderChanged, member="clara")
    await shop.until_balance("clara", available=15)


async def test_a_test_order_moves_nothing(shop: Shop) -> None:
    tried = await shop.sell(5_000, test=True)
    await shop.sell(100)
    await shop.until_balance(available=1)
    earnings = await shop.get(f"orders/{tried.order}/earnings")
    assert (earnings["test"], earnings["points"], earnings["awards"]) == (True, 0, [])


async def test_every_rule_says_why_it_gave_what_it_gave(opener: Opener) -> None:
    shop = await opener(
        rules={
            "every-dollar": {"title": "A point for every dollar", "earn": {"points": "1", "per": 100}},
            "books": {"match": {"categories": ["books"]}, "earn": {"points": "5", "per": 100}},
            "big": {"when": {"minimum": 10_000}, "earn": {"points": "50", "each": "order"}},
        }
    )
    sold = await shop.sell(1_234)
    await shop.until_balance(available=12)
    earnings = await shop.get(f"orders/{sold.order}/earnings")
    rules = {rule["rule"]: rule for rule in earnings["rules"]}
    assert earnings["points"] == 12
    assert (rules["every-dollar"]["fired"], rules["every-dollar"]["points"]) == (True, 12)
    assert "12.34" in rules["every-dollar"]["arithmetic"]
    assert (rules["books"]["fired"], rules["big"]["fired"]) == (False, False)
    assert rules["books"]["reason"] != rules["big"]["reason"]
    (award,) = earnings["awards"]
    (entry,) = await shop.statement()
    assert (entry["posting"], entry["cause"]["rule_version"]) == (award["award"], award["rule_version"])


async def test_a_preview_says_what_the_order_then_earns(shop: Shop) -> None:
    lines = [{"product": "p-1", "quantity": 1, "unit_price": 2_345}]
    preview = await shop.post("earnings/preview", {"member": "anna", "lines": lines})
    await shop.sell(2_345)
    await shop.until_balance(available=preview["points"])
    assert preview["points"] == 23


async def test_the_statement_adds_up_to_the_balance(shop: Shop) -> None:
    sold = await shop.sell(4_000)
    await shop.sell(1_250)
    await shop.until_balance(available=52)
    await shop.change(sold, OrderRefunded, refunds=(refund_of(1, amount=1_000),))
    balance = await shop.until_balance(available=42)
    entries = list(reversed(await shop.statement()))
    assert [entry["seq"] for entry in entries] == [1, 2, 3]
    for bucket, amount in balance.items():
        assert sum(entry["changes"][bucket] for entry in entries) == amount
    for entry in entries:
        assert sum(entry["changes"].values()) + sum(entry["system"].values()) == 0
    many = await shop.post("balances/lookup", {"members": ["anna", "nobody"]})
    assert [member["balances"][0]["available"] for member in many["members"]] == [42, 0]


async def _earnings(shop: Shop, order: str) -> Any:
    answer = await shop.client.get(shop.path(f"orders/{order}/earnings"))
    assert answer.status_code == 200
    return answer.json()


async def _knows(shop: Shop, order: str) -> bool:
    return any(entry["order"] == order for entry in await shop.statement())
