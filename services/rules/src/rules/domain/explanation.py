"""An award's arithmetic in words that staff and members can follow."""

from fractions import Fraction

from rules.domain.book import Explained
from rules.domain.rounding import Rounding
from rules.domain.rule import Band, Bands, Multiply, PerMoney, PerOrder, PerUnit, Rule
from rules.domain.rule_set import RuleSet

_ROUNDED = {
    Rounding.FLOOR: "rounded down",
    Rounding.HALF_UP: "rounded to the nearest, a half up",
    Rounding.HALF_EVEN: "rounded to the nearest, a half to the even",
    Rounding.CEIL: "rounded up",
}


def arithmetic(explained: Explained, rules: RuleSet, *, currency: str, digits: int, rate: str | None = None) -> str:
    """Such as `19.99 EUR × 1 per 1.00 × 1.5 (double-days) = 29.985, rounded down: 29`."""
    rule = rules.rules[rules.place[explained.rule]]
    words = _base(rule, explained, currency, digits)
    if rate is not None:
        words += f" at {rate}"
    for promotion in explained.promotions:
        effect = rules.rules[rules.place[promotion]].effect
        assert isinstance(effect, Multiply)
        words += f" × {decimal(effect.factor)} ({promotion})"
    exact = Fraction(explained.numerator, explained.denominator)
    if exact == explained.points:
        return f"{words} = {explained.points}"
    return f"{words} = {decimal(exact)}, {_ROUNDED[rule.rounding]}: {explained.points}"


def _base(rule: Rule, explained: Explained, currency: str, digits: int) -> str:
    effect = rule.effect
    basis = f"{money(explained.basis, digits)} {currency}"
    if isinstance(effect, PerMoney):
        groups = " in whole groups" if effect.whole_groups else ""
        return f"{basis} × {decimal(effect.points)} per {money(effect.per, digits)}{groups}"
    if isinstance(effect, PerUnit):
        return f"{explained.basis} units × {decimal(effect.points)}"
    if isinstance(effect, PerOrder):
        return f"{decimal(effect.points)} for the order"
    assert isinstance(effect, Bands)
    bands = ", ".join(_band(band, digits) for band in effect.bands)
    return f"{basis} in {'marginal ' if effect.marginal else ''}bands ({bands})"


def _band(band: Band, digits: int) -> str:
    rate = f"{decimal(band.points)} per {money(band.per, digits)}"
    return rate if band.up_to is None else f"{rate} up to {money(band.up_to, digits)}"


def money(minor: int, digits: int) -> str:
    """Minor units as a plain decimal."""
    if not digits:
        return str(minor)
    whole, rest = divmod(minor, 10**digits)
    return f"{whole}.{rest:0{digits}d}"


def decimal(exact: Fraction) -> str:
    """A fraction as a plain decimal where it has an end, else to six places with a sign that it goes on."""
    for places in range(13):
        scaled = exact * 10**places
        if scaled.denominator == 1:
            return money(scaled.numerator, places)
    return f"{money(int(exact * 10**6), 6)}…"
