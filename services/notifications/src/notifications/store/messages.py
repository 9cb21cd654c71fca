"""Messages: what is told, recorded once each with its deliveries; and how they are looked up."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis import Transaction
from chassis.ids import LAST_UUID, named_uuid, new_uuid
from notifications.domain import Facts, Occurrence, Route, Scenario
from notifications.store.arrays import columns, only


@dataclass(frozen=True, slots=True)
class Due:
    """Something to tell, and the ways that it takes."""

    occurrence: Occurrence
    routes: Sequence[Route]
    traceparent: str | None = None


async def enqueue(tx: Transaction, dues: Sequence[Due], held_until: Mapping[tuple[str, str], datetime]) -> int:
    """Record messages and their deliveries, each once by its natural key; how many messages are new.

    `held_until`: endpoints, by shop and name, that are left alone for now.
    """
    new = await _new_messages(tx, dues)
    if not new:
        return 0
    wanted = [
        (due.occurrence.shop, due.occurrence.member, route.channel.value, route.endpoint, message)
        for message, due in new
        for route in due.routes
    ]
    ids = [_delivery_id(due.occurrence, route) for _, due in new for route in due.routes]
    streams = await _streams(tx, [each[:4] for each in wanted], held_until)
    # Numbers are given in this order, which is the order of arrival.
    await tx.driver.execute(
        "INSERT INTO delivery (delivery, message, shop, channel, endpoint, stream, state, waiting_since, changed_at)"
        " SELECT d.delivery, d.message, d.shop, d.channel, d.endpoint, d.stream, 'waiting', $7, $7"
        " FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[])"
        "   WITH ORDINALITY AS d (delivery, message, shop, channel, endpoint, stream, place) ORDER BY d.place"
        " ON CONFLICT ON CONSTRAINT delivery_once DO NOTHING",
        ids,
        [each[4] for each in wanted],
        [each[0] for each in wanted],
        [each[2] for each in wanted],
        [each[3] for each in wanted],
        [streams[each[:4]] for each in wanted],
        tx.now,
    )
    return len(new)


def _delivery_id(told: Occurrence, route: Route) -> UUID:
    """Of what is told and by which way: a database that was put back to an earlier moment tells it under the same id
    again, by which whoever got it before knows it."""
    name = (told.shop, told.scenario.value, told.key, route.channel.value, route.endpoint or "")
    return named_uuid(told.drawn_at, *name)


async def _new_messages(tx: Transaction, dues: Sequence[Due]) -> list[tuple[UUID, Due]]:
    by_id = {new_uuid(): due for due in dues if due.routes}
    if not by_id:
        return []
    told = [due.occurrence for due in by_id.values()]
    rows = await tx.driver.fetch(
        "INSERT INTO message (message, shop, member, scenario, key, at, facts, traceparent, created_at)"
        " SELECT m.*, $9 FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],"
        "   $7::jsonb[], $8::text[]) AS m ON CONFLICT ON CONSTRAINT message_once DO NOTHING RETURNING message",
        list(by_id),
        [each.shop for each in told],
        [each.member for each in told],
        [each.scenario.value for each in told],
        [each.key for each in told],
        [each.at for each in told],
        [facts_to_json(each.facts) for each in told],
        [due.traceparent for due in by_id.values()],
        tx.now,
    )
    new = {UUID(int=row["message"].int) for row in rows}
    return [(message, due) for message, due in by_id.items() if message in new]


StreamOf = tuple[str, str, str, str | None]
"""Shop, member, channel, endpoint."""


async def _streams(
    tx: Transaction, wanted: Collection[StreamOf], held_until: Mapping[tuple[str, str], datetime]
) -> dict[StreamOf, int]:
    """The streams, made or woken; their rows stay locked, so that a sender sees either all of this or nothing."""
    ordered = sorted(set(wanted), key=lambda each: (each[0], each[1], each[2], each[3] or ""))
    rows = await tx.driver.fetch(
        "INSERT INTO stream AS s (shop, member, channel, endpoint, next_at)"
        " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])"
        " ON CONFLICT ON CONSTRAINT stream_of DO UPDATE SET next_at = coalesce(s.next_at, excluded.next_at)"
        " RETURNING s.stream, s.shop, s.member, s.channel, s.endpoint",
        *columns(ordered, 4),
        [max(tx.now, held_until.get((each[0], each[3] or ""), tx.now)) for each in ordered],
    )
    return {(row["shop"], row["member"], row["channel"], row["endpoint"]): row["stream"] for row in rows}


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message as it is kept."""

    message: str
    scenario: Scenario
    at: datetime
    facts: Facts
    created_at: datetime
    deliveries: list[dict[str, Any]]


async def messages(
    tx: Transaction,
    shop: str,
    member: str,
    *,
    scenario: Scenario | None = None,
    message: str | None = None,
    before: str | None = None,
    limit: int,
) -> list[MessageRow]:
    """A member's messages, newest first."""
    wanted, values = only({"m.scenario": scenario, "m.message": message}, first=5)
    rows = await tx.driver.fetch(
        "SELECT m.message::text, m.scenario, m.at, m.facts::text AS facts, m.created_at,"  # noqa: S608  # our own columns
        "   (SELECT json_agg(json_build_object('delivery', d.delivery, 'channel', d.channel, 'endpoint', d.endpoint,"
        "     'state', d.state, 'sent_at', d.sent_at) ORDER BY d.number)::text"
        "    FROM delivery AS d WHERE d.message = m.message) AS deliveries"
        f" FROM message AS m WHERE m.shop = $1 AND m.member = $2 AND m.message < $3::uuid{wanted}"
        " ORDER BY m.message DESC LIMIT $4",
        shop,
        member,
        before or LAST_UUID,
        limit,
        *values,
    )
    return [
        MessageRow(
            row["message"],
            Scenario(row["scenario"]),
            row["at"],
            facts_from_json(row["facts"]),
            row["created_at"],
            json.loads(row["deliveries"] or "[]"),
        )
        for row in rows
    ]


async def forget_old(tx: Transaction, before: datetime, limit: int) -> int:
    """Delete a batch of old messages with their deliveries, except those that still wait."""
    status = await tx.driver.execute(
        "DELETE FROM message WHERE message IN (SELECT message FROM message AS m WHERE created_at < $1"
        " AND NOT EXISTS (SELECT FROM delivery AS d WHERE d.message = m.message AND d.state = 'waiting')"
        " ORDER BY created_at LIMIT $2)",
        before,
        limit,
    )
    return int(status.removeprefix("DELETE "))


def facts_to_json(facts: Facts) -> str:
    """Facts as they are stored: absent ones are left out, instants in ISO 8601."""
    told = {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in asdict(facts).items()
        if value is not None
    }
    return json.dumps(told, separators=(",", ":"))


def facts_from_json(stored: str) -> Facts:
    """Facts that were stored; what a newer version added is passed over."""
    told = json.loads(stored)
    for key in ("activates_at", "expires_at"):
        if key in told:
            told[key] = datetime.fromisoformat(told[key])
    return Facts(**{key: value for key, value in told.items() if key in Facts.__dataclass_fields__})
