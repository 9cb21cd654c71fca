"""What an order earns, with the figures that the semantics promise."""

from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction

import pytest

from contracts.orders import Tender
from rules.domain.calendar import Hours, Window
from rules.domain.order import Conversion, Facts
from rules.domain.rounding import Rounding, rounded
from rules.domain.rule import (
    Band,
    Bands,
    Basis,
    Conditions,
    CouponUse,
    Multiply,
    PerOrder,
    PerUnit,
    Rule,
    Scope,
)
from rules.domain.rule_set import Combine
from rules.domain.verdict import Verdict
from rules.testing import PLACED, evaluated, line, one_per_unit, order, rule_set


def double(rule_id: str = "double", factor: str = "2", **fields: object) -> Rule:
    of = fields.pop("of", frozenset())
    return Rule(rule_id, Multiply(Fraction(factor), of), **fields)  # type: ignore[arg-type]


def in_category(*categories: str) -> Scope:
    return Scope(categories=frozenset(categories))


def test_whole_groups() -> None:
    assert evaluated(rule_set(one_per_unit(points="10", per=200, whole_groups=True)), order(700)).points == 30


def test_whole_groups_small() -> None:
    assert evaluated(rule_set(one_per_unit(points="5", per=250, whole_groups=True)), order(300)).points == 5


def test_whole_groups_count_the_award_and_not_each_line() -> None:
    rules = rule_set(one_per_unit(points="10", per=200, whole_groups=True))
    assert evaluated(rules, order(350, 350)).points == 30


def test_multiplier() -> None:
    assert evaluated(rule_set(one_per_unit(), double(factor="1.5")), order(400)).points == 6
    assert evaluated(rule_set(one_per_unit(), double(factor="3")), order(500)).points == 15


def test_multiplier_exact() -> None:
    assert evaluated(rule_set(one_per_unit(), double(factor="1.5")), order(1999)).points == 29


def test_multipliers_compound_and_the_award_names_them() -> None:
    rules = rule_set(one_per_unit(), double("a", "1.5"), double("b", "1.5"))
    (award,) = evaluated(rules, order(1000)).earned
    assert award.points == 22
    assert award.promotions == 0b110


@pytest.mark.parametrize(("amount", "points"), [(1000, 1000), (1001, 1501), (6000, 12000), (10001, 0)])
def test_bands_slab(amount: int, points: int) -> None:
    assert evaluated(rule_set(Rule("bands", Bands(BANDS))), order(amount * 100)).points == points


@pytest.mark.parametrize(("amount", "points"), [(1000, 1000), (1001, 1001), (6000, 9000), (10001, 17000)])
def test_bands_marginal(amount: int, points: int) -> None:
    assert evaluated(rule_set(Rule("bands", Bands(BANDS, marginal=True))), order(amount * 100)).points == points


BANDS = (
    Band(100_000, Fraction(1), 100),
    Band(500_000, Fraction(3, 2), 100),
    Band(1_000_000, Fraction(2), 100),
)


def test_points_paid_part() -> None:
    tenders = (Tender(kind="points", amount=3000, points=300), Tender(kind="card", amount=7000))
    assert evaluated(rule_set(one_per_unit()), order(10_000, tenders=tenders)).points == 70
    counted = rule_set(one_per_unit(basis=Basis(points_paid=True)))
    assert evaluated(counted, order(10_000, tenders=tenders)).points == 100


def test_stored_value_counts_as_money_and_vouchers_lessen_the_basis() -> None:
    stored = (Tender(kind="stored_value", amount=3000),)
    voucher = (Tender(kind="voucher", amount=3000),)
    assert evaluated(rule_set(one_per_unit()), order(10_000, tenders=stored)).points == 100
    assert evaluated(rule_set(one_per_unit()), order(10_000, tenders=voucher)).points == 70


def test_points_that_paid_tax_lessen_a_basis_without_tax_in_proportion() -> None:
    taxed = order(
        line(1, 12_000, tax=2000), prices_include_tax=True, tenders=(Tender(kind="points", amount=6000, points=6),)
    )
    assert evaluated(rule_set(one_per_unit()), taxed).points == 50


