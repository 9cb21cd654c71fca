"""An award's arithmetic in words."""

from fractions import Fraction

import pytest

from rules.domain.book import Explained
from rules.domain.explanation import arithmetic, decimal
from rules.domain.rounding import Rounding
from rules.domain.rule import Band, Bands, Multiply, PerOrder, PerUnit, Rule
from rules.domain.verdict import REASONS, Verdict
from rules.testing import evaluated, line, one_per_unit, order, rule_set


def told(*rules: Rule, price: int = 1999, quantity: int = 1) -> str:
    made = rule_set(*rules)
    earned = evaluated(made, order(line(1, price, quantity))).earned[0]
    explained = Explained(
        made.rules[earned.rule].id, earned.points, earned.numerator, earned.denominator, earned.basis,
        earned.weights, made.names(earned.promotions),
    )  # fmt: skip
    return arithmetic(explained, made, currency="EUR", digits=2)


def test_the_arithmetic_is_told_with_its_rounding() -> None:
    half = Rule("half-more", Multiply(Fraction(3, 2)))
    assert told(one_per_unit(), half) == "19.99 EUR × 1 per 1.00 × 1.5 (half-more) = 29.985, rounded down: 29"
    assert told(one_per_unit(per=200, points="10", whole_groups=True), price=700) == (
        "7.00 EUR × 10 per 2.00 in whole groups = 30"
    )
    assert told(one_per_unit(per=300, rounding=Rounding.HALF_UP), price=200) == (
        "2.00 EUR × 1 per 3.00 = 0.666666…, rounded to the nearest, a half up: 1"
    )
    assert told(Rule("five", PerUnit(Fraction(5))), quantity=3) == "3 units × 5 = 15"
    assert told(Rule("visit", PerOrder(Fraction(50)))) == "50 for the order = 50"
    bands = Bands((Band(1000, Fraction(1), 100), Band(None, Fraction(2), 100)), marginal=True)
    assert told(Rule("bands", bands), price=2000) == (
        "20.00 EUR in marginal bands (1 per 1.00 up to 10.00, 2 per 1.00) = 30"
    )


@pytest.mark.parametrize(
    ("exact", "text"), [(Fraction(5), "5"), (Fraction(1, 8), "0.125"), (Fraction(2, 3), "0.666666…")]
)
def test_fractions_are_told_as_decimals(exact: Fraction, text: str) -> None:
    assert decimal(exact) == text


def test_every_verdict_has_words() -> None:
    assert set(REASONS) == set(Verdict)
