"""Rules as documents: the JSON in which they are given, stored and compared, and how it becomes domain values."""

from collections.abc import Mapping
from datetime import date, datetime, time
from fractions import Fraction
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    model_validator,
)

from contracts.event import MAX_MINOR_UNITS, OpaqueId
from contracts.faults import FirstFaults
from rules.domain.calendar import Grant, Hours, Lasting, Trigger, Validity, Window
from rules.domain.rounding import Rounding
from rules.domain.rule import (
    Band,
    Bands,
    Basis,
    Conditions,
    CouponUse,
    Effect,
    Multiply,
    PerMoney,
    PerOrder,
    PerUnit,
    Rule,
    Scope,
)
from rules.domain.rule_set import Combine, RuleSet

MAX_RULES = 200
"""Rules in one set. Each costs every order a little; nobody understands more."""

MAX_PROMOTIONS = 50
"""Promotions in one set; an award names all that multiplied it."""

MAX_WORDS = 1_000
"""Words of one kind in a scope."""

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _moment(value: str) -> str:
    if len(value) == len("2026-01-01"):
        date.fromisoformat(value)
    elif datetime.fromisoformat(value).year > 9000:
        raise ValueError("too far away")
    return value


def _clock(value: str) -> str:
    time.fromisoformat(value)
    return value


Points = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,6})(\.[0-9]{1,4})?$")]
"""An exact decimal in a string, such as `1.5`."""

Minor = Annotated[StrictInt, Field(ge=1, le=MAX_MINOR_UNITS)]
"""Minor units of the shop's currency."""

Moment = Annotated[str, StringConstraints(max_length=40), AfterValidator(_moment)]
"""A day (`2026-11-28`: its first instant in the shop's zone) or a time, the shop's unless it has an offset."""

Clock = Annotated[str, StringConstraints(pattern=r"^[0-2][0-9]:[0-5][0-9]$"), AfterValidator(_clock)]
"""A time of day, `17:30`."""

Word = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Words = Annotated[tuple[Word, ...], Field(max_length=MAX_WORDS)]


class Document(FirstFaults):
    """A part of a rule. Unknown fields are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class BandDocument(Document):
    """One band of amounts."""

    up_to: Minor | None = Field(
        default=None, description="Inclusive, minor units; absent for the last one without an end."
    )
    points: Points
    per: Minor


class Earn(Document):
    """What a rule gives: points per money, per unit, per order, or by bands of the amount."""

    points: Points | None = None
    per: Minor | None = Field(default=None, description="Points for each so many minor units.")
    whole_groups: StrictBool = Field(default=False, description="Only full groups of that money count.")
    each: Literal["unit", "order"] | None = Field(default=None, description="Points for each unit, or for the order.")
    bands: tuple[BandDocument, ...] | None = Field(default=None, min_length=1, max_length=50)
    marginal: StrictBool = Field(default=False, description="Each part of the amount at its own band's rate.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(way is not None for way in (self.per, self.each, self.bands)) != 1:
            raise ValueError("give exactly one of `per`, `each` and `bands`")
        if (self.points is None) is (self.bands is None):
            raise ValueError("`points` stand beside `per` or `each`; bands have their own")
        if self.whole_groups and self.per is None:
            raise ValueError("`whole_groups` needs `per`")
        bounds = [band.up_to for band in self.bands or ()]
        if any(bound is None for bound in bounds[:-1]):
            raise ValueError("only the last band may be without an end")
        ends = [bound for bound in bounds if bound is not None]
        if ends != sorted(set(ends)):
            raise ValueError("bands come in order, each ends above the one before")
        return self

    def effect(self) -> Effect:
        """As a domain value."""
        if self.bands is not None:
            return Bands(tuple(Band(b.up_to, Fraction(b.points), b.per) for b in self.bands), self.marginal)
        points = Fraction(self.points or 0)
        if self.per is not None:
            return PerMoney(points, self.per, self.whole_groups)
        return PerUnit(points) if self.each == "unit" else PerOrder(points)


class Multiplication(Document):
    """A promotion: other rules' points times a factor."""

    by: Annotated[Points, StringConstraints(max_length=8)]
    of: Annotated[tuple[OpaqueId, ...], Field(max_length=MAX_RULES)] = Field(
        default=(), description="Rules that it multiplies; absent for all."
    )