@pytest.mark.parametrize(
    ("basis", "points"),
    [
        (Basis(), 80),
        (Basis(with_tax=True), 96),
        (Basis(before_discounts=True), 100),
        (Basis(before_discounts=True, with_tax=True), 116),
        (Basis(shipping=True), 85),
        (Basis(shipping=True, with_tax=True), 102),
    ],
)
def test_basis_is_a_setting_of_the_rule(basis: Basis, points: int) -> None:
    sold = order(line(1, 10_000, tax=1600, discount=1500), discount=500, shipping=500, shipping_tax=100)
    assert evaluated(rule_set(one_per_unit(basis=basis)), sold).points == points


def test_gift_cards_and_reward_lines_earn_only_where_the_rule_says_so() -> None:
    sold = order(1000, line(2, 2000, gift_card=True), line(3, 4000, reward=True))
    assert evaluated(rule_set(one_per_unit()), sold).points == 10
    assert evaluated(rule_set(one_per_unit(basis=Basis(gift_cards=True))), sold).points == 30
    assert evaluated(rule_set(one_per_unit(basis=Basis(gift_cards=True, reward_lines=True))), sold).points == 70


def test_the_most_specific_rule_claims_a_line_and_stacked_ones_add() -> None:
    rules = rule_set(
        one_per_unit(),
        Rule("dairy", PerUnit(Fraction(5)), scope=in_category("dairy")),
        Rule("brie", PerUnit(Fraction(50)), scope=Scope(products=frozenset({"brie"}))),
        Rule("extra", PerUnit(Fraction(1)), scope=in_category("dairy"), stack=True),
    )
    sold = order(
        line(1, 1000), line(2, 300, 2, categories=("dairy",)), line(3, 400, product="brie", categories=("dairy",))
    )
    points = {rules.rules[award.rule].id: award.points for award in evaluated(rules, sold).earned}
    assert points == {"base": 10, "dairy": 10, "brie": 50, "extra": 3}


def test_a_sku_counts_as_a_product() -> None:
    rules = rule_set(Rule("one", PerUnit(Fraction(5)), scope=Scope(products=frozenset({"APL-1KG"}))))
    assert evaluated(rules, order(line(1, 100, sku="APL-1KG"))).points == 5


def test_all_kinds_of_words_of_a_scope_must_hold() -> None:
    scope = Scope(categories=frozenset({"dairy"}), brands=frozenset({"Ours"}))
    rules = rule_set(Rule("own-dairy", PerUnit(Fraction(5)), scope=scope))
    sold = order(
        line(1, 100, categories=("dairy",), brand="Ours"),
        line(2, 100, categories=("dairy",), brand="Theirs"),
        line(3, 100, brand="Ours"),
    )
    assert evaluated(rules, sold).points == 5


def test_an_exclusive_rule_wins_alone_on_its_lines() -> None:
    rules = rule_set(
        one_per_unit(),
        double(),
        Rule("low", PerUnit(Fraction(3)), scope=in_category("deli"), exclusive=True, priority=1),
        Rule("high", PerUnit(Fraction(7)), scope=in_category("deli"), exclusive=True, priority=2),
        Rule("extra", PerUnit(Fraction(1)), scope=in_category("deli"), stack=True),
    )
    result = evaluated(rules, order(1000, line(2, 500, categories=("deli",))))
    assert {rules.rules[award.rule].id: award.points for award in result.earned} == {"base": 20, "high": 7}
    assert result.verdicts[rules.place["low"]] == Verdict.SILENCED
    assert result.verdicts[rules.place["extra"]] == Verdict.SILENCED


def test_of_exclusive_promotions_the_highest_priority_multiplies_alone() -> None:
    rules = rule_set(one_per_unit(), double("a", "2"), double("b", "5", exclusive=True, priority=3))
    assert evaluated(rules, order(1000)).points == 50


