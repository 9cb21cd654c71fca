"""What events ask of redemption."""

from typing import Any

import pytest

from chassis import Poison
from chassis.messages import Raw, Received
from contracts.ledger import PointsChanged, PostingRefused
from contracts.orders import OrderPaid, Refund
from redemption.consumers import concerns_us, follow_entry, follow_refusal, settle_order
from redemption.usecases.entries import FollowEntry

RECEIVED = Received(
    raw=Raw("orders", 0, 0, None, (), b""),
    event_id=None,
    source=None,
    type="order-paid",
    time=None,
    traceparent="00-trace-01",
    lane=None,
    position=None,
)


def changed(**more: Any) -> PointsChanged:
    return PointsChanged.example().model_copy(update={"hold": None, **more})


def test_test_orders_move_nothing() -> None:
    order = OrderPaid.example()
    assert settle_order(order, RECEIVED) is not None
    assert settle_order(order.model_copy(update={"test": True}), RECEIVED) is None


def test_a_refund_in_another_currency_is_a_dead_letter() -> None:
    order = OrderPaid.example()
    refund = Refund(refund="r-1", at=order.placed_at, amount=100, currency="USD")
    with pytest.raises(Poison) as poison:
        settle_order(order.model_copy(update={"refunds": (refund,)}), RECEIVED)
    assert poison.value.code == "foreign_refund"


def test_awards_and_other_services_spends_are_passed_over() -> None:
    assert follow_entry(changed(kind="award"), RECEIVED) is None
    assert follow_entry(changed(kind="spend", source="till"), RECEIVED) is None
    assert isinstance(follow_entry(changed(kind="time_out", source="ledger", hold="h-1"), RECEIVED), FollowEntry)
    assert isinstance(follow_entry(changed(kind="spend", source="redemption"), RECEIVED), FollowEntry)


def test_refusals_of_our_own_postings_are_noted() -> None:
    refused = PostingRefused.example().model_copy(update={"source": "redemption", "kind": "spend"})
    assert follow_refusal(refused, RECEIVED) is not None
    assert follow_refusal(refused.model_copy(update={"kind": "release"}), RECEIVED) is None
    assert follow_refusal(refused.model_copy(update={"source": "rules"}), RECEIVED) is None


def test_entries_of_other_kinds_are_not_even_decoded() -> None:
    def told(*headers: tuple[str, bytes]) -> bool:
        return concerns_us(Raw("ledger", 0, 0, None, headers, b""))

    assert told()
    assert told(("ce_subject", b"time_out"))
    assert not told(("ce_subject", b"award"))