class ScopeDocument(Document):
    """Lines by their labels."""

    products: Words = Field(default=(), description="Products or SKUs.")
    categories: Words = ()
    brands: Words = ()
    tags: Words = ()

    def scope(self) -> Scope:
        """As a domain value."""
        return Scope(*map(frozenset, (self.products, self.categories, self.brands, self.tags)))


class HoursDocument(Document):
    """A part of the day, by the shop's clock; it may run over midnight."""

    since: Clock = Field(alias="from")
    until: Clock


class When(Document):
    """When a rule holds for an order; all that are given must be met."""

    since: Moment | None = Field(default=None, alias="from")
    until: Moment | None = Field(default=None, description="First moment outside.")
    weekdays: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(default=(), max_length=7)
    hours: HoursDocument | None = None
    minimum: Minor | None = Field(default=None, description="Inclusive, minor units, of all that counts by the basis.")
    first_order: StrictBool = False
    coupons: Literal["any", "none"] | Annotated[tuple[Word, ...], Field(min_length=1, max_length=MAX_WORDS)] | None = (
        Field(default=None, description="One of these codes was used; or any, or none, at all.")
    )
    channels: tuple[Literal["online", "pos"], ...] = Field(default=(), max_length=2)

    def conditions(self) -> Conditions:
        """As a domain value."""
        window = None
        if self.since is not None or self.until is not None:
            window = Window(_parsed(self.since), _parsed(self.until))
        hours = self.hours
        return Conditions(
            window=window,
            weekdays=frozenset(WEEKDAYS.index(day) + 1 for day in self.weekdays),
            hours=None if hours is None else Hours(time.fromisoformat(hours.since), time.fromisoformat(hours.until)),
            minimum=self.minimum,
            first_order=self.first_order,
            coupons=_coupons(self.coupons),
            channels=frozenset(self.channels),
        )


class Granted(Document):
    """When points are granted: at a step of the order, usable so many days after it."""

    on: Literal["placed", "paid", "fulfilled"] = "paid"
    after_days: Annotated[StrictInt, Field(ge=0, le=3650)] = 0

    def grant(self) -> Grant:
        """As a domain value."""
        return Grant(Trigger(self.on), self.after_days)


