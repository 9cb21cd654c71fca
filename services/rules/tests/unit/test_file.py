"""A shop as a file: words to documents and back."""

from pathlib import Path

import pytest

from rules.documents import RuleSetDocument
from rules.file import FileFault, read, write

FILE = """
shop: corner
programme: {on: true, zone: Europe/Madrid, currency: EUR, shortfall: debt}
defaults: {valid: 12 months to month end}
rules:
  base: {title: "All: a point a euro", earn: 1 per 1.00, exclude: {categories: tobacco}}
  bread: {earn: 10 points per 2.00 in whole groups, match: {categories: [bread, cake]}, valid: end of year}
  gift: {earn: 5 per unit, match: {products: [12345, APL-1]}, valid: forever, granted: 14 days after fulfilled}
  big: {earn: 50 per order, when: {minimum: 100.00, coupons: [0123, SPRING], channels: online}}
  banded: {earn: {bands: [1 per 1.00 up to 1000.00, 1.5 per 1.00], marginal: true}, basis: [with_tax, shipping]}
  weekend:
    multiply: {by: 1.5, of: base}
    when: {weekdays: [sat, sun], hours: 17:00-20:30, from: 2026-11-27, until: 2026-11-30T12:00}
  double: {multiply: 2, exclusive: true, priority: 3, rounding: half_up}
using:
  online: {points_per_unit: "100", step: 10, maximum_share_percent: 12.50}
"""


def test_thresholds_of_approval_are_in_the_file() -> None:
    text = FILE.replace("shortfall: debt}", "shortfall: debt, approval_above: {points: 1000, stored_value: 5000}}")
    file = read(text)
    assert file.programme.approval_above == {"points": 1_000, "stored_value": 5_000}
    again = read(write(file.shop, file.programme, file.rules, file.using))
    assert again.programme == file.programme
    with pytest.raises(FileFault, match="approval_above"):
        read(text.replace("points: 1000", "gold: 1000"))


def test_words_become_the_documents_of_the_api() -> None:
    file = read(FILE)
    assert (file.shop, file.programme.on, file.programme.currency, file.programme.shortfall) == (
        "corner",
        True,
        "EUR",
        "debt",
    )
    rules = file.rules.canonical()["rules"]
    year = {"months": 12, "to_month_end": True}
    assert rules == {
        "base": {
            "title": "All: a point a euro",
            "earn": {"points": "1", "per": 100},
            "exclude": {"categories": ["tobacco"]},
            "valid": year,
        },
        "bread": {
            "earn": {"points": "10", "per": 200, "whole_groups": True},
            "match": {"categories": ["bread", "cake"]},
            "valid": {"end_of": "year"},
        },
        "gift": {
            "earn": {"points": "5", "each": "unit"},
            "match": {"products": ["12345", "APL-1"]},
            "granted": {"on": "fulfilled", "after_days": 14},
        },
        "big": {
            "earn": {"points": "50", "each": "order"},
            "when": {"minimum": 10_000, "coupons": ["0123", "SPRING"], "channels": ["online"]},
            "valid": year,
        },
        "banded": {
            "earn": {
                "bands": [{"points": "1", "per": 100, "up_to": 100_000}, {"points": "1.5", "per": 100}],
                "marginal": True,
            },
            "basis": ["with_tax", "shipping"],
            "valid": year,
        },
        "weekend": {
            "multiply": {"by": "1.5", "of": ["base"]},
            "when": {
                "weekdays": ["sat", "sun"],
                "hours": {"from": "17:00", "until": "20:30"},
                "from": "2026-11-27",
                "until": "2026-11-30T12:00",
            },
            "valid": year,
        },
        "double": {"multiply": {"by": "2"}, "exclusive": True, "priority": 3, "rounding": "half_up", "valid": year},
    }
    assert file.using == {"online": {"points_per_unit": "100", "step": 10, "maximum_share_percent": "12.50"}}


def test_what_is_written_reads_the_same() -> None:
    file = read(FILE)
    text = write(file.shop, file.programme, file.rules, file.using)
    again = read(text)
    assert (again.programme, again.rules.canonical(), again.using) == (
        file.programme,
        file.rules.canonical(),
        file.using,
    )
    assert write(again.shop, again.programme, again.rules, again.using) == text
    assert "earn: 10 per 2.00 in whole groups" in text
    assert "granted: 14 days after fulfilled" in text


def test_the_example_of_the_readme_is_a_shop() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    example = readme.partition("```yaml\n")[2].partition("```")[0]
    assert len(read(example).rules.rules) == 7


def test_amounts_have_the_decimals_of_the_shops_currency() -> None:
    yen = read("shop: s\nprogramme: {on: true, zone: Asia/Tokyo, currency: JPY}\nrules: {a: {earn: 1 per 100}}")
    assert yen.rules.canonical()["rules"]["a"]["earn"]["per"] == 100
    with pytest.raises(FileFault, match="at most 0 decimals"):
        read("shop: s\nprogramme: {on: true, zone: Asia/Tokyo, currency: JPY}\nrules: {a: {earn: 1 per 1.50}}")


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ("{a: {earn: lots}}", "rules.a.earn: `lots` is not like"),
        ("{a: {earn: 1 per 1.00, colour: red}}", r"rules\.rules\.a\.colour"),
        ("{a: {earn: 1 per 1.00, valid: a while}}", "rules.a.valid: `a while` is not like"),
        ("{a: {earn: 1 per 1.00, granted: soon}}", "rules.a.granted"),
        ("{a: {multiply: 2}, b: {multiply: {by: 2, of: [zzz]}}}", "which the set does not have"),
        ("{a: {earn: 1 per 1.00}, a: {earn: 2 per 1.00}}", "`a` stands twice"),
        ("[1]", "expected names with values"),
        ("{a: {earn: 1 per 1.00, when: {from: someday}}}", "Invalid isoformat"),
    ],
)
def test_faults_say_where_and_why(rules: str, reason: str) -> None:
    with pytest.raises(FileFault, match=reason):
        read(f"shop: s\nprogramme: {{on: true, zone: UTC, currency: EUR}}\nrules: {rules}")


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"earn": {"points": "1"}},
        {"earn": {"points": "1", "per": 0}},
        {"earn": {"points": 1.5, "per": 100}},
        {"earn": {"points": "1", "per": 100, "each": "unit"}},
        {"earn": {"points": "1", "each": "unit", "whole_groups": True}},
        {"earn": {"bands": []}},
        {"earn": {"bands": [{"points": "1", "per": 1}, {"points": "1", "per": 1}]}},
        {"earn": {"bands": [{"points": "1", "per": 1, "up_to": 5}, {"points": "1", "per": 1, "up_to": 5}]}},
        {"earn": {"points": "1", "per": 1}, "multiply": {"by": "2"}},
        {"multiply": {"by": "-1"}},
        {"earn": {"points": "1", "per": 1}, "valid": {"days": 1, "months": 1}},
        {"earn": {"points": "1", "per": 1}, "basis": ["shipping"], "match": {"tags": ["x"]}},
        {"earn": {"points": "1", "per": 1}, "when": {"hours": {"from": "25:00", "until": "26:00"}}},
        {"earn": {"points": "1", "per": 1}, "when": {"minimum": "1.00"}},
    ],
)
def test_rules_that_mean_nothing_are_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        RuleSetDocument.model_validate({"rules": {"a": rule}})
