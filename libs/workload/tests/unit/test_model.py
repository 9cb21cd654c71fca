"""The model against the vectors of the exact semantics: it must be right before it judges anybody."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from contracts.orders import Cancellation, Line, OrderPaid, Refund, RefundLine, Tender
from workload.model import Shop, half_up, returned_fractions, spread

PAID = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday


def shop(tmp_path: Path, rules: str) -> Shop:
    """A shop with these rules, in the words of a shop's file."""
    file = tmp_path / "shop.yaml"
    indented = "\n".join(f"  {line}" for line in rules.strip().splitlines())
    file.write_text(f"shop: s\nprogramme: {{zone: Europe/Madrid, currency: EUR}}\nrules:\n{indented}\n")
    return Shop.read(file)


def order(*prices: int, **given: Any) -> OrderPaid:
    """A paid order of lines at these prices."""
    lines = tuple(
        Line(line=str(number), product=f"p{number}", quantity=1, unit_price=price)
        for number, price in enumerate(prices, start=1)
    )
    fields = {"lines": lines, "member": "m", "placed_at": PAID, "paid_at": PAID, **given}
    return OrderPaid(shop="s", order="o", revision=1, currency="EUR", **fields)


def refund(number: int, *lines: RefundLine, amount: int | None = None) -> Refund:
    """A return, some days later."""
    return Refund(refund=f"r{number}", at=PAID + timedelta(days=number), lines=lines, amount=amount)


@pytest.mark.parametrize(
    ("earn", "price", "points"),
    [
        ("10 per 2.00 in whole groups", 700, 30),  # whole_groups
        ("5 per 2.50 in whole groups", 300, 5),  # whole_groups_small
        ("1 per 1.00", 1_999, 19),
        ("7 per unit", 1_999, 7),
        ("50 per order", 1_999, 50),
        ("{bands: [1 per 0.01 up to 10.00, 1.5 per 0.01 up to 50.00, 2 per 0.01 up to 100.00]}", 1_000, 1_000),
        ("{bands: [1 per 0.01 up to 10.00, 1.5 per 0.01 up to 50.00, 2 per 0.01 up to 100.00]}", 6_000, 12_000),
        ("{bands: [1 per 0.01 up to 10.00, 1.5 per 0.01 up to 50.00, 2 per 0.01], marginal: true}", 6_000, 9_000),
    ],
)
def test_what_a_rule_gives(tmp_path: Path, earn: str, price: int, points: int) -> None:
    assert shop(tmp_path, f"base: {{earn: {earn}}}").kept(order(price), first_order=False) == {"base": points}


@pytest.mark.parametrize(("rounding", "points"), [("floor", 29), ("half_up", 30), ("half_even", 30), ("ceil", 30)])
def test_multiplier_exact(tmp_path: Path, rounding: str, points: int) -> None:
    """19.99 at 1 per unit × 1.5 is 29.985, rounded once."""
    rules = f"base: {{earn: 1 per 1.00, rounding: {rounding}}}\npromotion: {{multiply: 1.5}}"
    assert shop(tmp_path, rules).kept(order(1_999), first_order=False) == {"base": points}


def test_spread() -> None:
    assert spread(2_500, [5_000, 2_000, 2_000, 2_000]) == [1_136, 455, 455, 454]
    assert spread(5, [0, 0]) == [3, 2]
    assert spread(7, []) == []


def test_half_up_takes_a_half_upwards() -> None:
    assert [half_up(Fraction(n, 2)) for n in (1, 2, 3, 5)] == [1, 1, 2, 3]


def test_refund_halves(tmp_path: Path) -> None:
    """An order of 10.00 earned 15; returns of 3.33, 3.33 and 3.34 take 5 each."""
    rules = shop(tmp_path, "base: {earn: 1 per 1.00}\npromotion: {multiply: 1.5}")
    returns = [refund(number, amount=amount) for number, amount in enumerate((333, 333, 334), start=1)]
    left = [
        sum(rules.kept(order(1_000, refunds=tuple(returns[:count])), first_order=False).values()) for count in range(4)
    ]
    assert left == [15, 10, 5, 0]


