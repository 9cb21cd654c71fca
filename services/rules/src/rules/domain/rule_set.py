"""A version of a shop's rules, compiled once so that an order can be evaluated in microseconds.

Rules are numbered, and a set of rules is a bit mask. Which rules a line is in the scope of is looked up word by word;
which of them then give on that line depends on the mask alone and is remembered per mask. What is left per order is
arithmetic on integers.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from fractions import Fraction
from zoneinfo import ZoneInfo

from rules.domain.calendar import Hours, Lasting, Validity, instant_of
from rules.domain.order import Line, Sale
from rules.domain.rule import CouponUse, Multiply, PerOrder, Rule, Scope, Specificity
from rules.domain.verdict import Verdict

REMEMBERED = 10_000
"""Masks and ends remembered per rule set; orders of a shop look alike, and what does not is worked out again."""


class Combine(StrEnum):
    """What gives on a line that several rules of equal standing match."""

    MOST_SPECIFIC = "most_specific"
    BEST_OF = "best_of"
    SUM = "sum"


@dataclass(frozen=True, slots=True)
class Claim:
    """Who gives on lines that all live rules of one mask match."""

    claimants: tuple[int, ...]
    """Rules that compete for the line; more than one only where the best or the sum is asked for."""
    stacked: tuple[int, ...]
    """Rules that add to it."""
    multipliers: int
    """Mask of the promotions that multiply it."""
    outranked: int
    silenced: int


Words = tuple[tuple[str, ...], str | None, tuple[str, ...]]
"""Of a line: its categories, brand and tags."""

Factor = tuple[int, int]
"""What promotions come to together: numerator and denominator, in lowest terms."""


class RuleSet:
    """Rules of one version, ready to be evaluated. Equal for everybody: keep one per shop and version."""

    def __init__(
        self, version: int, rules: Sequence[Rule], *, zone: ZoneInfo, combine: Combine = Combine.MOST_SPECIFIC
    ) -> None:
        self.version = version
        self.rules = tuple(rules)
        self.zone = zone
        self.combine = combine
        self.place = {rule.id: index for index, rule in enumerate(self.rules)}
        self.asks_first_order = any(rule.conditions.first_order for rule in rules)
        bits = [(1 << index, rule) for index, rule in enumerate(self.rules)]
        self.multipliers = _mask(bits, lambda rule: isinstance(rule.effect, Multiply))
        self._exclusive = _mask(bits, lambda rule: rule.exclusive)
        self._stacked = _mask(bits, lambda rule: rule.stack or isinstance(rule.effect, PerOrder))
        self.of_shipping = _mask(
            bits,
            lambda rule: (
                rule.scope.specificity is Specificity.ORDER
                and (rule.basis.shipping or isinstance(rule.effect, Multiply))
            ),
        )
        """Rules that hold for shipping: order-wide ones whose basis has it, and order-wide promotions."""
        self.order_wide = _mask(bits, lambda rule: rule.scope.specificity is Specificity.ORDER)
        self.multipliers_of = tuple(
            sum(bit for bit, promotion in bits if _multiplies(promotion, rule)) for rule in self.rules
        )
        """For each rule, the promotions that may multiply it."""
        self._unwindowed = _mask(bits, lambda rule: rule.conditions.window is None)
        self._bounds, self._open = _windows(self.rules, zone)
        self._windowed = [index for index, rule in enumerate(self.rules) if rule.conditions.window is not None]
        self._checks = _checks(self.rules)
        self._needs_clock = any(rule.conditions.weekdays or rule.conditions.hours for rule in rules)
        self.minima = tuple(
            (index, rule.conditions.minimum) for index, rule in enumerate(self.rules) if rule.conditions.minimum
        )
        self._all = (1 << len(self.rules)) - 1
        self._scopes = _Words([rule.scope for rule in self.rules])
        self._excluding = _Words([rule.exclude for rule in self.rules])
        self._with_gift_cards = _mask(bits, lambda rule: rule.basis.gift_cards)
        self._with_reward_lines = _mask(bits, lambda rule: rule.basis.reward_lines)
        self._named_products = self._scopes.products | self._excluding.products
        self._by_words: dict[Words, tuple[int, int, int]] = {}
        self._claims: dict[int, Claim] = {}
        self._factors: dict[int, Factor] = {0: (1, 1)}
        self._names: dict[int, tuple[str, ...]] = {0: ()}
        self._ends: dict[tuple[Validity, date], datetime | None] = {}

    def live(self, sale: Sale, *, first_order: bool, verdicts: list[str]) -> int:
        """Mask of the rules whose conditions hold, minima aside; the others' verdicts are written down."""
        mask = self._unwindowed
        if self._bounds:
            mask |= self._open[bisect_right(self._bounds, sale.placed_at)]
            for index in self._windowed:
                if not mask >> index & 1:
                    verdicts[index] = Verdict.OUTSIDE_WINDOW
        if self._checks:
            clock = sale.placed_at.astimezone(self.zone) if self._needs_clock else sale.placed_at
            for index, check in self._checks:
                failed = check(sale, clock, first_order)
                if failed is not None:
                    verdicts[index] = failed
                    mask &= ~(1 << index)
        return mask

    def masks(self, lines: Sequence[Line]) -> tuple[list[int], list[int]]:
        """For each line: the rules that it is in the scope of, and those for which it counts at all."""
        scoped, counted = [], []
        remembered, judge, named = self._by_words.get, self._judge_words, self._named_products
        for line in lines:
            words = (line.categories, line.brand, line.tags)
            scope, of_any_product, counts = remembered(words) or judge(words)
            if line.product in named or line.sku in named:
                product, sku = line.product, line.sku or ""
                scope &= self._scopes.of_product(product, sku)
                counts &= ~self._excluding.any_product(product, sku)
            else:
                scope = of_any_product
            if line.gift_card:
                counts &= self._with_gift_cards
            if line.reward:
                counts &= self._with_reward_lines
            scoped.append(scope & counts)
            counted.append(counts)
        return scoped, counted

    def _judge_words(self, words: Words) -> tuple[int, int, int]:
        """Rules whose scope, products aside, takes a line with these words; those of them that name no product; and
        rules that do not exclude one."""
        if len(self._by_words) >= REMEMBERED:
            self._by_words.clear()
        scope, counts = self._scopes.every_kind(*words), self._all & ~self._excluding.any_of(*words)
        judged = self._by_words[words] = (scope, scope & self._scopes.of_any_product, counts)
        return judged

    def claim(self, mask: int) -> Claim:
        """Who gives where exactly these live rules match."""
        known = self._claims.get(mask)
        if known is None:
            if len(self._claims) >= REMEMBERED:
                self._claims.clear()
            known = self._claims[mask] = self._judge(mask)
        return known

    def factor(self, promotions: int) -> Factor:
        """What promotions come to when they compound."""
        known = self._factors.get(promotions)
        if known is None:
            product = Fraction(1)
            for index in _indices(promotions):
                effect = self.rules[index].effect
                if isinstance(effect, Multiply):
                    product *= effect.factor
            known = self._factors[promotions] = (product.numerator, product.denominator)
        return known

    def names(self, mask: int) -> tuple[str, ...]:
        """The ids of a mask's rules."""
        known = self._names.get(mask)
        if known is None:
            known = self._names[mask] = tuple(self.rules[index].id for index in _indices(mask))
        return known

    def expires_at(self, validity: Validity, activates_at: datetime) -> datetime | None:
        """When points end that activate at an instant; None for never."""
        if validity.lasting is Lasting.NEVER_ENDS:
            return None
        key = (validity, activates_at.astimezone(self.zone).date())
        known = self._ends.get(key)
        if known is None:
            if len(self._ends) >= REMEMBERED:
                self._ends.clear()
            known = self._ends[key] = validity.expires_at(key[1], self.zone)
        return known

    def _judge(self, mask: int) -> Claim:
        earning = mask & ~self.multipliers
        alone = self._first(earning & self._exclusive)
        if alone is not None:
            return Claim((alone,), (), 0, outranked=0, silenced=mask & ~(1 << alone))
        promotions = mask & self.multipliers
        winner = self._first(promotions & self._exclusive)
        multipliers = promotions if winner is None else 1 << winner
        stacked = tuple(_indices(earning & self._stacked))
        competing = list(_indices(earning & ~self._stacked))
        claimants = competing
        if self.combine is Combine.MOST_SPECIFIC and competing:
            claimants = [max(competing, key=self._standing)]
        outranked = sum(1 << index for index in competing if index not in claimants)
        return Claim(tuple(claimants), stacked, multipliers, outranked, silenced=promotions & ~multipliers)

    def _first(self, mask: int) -> int | None:
        """The rule with the highest priority; of equals the one that comes first."""
        return max(_indices(mask), key=lambda index: (self.rules[index].priority, -index), default=None)

    def _standing(self, index: int) -> tuple[int, int, int]:
        rule = self.rules[index]
        return rule.scope.specificity, rule.priority, -index


