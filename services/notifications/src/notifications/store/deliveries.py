"""Deliveries: leased to a sender in order, and what became of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from chassis import Transaction
from notifications.domain import Channel, Facts, Scenario
from notifications.store.arrays import columns, only
from notifications.store.messages import facts_from_json


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is ours to make, until the lease ends."""

    delivery: str
    stream: int
    shop: str
    member: str
    channel: Channel
    endpoint: str | None
    attempts: int
    waiting_since: datetime
    scenario: Scenario
    at: datetime
    facts: Facts
    traceparent: str | None


async def anything_due(driver: asyncpg.Connection, channel: Channel) -> bool:
    """Whether a claim would find anything; asked outside a transaction, since it is asked again and again at rest."""
    return bool(
        await driver.fetchval(
            "SELECT EXISTS (SELECT FROM shop AS s CROSS JOIN LATERAL (SELECT FROM stream AS t"
            " WHERE t.channel = $1 AND t.shop = s.shop AND t.next_at <= (SELECT clock_timestamp()) LIMIT 1) AS d)",
            channel.value,
        )
    )


async def claim(
    tx: Transaction,
    channel: Channel,
    *,
    lease: UUID,
    lease_seconds: float,
    limit: int,
    depth: int,
    full: Collection[tuple[str, str]],
) -> list[Claimed]:
    """Lease streams that are due, shops taking turns, and give the first deliveries of each, in order.

    `full`: endpoints, by shop and name, that take no more at the moment.
    """
    full_shops, full_names = [shop for shop, _ in full], [name for _, name in full]
    candidates = await tx.driver.fetch(
        "SELECT d.stream FROM shop AS s CROSS JOIN LATERAL ("
        "   SELECT t.stream, row_number() OVER (ORDER BY t.next_at) AS turn FROM stream AS t"
        "   WHERE t.channel = $1 AND t.shop = s.shop AND t.next_at <= $2"
        "   AND NOT EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS f (shop, name)"
        "     WHERE f.shop = t.shop AND f.name = t.endpoint)"
        "   ORDER BY t.next_at LIMIT $3) AS d ORDER BY d.turn LIMIT $3",
        channel.value,
        tx.now,
        limit,
        full_shops,
        full_names,
    )
    if not candidates:
        return []
    leased = await tx.driver.fetch(
        "UPDATE stream SET lease = $3, next_at = $2 + make_interval(secs => $4) WHERE stream IN ("
        "   SELECT stream FROM stream WHERE stream = ANY($1::bigint[]) AND next_at <= $2 FOR UPDATE SKIP LOCKED)"
        " RETURNING stream",
        [row["stream"] for row in candidates],
        tx.now,
        lease,
        lease_seconds,
    )
    rows = await tx.driver.fetch(
        "SELECT d.delivery::text, d.stream, d.shop, d.channel, d.endpoint, d.attempts, d.waiting_since,"
        "   m.member, m.scenario, m.at, m.facts::text AS facts, m.traceparent"
        " FROM unnest($1::bigint[]) AS s (stream) CROSS JOIN LATERAL ("
        "   SELECT * FROM delivery WHERE delivery.stream = s.stream AND state = 'waiting'"
        "   ORDER BY number LIMIT $2) AS d"
        " JOIN message AS m ON m.message = d.message ORDER BY d.stream, d.number",
        [row["stream"] for row in leased],
        depth,
    )
    claimed = [_claimed(row) for row in rows]
    # A stream with nothing in it was woken for deliveries that are gone; it is let go at once.
    empty = {row["stream"] for row in leased} - {each.stream for each in claimed}
    if empty:
        await release(tx, [(stream, None) for stream in sorted(empty)], lease=lease)
    return claimed


