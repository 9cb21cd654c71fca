"""Checkouts: attempts to hold points, by id, by key and by what is under way."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert

from chassis import Transaction
from redemption import tables
from redemption.domain.checkout import UNFINISHED, Checkout, State, Usage

_CHECKOUT_FIELDS: Final = [field.name for field in fields(Checkout)]
_CHECKOUT_COLUMNS: Final = [tables.checkout.c[name] for name in _CHECKOUT_FIELDS]


async def checkout_by_key(tx: Transaction, shop: str, client: str, key: str) -> Checkout | None:
    """The checkout that was made under an idempotency key; a refusal leaves its key unused."""
    checkout = tables.checkout
    found = await tx.conn.execute(
        select(*_CHECKOUT_COLUMNS).where(
            checkout.c.shop == shop,
            checkout.c.client == client,
            checkout.c.idempotency_key == key,
            checkout.c.state != State.REFUSED,
        )
    )
    return _checkout(found.one_or_none())


async def newest_checkout(tx: Transaction, shop: str, checkout_id: str, *, lock: bool = False) -> Checkout | None:
    """The newest attempt of a checkout."""
    checkout = tables.checkout
    statement = (
        select(*_CHECKOUT_COLUMNS)
        .where(checkout.c.shop == shop, checkout.c.checkout == checkout_id)
        .order_by(checkout.c.created_at.desc(), checkout.c.id.desc())
        .limit(1)
    )
    found = await tx.conn.execute(statement.with_for_update() if lock else statement)
    return _checkout(found.one_or_none())


async def checkout_by_id(tx: Transaction, attempt: UUID, *, lock: bool = False) -> Checkout:
    """An attempt, as it now is."""
    statement = select(*_CHECKOUT_COLUMNS).where(tables.checkout.c.id == attempt)
    checkout = _checkout((await tx.conn.execute(statement.with_for_update() if lock else statement)).one())
    assert checkout is not None
    return checkout


async def end_overdue(tx: Transaction, shop: str, checkout_id: str) -> None:
    """Note that a hold's time is over, before the ledger's event says so, so that the checkout can be tried again."""
    checkout = tables.checkout
    await tx.conn.execute(
        update(checkout)
        .where(
            checkout.c.shop == shop,
            checkout.c.checkout == checkout_id,
            checkout.c.state.in_([State.INTENDED, State.HELD]),
            checkout.c.expires_at <= tx.now,
        )
        .values(state=State.EXPIRED, changed_at=tx.now)
    )


async def insert_checkout(tx: Transaction, checkout: Checkout) -> bool:
    """Record an intent; false when its key is used, or its checkout is alive, already."""
    values = {name: getattr(checkout, name) for name in _CHECKOUT_FIELDS}
    statement = insert(tables.checkout).values(values).on_conflict_do_nothing().returning(tables.checkout.c.id)
    return (await tx.conn.execute(statement)).one_or_none() is not None


async def move_checkout(
    tx: Transaction, attempt: UUID, *, before: State, after: State, problem: Mapping[str, Any] | None = None
) -> None:
    """Record the ledger's answer; whoever was faster, another request, the job or the ledger's event, is not undone."""
    checkout = tables.checkout
    await tx.conn.execute(
        update(checkout)
        .where(checkout.c.id == attempt, checkout.c.state == before)
        .values(state=after, problem=problem, changed_at=tx.now)
    )


async def save_answer(tx: Transaction, answered: Checkout) -> None:
    """Keep the first answer of an attempt."""
    checkout = tables.checkout
    await tx.conn.execute(update(checkout).where(checkout.c.id == answered.id).values(answer=answered.answer))


async def unfinished_checkouts(tx: Transaction, before: datetime, limit: int) -> list[Checkout]:
    """Attempts that have waited for the ledger's answer since before that instant."""
    checkout = tables.checkout
    rows = await tx.conn.execute(
        select(*_CHECKOUT_COLUMNS)
        .where(checkout.c.state.in_(sorted(UNFINISHED)), checkout.c.changed_at < before)
        .order_by(checkout.c.changed_at)
        .limit(limit)
    )
    return [found for row in rows if (found := _checkout(row)) is not None]


_newest_difference: Final = func.array_agg(
    aggregate_order_by(tables.spend.c.difference, tables.spend.c.place.desc())
).filter(tables.spend.c.hold.is_not(None))[1]
"""An order that is called off and paid again tells it again; it is one difference all the same."""


async def usage(tx: Transaction, shop: str, checkout_id: str) -> Usage:
    """What the ledger has done for the orders that name a checkout."""
    spend = tables.spend
    row = (
        await tx.conn.execute(
            select(
                func.sum(spend.c.debited),
                func.sum(spend.c.returned),
                func.sum(spend.c.shortfall),
                _newest_difference,
            ).where(spend.c.shop == shop, spend.c.claim == checkout_id, spend.c.claim != "")
        )
    ).one()
    return Usage(*(int(value or 0) for value in row))


async def is_claimed(tx: Transaction, shop: str, checkout_id: str) -> bool:
    """Whether a paid order has named the checkout already."""
    claim = tables.claim
    found = await tx.conn.execute(select(claim.c.order_id).where(claim.c.shop == shop, claim.c.checkout == checkout_id))
    return found.one_or_none() is not None


async def is_spent(tx: Transaction, checkout: Checkout) -> bool:
    """Whether a paid order has asked for what the attempt holds, heard of by the ledger or not."""
    spend = tables.spend
    found = await tx.conn.execute(
        select(spend.c.name)
        .where(spend.c.shop == checkout.shop, spend.c.claim == checkout.checkout, spend.c.claim != "")
        .where(spend.c.hold == checkout.hold)
        .limit(1)
    )
    return found.one_or_none() is not None


def _checkout(row: Row[Any] | None) -> Checkout | None:
    if row is None:
        return None
    values = dict(zip(_CHECKOUT_FIELDS, row, strict=True))
    return Checkout(**{**values, "state": State(values["state"])})
