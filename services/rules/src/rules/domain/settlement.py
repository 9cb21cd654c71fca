"""The life of an order as one mechanism: what its newest state should have given, less what is booked.

`settle(booked, state, …) → Settlement` knows no events. Placed, paid, changed, refunded, cancelled, paid again, given
to another member: each is only another state. A *pool* is what one rule gave one member in one generation of the order.
For each pool the state says what was granted and how much of that has come back; the difference to what is booked is
asked of the ledger, as an award when it is more and as a higher take-back total when it is less. Totals never fall.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import NamedTuple

from rules.domain.calendar import Trigger
from rules.domain.evaluation import Earned, Evaluation
from rules.domain.order import Order, State
from rules.domain.rule import Rule
from rules.domain.rule_set import RuleSet


class Booked(NamedTuple):
    """An award that was asked of the ledger, and how much of it is to be taken back in all."""

    key: str
    rule: str
    version: int
    generation: int
    member: str
    points: int
    taken: int
    activates_at: datetime | None
    expires_at: datetime | None
    promotions: tuple[str, ...] = ()

    @property
    def left(self) -> int:
        """What the member keeps of it."""
        return self.points - self.taken


@dataclass(frozen=True, slots=True)
class Award:
    """Ask the ledger to credit points."""

    booked: Booked


@dataclass(frozen=True, slots=True)
class Revoke:
    """Ask the ledger to take back of an award, so much in all."""

    booked: Booked
    """As it is afterwards; `taken` is the total."""
    reason: str


Asked = Award | Revoke


class Settlement(NamedTuple):
    """What follows from a state: what is asked of the ledger, and the awards as booked afterwards."""

    asked: Sequence[Asked]
    booked: Sequence[Booked]


@dataclass(slots=True)
class _Target:
    """What one rule should have given by now."""

    earned: Earned
    rule: Rule
    reached_at: datetime
    granted: int
    left: int


def settle(
    booked: Sequence[Booked], state: State, evaluation: Evaluation, rule_set: RuleSet, *, awarding: bool
) -> Settlement:
    """Compare what the newest state should have given with what is booked. `awarding`: false holds back new awards."""
    targets = _targets(state, evaluation, rule_set)
    if not booked and not targets:
        return Settlement((), ())
    member = state.order.member
    asked: list[Asked] = []
    after: list[Booked] = []
    pools: dict[str, list[Booked]] = {}
    for award in booked:
        if award.generation == state.generation and award.member == member and award.rule in targets:
            pools.setdefault(award.rule, []).append(award)
        else:
            after.append(_take_back(award, award.points, _why(award, state), asked))
    if member is not None:
        keys = {award.key for award in booked}
        for rule_id, target in targets.items():
            pool = pools.get(rule_id, [])
            excess = sum(award.left for award in pool) - target.left
            if excess < 0 and awarding:
                points = -excess if pool else target.granted
                award = _new(target, points, member, state, rule_set, keys)
                pool.append(award)
                asked.append(Award(award))
                excess = sum(award.left for award in pool) - target.left
            after.extend(_lessen(pool, excess, "change" if state.returned is None else "refund", asked))
    return Settlement(asked, after)


def _targets(state: State, evaluation: Evaluation, rule_set: RuleSet) -> dict[str, _Target]:
    """By rule, what it should have given by now; nothing for test orders, cancelled ones and steps not reached."""
    order = state.order
    if order.test or state.cancelled:
        return {}
    targets = {}
    for earned in evaluation.earned:
        rule = rule_set.rules[earned.rule]
        reached_at = reached(order, rule.grant.on)
        if reached_at is not None:
            left = earned.points if state.returned is None else earned.points - taken_back(earned, state.returned)
            targets[rule.id] = _Target(earned, rule, reached_at, earned.points, left)
    return targets


def taken_back(earned: Earned, returned: Sequence[Fraction]) -> int:
    """What returns take of an award so far in all: half_up(granted × basis of the returned fractions ÷ basis)."""
    basis = sum(earned.weights)
    if not basis:
        return earned.points if all(fraction == 1 for fraction in returned[:-1]) else 0
    came_back = sum(
        (weight * fraction for weight, fraction in zip(earned.weights, returned, strict=True) if weight), Fraction(0)
    )
    exact = came_back * earned.points / basis
    return (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)


def reached(order: Order, trigger: Trigger) -> datetime | None:
    """When the order came to a step; None when it has not."""
    if trigger is Trigger.PAID:
        return order.paid_at
    return order.placed_at if trigger is Trigger.PLACED else order.fulfilled_at


def _new(target: _Target, points: int, member: str, state: State, rule_set: RuleSet, keys: set[str]) -> Booked:
    rule, order = target.rule, state.order
    activates_at = rule.grant.activates_at(target.reached_at, rule_set.zone)
    key = _key(order, state.generation, rule, keys)
    keys.add(key)
    return Booked(
        key=key,
        rule=rule.id,
        version=rule_set.version,
        generation=state.generation,
        member=member,
        points=points,
        taken=0,
        activates_at=activates_at if rule.grant.after_days else None,
        expires_at=rule_set.expires_at(rule.validity, activates_at),
        promotions=rule_set.names(target.earned.promotions),
    )


def _key(order: Order, generation: int, rule: Rule, taken: set[str]) -> str:
    """One award per order, generation, rule and trigger; an increase, or another member's, names its revision too."""
    key = f"{order.order}/{generation}/{rule.id}/{rule.grant.on.value}"
    if key not in taken:
        return key
    key = f"{key}/{order.revision}"
    number = 1
    unique = key
    while unique in taken:
        # Two states of one revision that were merged can each ask for more.
        number += 1
        unique = f"{key}.{number}"
    return unique


def _lessen(pool: list[Booked], excess: int, reason: str, asked: list[Asked]) -> list[Booked]:
    """Take what is too much from the newest awards first."""
    after: list[Booked] = []
    for award in reversed(pool):
        take = min(max(excess, 0), award.left)
        excess -= take
        after.append(_take_back(award, award.taken + take, reason, asked))
    after.reverse()
    return after


def _take_back(award: Booked, total: int, reason: str, asked: list[Asked]) -> Booked:
    if total <= award.taken:
        return award
    lessened = award._replace(taken=total)
    asked.append(Revoke(lessened, reason))
    return lessened


def _why(award: Booked, state: State) -> str:
    if award.member != state.order.member:
        return "member_changed"
    return "cancellation" if state.cancelled or award.generation != state.generation else "change"
