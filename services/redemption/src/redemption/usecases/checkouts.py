"""The steps of a checkout's hold and release: intents before the ledger is called, outcomes after it has answered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from chassis import Outcome, Transaction
from redemption.domain.checkout import Checkout, State, Usage
from redemption.domain.errors import (
    CheckoutCaptured,
    CheckoutExists,
    CheckoutNotFound,
    IdempotencyConflict,
    ShopNotFound,
)
from redemption.store import checkouts as store
from redemption.store.checkouts import Standing
from redemption.store.terms import load_terms


@dataclass(frozen=True, slots=True)
class Begin:
    """A request for a hold has come in under this key."""

    shop: str
    client: str
    idempotency_key: str
    content_hash: bytes
    checkout: str


@dataclass(frozen=True, slots=True)
class Intend:
    """Points are about to be held."""

    begin: Begin
    draft: Callable[..., Checkout]
    """The attempt, but for its times: those are the database's."""
    hold_minutes: float


@dataclass(frozen=True, slots=True)
class Record:
    """The ledger has answered what was intended."""

    checkout: Checkout
    state: State
    say: Callable[[Checkout], str]
    """How the checkout is told to whoever asked for it; kept, so that the same request gets the same answer."""
    problem: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Find:
    """One checkout of a shop."""

    shop: str
    checkout: str
    attempt: UUID | None = None
    """Which attempt of it; None for the newest."""


@dataclass(frozen=True, slots=True)
class FindUnfinished:
    """Checkouts that a crash may have left between two steps."""

    after_seconds: float
    limit: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkout, and what has become of its points."""

    checkout: Checkout
    usage: Usage


async def begin(tx: Transaction, commands: Sequence[Begin]) -> Outcome:
    """What the request is about: the checkout that its key made before, or the terms on which one can be made."""
    terms = await load_terms(tx, {command.shop for command in commands})
    answers: list[Any] = []
    for command in commands:
        answer: Any = await _by_key(tx, command)
        if answer is None:
            answer = _in_the_way(command, await store.standing(tx, command.shop, command.checkout))
            if answer is None:
                answer = terms.get(command.shop) or ShopNotFound(shop=command.shop)
            else:  # unless the same key has made it since
                answer = await _by_key(tx, command) or answer
        answers.append(answer)
    return Outcome(answers=answers)


async def intend(tx: Transaction, commands: Sequence[Intend]) -> Outcome:
    """Record what is about to be asked of the ledger; or find what another request under the same key has recorded."""
    answers: list[Any] = []
    for command in commands:
        intent = command.draft(
            expires_at=tx.now + timedelta(minutes=command.hold_minutes), created_at=tx.now, changed_at=tx.now
        )
        shop, checkout = command.begin.shop, command.begin.checkout
        await store.lock_checkouts(tx, [(shop, checkout)])
        answer: Any = None
        while answer is None:  # again where what was in the way of the insert has been refused since
            standing = await store.standing(tx, shop, checkout)
            if standing.is_overdue:
                await store.end_overdue(tx, shop, checkout)
            answer = _in_the_way(command.begin, standing)
            if answer is None and await store.insert_checkout(tx, intent):
                answer = intent
            else:
                answer = await _by_key(tx, command.begin) or answer
        answers.append(answer)
    return Outcome(answers=answers)


async def record(tx: Transaction, commands: Sequence[Record]) -> Outcome:
    """Record the ledger's answers; the checkouts as they are afterwards, each with the first answer given for it."""
    answers = []
    for command in commands:
        before = command.checkout
        after = None
        if before.state is not command.state:
            after = await store.move_checkout(
                tx, before.id, before=before.state, after=command.state, problem=command.problem
            )
        after = after or await store.checkout_by_id(tx, before.id, lock=True)
        if after.answer is None and after.state not in (State.INTENDED, State.REFUSED):
            after = replace(after, answer=command.say(after))
            await store.save_answer(tx, after)
        answers.append(after)
    return Outcome(answers=answers)


async def find(tx: Transaction, commands: Sequence[Find]) -> Outcome:
    """Checkouts as they stand, with what has been captured and returned."""
    answers: list[Any] = []
    for command in commands:
        found = await _find(tx, command)
        if found is None:
            answers.append(CheckoutNotFound(checkout=command.checkout))
        else:
            answers.append(Seen(found, await store.usage(tx, command.shop, command.checkout)))
    return Outcome(answers=answers)


async def find_unfinished(tx: Transaction, commands: Sequence[FindUnfinished]) -> Outcome:
    """Intents that have waited too long."""
    return Outcome(
        answers=[
            await store.unfinished_checkouts(tx, _ago(tx.now, command.after_seconds), command.limit)
            for command in commands
        ]
    )


async def begin_release(tx: Transaction, commands: Sequence[Find]) -> Outcome:
    """Record that points are about to be freed. What is free already stays so; what has been paid is refused."""
    answers: list[Any] = []
    for command in commands:
        found = await _find(tx, command, lock=True)
        if found is None:
            answers.append(CheckoutNotFound(checkout=command.checkout))
        elif found.state is State.CAPTURED or await store.is_spent(tx, found):
            answers.append(CheckoutCaptured(checkout=found.checkout, order=found.order_id, points=found.points))
        elif found.state is State.HELD:
            await store.move_checkout(tx, found.id, before=State.HELD, after=State.RELEASING)
            answers.append(replace(found, state=State.RELEASING, changed_at=tx.now))
        else:
            answers.append(found)
    return Outcome(answers=answers)


async def _find(tx: Transaction, command: Find, *, lock: bool = False) -> Checkout | None:
    if command.attempt is None:
        return await store.newest_checkout(tx, command.shop, command.checkout, lock=lock)
    return await store.checkout_by_id(tx, command.attempt, lock=lock)


async def _by_key(tx: Transaction, command: Begin) -> Checkout | IdempotencyConflict | None:
    """What the key has made before, if its content was the same."""
    before = await store.checkout_by_key(tx, command.shop, command.client, command.idempotency_key)
    if before is not None and before.content_hash != command.content_hash:
        return IdempotencyConflict(checkout=before.checkout)
    return before


def _in_the_way(command: Begin, standing: Standing) -> CheckoutExists | None:
    """A checkout that is alive, or that a paid order has named already, can take no other hold."""
    if standing.state is not None and standing.is_alive:
        return CheckoutExists(checkout=command.checkout, state=standing.state, points=standing.points)
    if standing.is_claimed:
        return CheckoutExists(checkout=command.checkout, state=State.CAPTURED, points=standing.points)
    return None


def _ago(now: datetime, seconds: float) -> datetime:
    return now - timedelta(seconds=seconds)