class _Words:
    """Which rules name a word of each kind, as masks."""

    __slots__ = ("_brands", "_categories", "_free", "_products", "_tags")

    def __init__(self, scopes: Sequence[Scope]) -> None:
        self._products, self._categories, self._brands, self._tags = (
            _by_word([words_of(scope) for scope in scopes]) for words_of in _KINDS
        )
        self._free = tuple(
            sum(1 << index for index, scope in enumerate(scopes) if not words_of(scope)) for words_of in _KINDS
        )

    @property
    def products(self) -> frozenset[str]:
        """Products and SKUs that any rule names."""
        return frozenset(self._products)

    @property
    def of_any_product(self) -> int:
        """Rules that name none."""
        return self._free[0]

    def of_product(self, product: str, sku: str) -> int:
        """Rules that name the product or SKU, or no product at all."""
        return self._free[0] | self._products.get(product, 0) | self._products.get(sku, 0)

    def any_product(self, product: str, sku: str) -> int:
        """Rules that name the product or SKU."""
        return self._products.get(product, 0) | self._products.get(sku, 0)

    def every_kind(self, categories: Sequence[str], brand: str | None, tags: Sequence[str]) -> int:
        """Rules of which each other kind of word that they name holds for a line with these."""
        _, of_category, of_brand, of_tag = self._free
        for word in categories:
            of_category |= self._categories.get(word, 0)
        of_brand |= self._brands.get(brand or "", 0)
        for word in tags:
            of_tag |= self._tags.get(word, 0)
        return of_category & of_brand & of_tag

    def any_of(self, categories: Sequence[str], brand: str | None, tags: Sequence[str]) -> int:
        """Rules that name any of these words."""
        named = self._brands.get(brand or "", 0)
        for word in categories:
            named |= self._categories.get(word, 0)
        for word in tags:
            named |= self._tags.get(word, 0)
        return named


