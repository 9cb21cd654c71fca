"""What orders have earned and why, and what a cart would earn."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chassis import Outcome, Transaction
from contracts.amounts import amounts
from contracts.event import decode
from contracts.life import Stage
from contracts.money import decimals
from contracts.orders import Order, OrderPlaced
from rules import store
from rules.domain.book import Book, Explained
from rules.domain.errors import OrderNotFound, RulesError, RuleSetNotFound
from rules.domain.evaluation import evaluate
from rules.domain.explanation import arithmetic
from rules.domain.order import Facts
from rules.domain.rule import Multiply
from rules.domain.rule_set import RuleSet
from rules.domain.verdict import REASONS, Verdict
from rules.orders import conversion


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What came of one rule for an order."""

    rule: str
    title: str
    fired: bool
    reason: str
    points: int | None
    """What it gave, before any return; None for promotions, whose part is in the awards that they multiplied."""
    arithmetic: str | None
    promotions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Earnings:
    """An order's page, explained."""

    book: Book
    rules: list[RuleOutcome]
    earning_off: bool


@dataclass(frozen=True, slots=True)
class AskEarnings:
    """What has this order earned, and why?"""

    shop: str
    order: str


async def earnings(tx: Transaction, commands: Sequence[AskEarnings]) -> Outcome:
    """The order book's pages, each explained by the version that decided it."""
    answers: list[Earnings | RulesError] = []
    for command in commands:
        await store.required_programme(tx, command.shop)
        book = await store.book(tx, command.shop, command.order)
        if book is None:
            answers.append(OrderNotFound(command.order))
            continue
        deciding = await store.deciding(tx, [command.shop])
        outcomes: list[RuleOutcome] = []
        if book.version is not None:
            key = (command.shop, book.version)
            compiled = (await store.compiled(tx, [key], deciding))[key]
            order: Order = decode(OrderPlaced, book.state)
            outcomes = _outcomes(compiled.rules, book.verdicts, book.explained, order, compiled.currency)
        earning_off = not deciding[command.shop].awards(book.placed_at)
        answers.append(Earnings(book, outcomes, earning_off=earning_off))
    return Outcome(answers=answers)


@dataclass(frozen=True, slots=True)
class AskPreview:
    """What would this cart earn? `version`: by these rules instead of those that hold at the time."""

    order: Order
    at: datetime | None
    version: int | None
    first_order: bool | None
    """Whether to judge it as a first order; None: look at the member's orders."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a cart would earn."""

    version: int
    points: int
    earning_off: bool
    rules: list[RuleOutcome]
    grants: dict[str, tuple[str, int]]
    """By rule: the step at which its points are granted, and days until they are usable."""


async def preview(tx: Transaction, commands: Sequence[AskPreview]) -> Outcome:
    """Evaluate carts as if they were placed then; nothing is stored."""
    return Outcome(answers=[await _preview(tx, command) for command in commands])


async def _preview(tx: Transaction, command: AskPreview) -> Preview | RulesError:
    shop = command.order.shop
    await store.required_programme(tx, shop)
    placed_at = command.at or tx.now
    order = command.order.model_copy(update={"placed_at": placed_at})
    by_shop = await store.deciding(tx, [shop])
    deciding = by_shop[shop]
    version = command.version or deciding.version_at(placed_at)
    found = {} if version is None else await store.compiled(tx, [(shop, version)], by_shop)
    if version is None or (shop, version) not in found:
        return RuleSetNotFound(version)
    compiled = found[shop, version]
    first = command.first_order
    if first is None and order.member is not None and compiled.rules.asks_first_order:
        key = (shop, order.order, order.member)
        standing = (await store.standings(tx, [(*key, placed_at)], aside=[]))[key]
        first = not standing.earlier and not standing.bonus_held
    rules = compiled.rules
    into = conversion(order.currency, order.rate, compiled.currency)
    evaluation = evaluate(rules, order, amounts(order), Facts(bool(first)), into)
    explained = [
        Explained(
            rules.rules[earned.rule].id, earned.points, earned.numerator, earned.denominator, earned.basis,
            earned.weights, rules.names(earned.promotions),
        )
        for earned in evaluation.earned
    ]  # fmt: skip
    outcomes = _outcomes(rules, evaluation.verdicts, explained, order, compiled.currency)
    grants = {rule.id: (rule.grant.on.value, rule.grant.after_days) for rule in rules.rules}
    awards = deciding.awards(placed_at)
    return Preview(version, evaluation.points if awards else 0, not awards, outcomes, grants)


def _outcomes(
    rules: RuleSet, verdicts: str, explained: Sequence[Explained], order: Order, currency: str
) -> list[RuleOutcome]:
    by_rule = {award.rule: award for award in explained}
    rate = order.rate if order.currency != currency else None
    outcomes = []
    for rule, letter in zip(rules.rules, verdicts, strict=True):
        award = by_rule.get(rule.id)
        multiplies = isinstance(rule.effect, Multiply)
        fired = letter == Verdict.FIRED
        outcomes.append(
            RuleOutcome(
                rule=rule.id,
                title=rule.title,
                fired=fired,
                reason="multiplied points" if fired and multiplies else REASONS[Verdict(letter)],
                points=None if multiplies else award.points if award else 0,
                arithmetic=None
                if award is None
                else arithmetic(award, rules, currency=order.currency, digits=decimals(order.currency), rate=rate),
                promotions=tuple(award.promotions) if award else (),
            )
        )
    return outcomes


def stage_name(book: Book) -> str:
    """The order's stage in a word."""
    return Stage(book.stage).name.lower()
