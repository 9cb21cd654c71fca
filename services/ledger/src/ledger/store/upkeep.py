"""What jobs do with whole tables: find what is due, fold sums, find what waits."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg


async def due_accounts(driver: asyncpg.Connection, limit: int) -> Sequence[tuple[UUID, str, str]]:
    """Accounts on which something is due, longest overdue first: id, shop, member."""
    found = await driver.fetch(
        # The clock as a value of its own: what may change from row to row bounds no index, and all would be read.
        "SELECT id, shop, member FROM account WHERE next_due_at <= (SELECT clock_timestamp())"
        " ORDER BY next_due_at LIMIT $1",
        limit,
    )
    return [(row["id"], row["shop"], row["member"]) for row in found]


async def fold_sums(driver: asyncpg.Connection, limit: int) -> int:
    """Put up to so many appended sums together, one row for each system account of a shop. How many there were.

    One statement: readers see the rows before it or the row after it, never both or neither.
    """
    status = await driver.fetchval(
        "WITH old AS (DELETE FROM system_sum WHERE id IN (SELECT id FROM system_sum ORDER BY id LIMIT $1)"
        " RETURNING shop, asset, name, amount),"
        " folded AS (INSERT INTO system_sum (id, shop, asset, name, amount)"
        " SELECT uuidv7(), shop, asset, name, sum(amount) FROM old GROUP BY shop, asset, name RETURNING 1)"
        " SELECT (SELECT count(*) FROM old) - (SELECT count(*) FROM folded)",
        limit,
    )
    return int(status)


async def parked_before(driver: asyncpg.Connection, before: datetime, *, after: int, limit: int) -> Sequence[Any]:
    """Postings that have waited since before then, in order of arrival, from behind a place on."""
    return list(
        await driver.fetch(
            "SELECT p.place, p.account_id, p.shop, p.source, p.key, p.since, a.member FROM parked AS p"
            " JOIN account AS a ON a.id = p.account_id WHERE p.since < $1 AND p.place > $2 ORDER BY p.place LIMIT $3",
            before,
            after,
            limit,
        )
    )