@pytest.mark.parametrize(
    ("combine", "points"),
    [(Combine.MOST_SPECIFIC, 10), (Combine.BEST_OF, 30), (Combine.SUM, 50)],
)
def test_rules_of_equal_standing_combine_as_the_set_says(combine: Combine, points: int) -> None:
    rules = rule_set(
        one_per_unit("a", priority=5), one_per_unit("b", points="3"), one_per_unit("c", points="1"), combine=combine
    )
    assert evaluated(rules, order(1000)).points == points


def test_the_best_is_chosen_line_by_line() -> None:
    fixed = Rule("fixed", PerUnit(Fraction(5)))
    rules = rule_set(one_per_unit(), fixed, combine=Combine.BEST_OF)
    assert evaluated(rules, order(100, 2000)).points == 25


def test_a_promotion_of_lines_multiplies_what_those_lines_earn() -> None:
    rules = rule_set(one_per_unit(), double(scope=in_category("dairy")))
    (award,) = evaluated(rules, order(1000, line(2, 1000, categories=("dairy",)))).earned
    assert award.points == 30
    assert award.weights == [1000, 2000, 0]


def test_a_promotion_may_be_for_some_rules_only() -> None:
    rules = rule_set(one_per_unit("a"), one_per_unit("b", stack=True), double(of=frozenset({"b"})))
    assert [award.points for award in evaluated(rules, order(1000)).earned] == [10, 20]


def test_a_fixed_award_per_order_is_weighed_by_the_lines_money() -> None:
    rules = rule_set(Rule("visit", PerOrder(Fraction(50))))
    (award,) = evaluated(rules, order(1000, 3000)).earned
    assert (award.points, award.weights) == (50, [1000, 3000, 0])


def test_a_fixed_award_on_what_cost_nothing_is_weighed_by_pieces() -> None:
    (award,) = evaluated(rule_set(Rule("gift", PerUnit(Fraction(5)))), order(line(1, 0, 3))).earned
    assert (award.points, award.weights) == (15, [3, 0])


def test_windows_are_half_open_in_the_shops_zone() -> None:
    window = Window(since=date(2026, 3, 29), until=date(2026, 3, 30))
    rules = rule_set(one_per_unit(conditions=Conditions(window=window)), zone="Europe/Madrid")
    # The day that summer time begins has 23 hours: 28 March 23:00 UTC to 29 March 22:00 UTC.
    first, end = datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    earned = [evaluated(rules, order(1000, placed_at=at)).points for at in (first - tick, first, end - tick, end)]
    assert earned == [0, 10, 10, 0]


def test_double_points_within_a_window_only() -> None:
    festival = double(conditions=Conditions(window=Window(since=date(2026, 3, 2), until=date(2026, 3, 3))))
    rules = rule_set(one_per_unit(), festival)
    assert evaluated(rules, order(1000)).points == 20
    later = evaluated(rules, order(1000, placed_at=PLACED + timedelta(days=1)))
    assert (later.points, later.verdicts) == (10, Verdict.FIRED + Verdict.OUTSIDE_WINDOW)


def test_windows_of_several_rules_overlap() -> None:
    rules = rule_set(
        one_per_unit("a", conditions=Conditions(window=Window(until=date(2026, 3, 3)))),
        one_per_unit("b", conditions=Conditions(window=Window(since=date(2026, 3, 2))), stack=True),
        one_per_unit("c", conditions=Conditions(window=Window(since=date(2026, 3, 3))), stack=True),
    )
    earned = [
        [
            rules.rules[a.rule].id
            for a in evaluated(rules, order(100, placed_at=datetime(2026, 3, d, tzinfo=UTC))).earned
        ]
        for d in (1, 2, 3, 4)
    ]
    assert earned == [["a"], ["a", "b"], ["b", "c"], ["b", "c"]]


def test_weekdays_and_hours_are_the_shops() -> None:
    evening = Conditions(weekdays=frozenset({1}), hours=Hours(time(18), time(20)))
    rules = rule_set(one_per_unit(conditions=evening), zone="Asia/Tokyo")
    assert evaluated(rules, order(100, placed_at=datetime(2026, 3, 2, 9, tzinfo=UTC))).points == 1
    assert evaluated(rules, order(100, placed_at=datetime(2026, 3, 2, 11, tzinfo=UTC))).verdicts == Verdict.WRONG_HOUR
    assert evaluated(rules, order(100, placed_at=datetime(2026, 3, 3, 9, tzinfo=UTC))).verdicts == Verdict.WRONG_WEEKDAY


