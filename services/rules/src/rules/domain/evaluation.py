"""What an order earns by a rule set: `evaluate(rule_set, sale, amounts, facts) → Evaluation`, pure and exact.

Everything is computed with integers as fractions `numerator / denominator` through all multipliers; each award is
rounded once, with its own rule's mode. An award records what each line weighs in it: the line's basis times the
promotions on it, so that a return takes back what that line gave.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm
from typing import Final, NamedTuple

from rules.domain.order import SAME_CURRENCY, Amounts, Conversion, Facts, Sale
from rules.domain.rounding import rounded
from rules.domain.rule import Band, Bands, Basis, PerMoney, PerOrder, PerUnit, Rule
from rules.domain.rule_set import Claim, Combine, Factor, RuleSet
from rules.domain.verdict import Verdict

_NOTHING_IN_SCOPE: Final = Verdict.NOTHING_IN_SCOPE.value


class Earned(NamedTuple):
    """One award that a rule gives for an order."""

    rule: int
    """The rule's place in its set."""
    points: int
    """Rounded, at least 1."""
    numerator: int
    """The exact points before rounding, over `denominator`."""
    denominator: int
    basis: int
    """Minor units of the order's currency that count, or units sold for a rule per unit."""
    weights: Sequence[int]
    """What each line, and last shipping, weighs in it."""
    promotions: int
    """Mask of the rules that multiplied it."""


class Evaluation(NamedTuple):
    """All awards for an order, and a verdict for each rule of the set."""

    earned: Sequence[Earned]
    verdicts: str

    @property
    def points(self) -> int:
        """All of it."""
        return sum(award.points for award in self.earned)


def evaluate(
    rule_set: RuleSet, sale: Sale, amounts: Amounts, facts: Facts, conversion: Conversion = SAME_CURRENCY
) -> Evaluation:
    """What the order as sold earns; what came back later is not asked here."""
    verdicts = [_NOTHING_IN_SCOPE] * len(rule_set.rules)
    live = rule_set.live(sale, first_order=facts.first_order, verdicts=verdicts)
    scoped, counted = rule_set.masks(sale.lines)
    money = _Money(sale, amounts)
    for index, minimum in rule_set.minima:
        if live >> index & 1 and not _reaches(minimum, rule_set.rules[index], index, counted, money, conversion):
            verdicts[index] = Verdict.BELOW_MINIMUM
            live &= ~(1 << index)
    groups: dict[int, list[int]] = {}
    for place, mask in enumerate(scoped):
        mask &= live
        if mask:
            if mask in groups:
                groups[mask].append(place)
            else:
                groups[mask] = [place]
    if amounts.shipping_payable and rule_set.of_shipping & live & ~rule_set.multipliers:
        groups.setdefault(rule_set.of_shipping & live, []).append(-1)
    parts, outranked, silenced = _shared_out(rule_set, groups, sale, money, conversion)
    earned = [
        award
        for index in sorted(parts)
        if (award := _award(rule_set, index, parts[index], sale, money, conversion)) is not None
    ]
    fired = multiplied = 0
    for award in earned:
        fired |= 1 << award.rule
        multiplied |= award.promotions
    matched = 0
    for mask in groups:
        matched |= mask
    _write(verdicts, matched, fired | multiplied, outranked, silenced, rule_set)
    return Evaluation(earned, "".join(verdicts))


Parts = dict[int, list[tuple[int, list[int]]]]
"""For each rule: (mask of promotions, lines) of its award."""


def _shared_out(
    rule_set: RuleSet, groups: dict[int, list[int]], sale: Sale, money: "_Money", conversion: Conversion
) -> tuple[Parts, int, int]:
    """Which lines go to which rule under which promotions; and the masks of rules that were beaten somewhere."""
    parts: Parts = {}
    outranked = silenced = 0
    for mask, places in groups.items():
        claim = rule_set.claim(mask)
        outranked |= claim.outranked
        silenced |= claim.silenced
        if len(claim.claimants) > 1 and rule_set.combine is Combine.BEST_OF:
            outranked |= _share_best(rule_set, claim, places, sale, money, conversion, parts)
        else:
            for index in claim.claimants:
                parts.setdefault(index, []).append((claim.multipliers & rule_set.multipliers_of[index], places))
        for index in claim.stacked:
            parts.setdefault(index, []).append((claim.multipliers & rule_set.multipliers_of[index], places))
    return parts, outranked, silenced


def _share_best(
    rule_set: RuleSet,
    claim: Claim,
    places: list[int],
    sale: Sale,
    money: "_Money",
    conversion: Conversion,
    parts: Parts,
) -> int:
    """Give each line to the rule that gives most on it; of equals to the one that comes first."""
    beaten = 0
    for place in places:
        worth = {
            index: _line_points(rule_set, index, place, claim.multipliers, sale, money, conversion)
            for index in claim.claimants
        }
        best = max(claim.claimants, key=lambda index: (worth[index], -index))
        beaten |= sum(1 << index for index in claim.claimants if index != best)
        parts.setdefault(best, []).append((claim.multipliers & rule_set.multipliers_of[best], [place]))
    return beaten


