"""Orders, rules and books that are short to write, with the real contracts inside; for tests only."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from contracts.amounts import amounts
from contracts.life import generation, is_cancelled
from contracts.orders import Cancellation, Line, Order, OrderPaid, Refund, RefundLine
from contracts.returns import returned_fractions
from rules.domain.evaluation import Evaluation, evaluate
from rules.domain.order import SAME_CURRENCY, Conversion, Facts, State
from rules.domain.rule import PerMoney, Rule
from rules.domain.rule_set import Combine, RuleSet
from rules.domain.settlement import Asked, Award, Booked, Revoke, settle

PLACED = datetime(2026, 3, 2, 9, tzinfo=UTC)
PAID = PLACED + timedelta(minutes=5)


def one_per_unit(rule_id: str = "base", points: str = "1", per: int = 100, **fields: Any) -> Rule:
    """So many points for each so many minor units."""
    whole_groups = fields.pop("whole_groups", False)
    return Rule(rule_id, PerMoney(Fraction(points), per, whole_groups), **fields)


def rule_set(*rules: Rule, zone: str = "UTC", combine: Combine = Combine.MOST_SPECIFIC, version: int = 1) -> RuleSet:
    """Rules as a version of a shop."""
    return RuleSet(version, rules, zone=ZoneInfo(zone), combine=combine)


def line(number: int, price: int, quantity: int = 1, **fields: Any) -> Line:
    """A line of a product named after its number."""
    return Line(line=str(number), quantity=quantity, unit_price=price, **{"product": f"p{number}", **fields})


def order(*lines: Line | int, **fields: Any) -> Order:
    """A paid order; plain numbers are prices of lines."""
    made = tuple(made if isinstance(made, Line) else line(number, made) for number, made in enumerate(lines, start=1))
    given = {"currency": "EUR", "revision": 1, "member": "m", "placed_at": PLACED, "paid_at": PAID, **fields}
    return OrderPaid(shop="s", order=given.pop("order", "o"), lines=made, **given)


def refund(number: int, *lines: RefundLine, **fields: Any) -> Refund:
    """A return, some days after the payment."""
    return Refund(refund=f"r{number}", at=PAID + timedelta(days=number), lines=lines, **fields)


def cancellation(number: int = 1, paid_at: datetime | None = PAID) -> Cancellation:
    """A cancellation of a payment, some days after the first."""
    return Cancellation(cancellation=f"c{number}", at=PAID + timedelta(days=10 * number), paid_at=paid_at)


def state_of(sold: Order, conversion: Conversion = SAME_CURRENCY) -> State:
    """The state that the use case hands to the domain."""
    sums = amounts(sold)
    gone = is_cancelled(sold)
    returned = returned_fractions(sold, sums) if sold.refunds or gone else None
    return State(sold, sums, returned, generation(sold), gone, conversion)


def evaluated(
    rules: RuleSet, sold: Order, facts: Facts | None = None, conversion: Conversion = SAME_CURRENCY
) -> Evaluation:
    """What the order earns."""
    return evaluate(rules, sold, amounts(sold), facts or Facts(), conversion)


@dataclass
class Books:
    """What is booked of one order, and everything that was asked of the ledger on the way."""

    rules: RuleSet
    newest: Order | None = None
    booked: list[Booked] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    last: list[Asked] = field(default_factory=list)

    def see(self, sold: Order, *, awarding: bool = True) -> list[Asked]:
        """A state arrives; older ones change nothing."""
        self.last = []
        if self.newest is None or sold.revision > self.newest.revision:
            self.newest = sold
            state = state_of(sold)
            settlement = settle(
                self.booked, state, evaluate(self.rules, sold, state.amounts, Facts()), self.rules, awarding=awarding
            )
            self.booked, self.last = list(settlement.booked), list(settlement.asked)
            self.asked += self.last
        return self.last

    @property
    def left(self) -> dict[str, int]:
        """By member, what they keep; recounted from what was asked, as a ledger would."""
        awards = {asked.booked.key: asked.booked for asked in self.asked if isinstance(asked, Award)}
        totals = {asked.booked.key: asked.booked.taken for asked in self.asked if isinstance(asked, Revoke)}
        kept: dict[str, int] = {}
        for key, award in awards.items():
            kept[award.member] = kept.get(award.member, 0) + award.points - totals.get(key, 0)
        return kept

    @property
    def taken(self) -> list[int]:
        """What the last state took back, award by award."""
        return [asked.booked.taken for asked in self.last if isinstance(asked, Revoke)]
