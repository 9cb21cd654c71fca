"""States of orders become postings: each order is settled once per new state, whoever tells it and however often."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import structlog

from chassis import Outcome, Poison, Transaction
from contracts.event import MAX_POINTS, Event, Malformed, decode, encode
from contracts.life import generation, merge, same_sale, same_state, stage
from contracts.orders import Order, OrderChanged
from contracts.postings import Award as AwardPosting
from contracts.postings import Cause, PostingRequested
from contracts.postings import Revoke as RevokePosting
from contracts.returns import ForeignRefund
from contracts.structs import struct_of
from rules import measures, store
from rules.domain.book import Book, Explained
from rules.domain.errors import RateMissing
from rules.domain.evaluation import Evaluation, evaluate
from rules.domain.order import Facts, State
from rules.domain.rule_set import RuleSet
from rules.domain.settlement import Asked, Award, Settlement, settle
from rules.orders import state_of

SOURCE: Final = "rules"

_log = structlog.get_logger()


class SettleOrder(NamedTuple):
    """An order is now in this state."""

    order: Order
    body: bytes
    """The state as it was told."""
    traceparent: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The order among those of all shops."""
        return self.order.shop, self.order.order


async def settle_orders(tx: Transaction, commands: Sequence[SettleOrder]) -> Outcome:
    """Settle orders in order of arrival; every new state may ask postings of the ledger."""
    desk = await _Desk.open(tx, commands)
    answers: list[object] = []
    events: list[Event] = []
    traces: list[str | None] = []
    for command in commands:
        try:
            asked = desk.settle(command)
        except Poison as poison:
            answers.append(poison)
            continue
        except Malformed as malformed:  # two states of one revision that do not go together
            answers.append(Poison("malformed", malformed.reason))
            continue
        answers.append(None)
        events += asked
        traces += [command.traceparent] * len(asked)
    await store.save_books(tx, list(desk.changed.values()), new=desk.changed.keys() - desk.stored)
    measures.count(desk.outcomes)
    return Outcome(answers=answers, events=events, traces=traces)


class _Desk:
    """One batch at work: everything that it needs has been loaded."""

    def __init__(
        self,
        deciding: dict[str, store.Deciding],
        books: dict[tuple[str, str], Book],
        sets: dict[tuple[str, int], store.Compiled],
    ) -> None:
        self._deciding = deciding
        self._books = books
        self._sets = sets
        self._standings: dict[tuple[str, str, str], store.Standing] = {}
        self._by_member: dict[tuple[str, str], dict[str, Book]] = {}
        self.outcomes: Counter[str] = Counter()
        """How many states came to what, and what was asked, for the figures."""
        self.stored = frozenset(books)
        self.changed: dict[tuple[str, str], Book] = {}
        for page in books.values():
            self._note(page)

    @classmethod
    async def open(cls, tx: Transaction, commands: Sequence[SettleOrder]) -> "_Desk":
        """Load all that these commands need."""
        deciding = await store.deciding(tx, sorted({command.order.shop for command in commands}))
        books = await store.lock_books(tx, (command.key for command in commands))
        wanted = {(page.shop, page.version) for page in books.values() if page.version is not None}
        for command in commands:
            page = books.get(command.key)
            shop = command.order.shop
            if (page is None or page.version is None) and shop in deciding:
                version = deciding[shop].version_at(command.order.placed_at)
                if version is not None:
                    wanted.add((shop, version))
        desk = cls(deciding, books, await store.compiled(tx, wanted, deciding))
        await desk._ask_standings(tx, commands)
        return desk

    def settle(self, command: SettleOrder) -> list[PostingRequested]:
        """Settle one state; what it asks of the ledger."""
        key = command.key
        page = self._books.get(key)
        order, body = command.order, command.body
        if page is not None and order.revision < page.revision:
            self.outcomes["stale"] += 1
            return []
        if page is not None and order.revision == page.revision:
            held = decode(OrderChanged, page.state)
            if body == page.state or same_state(held, order):
                self.outcomes["repeat"] += 1
                return []
            order = self._merged(held, order)
            body = encode(order)
            if same_state(held, order):
                return []
        after, settlement = self._decide(page, order, body)
        self._note(after)
        self._books[key] = self.changed[key] = after
        self.outcomes["settled"] += 1
        for asked in settlement.asked:
            if isinstance(asked, Award):
                self.outcomes[measures.AWARDED_POINTS] += asked.booked.points
            else:
                self.outcomes[measures.REVOCATIONS] += 1
        return [_posting(order, asked) for asked in settlement.asked]

    def _decide(self, page: Book | None, order: Order, body: bytes) -> tuple[Book, Settlement]:
        shop = self._deciding.get(order.shop)
        if shop is None:
            raise Poison("shop_unknown", "the shop has no programme")
        version = shop.version_at(order.placed_at) if page is None or page.version is None else page.version
        compiled = None if version is None else self._sets.get((order.shop, version))
        try:
            state = state_of(order, shop.currency if compiled is None else compiled.currency)
        except ForeignRefund:
            raise Poison("refund_currency", "a refund is in another currency than its order") from None
        except RateMissing:
            raise Poison("rate_missing", "an order in another currency than the shop's needs its rate") from None
        first_order = page.first_order if page is not None and page.member == order.member else None
        booked = page.booked if page is not None else ()
        if compiled is None:
            settlement = Settlement((), booked)
            return _page(order, body, state, None, first_order, Evaluation((), ""), settlement), settlement
        rules = compiled.rules
        if rules.asks_first_order and first_order is None and order.member is not None:
            first_order = self._is_first(order)
        evaluation = evaluate(rules, order, state.amounts, Facts(bool(first_order)), state.conversion)
        if evaluation.points > MAX_POINTS:
            raise Poison("points_out_of_range", f"the order would earn more than {MAX_POINTS} points")
        settlement = settle(booked, state, evaluation, rules, awarding=shop.awards(order.placed_at))
        return _page(order, body, state, rules, first_order, evaluation, settlement), settlement

    def _merged(self, held: Order, order: Order) -> Order:
        self.outcomes["merged"] += 1
        if not same_sale(held, order):
            measures.CONFLICTS.inc()
            _log.error("conflicting_states", shop=order.shop, order=order.order, revision=order.revision)
        return merge(held, order)

    # -- first orders

    async def _ask_standings(self, tx: Transaction, commands: Sequence[SettleOrder]) -> None:
        """Where orders stand among their members' stored ones; those of this batch are looked at as they change."""
        asking = {shop for (shop, _), compiled in self._sets.items() if compiled.rules.asks_first_order}
        told: dict[tuple[str, str], set[str | None]] = {}
        for command in commands:
            told.setdefault(command.key, set()).add(command.order.member)
        asked: dict[tuple[str, str, str], datetime] = {}
        for command in commands:
            order, page = command.order, self._books.get(command.key)
            # What was judged once holds, unless the batch gives the order to somebody else and back.
            judged = page is not None and page.first_order is not None and told[command.key] == {page.member}
            if order.shop not in asking or judged:
                continue
            for member in (order.member, page.member if page else None):
                if member is not None:
                    asked[order.shop, order.order, member] = order.placed_at
        if asked:
            await store.lock_members(tx, {(shop, member) for shop, _, member in asked})
            self._standings = await store.standings(
                tx,
                [(*key, placed_at) for key, placed_at in asked.items()],
                aside=[f"{shop}/{order}" for shop, order in {command.key for command in commands}],
            )

    def _is_first(self, order: Order) -> bool:
        """None of the member's orders is known before it, and none holds a first order's bonus."""
        assert order.member is not None
        standing = self._standings[order.shop, order.order, order.member]
        if standing.earlier or standing.bonus_held:
            return False
        place = (order.placed_at, order.order)
        others = self._by_member.get((order.shop, order.member), {})
        return not any(
            page.holds_bonus or (page.counts_as_order and (page.placed_at, page.order) < place)
            for number, page in others.items()
            if number != order.order
        )

    def _note(self, page: Book) -> None:
        """Remember a page under its present member only."""
        before = self._books.get((page.shop, page.order))
        if before is not None and before.member is not None and before.member != page.member:
            self._by_member.get((page.shop, before.member), {}).pop(page.order, None)
        if page.member is not None:
            self._by_member.setdefault((page.shop, page.member), {})[page.order] = page


