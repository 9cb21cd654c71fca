"""Whatever order the contract lets in is decided, and what it leaves lies between nothing and what it earned."""

from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from contracts.orders import Cancellation, Line, Order, OrderChanged, Refund, RefundLine, Tender
from rules.domain.calendar import Grant, Hours, Lasting, Trigger, Validity, Window
from rules.domain.evaluation import evaluate
from rules.domain.order import Conversion, Facts
from rules.domain.rounding import Rounding
from rules.domain.rule import (
    Band,
    Bands,
    Basis,
    Conditions,
    CouponUse,
    Multiply,
    PerMoney,
    PerOrder,
    PerUnit,
    Rule,
    Scope,
)
from rules.domain.rule_set import Combine
from rules.domain.settlement import Award, Revoke, settle
from rules.testing import rule_set, state_of

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
money = st.integers(0, 20_000) | st.sampled_from([0, 10**9])
labels = st.sampled_from(["a", "b", "c"])
instants = st.integers(0, 60 * 24).map(lambda hours: NOW + timedelta(hours=hours))

lines = st.builds(
    Line,
    line=st.just("0"),
    product=labels,
    sku=st.none() | labels,
    categories=st.lists(labels, max_size=2).map(tuple),
    brand=st.none() | labels,
    tags=st.lists(labels, max_size=2).map(tuple),
    quantity=st.integers(1, 5),
    unit_price=money,
    discount=money,
    tax=money,
    gift_card=st.booleans(),
    reward=st.booleans(),
)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Any order at all, likely or not."""
    sold = tuple(
        line.model_copy(update={"line": str(n)}) for n, line in enumerate(draw(st.lists(lines, max_size=5)), start=1)
    )
    ids = [line.line for line in sold]
    refund_line = st.builds(
        RefundLine, line=st.sampled_from(ids or ["1"]), quantity=st.none() | st.integers(1, 9), amount=st.none() | money
    )
    refunds = []
    for number in range(draw(st.integers(0, 3))):
        parts = tuple(draw(st.lists(refund_line, max_size=3))) if ids else ()
        amount = draw(money) if not parts else draw(st.none() | money)
        refunds.append(Refund(refund=f"r{number}", at=draw(instants), amount=amount, lines=parts))
    paid_at = draw(st.none() | instants)
    cancellations = tuple(
        Cancellation(cancellation=f"c{n}", at=draw(instants), paid_at=draw(st.none() | instants))
        for n in range(draw(st.sampled_from([0, 0, 0, 1, 2])))
    )
    tenders = st.builds(
        Tender, kind=st.sampled_from(["cash", "stored_value", "points", "voucher"]), amount=money, points=st.none()
    )
    return OrderChanged(
        shop="s",
        order="o",
        revision=1,
        member="m",
        channel=draw(st.sampled_from(["online", "pos"])),
        currency="EUR",
        prices_include_tax=draw(st.booleans()),
        lines=sold,
        discount=draw(money),
        shipping=draw(money),
        shipping_tax=draw(money),
        coupons=tuple(draw(st.lists(labels, max_size=2))),
        tenders=tuple(draw(st.lists(tenders, max_size=3))),
        placed_at=draw(instants),
        paid_at=paid_at,
        fulfilled_at=draw(st.none() | instants),
        refunds=tuple(refunds),
        cancellations=cancellations,
    )


points = st.sampled_from([Fraction(0), Fraction(1), Fraction(1, 3), Fraction(7, 4), Fraction(50)])
scopes = st.builds(
    Scope,
    products=st.frozensets(labels, max_size=1),
    categories=st.frozensets(labels, max_size=1),
    brands=st.frozensets(labels, max_size=1),
    tags=st.frozensets(labels, max_size=1),
)
effects = st.one_of(
    st.builds(PerMoney, points=points, per=st.sampled_from([1, 100, 250]), whole_groups=st.booleans()),
    st.builds(PerUnit, points=points),
    st.builds(PerOrder, points=points),
    st.builds(
        Bands,
        bands=st.just((Band(1000, Fraction(1), 100), Band(5000, Fraction(3, 2), 100), Band(None, Fraction(2), 100))),
        marginal=st.booleans(),
    ),
    st.builds(Multiply, factor=points, of=st.frozensets(st.sampled_from(["r0", "r1"]), max_size=1)),
)
conditions = st.builds(
    Conditions,
    window=st.none() | st.just(Window(date(2026, 3, 3), date(2026, 4, 1))),
    weekdays=st.frozensets(st.integers(1, 7), max_size=3),
    hours=st.none() | st.just(Hours(time(22), time(10))),
    minimum=st.none() | st.integers(1, 9000),
    first_order=st.booleans(),
    coupons=st.none() | st.sampled_from([CouponUse.ANY, CouponUse.NONE, frozenset({"a"})]),
    channels=st.just(frozenset()) | st.just(frozenset({"pos"})),
)


@st.composite
def some_rules(draw: st.DrawFn) -> list[Rule]:
    """Rules of all kinds and in all mixtures."""
    return [
        Rule(
            f"r{number}",
            draw(effects),
            scope=draw(scopes),
            exclude=draw(scopes),
            conditions=draw(st.just(Conditions()) | conditions),
            basis=Basis(*draw(st.lists(st.booleans(), min_size=6, max_size=6))),
            rounding=draw(st.sampled_from(list(Rounding))),
            grant=Grant(draw(st.sampled_from(list(Trigger))), draw(st.sampled_from([0, 14]))),
            validity=Validity(draw(st.sampled_from([Lasting.NEVER_ENDS, Lasting.DAYS, Lasting.MONTHS])), 3),
            stack=draw(st.booleans()),
            exclusive=draw(st.sampled_from([False, False, True])),
            priority=draw(st.integers(0, 2)),
        )
        for number in range(draw(st.integers(1, 5)))
    ]


@given(orders(), some_rules(), st.sampled_from(list(Combine)), st.sampled_from([(1, 1), (62, 100), (0, 1)]))
def test_whatever_the_contract_lets_in_is_decided(
    sold: Order, rules: list[Rule], combine: Combine, rate: tuple[int, int]
) -> None:
    made = rule_set(*rules, zone="America/New_York", combine=combine)
    state = state_of(sold, Conversion(*rate))
    evaluation = evaluate(made, sold, state.amounts, Facts(first_order=True), state.conversion)
    assert len(evaluation.verdicts) == len(rules)
    for earned in evaluation.earned:
        assert earned.points > 0
        assert all(weight >= 0 for weight in earned.weights)
    settlement = settle((), state, evaluation, made, awarding=True)
    awarded = sum(asked.booked.points for asked in settlement.asked if isinstance(asked, Award))
    taken = sum(asked.booked.taken for asked in settlement.asked if isinstance(asked, Revoke))
    assert 0 <= taken <= awarded <= evaluation.points
    again = settle(settlement.booked, state, evaluation, made, awarding=True)
    assert (list(again.asked), list(again.booked)) == ([], list(settlement.booked))