_KINDS: tuple[Callable[[Scope], frozenset[str]], ...] = (
    lambda scope: scope.products,
    lambda scope: scope.categories,
    lambda scope: scope.brands,
    lambda scope: scope.tags,
)


def _by_word(words: Sequence[frozenset[str]]) -> dict[str, int]:
    masks: dict[str, int] = {}
    for index, own in enumerate(words):
        for word in own:
            masks[word] = masks.get(word, 0) | 1 << index
    return masks


Check = Callable[[Sale, datetime, bool], Verdict | None]
"""`check(sale, placed_at by the shop's clock, first order) →` what fails, or None."""


def _mask(bits: Sequence[tuple[int, Rule]], holds: Callable[[Rule], bool]) -> int:
    return sum(bit for bit, rule in bits if holds(rule))


def _indices(mask: int) -> list[int]:
    return [index for index in range(mask.bit_length()) if mask >> index & 1]


def _multiplies(promotion: Rule, rule: Rule) -> bool:
    effect = promotion.effect
    return isinstance(effect, Multiply) and (not effect.of or rule.id in effect.of)


def _windows(rules: Sequence[Rule], zone: ZoneInfo) -> tuple[list[datetime], list[int]]:
    """All windows' bounds in order, and for each stretch between them the mask of windows that are open in it."""
    spans = []
    for index, rule in enumerate(rules):
        window = rule.conditions.window
        if window is not None:
            since = None if window.since is None else instant_of(window.since, zone)
            until = None if window.until is None else instant_of(window.until, zone)
            spans.append((1 << index, since, until))
    bounds = sorted({bound for _, since, until in spans for bound in (since, until) if bound is not None})
    stretches = [None, *bounds]
    return bounds, [
        sum(
            bit
            for bit, since, until in spans
            if (since is None or (start is not None and since <= start))
            and (until is None or start is None or start < until)
        )
        for start in stretches
    ]


def _checks(rules: Sequence[Rule]) -> list[tuple[int, Check]]:
    checks: list[tuple[int, Check]] = []
    for index, rule in enumerate(rules):
        conditions = rule.conditions
        if conditions.channels:
            checks.append((index, _channel(conditions.channels)))
        if conditions.weekdays:
            checks.append((index, _weekday(conditions.weekdays)))
        if conditions.hours is not None:
            checks.append((index, _hours(conditions.hours)))
        if conditions.coupons is not None:
            checks.append((index, _coupons(conditions.coupons)))
        if conditions.first_order:
            checks.append((index, _first_order))
    return checks


def _channel(channels: frozenset[str]) -> Check:
    return lambda sale, _clock, _first: None if sale.channel in channels else Verdict.WRONG_CHANNEL


def _weekday(weekdays: frozenset[int]) -> Check:
    return lambda _sale, clock, _first: None if clock.isoweekday() in weekdays else Verdict.WRONG_WEEKDAY


def _hours(hours: Hours) -> Check:
    return lambda _sale, clock, _first: None if hours.hold(clock.time()) else Verdict.WRONG_HOUR


def _coupons(wanted: frozenset[str] | CouponUse) -> Check:
    def check(sale: Sale, _clock: datetime, _first: bool) -> Verdict | None:
        if isinstance(wanted, CouponUse):
            met = bool(sale.coupons) is (wanted is CouponUse.ANY)
        else:
            met = not wanted.isdisjoint(sale.coupons)
        return None if met else Verdict.COUPON_CONDITION

    return check


def _first_order(_sale: Sale, _clock: datetime, first: bool) -> Verdict | None:
    return None if first else Verdict.NOT_FIRST_ORDER
