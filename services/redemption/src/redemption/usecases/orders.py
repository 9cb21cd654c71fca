"""What orders do to points: spent when paid, given back on refund or cancellation, freed when called off unpaid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil
from typing import Any

from chassis import Outcome, Poison, Transaction
from contracts.amounts import amounts
from contracts.event import MAX_POINTS
from contracts.life import Stage, current_refunds, generation, stage
from contracts.orders import Order
from contracts.postings import Cause, GiveBack, PostingRequested, Release
from contracts.postings import Spend as SpendAsked
from contracts.returns import returned_fractions, returned_share
from redemption.alarms import alarm
from redemption.domain import spending
from redemption.domain.checkout import RESERVED
from redemption.domain.quote import points_for
from redemption.domain.spending import Part, Spend
from redemption.schemas import unit, using_of
from redemption.store import orders as store
from redemption.store.checkouts import lock_checkouts
from redemption.store.orders import HeldCheckout, Key
from redemption.store.terms import Terms, load_terms
from redemption.usecases.states import Case, Folded, SettleOrder, fold

SOURCE = "redemption"
"""Our name as the source of postings; keys are unique per shop and source."""


@dataclass(slots=True)
class _Known:
    """What is known of everything that the cases name."""

    claims: Mapping[Key, str]
    held: Mapping[Key, HeldCheckout]
    terms: Mapping[str, Terms]


async def settle(tx: Transaction, commands: Sequence[SettleOrder]) -> Outcome:
    """Bring the points of orders to what their newest states want; older and repeated states change nothing."""
    with_points = await _pass_over_plain(tx, commands)
    if not with_points:
        return Outcome(answers=[None] * len(commands))
    told = {place: command for place, command in enumerate(commands) if command.key in with_points}
    stored = await store.lock_orders(tx, with_points)
    folded = fold(told, stored)
    settled = await _settle_cases(tx, folded)
    poisoned = settled.poisoned
    saved = {case.key: replace(case.stored, points_per_unit=settled.rates.get(case.key)) for case in folded.cases}
    changed = [saved.get(key, state) for key, state in folded.states.items() if key not in poisoned]
    await store.save_orders(
        tx, [state for state in changed if state.key not in stored], [state for state in changed if state.key in stored]
    )
    answers = [folded.malformed.get(place) or poisoned.get(command.key) for place, command in enumerate(commands)]
    return Outcome(answers=answers, events=settled.events, traces=settled.traces)


async def _pass_over_plain(tx: Transaction, commands: Sequence[SettleOrder]) -> set[Key]:
    """Note the revisions of orders that have nothing to do with points, by far the most; the keys of the others."""
    with_points = {command.key for command in commands if command.matters}
    revisions: dict[Key, int] = {}
    for command in commands:
        key = command.key
        if key not in with_points and command.revision > revisions.get(key, -1):
            revisions[key] = command.revision
    if revisions and not await store.raise_revisions(tx, revisions):
        with_points |= await store.with_points(tx, revisions)
    return with_points


@dataclass(slots=True)
class _Settled:
    """What follows from all cases."""

    events: list[PostingRequested] = field(default_factory=list)
    traces: list[str | None] = field(default_factory=list)
    poisoned: dict[Key, Poison] = field(default_factory=dict)
    rates: dict[Key, str | None] = field(default_factory=dict)


async def _settle_cases(tx: Transaction, folded: Folded) -> _Settled:
    settled = _Settled()
    cases = folded.cases
    if not folded.newest:
        return settled
    known = await _load(tx, cases)
    saved: dict[tuple[Key, str, int], tuple[Key, Spend, int]] = {}
    named: dict[Key, str] = {}
    for case in cases:
        settled.rates[case.key] = _rate(case, known)
        try:
            parts = _parts(case, known, settled.rates[case.key]) if case.is_paid else []
        except Poison as poison:
            settled.poisoned[case.key] = poison
            continue
        for key in case.checkouts:
            if known.claims.get(key, case.order.order) == case.order.order:
                named[key] = case.order.order
        differences = {part.claim: part.difference for part in parts}
        for ask in spending.settle(
            case.order.order, generation(case.order), parts, _returned(case.order, parts), case.spends
        ):
            spend = ask if isinstance(ask, Spend) else ask.spend
            saved[case.key, spend.name, spend.generation] = (case.key, spend, differences.get(spend.claim, 0))
            settled.events.append(_posting(case.order, ask))
            settled.traces.append(case.traceparent)
    await store.save_spends(tx, list(saved.values()))
    await store.name_orders(tx, named)
    await _release_called_off(tx, folded.called_off, settled)
    return settled


async def _load(tx: Transaction, cases: Sequence[Case]) -> _Known:
    """Let paid orders claim what they name, and read everything that the cases name."""
    claimed: dict[Key, str] = {}
    for case in cases:
        if case.is_paid:
            for key in case.checkouts:
                claimed.setdefault(key, case.order.order)
    if claimed:
        await lock_checkouts(tx, claimed)
        await store.claim(tx, claimed)
    named = sorted({key for case in cases for key in case.checkouts})
    spends = await store.spends(tx, [case.key for case in cases])
    for case in cases:
        case.spends = spends.get(case.key, [])
    return _Known(
        claims=await store.claims(tx, named),
        held=await store.held(tx, named),
        terms=await load_terms(tx, {case.order.shop for case in cases}),
    )


def _parts(case: Case, known: _Known, rate: str | None) -> list[Part]:
    """What each points tender of a paid order should take. Tenders that name the same checkout are one."""
    wanted: dict[str, int] = {}
    for tender in case.order.tenders:
        if tender.kind == "points" and (tender.points or tender.amount):
            claim = tender.checkout or ""
            held = known.held.get((case.order.shop, claim))
            points = tender.points
            if points is None and held is not None:
                points = points_for(tender.amount, held.held.points, held.worth)
            elif points is None:
                points = _points_at(case.order, tender.amount, rate, known.terms[case.order.shop])
            wanted[claim] = wanted.get(claim, 0) + points
    if sum(wanted.values()) > MAX_POINTS:
        raise Poison("points_out_of_range", f"more than {MAX_POINTS} points in one order")
    parts = []
    for claim, points in wanted.items():
        key = (case.order.shop, claim)
        held = known.held.get(key)
        mine = known.claims.get(key, case.order.order) == case.order.order
        if held is not None and not mine:
            alarm("checkout_of_another_order", shop=case.order.shop, order=case.order.order, checkout=claim)
        part = spending.part(claim, points, case.order.member, held.held if held else None, mine=mine)
        if part is None:
            alarm("points_tender_of_nobody", shop=case.order.shop, order=case.order.order, points=points)
            continue
        if part.difference:
            alarm(
                "tender_differs_from_hold",
                shop=case.order.shop,
                order=case.order.order,
                checkout=claim,
                difference=part.difference,
            )
        parts.append(part)
    return parts


def _returned(order: Order, parts: Sequence[Part]) -> int:
    """Points that the order's refunds have given back in all of what its tenders took."""
    if not parts or not order.refunds:
        return 0
    sums = amounts(order)
    shares = sums.points_shares(sum(part.points for part in parts))
    return returned_share(shares, returned_fractions(order, sums))