def _claimed(row: asyncpg.Record) -> Claimed:
    values = dict(row)
    return Claimed(
        **{
            **values,
            "channel": Channel(values["channel"]),
            "scenario": Scenario(values["scenario"]),
            "facts": facts_from_json(values["facts"]),
        }
    )


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one delivery."""

    delivery: str
    state: str
    """`waiting` (to be tried again), `sent`, `dead` or `dropped`."""
    counted: bool
    """It was an attempt."""
    reason: str | None


async def lock_streams(tx: Transaction, streams: Collection[int]) -> None:
    """Lock streams in the order in which whoever adds to them does."""
    await tx.driver.execute(
        'SELECT FROM stream WHERE stream = ANY($1::bigint[]) ORDER BY shop COLLATE "C", member COLLATE "C",'
        '   channel, endpoint COLLATE "C" FOR UPDATE',
        sorted(streams),
    )


async def record(tx: Transaction, made: Sequence[Made]) -> None:
    """Keep what became of deliveries. One that is not waiting any more stays as it is."""
    await tx.driver.execute(
        "UPDATE delivery SET state = r.state, attempts = attempts + r.counted, reason = r.reason,"
        " changed_at = $5::timestamptz, sent_at = CASE WHEN r.state = 'sent' THEN $5::timestamptz END"
        " FROM unnest($1::uuid[], $2::text[], $3::int[], $4::text[]) AS r (delivery, state, counted, reason)"
        " WHERE delivery.delivery = r.delivery AND delivery.state = 'waiting'",
        [each.delivery for each in made],
        [each.state for each in made],
        [int(each.counted) for each in made],
        [each.reason for each in made],
        tx.now,
    )


async def release(tx: Transaction, streams: Sequence[tuple[int, datetime | None]], *, lease: UUID) -> None:
    """Let leased streams go: due at that instant, or at once if anything waits, or never. Lock them first."""
    await tx.driver.execute(
        "UPDATE stream SET lease = NULL, next_at = coalesce(r.next_at, CASE WHEN EXISTS ("
        "   SELECT FROM delivery AS d WHERE d.stream = stream.stream AND d.state = 'waiting') THEN $4::timestamptz END)"
        " FROM unnest($1::bigint[], $2::timestamptz[]) AS r (stream, next_at)"
        " WHERE stream.stream = r.stream AND stream.lease = $3",
        *columns(streams, 2),
        lease,
        tx.now,
    )


async def replay(tx: Transaction, shop: str, delivery: str) -> str | None:
    """Have a delivery made again with its old id; gives its state before, None when the shop has none of that id."""
    row = await tx.driver.fetchrow(
        "SELECT delivery, stream, state FROM delivery WHERE shop = $1 AND delivery = $2::uuid FOR UPDATE",
        shop,
        delivery,
    )
    if row is None:
        return None
    if row["state"] != "waiting":
        await _replay(tx, [row["delivery"]], [row["stream"]])
    return str(row["state"])


async def replay_dead(tx: Transaction, shop: str, *, channel: Channel | None, endpoint: str | None, limit: int) -> int:
    """Have a shop's dead deliveries made again, oldest first; how many."""
    wanted, values = only({"channel": channel, "endpoint": endpoint}, first=3)
    rows = await tx.driver.fetch(
        f"SELECT delivery, stream FROM delivery WHERE shop = $1 AND state = 'dead'{wanted}"  # noqa: S608  # our own columns
        " ORDER BY number LIMIT $2 FOR UPDATE",
        shop,
        limit,
        *values,
    )
    await _replay(tx, [row["delivery"] for row in rows], [row["stream"] for row in rows])
    return len(rows)


async def _replay(tx: Transaction, deliveries: Sequence[Any], streams: Sequence[int]) -> None:
    await lock_streams(tx, streams)
    await tx.driver.execute(
        "UPDATE delivery SET state = 'waiting', attempts = 0, waiting_since = $2, changed_at = $2, sent_at = NULL"
        " WHERE delivery = ANY($1::uuid[])",
        deliveries,
        tx.now,
    )
    await tx.driver.execute(
        "UPDATE stream SET next_at = CASE WHEN lease IS NULL THEN $2 ELSE next_at END WHERE stream = ANY($1::bigint[])",
        sorted(set(streams)),
        tx.now,
    )


_LAST_NUMBER: Final = 2**63 - 1

_IN_STATE: Final = {state: f" AND d.state = '{state}'" for state in ("waiting", "sent", "dead", "dropped")}
"""In words: those that are dead have an index, which a plan for any state could not use."""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as people see it."""

    delivery: str
    message: str
    member: str
    scenario: Scenario
    channel: Channel
    endpoint: str | None
    state: str
    attempts: int
    reason: str | None
    created_at: datetime
    sent_at: datetime | None
    next_at: datetime | None
    number: int


async def deliveries(
    tx: Transaction,
    shop: str,
    *,
    state: str | None = None,
    channel: Channel | None = None,
    endpoint: str | None = None,
    member: str | None = None,
    delivery: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[DeliveryRow]:
    """A shop's deliveries, newest first."""
    wanted, values = only(
        {"d.channel": channel, "d.endpoint": endpoint, "m.member": member, "d.delivery": delivery}, first=4
    )
    rows = await tx.driver.fetch(
        "SELECT d.delivery::text, d.message::text, m.member,"  # noqa: S608  # our own columns
        "   m.scenario, d.channel, d.endpoint, d.state, d.attempts,"
        "   d.reason, m.created_at, d.sent_at, CASE WHEN d.state = 'waiting' THEN s.next_at END AS next_at, d.number"
        " FROM delivery AS d JOIN message AS m ON m.message = d.message JOIN stream AS s ON s.stream = d.stream"
        f" WHERE d.shop = $1 AND d.number < $2{'' if state is None else _IN_STATE[state]}{wanted}"
        " ORDER BY d.number DESC LIMIT $3",
        shop,
        _LAST_NUMBER if before is None else before,
        limit,
        *values,
    )
    return [
        DeliveryRow(**{**dict(row), "scenario": Scenario(row["scenario"]), "channel": Channel(row["channel"])})
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits, and what needs a person."""

    waiting: int
    oldest_seconds: float
    dead: int


async def backlog(tx: Transaction) -> dict[Channel, Backlog]:
    """Per channel."""
    rows = await tx.driver.fetch(
        "SELECT channel, count(*) AS waiting, 0 AS dead,"
        "   extract(epoch FROM $1 - min(waiting_since))::float8 AS oldest"
        " FROM delivery WHERE state = 'waiting' GROUP BY channel"
        " UNION ALL SELECT channel, 0, count(*), 0 FROM delivery WHERE state = 'dead' GROUP BY channel",
        tx.now,
    )
    found = dict.fromkeys(Channel, Backlog(0, 0.0, 0))
    for row in rows:
        before = found[Channel(row["channel"])]
        found[Channel(row["channel"])] = Backlog(
            before.waiting + row["waiting"], max(before.oldest_seconds, row["oldest"]), before.dead + row["dead"]
        )
    return found