def test_per_line_return(tmp_path: Path) -> None:
    """Line A earned 20 by its own rule, B nothing: B comes back for nothing, then A for all."""
    rules = shop(tmp_path, "a: {match: {products: [p1]}, earn: 1 per 1.00}")
    b, a = refund(1, RefundLine(line="2")), refund(2, RefundLine(line="1"))
    assert rules.kept(order(2_000, 2_000, refunds=(b,)), first_order=False) == {"a": 20}
    assert rules.kept(order(2_000, 2_000, refunds=(b, a)), first_order=False) == {}


def test_points_paid_part(tmp_path: Path) -> None:
    """Of 100.00, 30.00 are paid with points; the rest earns."""
    tenders = (Tender(kind="points", amount=3_000, points=300, checkout="c"), Tender(kind="card", amount=7_000))
    rules = shop(tmp_path, "base: {earn: 1 per 1.00}")
    assert rules.kept(order(10_000, tenders=tenders), first_order=False) == {"base": 70}


def test_the_narrowest_rule_claims_a_line_and_stacked_ones_add(tmp_path: Path) -> None:
    rules = shop(
        tmp_path,
        """
base: {earn: 1 per 1.00}
product: {match: {products: [p2]}, earn: 10 per unit}
extra: {stack: true, earn: 0.5 per 1.00}
""",
    )
    assert rules.kept(order(1_000, 2_000), first_order=False) == {"base": 10, "product": 10, "extra": 15}


def test_an_exclusive_rule_gives_alone(tmp_path: Path) -> None:
    rules = shop(
        tmp_path,
        """
base: {earn: 1 per 1.00}
none: {match: {products: [p2]}, exclusive: true, earn: 0 per 1.00}
extra: {stack: true, earn: 0.5 per 1.00}
double: {multiply: 2}
""",
    )
    assert rules.kept(order(1_000, 2_000), first_order=False) == {"base": 20, "extra": 10}


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("{weekdays: [mon]}", True),
        ("{weekdays: [sat, sun]}", False),
        ("{hours: 13:00-14:00}", True),  # 12:00 UTC is 13:00 in Madrid
        ("{hours: 12:00-13:00}", False),
        ("{minimum: 10.00}", True),
        ("{minimum: 10.01}", False),
        ("{channels: [pos]}", False),
        ("{coupons: none}", True),
        ("{coupons: any}", False),
        ("{first_order: true}", False),
        ("{from: 2026-03-02, until: 2026-03-03}", True),
        ("{until: 2026-03-02}", False),
    ],
)
def test_conditions(tmp_path: Path, when: str, holds: bool) -> None:
    rules = shop(tmp_path, f"base: {{earn: 1 per 1.00, when: {when}}}")
    assert rules.kept(order(1_000), first_order=False) == ({"base": 10} if holds else {})


def test_nothing_is_kept_of_orders_that_do_not_count(tmp_path: Path) -> None:
    rules = shop(tmp_path, "base: {earn: 1 per 1.00}\nlate: {stack: true, earn: 1 per 1.00, granted: fulfilled}")
    cancelled = (Cancellation(cancellation="c", at=PAID + timedelta(hours=1), paid_at=PAID),)
    assert rules.kept(order(1_000), first_order=False) == {"base": 10}
    assert rules.kept(order(1_000, fulfilled_at=PAID), first_order=False) == {"base": 10, "late": 10}
    for without in ({"member": None}, {"test": True}, {"paid_at": None}, {"cancellations": cancelled}):
        assert rules.kept(order(1_000, **without), first_order=False) == {}
    again = {"cancellations": cancelled, "paid_at": PAID + timedelta(hours=2)}
    assert rules.kept(order(1_000, **again), first_order=False) == {"base": 10}


def test_returned_fractions_of_pieces_and_money() -> None:
    two = (
        Line(line="1", product="p1", quantity=4, unit_price=250),
        Line(line="2", product="p2", quantity=1, unit_price=1_000),
    )
    sold = order(lines=two, refunds=(refund(1, RefundLine(line="1", quantity=1)), refund(2, amount=875)))
    assert returned_fractions(sold) == [Fraction(5, 8), Fraction(1, 2), 0]