def _line_points(
    rule_set: RuleSet, index: int, place: int, multipliers: int, sale: Sale, money: "_Money", conversion: Conversion
) -> Fraction:
    rule = rule_set.rules[index]
    factor = rule_set.factor(multipliers & rule_set.multipliers_of[index])
    if isinstance(rule.effect, PerUnit):
        quantity = sale.lines[place].quantity if place >= 0 else 0
        return rule.effect.points * quantity * Fraction(*factor)
    return Fraction(*_exact(rule, {factor: money.of(rule.basis)[place]}, conversion))


def _award(
    rule_set: RuleSet,
    index: int,
    parts: list[tuple[int, list[int]]],
    sale: Sale,
    money: "_Money",
    conversion: Conversion,
) -> Earned | None:
    rule = rule_set.rules[index]
    effect = rule.effect
    if type(effect) is PerOrder:
        # Only order-wide promotions that hold on all of it multiply what is no line's.
        promotions = rule_set.order_wide
        for mask, _ in parts:
            promotions &= mask
        parts = [(promotions, [place for _, places in parts for place in places])]
    per_unit = type(effect) is PerUnit
    fixed = per_unit or type(effect) is PerOrder
    weighing = money.of_sale(rule.basis) if fixed else money.of(rule.basis)
    weights = [0] * (len(sale.lines) + 1)
    by_factor: dict[Factor, int] = {}
    promotions = 0
    for mask, places in parts:
        promotions |= mask
        basis = 0
        for place in places:
            weights[place] = money_here = weighing[place]
            basis += money_here
        if per_unit:
            basis = sum([sale.lines[place].quantity for place in places if place >= 0])
        factor = rule_set.factor(mask)
        by_factor[factor] = by_factor.get(factor, 0) + basis
    if fixed and not any(weights):
        _weigh_by_pieces(weights, parts, sale)
    if len(by_factor) > 1:
        _weigh_by_factor(weights, parts, rule_set)
    numerator, denominator = _exact(rule, by_factor, conversion)
    points = rounded(numerator, denominator, rule.rounding)
    if points <= 0:
        return None
    return Earned(index, points, numerator, denominator, sum(by_factor.values()), weights, promotions)


def _weigh_by_pieces(weights: list[int], parts: list[tuple[int, list[int]]], sale: Sale) -> None:
    """A fixed award on lines that cost nothing comes back by the pieces."""
    for _, places in parts:
        for place in places:
            weights[place] = sale.lines[place].quantity if place >= 0 else 0