def _page(
    order: Order,
    body: bytes,
    state: State,
    rules: RuleSet | None,
    first_order: bool | None,
    evaluation: Evaluation,
    settlement: Settlement,
) -> Book:
    return Book(
        shop=order.shop,
        order=order.order,
        revision=order.revision,
        member=order.member,
        placed_at=order.placed_at,
        stage=stage(order),
        generation=generation(order),
        reversed=state.reversed,
        test=order.test,
        first_order=first_order,
        holds_bonus=rules is not None and rules.asks_first_order and _holds_bonus(rules, settlement),
        version=None if rules is None else rules.version,
        verdicts=evaluation.verdicts,
        explained=[
            Explained(
                rules.rules[earned.rule].id,
                earned.points,
                earned.numerator,
                earned.denominator,
                earned.basis,
                earned.weights,
                rules.names(earned.promotions),
            )
            for earned in evaluation.earned
        ]
        if rules is not None
        else (),
        booked=settlement.booked,
        state=body,
    )


def _holds_bonus(rules: RuleSet, settlement: Settlement) -> bool:
    return any(
        booked.left > 0 and rules.rules[rules.place[booked.rule]].conditions.first_order
        for booked in settlement.booked
        if booked.rule in rules.place
    )


def _posting(order: Order, asked: Asked) -> PostingRequested:
    booked = asked.booked
    if isinstance(asked, Award):
        return _PostingRequested(
            shop=order.shop,
            member=booked.member,
            source=SOURCE,
            posting=booked.key,
            order=order.order,
            cause=_Cause(rule=booked.rule, rule_version=booked.version, promotions=booked.promotions),
            effect=_Award(amount=booked.points, activates_at=booked.activates_at, expires_at=booked.expires_at),
        )
    return _PostingRequested(
        shop=order.shop,
        member=booked.member,
        source=SOURCE,
        posting=f"{booked.key}/revoke/{booked.taken}",
        order=order.order,
        cause=_Cause(rule=booked.rule, rule_version=booked.version, reason=asked.reason),
        effect=_Revoke(award=booked.key, total=booked.taken),
    )


_PostingRequested: Final = struct_of(PostingRequested)
_Cause: Final = struct_of(Cause)
_Award: Final = struct_of(AwardPosting)
_Revoke: Final = struct_of(RevokePosting)
"""What is asked, as structs: several for each order, and all that they hold has been checked on its way in."""
