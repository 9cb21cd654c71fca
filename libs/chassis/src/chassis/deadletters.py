"""Dead letters: messages that can never be applied, kept with their bytes and the reason until someone replays them."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from chassis.ids import LAST_UUID, new_uuid
from chassis.messages import Backlog, Message, columns_of
from chassis.telemetry import DEAD_LETTERS

DETAIL_CHARACTERS = 1_000
"""Characters of a reason that are kept; what needs more is in the bytes."""


async def store(driver: asyncpg.Connection, consumer: str, dead: Sequence[Message]) -> None:
    """Keep messages in the open transaction: the fence that moves with it lets each be kept once."""
    if not dead:
        return
    await driver.execute(
        "INSERT INTO dead_letter"
        ' (consumer, topic, partition, "offset", key, headers, value, id, shop, code, detail, received_at)'
        " SELECT $1, d.*, clock_timestamp() FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bytea[], $6::text[],"
        " $7::bytea[], $8::uuid[], $9::text[], $10::text[], $11::text[]) AS d",
        consumer,
        *columns_of([message.raw for message in dead]),
        [new_uuid() for _ in dead],
        [message.shop for message in dead],
        [_reason(message)[0] for message in dead],
        [_reason(message)[1] for message in dead],
    )
    for message in dead:
        DEAD_LETTERS.labels(consumer, _reason(message)[0]).inc()


async def page(
    driver: asyncpg.Connection, shop: str, *, after: str | None, limit: int, value_bytes: int
) -> list[asyncpg.Record]:
    """A shop's dead letters, newest first, behind the id `after`; of each value only the first bytes."""
    rows: list[asyncpg.Record] = await driver.fetch(
        'SELECT id, shop, consumer, topic, partition, "offset", code, detail,'  # noqa: S608  # our own conditions
        " received_at, replayed_at, octet_length(value) AS size_bytes,"
        " encode(substring(value FOR $4), 'base64') AS value FROM dead_letter"
        f" WHERE {_of(shop)} AND id < $2::uuid ORDER BY id DESC LIMIT $3",
        shop,
        after or LAST_UUID,
        limit,
        value_bytes,
    )
    return rows


async def take(driver: asyncpg.Connection, shop: str, letter_id: str) -> asyncpg.Record | None:
    """Lock one dead letter for a replay; None when the shop has none of that id."""
    row: asyncpg.Record | None = await driver.fetchrow(
        'SELECT id, shop, consumer, topic, partition, "offset", key, headers, value,'  # noqa: S608  # our own conditions
        f" code, detail, received_at, replayed_at FROM dead_letter WHERE {_of(shop)} AND id = $2::uuid FOR UPDATE",
        shop,
        letter_id,
    )
    return row


async def mark_replayed(driver: asyncpg.Connection, letter_id: str, at: datetime) -> None:
    """Record that a dead letter has been applied; it stays, for the audit, until it expires."""
    await driver.execute("UPDATE dead_letter SET replayed_at = $2 WHERE id = $1::uuid", letter_id, at)


async def backlog(driver: asyncpg.Connection, consumer: str) -> Backlog:
    """The letters that nobody has replayed yet."""
    row = await driver.fetchrow(
        "SELECT count(*), COALESCE(EXTRACT(epoch FROM clock_timestamp() - min(received_at)), 0)::float"
        " FROM dead_letter WHERE consumer = $1 AND replayed_at IS NULL",
        consumer,
    )
    return Backlog(*row)


async def expire(driver: asyncpg.Connection, days: int, limit: int) -> int:
    """Delete a batch of the letters older than that; raw bytes may hold anything and must not stay for ever."""
    status = await driver.execute(
        "DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter"
        " WHERE received_at < (SELECT clock_timestamp() - make_interval(days => $1)) ORDER BY received_at LIMIT $2)",
        days,
        limit,
    )
    return int(status.removeprefix("DELETE "))


def _of(shop: str) -> str:
    """All shops, also none: a message without a readable key names no shop."""
    return "$1::text = '*'" if shop == "*" else "shop = $1::text"


def _reason(message: Message) -> tuple[str, str]:
    assert message.dead is not None
    return message.dead.code, message.dead.detail[:DETAIL_CHARACTERS].replace("\x00", "")