def _rate(case: Case, known: _Known) -> str | None:
    """Points per unit for tenders that name neither points nor a hold: today's when first seen, then that for ever."""
    if case.stored.points_per_unit is not None:
        return case.stored.points_per_unit
    terms = known.terms.get(case.order.shop)
    if terms is None or terms.document is None:
        return None
    using = using_of(terms.document)
    channel = using.online if case.order.channel == "online" else using.pos
    return None if channel is None else channel.points_per_unit


def _points_at(order: Order, amount: int, rate: str | None, terms: Terms) -> int:
    """The fewest points that are worth an amount of money."""
    if rate is None:
        raise Poison("points_unknown", "a points tender names neither points nor a checkout, and the shop has no rate")
    if order.currency != terms.programme.currency and not Fraction(order.rate or 0):
        raise Poison("rate_missing", "the order is in another currency than the shop's and names no rate")
    return max(1, ceil(Fraction(amount) * Fraction(rate) / unit(order.currency, order.rate, terms.programme.currency)))


async def _release_called_off(tx: Transaction, called_off: Sequence[Case], settled: _Settled) -> None:
    """Free the holds of orders that were called off before they were paid here."""
    if not called_off:
        return
    made_for = await store.reserved_for_orders(tx, [case.key for case in called_off])
    named = {case.key: dict.fromkeys([*case.checkouts, *made_for.get(case.key, [])]) for case in called_off}
    keys = sorted({key for names in named.values() for key in names})
    held, claims = await store.held(tx, keys), await store.claims(tx, keys)
    freed: list[str] = []
    for case in called_off:
        for key in named[case.key]:
            found = held.get(key)
            if found is None or found.state not in RESERVED or claims.get(key, case.order.order) != case.order.order:
                continue
            if any(spend.hold == found.held.hold for spend in case.spends):
                continue  # captured, whether we have heard of it yet or not
            freed.append(found.held.hold)
            settled.events.append(_release(case.order, found))
            settled.traces.append(case.traceparent)
    # Of a hold on its way the ledger may hear after its release, which it then refuses: the job asks again.
    await store.release_intended(tx, freed)


# -- how it is said


def _release(order: Order, found: HeldCheckout) -> PostingRequested:
    """What frees a hold, under its natural key."""
    return PostingRequested(
        shop=order.shop,
        member=found.held.member,
        source=SOURCE,
        posting=f"{found.held.hold}/called-off",
        order=order.order,
        cause=Cause(reason="cancellation"),
        effect=Release(hold=found.held.hold),
    )


def _posting(order: Order, ask: spending.Ask) -> PostingRequested:
    """What is asked of the ledger, under its natural key."""
    spend = ask if isinstance(ask, Spend) else ask.spend
    root = f"{spend.name}/{spend.generation}"
    asked: dict[str, Any] = {
        "shop": order.shop,
        "member": spend.member,
        "source": SOURCE,
        "order": order.order,
    }
    if isinstance(ask, Spend):
        return PostingRequested(
            **asked,
            posting=f"{root}/spend",
            cause=Cause(reason="checkout"),
            effect=SpendAsked(checkout=spend.name, generation=spend.generation, amount=spend.points, hold=spend.hold),
        )
    refunds = current_refunds(order)
    called_off = stage(order) is Stage.CANCELLED or spend.generation < generation(order)
    cause = Cause(reason="cancellation") if called_off else Cause(reason="change")
    if refunds and not called_off:
        cause = Cause(reason="refund", refund=refunds[-1].refund)
    return PostingRequested(
        **asked,
        posting=f"{root}/give_back/{spend.given_back}",
        cause=cause,
        effect=GiveBack(checkout=spend.name, generation=spend.generation, total=spend.given_back),
    )
