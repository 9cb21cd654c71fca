"""Waiting: messages of a shop that is not known yet or is quarantined, in order of arrival.

Who adds to a queue and who empties it take the same lock, and while a shop has a queue all its new messages join it:
so a shop goes live again exactly when its queue is empty, and nothing overtakes.
"""

from collections.abc import Iterable, Sequence

import asyncpg

from chassis.messages import Backlog, Message, Raw, columns_of, raw_from_row

WAITING_LOCK = 0x57414954
"""First key of the advisory locks on queues ("WAIT")."""

NO_SHOP = ""
"""The shop of messages that do not tell one; it is never known, never quarantined, and has no queue."""


async def blocked(driver: asyncpg.Connection, consumer: str, shops: Sequence[str]) -> set[str]:
    """Which of these shops have a queue or are quarantined."""
    rows = await driver.fetch(
        "SELECT s.shop FROM unnest($2::text[]) AS s (shop)"
        " WHERE EXISTS (SELECT FROM waiting AS w WHERE w.consumer = $1 AND w.shop = s.shop)"
        " OR EXISTS (SELECT FROM quarantine AS q WHERE q.consumer = $1 AND q.shop = s.shop)",
        consumer,
        shops,
    )
    return {row["shop"] for row in rows}


async def lock(driver: asyncpg.Connection, consumer: str, shops: Iterable[str]) -> None:
    """Lock the queues of these shops until the transaction ends, in one order for all."""
    await driver.execute(
        "SELECT pg_advisory_xact_lock($1, hashtext(key)) FROM (SELECT unnest($2::text[]) AS key) AS wanted",
        WAITING_LOCK,
        [f"{consumer}/{shop}" for shop in sorted(shops)],
    )


async def join(driver: asyncpg.Connection, consumer: str, messages: Sequence[Message]) -> None:
    """Append messages to their shops' queues."""
    await driver.execute(
        'INSERT INTO waiting (consumer, topic, partition, "offset", key, headers, value, shop, received_at)'
        " SELECT $1, w.*, clock_timestamp() FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bytea[], $6::text[],"
        " $7::bytea[], $8::text[]) AS w",
        consumer,
        *columns_of([message.raw for message in messages]),
        [message.shop for message in messages],
    )


async def shops_with_queue(driver: asyncpg.Connection, consumer: str) -> list[str]:
    """Shops that wait and are not quarantined."""
    rows = await driver.fetch(
        "SELECT DISTINCT w.shop FROM waiting AS w WHERE w.consumer = $1"
        " AND NOT EXISTS (SELECT FROM quarantine AS q WHERE q.consumer = w.consumer AND q.shop = w.shop)",
        consumer,
    )
    return [row["shop"] for row in rows]


async def first(driver: asyncpg.Connection, consumer: str, shop: str, limit: int) -> list[tuple[int, Raw]]:
    """The head of a shop's queue, in order of arrival: place in the queue and record."""
    rows = await driver.fetch(
        'SELECT place, topic, partition, "offset", key, headers, value FROM waiting'
        " WHERE consumer = $1 AND shop = $2 ORDER BY place LIMIT $3",
        consumer,
        shop,
        limit,
    )
    return [(row["place"], raw_from_row(row)) for row in rows]


async def leave(driver: asyncpg.Connection, consumer: str, shop: str, places: Sequence[int]) -> bool:
    """Remove these messages; false when someone else has removed any of them before."""
    status = await driver.execute(
        "DELETE FROM waiting WHERE consumer = $1 AND shop = $2 AND place = ANY($3::bigint[])", consumer, shop, places
    )
    return bool(status == f"DELETE {len(places)}")


async def quarantine(driver: asyncpg.Connection, consumer: str, shop: str, reason: str) -> None:
    """Let all messages of a shop wait until someone lifts it."""
    await driver.execute(
        "INSERT INTO quarantine (consumer, shop, reason, since) VALUES ($1, $2, $3, clock_timestamp())"
        " ON CONFLICT DO NOTHING",
        consumer,
        shop,
        reason,
    )


async def quarantined(driver: asyncpg.Connection, consumer: str) -> int:
    """How many shops are quarantined."""
    return int(await driver.fetchval("SELECT count(*) FROM quarantine WHERE consumer = $1", consumer))


async def lift(driver: asyncpg.Connection, shop: str) -> int:
    """End a shop's quarantines; its queues empty by themselves. How many there were."""
    status = await driver.execute("DELETE FROM quarantine WHERE shop = $1", shop)
    return int(status.removeprefix("DELETE "))


async def quarantines(driver: asyncpg.Connection, shop: str) -> list[asyncpg.Record]:
    """A shop's quarantines, by consumer."""
    rows: list[asyncpg.Record] = await driver.fetch(
        "SELECT consumer, shop, reason, since FROM quarantine WHERE shop = $1 ORDER BY consumer", shop
    )
    return rows


async def page(driver: asyncpg.Connection, shop: str, *, after: int, limit: int) -> list[asyncpg.Record]:
    """A shop's waiting messages in order of arrival, behind a place in the queue."""
    rows: list[asyncpg.Record] = await driver.fetch(
        'SELECT place, consumer, topic, partition, "offset", received_at FROM waiting'
        " WHERE shop = $1 AND place > $2 ORDER BY place LIMIT $3",
        shop,
        after,
        limit,
    )
    return rows


async def backlog(driver: asyncpg.Connection, consumer: str) -> Backlog:
    """All that waits."""
    row = await driver.fetchrow(
        "SELECT count(*), COALESCE(EXTRACT(epoch FROM clock_timestamp() - min(received_at)), 0)::float"
        " FROM waiting WHERE consumer = $1",
        consumer,
    )
    return Backlog(*row)