def test_hours_may_run_over_midnight() -> None:
    night = Hours(time(22), time(2))
    assert [night.hold(time(hour)) for hour in (21, 22, 1, 2)] == [False, True, True, False]


def test_a_minimum_is_inclusive_and_leaves_out_what_does_not_count() -> None:
    rules = rule_set(one_per_unit(conditions=Conditions(minimum=2000), exclude=in_category("tobacco")))
    tobacco = line(2, 5000, categories=("tobacco",))
    assert evaluated(rules, order(2000, tobacco)).points == 20
    below = evaluated(rules, order(1999, tobacco))
    assert (below.points, below.verdicts) == (0, Verdict.BELOW_MINIMUM)


def test_first_orders_coupons_and_channels_are_conditions() -> None:
    def points(conditions: Conditions, *, first: bool = False, **fields: object) -> int:
        return evaluated(rule_set(one_per_unit(conditions=conditions)), order(100, **fields), Facts(first)).points

    assert [points(Conditions(first_order=True), first=first) for first in (True, False)] == [1, 0]
    assert [points(Conditions(coupons=CouponUse.NONE), coupons=c) for c in ((), ("X",))] == [1, 0]
    assert [points(Conditions(coupons=CouponUse.ANY), coupons=c) for c in ((), ("X",))] == [0, 1]
    assert [points(Conditions(coupons=frozenset({"X"})), coupons=c) for c in (("Y",), ("Y", "X"))] == [0, 1]
    assert [points(Conditions(channels=frozenset({"pos"})), channel=c) for c in ("pos", "online")] == [1, 0]


def test_points_are_earned_in_the_shops_currency_at_the_stored_rate_and_rounded_at_the_end() -> None:
    # 1,000 yen at 0.0062 euros are 6.20 euros; minor units: 1 yen = 0.62 cents.
    assert evaluated(rule_set(one_per_unit(points="10")), order(1000), conversion=Conversion(62, 100)).points == 62
    least = rule_set(one_per_unit(conditions=Conditions(minimum=620)))
    assert evaluated(least, order(1000), conversion=Conversion(62, 100)).points == 6
    assert evaluated(least, order(999), conversion=Conversion(62, 100)).points == 0


def test_shipping_earns_by_order_wide_rules_that_say_so_and_is_doubled_with_them() -> None:
    rules = rule_set(one_per_unit(basis=Basis(shipping=True)), double())
    (award,) = evaluated(rules, order(1000, shipping=500)).earned
    assert (award.points, award.weights) == (30, [1000, 500])


@pytest.mark.parametrize(
    ("mode", "of_25_tenths", "of_35_tenths", "of_21_tenths"),
    [
        (Rounding.FLOOR, 2, 3, 2),
        (Rounding.HALF_UP, 3, 4, 2),
        (Rounding.HALF_EVEN, 2, 4, 2),
        (Rounding.CEIL, 3, 4, 3),
    ],
)
def test_the_rule_names_its_rounding(mode: Rounding, of_25_tenths: int, of_35_tenths: int, of_21_tenths: int) -> None:
    assert [rounded(n, 10, mode) for n in (25, 35, 21)] == [of_25_tenths, of_35_tenths, of_21_tenths]


def test_every_rule_has_a_verdict() -> None:
    rules = rule_set(
        one_per_unit(),
        one_per_unit("also"),
        one_per_unit("tiny", points="1", per=1_000_000, stack=True),
        Rule("fish", PerUnit(Fraction(1)), scope=in_category("fish")),
        double("unused", of=frozenset({"fish"})),
    )
    assert list(evaluated(rules, order(1000)).verdicts) == [
        Verdict.FIRED,
        Verdict.OUTRANKED,
        Verdict.NO_POINTS,
        Verdict.NOTHING_IN_SCOPE,
        Verdict.NOTHING_TO_MULTIPLY,
    ]
