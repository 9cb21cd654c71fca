"""Checkouts: attempts to hold points, by id, by key and by what is under way."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from asyncpg import Record

from chassis import Transaction
from redemption.domain.checkout import LIVE, Checkout, State, Usage

_FIELDS: Final = [field.name for field in fields(Checkout)]
_COLUMNS: Final = ", ".join(_FIELDS)
_VALUES: Final = ", ".join(f"${place}" for place in range(1, len(_FIELDS) + 1))


async def lock_checkouts(tx: Transaction, keys: Iterable[tuple[str, str]]) -> None:
    """Let nobody else claim these checkouts, or hold points for them, until the end of the transaction.

    There may be no row yet that could be locked. A paid order that claims a checkout and a new hold for it would not
    see each other otherwise.
    """
    await tx.driver.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(key, 0)) FROM (SELECT unnest($1::text[]) AS key) AS wanted",
        sorted(f"{shop}/{checkout}" for shop, checkout in keys),
    )


async def checkout_by_key(tx: Transaction, shop: str, client: str, key: str) -> Checkout | None:
    """The checkout that was made under an idempotency key; a refusal leaves its key unused."""
    row = await tx.driver.fetchrow(
        f"SELECT {_COLUMNS} FROM checkout"  # noqa: S608
        " WHERE shop = $1 AND client = $2 AND idempotency_key = $3 AND state <> 'refused'",
        shop,
        client,
        key,
    )
    return None if row is None else _checkout(row)


async def newest_checkout(tx: Transaction, shop: str, checkout: str, *, lock: bool = False) -> Checkout | None:
    """The newest attempt of a checkout."""
    row = await tx.driver.fetchrow(
        f"SELECT {_COLUMNS} FROM checkout WHERE shop = $1 AND checkout = $2"  # noqa: S608
        f" ORDER BY created_at DESC, id DESC LIMIT 1{_lock(lock)}",
        shop,
        checkout,
    )
    return None if row is None else _checkout(row)


async def checkout_by_id(tx: Transaction, attempt: UUID, *, lock: bool = False) -> Checkout:
    """An attempt, as it now is."""
    return _checkout(
        await tx.driver.fetchrow(f"SELECT {_COLUMNS} FROM checkout WHERE id = $1{_lock(lock)}", attempt)  # noqa: S608
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a checkout can take a hold, by its newest attempt."""

    state: State | None
    points: int
    is_overdue: bool
    """Its time is over, before the ledger's event says so."""
    is_claimed: bool
    """A paid order has named it."""

    @property
    def is_alive(self) -> bool:
        return self.state in LIVE and not self.is_overdue


async def standing(tx: Transaction, shop: str, checkout: str) -> Standing:
    """How a checkout stands now."""
    row = await tx.driver.fetchrow(
        "SELECT c.state, c.points, c.state IN ('intended', 'held') AND c.expires_at <= $3 AS is_overdue,"
        " EXISTS (SELECT FROM claim WHERE shop = $1 AND checkout = $2) AS is_claimed"
        " FROM (SELECT) AS always LEFT JOIN (SELECT state, points, expires_at FROM checkout"
        " WHERE shop = $1 AND checkout = $2 ORDER BY created_at DESC, id DESC LIMIT 1) AS c ON TRUE",
        shop,
        checkout,
        tx.now,
    )
    state = State(row["state"]) if row["state"] else None
    return Standing(state, row["points"] or 0, bool(row["is_overdue"]), row["is_claimed"])


async def end_overdue(tx: Transaction, shop: str, checkout: str) -> None:
    """Note that a hold's time is over, before the ledger's event says so, so that the checkout can be tried again."""
    await tx.driver.execute(
        "UPDATE checkout SET state = 'expired', changed_at = $3"
        " WHERE shop = $1 AND checkout = $2 AND state IN ('intended', 'held') AND expires_at <= $3",
        shop,
        checkout,
        tx.now,
    )


async def insert_checkout(tx: Transaction, checkout: Checkout) -> bool:
    """Record an intent; false when its key is used, or its checkout is alive, already."""
    values = {name: getattr(checkout, name) for name in _FIELDS}
    values["cart"] = json.dumps(checkout.cart)
    done = await tx.driver.execute(
        f"INSERT INTO checkout ({_COLUMNS}) VALUES ({_VALUES}) ON CONFLICT DO NOTHING",  # noqa: S608
        *values.values(),
    )
    return bool(done == "INSERT 0 1")


async def move_checkout(
    tx: Transaction, attempt: UUID, *, before: State, after: State, problem: Mapping[str, Any] | None = None
) -> Checkout | None:
    """Record the ledger's answer; the attempt as it then is. None: another request, the job or the ledger's event was
    faster, and is not undone."""
    row = await tx.driver.fetchrow(
        "UPDATE checkout SET state = $3, problem = $4, changed_at = $5"  # noqa: S608
        f" WHERE id = $1 AND state = $2 RETURNING {_COLUMNS}",
        attempt,
        before,
        after,
        None if problem is None else json.dumps(problem),
        tx.now,
    )
    return None if row is None else _checkout(row)


async def save_answer(tx: Transaction, answered: Checkout) -> None:
    """Keep the first answer of an attempt."""
    await tx.driver.execute("UPDATE checkout SET answer = $2 WHERE id = $1", answered.id, answered.answer)


async def unfinished_checkouts(tx: Transaction, before: datetime, limit: int) -> list[Checkout]:
    """Attempts that have waited for the ledger's answer since before that instant."""
    rows = await tx.driver.fetch(
        f"SELECT {_COLUMNS} FROM checkout WHERE state IN ('intended', 'releasing') AND changed_at < $1"  # noqa: S608
        " ORDER BY changed_at LIMIT $2",
        before,
        limit,
    )
    return [_checkout(row) for row in rows]


async def usage(tx: Transaction, shop: str, checkout: str) -> Usage:
    """What the ledger has done for the orders that name a checkout.

    An order that is called off and paid again tells its difference again; it is one all the same.
    """
    row = await tx.driver.fetchrow(
        "SELECT sum(debited)::bigint, sum(returned)::bigint, sum(shortfall)::bigint,"
        " (array_agg(difference ORDER BY place DESC) FILTER (WHERE hold IS NOT NULL))[1]"
        " FROM spend WHERE shop = $1 AND claim = $2 AND claim <> ''",
        shop,
        checkout,
    )
    return Usage(*(value or 0 for value in row))


async def is_spent(tx: Transaction, checkout: Checkout) -> bool:
    """Whether a paid order has asked for what the attempt holds, heard of by the ledger or not."""
    found = await tx.driver.fetchval(
        "SELECT EXISTS (SELECT FROM spend WHERE shop = $1 AND claim = $2 AND claim <> '' AND hold = $3)",
        checkout.shop,
        checkout.checkout,
        checkout.hold,
    )
    return bool(found)


def _lock(wanted: bool) -> str:
    return " FOR UPDATE" if wanted else ""


def _checkout(row: Record) -> Checkout:
    problem = row["problem"]
    return Checkout(
        **{
            **row,
            "state": State(row["state"]),
            "cart": json.loads(row["cart"]),
            "problem": None if problem is None else json.loads(problem),
        }
    )