class Valid(Document):
    """How long points stay usable from their activation, through the end of a last day; nothing given: for ever."""

    days: Annotated[StrictInt, Field(ge=0, le=36_500)] | None = None
    months: Annotated[StrictInt, Field(ge=0, le=1_200)] | None = None
    to_month_end: StrictBool = Field(default=False, description="So many months later, to the end of that month.")
    end_of: Literal["month", "year"] | None = None
    until: date | None = Field(default=None, description="A fixed last day.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(way is not None for way in (self.days, self.months, self.end_of, self.until)) > 1:
            raise ValueError("give one of `days`, `months`, `end_of` and `until`")
        if self.to_month_end and self.months is None:
            raise ValueError("`to_month_end` needs `months`")
        if self.until is not None and not 1970 <= self.until.year <= 2400:
            raise ValueError("`until` is too far away")
        return self

    def validity(self) -> Validity:
        """As a domain value."""
        if self.days is not None:
            return Validity(Lasting.DAYS, self.days)
        if self.months is not None:
            return Validity(Lasting.MONTHS_TO_MONTH_END if self.to_month_end else Lasting.MONTHS, self.months)
        if self.end_of is not None:
            return Validity(Lasting.MONTH_END if self.end_of == "month" else Lasting.YEAR_END)
        return Validity(Lasting.FIXED, on=self.until) if self.until is not None else Validity()


BasisPart = Literal["before_discounts", "with_tax", "shipping", "gift_cards", "reward_lines", "points_paid"]


class RuleDocument(Document):
    """One rule: it earns, or it multiplies what others earn."""

    title: Annotated[str, StringConstraints(max_length=128)] = ""
    earn: Earn | None = None
    multiply: Multiplication | None = None
    match: ScopeDocument = ScopeDocument()
    exclude: ScopeDocument = ScopeDocument()
    when: When = When()
    basis: tuple[BasisPart, ...] = Field(
        default=(), max_length=6, description="What counts besides items after discounts, without tax."
    )
    rounding: Literal["floor", "half_up", "half_even", "ceil"] = "floor"
    granted: Granted = Granted()
    valid: Valid = Valid()
    stack: StrictBool = Field(default=False, description="Adds to whatever rule claims a line.")
    exclusive: StrictBool = Field(default=False, description="Of these the highest priority wins alone.")
    priority: Annotated[StrictInt, Field(ge=-1_000_000, le=1_000_000)] = 0

    @model_validator(mode="after")
    def _one_effect(self) -> Self:
        if (self.earn is None) is (self.multiply is None):
            raise ValueError("a rule has either `earn` or `multiply`")
        if "shipping" in self.basis and self.match != ScopeDocument():
            raise ValueError("shipping counts for rules without `match` only")
        return self

    def rule(self, rule_id: str) -> Rule:
        """As a domain value."""
        effect: Effect
        if self.earn is not None:
            effect = self.earn.effect()
        else:
            assert self.multiply is not None
            effect = Multiply(Fraction(self.multiply.by), frozenset(self.multiply.of))
        return Rule(
            id=rule_id,
            effect=effect,
            title=self.title,
            scope=self.match.scope(),
            exclude=self.exclude.scope(),
            conditions=self.when.conditions(),
            basis=Basis(**dict.fromkeys(self.basis, True)),
            rounding=Rounding(self.rounding),
            grant=self.granted.grant(),
            validity=self.valid.validity(),
            stack=self.stack,
            exclusive=self.exclusive,
            priority=self.priority,
        )

    def canonical(self) -> dict[str, Any]:
        """As it is stored: what differs from the defaults."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


Rules = Annotated[dict[OpaqueId, RuleDocument], Field(max_length=MAX_RULES)]


class RuleSetDocument(Document):
    """All rules of a version, and what gives where several of equal standing match a line."""

    rules: Rules
    combine: Literal["most_specific", "best_of", "sum"] = "most_specific"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if sum(rule.multiply is not None for rule in self.rules.values()) > MAX_PROMOTIONS:
            raise ValueError(f"at most {MAX_PROMOTIONS} rules of a set may multiply")
        for rule_id, rule in self.rules.items():
            unknown = set(rule.multiply.of) - set(self.rules) if rule.multiply else set()
            if unknown:
                raise ValueError(f"rule {rule_id} multiplies {', '.join(sorted(unknown))}, which the set does not have")
        return self

    def compiled(self, version: int, zone: str) -> RuleSet:
        """Ready to be evaluated. Rules stand in the order of their ids, so that a document means one thing."""
        rules = [self.rules[rule_id].rule(rule_id) for rule_id in sorted(self.rules)]
        return RuleSet(version, rules, zone=ZoneInfo(zone), combine=Combine(self.combine))

    def canonical(self) -> dict[str, Any]:
        """As it is stored and compared."""
        rules = {rule_id: self.rules[rule_id].canonical() for rule_id in sorted(self.rules)}
        return {"combine": self.combine, "rules": rules}


class RuleChange(Document):
    """How one rule differs between two versions."""

    rule: str
    change: Literal["added", "removed", "changed"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[RuleChange]:
    """What changes from one canonical set of rules to another, rule by rule."""
    return [
        RuleChange(
            rule=rule,
            change="added" if rule not in before else "removed" if rule not in after else "changed",
            before=before.get(rule),
            after=after.get(rule),
        )
        for rule in sorted({*before, *after})
        if before.get(rule) != after.get(rule)
    ]


def _coupons(wanted: str | tuple[str, ...] | None) -> CouponUse | frozenset[str] | None:
    if wanted is None:
        return None
    return CouponUse(wanted) if isinstance(wanted, str) else frozenset(wanted)


def _parsed(moment: str | None) -> date | datetime | None:
    if moment is None:
        return None
    return date.fromisoformat(moment) if len(moment) == len("2026-01-01") else datetime.fromisoformat(moment)
