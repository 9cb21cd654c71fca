"""What events ask of redemption."""

from typing import Any

import pytest

from chassis import Poison
from chassis.messages import Raw, Received
from contracts import decode, encode
from contracts.ledger import Buckets, PointsChanged, PostingRefused
from contracts.life import same_state
from contracts.orders import Order, OrderPaid, Refund, Tender
from contracts.structs import as_struct
from redemption.consumers import concerns_us, follow_entry, follow_refusal, settle_order
from redemption.glimpse import ORDERS
from redemption.usecases.entries import FollowEntry
from redemption.usecases.states import SettleOrder

RECEIVED = Received(Raw("orders", 0, 0, None, (), b""), "00-trace-01")


def changed(**more: Any) -> PointsChanged:
    return PointsChanged.example().model_copy(update={"hold": None, **more})


def told(order: Order) -> SettleOrder | None:
    """What the consumer makes of an order's bytes."""
    body = encode(order)
    received = RECEIVED._replace(raw=Raw("orders", 0, 0, None, (), body))
    return settle_order(decode(ORDERS.types["order-paid"], body), received)


def with_points(**more: Any) -> OrderPaid:
    tenders = (Tender(kind="points", amount=100, points=100),)
    return OrderPaid.example().model_copy(update={"tenders": tenders, **more})


def test_test_orders_move_nothing() -> None:
    assert told(with_points()) is not None
    assert told(with_points(test=True)) is None


def test_an_order_that_names_points_is_read_whole() -> None:
    command = told(with_points())
    assert command is not None
    assert command.matters
    assert same_state(command.order, as_struct(with_points()))


def test_of_other_orders_only_the_revision_is_read_until_it_is_needed() -> None:
    order = OrderPaid.example()
    command = told(order)
    assert command is not None
    assert (command.key, command.revision, command.matters) == ((order.shop, order.order), order.revision, False)
    assert command._order is None
    assert same_state(command.order, as_struct(order))


def test_a_refund_in_another_currency_is_a_dead_letter() -> None:
    order = with_points()
    refund = Refund(refund="r-1", at=order.placed_at, amount=100, currency="USD")
    with pytest.raises(Poison) as poison:
        told(order.model_copy(update={"refunds": (refund,)}))
    assert poison.value.code == "foreign_refund"


def test_awards_and_other_services_spends_are_passed_over() -> None:
    assert follow_entry(changed(kind="award"), RECEIVED) is None
    assert follow_entry(changed(kind="spend", source="till"), RECEIVED) is None
    assert isinstance(follow_entry(changed(kind="time_out", source="ledger", hold="h-1"), RECEIVED), FollowEntry)
    assert isinstance(follow_entry(changed(kind="spend", source="redemption"), RECEIVED), FollowEntry)


@pytest.mark.parametrize("asset", ["stored_value", "growth", "passes", "something-new"])
def test_other_assets_are_none_of_our_business(asset: str) -> None:
    entry = changed(kind="spend", source="redemption", hold="h-1", asset=asset)
    assert follow_entry(entry, RECEIVED) is None
    assert follow_entry(decode(PointsChanged, encode(entry)), RECEIVED) is None
    refused = PostingRefused.example().model_copy(update={"source": "redemption", "kind": "spend", "asset": asset})
    assert follow_refusal(refused, RECEIVED) is None


@pytest.mark.parametrize(
    ("changes", "shortfall"),
    [
        ({"held": -70}, 0),
        ({"held": -100, "available": 30}, 0),
        ({"held": -100, "debt": 30}, 0),
        ({"held": -100, "available": 10, "debt": 20}, 0),
        ({"available": -70, "debt": -30}, 30),
        ({"available": -70}, 30),
    ],
    ids=["whole", "part", "rest_repays", "rest_repays_and_is_free", "late_owed", "late_forgiven"],
)
def test_what_a_spend_took_is_told_without_what_it_freed_or_left_owing(changes: dict[str, int], shortfall: int) -> None:
    event = changed(kind="spend", source="redemption", changes=Buckets(**changes), shortfall=shortfall)
    command = follow_entry(event, RECEIVED)
    assert command is not None
    assert (command.debited, command.shortfall) == (70, shortfall)


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
