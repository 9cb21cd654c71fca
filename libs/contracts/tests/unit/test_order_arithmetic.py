"""The arithmetic that an order carries in itself: spreading, charges, returned fractions, stages and merging."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.amounts import amounts
from contracts.life import Stage, generation, is_cancelled, merge, same_sale, same_state, stage
from contracts.money import decimals, half_up, spread, spread_up_to
from contracts.orders import Cancellation, Line, Order, OrderPaid, Refund, RefundLine, Tender
from contracts.returns import ForeignRefund, returned_fractions, returned_share

PLACED = datetime(2026, 3, 2, 9, tzinfo=UTC)
PAID = PLACED + timedelta(minutes=5)


def order(*prices: int, quantities: tuple[int, ...] = (), **fields: Any) -> Order:
    pieces = quantities or (1,) * len(prices)
    lines = tuple(
        Line(line=str(n), product=f"p{n}", quantity=quantity, unit_price=price)
        for n, (price, quantity) in enumerate(zip(prices, pieces, strict=True), start=1)
    )
    given_fields = {"lines": lines, "currency": "EUR", "revision": 1, "placed_at": PLACED, "paid_at": PAID, **fields}
    return OrderPaid(shop="s", order="o", **given_fields)


def refund(number: int, *lines: RefundLine, **fields: Any) -> Refund:
    return Refund(refund=f"r{number}", at=PAID + timedelta(hours=number), lines=lines, **fields)


def test_spread() -> None:
    assert spread(2500, [5000, 2000, 2000, 2000]) == [1136, 455, 455, 454]


def test_spread_gives_equal_shares_where_all_weigh_nothing() -> None:
    assert spread(10, [0, 0, 0]) == [4, 3, 3]


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**7), min_size=1, max_size=12))
def test_shares_always_add_up_and_differ_from_the_exact_by_less_than_one(amount: int, weights: list[int]) -> None:
    shares = spread(amount, weights)
    total = sum(weights)
    assert sum(shares) == amount
    if total:
        assert all(abs(Fraction(amount * w, total) - s) < 1 for s, w in zip(shares, weights, strict=True))


@given(st.integers(0, 10**6), st.lists(st.integers(0, 10**5), max_size=12))
def test_no_share_is_above_its_room(amount: int, room: list[int]) -> None:
    shares, rest = spread_up_to(amount, room)
    assert sum(shares) + rest == amount
    assert all(0 <= share <= most for share, most in zip(shares, room, strict=True))


def test_half_goes_up() -> None:
    assert [half_up(n, 2) for n in (0, 1, 2, 3)] == [0, 1, 1, 2]


@pytest.mark.parametrize(("currency", "digits"), [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)])
def test_decimals_of_currencies(currency: str, digits: int) -> None:
    assert decimals(currency) == digits


def test_an_order_wide_discount_never_takes_a_line_below_zero() -> None:
    assert amounts(order(1000, 500, discount=99_999)).payable == [0, 0]


def test_tax_inside_and_beside_prices() -> None:
    taxed = (Line(line="1", product="p", quantity=1, unit_price=1210, tax=210),)
    inside = amounts(order(lines=taxed, prices_include_tax=True, shipping=121, shipping_tax=21))
    beside = amounts(order(lines=taxed, prices_include_tax=False, shipping=121, shipping_tax=21))
    assert (inside.net, inside.payable, inside.shipping_net, inside.shipping_payable) == ([1000], [1210], 100, 121)
    assert (beside.net, beside.payable, beside.shipping_net, beside.shipping_payable) == ([1210], [1420], 121, 142)


def test_points_pay_for_lines_first_and_for_shipping_with_what_is_left() -> None:
    sums = amounts(order(6000, 4000, shipping=500, tenders=(Tender(kind="points", amount=10_300, points=103),)))
    assert (sums.points, sums.shipping_points, sums.charges, sums.shipping_charge) == ([6000, 4000], 300, [0, 0], 200)
    assert sums.points_shares(103) == [60, 40, 3]


def test_per_line_return() -> None:
    both = order(2000, 2000)
    first = both.model_copy(update={"refunds": (refund(1, RefundLine(line="2", quantity=1)),)})
    second = both.model_copy(update={"refunds": (*first.refunds, refund(2, RefundLine(line="1", quantity=1)))})
    assert returned_fractions(first) == [0, 1, 0]
    assert returned_fractions(second) == [1, 1, 0]


def test_money_without_lines_is_spread_over_all_charges_shipping_counting_as_a_line() -> None:
    sold = order(6000, 3000, shipping=1000, refunds=(refund(1, amount=5000),))
    assert returned_fractions(sold) == [Fraction(1, 2)] * 3


def test_money_below_the_named_lines_is_spread_over_those() -> None:
    sold = order(6000, 3000, 1000, refunds=(refund(1, RefundLine(line="1"), RefundLine(line="2"), amount=4500),))
    assert returned_fractions(sold) == [Fraction(1, 2), Fraction(1, 2), 0, 0]


def test_money_above_the_named_lines_goes_to_shipping_then_to_all_charges_left() -> None:
    to_shipping = order(6000, 3000, shipping=500, refunds=(refund(1, RefundLine(line="1"), amount=6400),))
    beyond = order(6000, 3000, shipping=500, refunds=(refund(1, RefundLine(line="1"), amount=8000),))
    assert returned_fractions(to_shipping) == [1, 0, Fraction(4, 5)]
    assert returned_fractions(beyond) == [1, Fraction(1, 2), 1]


def test_a_line_returned_in_pieces_with_money_adds_up_to_its_charge() -> None:
    part = [RefundLine(line="1", quantity=1)]
    refunds = (refund(1, *part, amount=333), refund(2, *part, amount=334), refund(3, *part, amount=333))
    sold = order(1000, quantities=(3,), lines=(Line(line="1", product="p", quantity=3, unit_price=334, discount=2),))
    assert returned_fractions(sold.model_copy(update={"refunds": refunds})) == [1, 0]


def test_pieces_count_where_no_money_is_named_or_none_was_charged() -> None:
    named = order(1000, quantities=(3,), refunds=(refund(1, RefundLine(line="1", quantity=1)),))
    free = order(0, quantities=(3,), refunds=(refund(1, RefundLine(line="1", quantity=1), amount=0),))
    assert returned_fractions(named)[0] == returned_fractions(free)[0] == Fraction(1, 3)


def test_points_refund() -> None:
    sold = order(10_000, tenders=(Tender(kind="points", amount=3000, points=150), Tender(kind="cash", amount=7000)))
    returned = sold.model_copy(update={"refunds": (refund(1, amount=7000),)})
    assert returned_share(amounts(sold).points_shares(150), returned_fractions(returned)) == 150


def test_an_order_paid_wholly_with_points_comes_back_without_any_money() -> None:
    sold = order(5000, tenders=(Tender(kind="points", amount=5000, points=500),), refunds=(refund(1, amount=0),))
    assert returned_fractions(sold) == [1, 1]


def test_a_cancellation_returns_all_that_is_left() -> None:
    gone = Cancellation(cancellation="c", at=PAID + timedelta(days=1), paid_at=PAID)
    assert returned_fractions(order(1000, 2000, shipping=5, cancellations=(gone,))) == [1, 1, 1]


def test_a_refund_in_another_currency_is_an_error() -> None:
    with pytest.raises(ForeignRefund):
        returned_fractions(order(1000, refunds=(refund(1, amount=10, currency="USD"),)))


@given(st.data())
def test_partial_refunds_never_fall_and_end_at_the_whole(data: st.DataObject) -> None:
    prices = data.draw(st.lists(st.integers(0, 5000), min_size=1, max_size=5))
    quantities = tuple(data.draw(st.lists(st.integers(1, 4), min_size=len(prices), max_size=len(prices))))
    shipping = data.draw(st.integers(0, 900))
    paid_by_points = data.draw(st.integers(0, 3000))
    tenders = (Tender(kind="points", amount=paid_by_points, points=77),)
    sold = order(
        *prices, quantities=quantities, shipping=shipping, tenders=tenders, discount=data.draw(st.integers(0, 900))
    )
    sums = amounts(sold)
    charged = sum(sums.charges) + sums.shipping_charge
    cuts = sorted(data.draw(st.lists(st.integers(0, charged), max_size=6)))
    moneys = [b - a for a, b in zip([0, *cuts], [*cuts, charged], strict=True)]
    refunds: list[Refund] = []
    before = [Fraction(0)] * (len(prices) + 1)
    for number, money in enumerate(moneys):
        refunds.append(refund(number, amount=money))
        now = returned_fractions(sold.model_copy(update={"refunds": tuple(refunds)}))
        assert all(b >= a for a, b in zip(before, now, strict=True))
        before = now
    assert before == [1] * (len(prices) + 1)
    assert returned_share(sums.points_shares(77), before) == 77


@given(st.data())
def test_no_refund_returns_more_than_there_is(data: st.DataObject) -> None:
    sold = order(700, 1, 0, quantities=(3, 7, 2), shipping=data.draw(st.sampled_from([0, 499])))
    part = st.builds(
        RefundLine,
        line=st.sampled_from(["1", "2", "3"]),
        quantity=st.none() | st.integers(1, 9),
        amount=st.none() | st.integers(0, 3000),
    )
    drawn = data.draw(st.lists(st.tuples(st.lists(part, max_size=4), st.none() | st.integers(0, 4000)), max_size=6))
    refunds = tuple(refund(n, *parts, amount=amount) for n, (parts, amount) in enumerate(drawn))
    before = [Fraction(0)] * 4
    for upto in range(len(refunds) + 1):
        now = returned_fractions(sold.model_copy(update={"refunds": refunds[:upto]}))
        assert all(0 <= a <= b <= 1 for a, b in zip(before, now, strict=True))
        before = now


def test_stages_are_told_by_the_state() -> None:
    gone = Cancellation(cancellation="c", at=PAID + timedelta(days=1), paid_at=PAID)
    assert stage(order(1, paid_at=None)) == Stage.PLACED
    assert stage(order(1)) == Stage.PAID
    assert stage(order(1, fulfilled_at=PAID)) == Stage.FULFILLED
    assert stage(order(1, refunds=(refund(1, amount=1),))) == Stage.REFUNDED
    assert stage(order(1, cancellations=(gone,))) == Stage.CANCELLED


def test_paying_again_after_a_cancellation_is_the_next_generation_with_nothing_returned() -> None:
    gone = Cancellation(cancellation="c", at=PAID + timedelta(days=1), paid_at=PAID)
    again = order(1000, cancellations=(gone,), refunds=(refund(1, amount=1000),), paid_at=PAID + timedelta(days=2))
    assert (generation(again), is_cancelled(again), stage(again)) == (2, False, Stage.PAID)
    assert returned_fractions(again) == [0, 0]


def test_a_cancellation_before_any_payment_is_no_new_generation() -> None:
    gone = Cancellation(cancellation="c", at=PLACED)
    assert generation(order(1, paid_at=None, cancellations=(gone,))) == 1


STATES = [
    order(1000, 2000, paid_at=None),
    order(1000, 2000),
    order(1000, 2000, fulfilled_at=PAID + timedelta(hours=1)),
    order(1000, 2000, refunds=(refund(1, amount=100),)),
    order(1000, 2000, refunds=(refund(2, RefundLine(line="2")),)),
    order(1000, 2000, cancellations=(Cancellation(cancellation="c", at=PAID + timedelta(days=1), paid_at=PAID),)),
]


@given(st.permutations(STATES))
def test_states_of_one_revision_merge_to_the_same_in_any_order(states: list[Order]) -> None:
    def fold(several: list[Order]) -> Order:
        merged = several[0]
        for state in several[1:]:
            merged = merge(merged, state)
        return merged

    merged = fold(states)
    assert same_state(merged, fold(STATES))
    assert stage(merged) == Stage.CANCELLED
    assert [r.refund for r in merged.refunds] == ["r1", "r2"]


def test_merging_goes_towards_the_later_stage_and_tells_differing_lines_apart() -> None:
    paid, refunded = order(1000), order(900, refunds=(refund(1, amount=900),))
    assert same_state(merge(paid, refunded), merge(refunded, paid))
    assert merge(paid, refunded).lines[0].unit_price == 900
    assert not same_sale(paid, refunded)
    assert same_sale(paid, order(1000, fulfilled_at=PAID))