def _weigh_by_factor(weights: list[int], parts: list[tuple[int, list[int]]], rule_set: RuleSet) -> None:
    """Lines under different promotions gave in different measure, and so do they when they come back."""
    factors = [rule_set.factor(mask) for mask, _ in parts]
    scale = lcm(*[denominator for _, denominator in factors])
    for (_, places), (numerator, denominator) in zip(parts, factors, strict=True):
        times = numerator * (scale // denominator)
        if times != 1:
            for place in places:
                weights[place] *= times


def _exact(rule: Rule, by_factor: dict[Factor, int], conversion: Conversion) -> tuple[int, int]:
    """The points of an award as an exact fraction, from its basis under each factor."""
    effect = rule.effect
    if type(effect) is PerMoney:
        if effect.whole_groups:
            return _whole_groups(effect, by_factor, conversion)
        numerator, denominator = _times(by_factor)
        return (
            numerator * conversion.numerator * effect.points.numerator,
            denominator * conversion.denominator * effect.points.denominator * effect.per,
        )
    if type(effect) is PerUnit:
        numerator, denominator = _times(by_factor)
        return numerator * effect.points.numerator, denominator * effect.points.denominator
    if type(effect) is PerOrder:
        ((numerator, denominator),) = by_factor
        return numerator * effect.points.numerator, denominator * effect.points.denominator
    if type(effect) is Bands:
        exact = _in_bands(effect, by_factor, conversion)
        return exact.numerator, exact.denominator
    return 0, 1


def _times(by_factor: dict[Factor, int]) -> tuple[int, int]:
    """Σ basis × factor."""
    total, common = 0, 1
    for (numerator, denominator), basis in by_factor.items():
        total = total * denominator + basis * numerator * common
        common *= denominator
    return total, common


def _whole_groups(effect: PerMoney, by_factor: dict[Factor, int], conversion: Conversion) -> tuple[int, int]:
    """Full groups of all that counts, and once more, for what a promotion adds, of the part that it is on."""
    group = effect.per * conversion.denominator
    exact = Fraction(sum(by_factor.values()) * conversion.numerator // group)
    for factor, basis in by_factor.items():
        if len(by_factor) == 1:
            exact *= Fraction(*factor)
        else:
            exact += (Fraction(*factor) - 1) * (basis * conversion.numerator // group)
    exact *= effect.points
    return max(exact.numerator, 0), exact.denominator


def _in_bands(effect: Bands, by_factor: dict[Factor, int], conversion: Conversion) -> Fraction:
    """The whole amount says the rate; promotions multiply their parts of it."""
    basis = sum(by_factor.values())
    if not basis:
        return Fraction(0)
    amount = Fraction(basis * conversion.numerator, conversion.denominator)
    points = _marginal(effect.bands, amount) if effect.marginal else _slab(effect.bands, amount)
    return points * Fraction(*_times(by_factor)) / basis


def _slab(bands: Sequence[Band], amount: Fraction) -> Fraction:
    for band in bands:
        if band.up_to is None or amount <= band.up_to:
            return amount * band.points / band.per
    return Fraction(0)


def _marginal(bands: Sequence[Band], amount: Fraction) -> Fraction:
    points, below = Fraction(0), Fraction(0)
    for band in bands:
        upper = amount if band.up_to is None else min(amount, Fraction(band.up_to))
        if upper > below:
            points += (upper - below) * band.points / band.per
            below = upper
    return points


class _Money:
    """The lines' money by basis, and last shipping's; each basis computed once per order."""

    __slots__ = ("_amounts", "_by_basis", "_sale")

    def __init__(self, sale: Sale, amounts: Amounts) -> None:
        self._sale = sale
        self._amounts = amounts
        self._by_basis: dict[tuple[bool, bool, bool], list[int]] = {}

    def of(self, basis: Basis) -> list[int]:
        """Per line the money that counts, shipping as the last."""
        return self._of((basis.before_discounts, basis.with_tax, basis.points_paid))

    def of_sale(self, basis: Basis) -> list[int]:
        """The same whoever paid: by it fixed awards are shared over the lines."""
        return self._of((basis.before_discounts, basis.with_tax, True))

    def _of(self, kind: tuple[bool, bool, bool]) -> list[int]:
        known = self._by_basis.get(kind)
        if known is None:
            known = self._by_basis[kind] = self._computed(*kind)
        return known

    def _computed(self, before_discounts: bool, with_tax: bool, points_paid: bool) -> list[int]:
        sums = self._amounts
        shipping = sums.shipping_payable if with_tax else sums.shipping_net
        if not before_discounts:
            lines = [*(sums.payable if with_tax else sums.net), shipping]
        elif self._sale.prices_include_tax is with_tax:
            lines = [*sums.values, shipping]
        else:
            sign = 1 if with_tax else -1
            lines = [value + sign * tax for value, tax in zip(sums.values, sums.taxes, strict=True)]
            lines.append(shipping)
        if points_paid:
            return lines
        if not (any(sums.points) or any(sums.vouchers) or sums.shipping_points or sums.shipping_vouchers):
            return lines
        paid = [*map(sum, zip(sums.points, sums.vouchers, strict=True)), sums.shipping_points + sums.shipping_vouchers]
        # The part that points paid is a part of the price with tax; of another measure it is the same proportion.
        payable = [*sums.payable, sums.shipping_payable]
        return [
            (2 * line * (whole - part) + whole) // (2 * whole) if part else line
            for line, part, whole in zip(lines, paid, payable, strict=True)
        ]


def _reaches(
    minimum: int,
    rule: Rule,
    index: int,
    counted: Sequence[int],
    money: _Money,
    conversion: Conversion,
) -> bool:
    """Whether all that counts by the rule's basis and exclusions comes to its minimum."""
    basis = money.of(rule.basis)
    total = sum([amount for amount, mask in zip(basis, counted, strict=False) if mask >> index & 1])
    if rule.basis.shipping:
        total += basis[-1]
    return total * conversion.numerator >= minimum * conversion.denominator


def _write(verdicts: list[str], matched: int, fired: int, outranked: int, silenced: int, rule_set: RuleSet) -> None:
    """The verdicts of the rules that matched something."""
    while matched:
        bit = matched & -matched
        matched ^= bit
        index = bit.bit_length() - 1
        if fired & bit:
            verdicts[index] = Verdict.FIRED
        elif silenced & bit:
            verdicts[index] = Verdict.SILENCED
        elif outranked & bit:
            verdicts[index] = Verdict.OUTRANKED
        elif rule_set.multipliers & bit:
            verdicts[index] = Verdict.NOTHING_TO_MULTIPLY
        else:
            verdicts[index] = Verdict.NO_POINTS
