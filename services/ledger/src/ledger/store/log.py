"""The ledger's log as the relay reads it: entries and refusals by their places, made into events as they are read.

Seals are sent beside it, from lanes of their own: a seal's number is its position there.
"""

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final

import asyncpg
import msgspec

from chassis.outbox import Outgoing
from contracts import topics
from ledger.domain import PostingId
from ledger.domain.hashing import name_of, uuid8
from ledger.store import rows, seals
from ledger.store.seals import Sealed

_ENTRIES: Final = (
    "SELECT e.lane, e.position, a.shop, a.member, a.asset, e.account_id, x.epoch, e.seq, e.kind, e.at, e.recorded_at,"
    ' e.source, e.key, e."order", e.checkout, e.hold, e.cause::text, e.available, e.pending, e.held, e.debt,'
    " e.system::text, e.available_after, e.pending_after, e.held_after, e.debt_after, e.lots::text, e.shortfall,"
    " e.hash,"
    " e.trace"
    " FROM epoch AS x, unnest($1::int[], $2::bigint[]) AS c (lane, position)"
    " CROSS JOIN LATERAL (SELECT * FROM entry AS e WHERE e.lane = c.lane AND e.position > c.position"
    " ORDER BY e.position LIMIT $3) AS e"
    " JOIN account AS a ON a.id = e.account_id"
)
MOST_LOTS_CHARACTERS: Final = 256 * 1024
"""Of an event's lots: half of what an event may have."""

_REFUSALS: Final = (
    'SELECT r.lane, r.position, a.shop, a.member, a.asset, r.kind, r.at, r.source, r.key, r."order", r.checkout,'
    " r.code,"
    " r.facts::text, r.trace"
    " FROM unnest($1::int[], $2::bigint[]) AS c (lane, position)"
    " CROSS JOIN LATERAL (SELECT * FROM refusal AS r WHERE r.lane = c.lane AND r.position > c.position"
    " ORDER BY r.position LIMIT $3) AS r"
    " JOIN account AS a ON a.id = r.account_id"
)


HIGHEST: Final = (
    "SELECT l.lane, GREATEST("
    "(SELECT e.position FROM entry AS e WHERE e.lane = l.lane ORDER BY e.position DESC LIMIT 1),"
    " (SELECT r.position FROM refusal AS r WHERE r.lane = l.lane ORDER BY r.position DESC LIMIT 1),"
    " (SELECT c.position FROM relay_cursor AS c WHERE c.lane = l.lane), 0)"
    " FROM unnest($1::int[]) AS l (lane)"
)
"""The highest position ever given in each lane; to be asked after the lanes were taken."""

SEAL_LANES: Final = 1_000_000
"""What the relay's cursor adds to a lane for its seals; migration 0002 made these cursors."""

SEALS_EVERY_SECONDS: Final = 1.0
"""How often the relay looks for seals: there is one every few seconds, and it looks at the log far more often."""


async def highest(driver: asyncpg.Connection, lanes: Sequence[int]) -> Mapping[int, int]:
    """The highest position ever given in each lane."""
    return dict(await driver.fetch(HIGHEST, lanes))


class LedgerLog:
    """Exactly one event per entry, refusal and seal, by construction: the log is the outbox."""

    def __init__(self) -> None:
        self._look_for_seals_at = 0.0

    async def read(self, driver: asyncpg.Connection, after: Mapping[int, int], limit: int) -> Sequence[Outgoing]:
        """The rows behind these positions. Two statements see two moments: what is told ends before any gap."""
        of_seals = {lane: number for lane, number in after.items() if lane >= SEAL_LANES}
        if not of_seals:
            return await self._rows(driver, after, limit)
        rows = {lane: position for lane, position in after.items() if lane < SEAL_LANES}
        return [*await self._rows(driver, rows, limit), *await self._seals(driver, of_seals, limit)]

    async def _seals(self, driver: asyncpg.Connection, after: Mapping[int, int], limit: int) -> list[Outgoing]:
        if monotonic() < self._look_for_seals_at:
            return []
        found = await seals.numbered_behind(driver, {lane - SEAL_LANES: n for lane, n in after.items()}, limit)
        if not found:
            self._look_for_seals_at = monotonic() + SEALS_EVERY_SECONDS
        return [seal_event(sealed) for sealed in found]

    async def _rows(self, driver: asyncpg.Connection, after: Mapping[int, int], limit: int) -> list[Outgoing]:
        lanes, positions = list(after.keys()), list(after.values())
        found = [entry_event(row) for row in await driver.fetch(_ENTRIES, lanes, positions, limit)]
        refusals = await driver.fetch(_REFUSALS, lanes, positions, limit)
        if refusals:
            found += [refusal_event(row) for row in refusals]
            found.sort(key=lambda event: (event.lane, event.position))
        return list(_without_gaps(found, after))

    async def highest(self, driver: asyncpg.Connection, lanes: Sequence[int]) -> Mapping[int, int]:
        """The highest position ever given in each lane; 0 when none was."""
        of_seals = [lane - SEAL_LANES for lane in lanes if lane >= SEAL_LANES]
        found = dict(await highest(driver, [lane for lane in lanes if lane < SEAL_LANES]))
        if of_seals:
            numbers = await seals.highest_numbers(driver, of_seals)
            found.update({SEAL_LANES + lane: number for lane, number in numbers.items()})
        return found

    async def drop(self, driver: asyncpg.Connection, upto: Mapping[int, int], keep_seconds: float, limit: int) -> int:  # noqa: ARG002
        """Nothing: the log is the ledger."""
        return 0


def _without_gaps(events: Sequence[Outgoing], after: Mapping[int, int]) -> Sequence[Outgoing]:
    """Rows of a lane become visible in order, so positions follow each other; where they do not, it comes later."""
    reached = dict(after)
    told = []
    for event in events:
        if event.position == reached[event.lane] + 1:
            reached[event.lane] = event.position
            told.append(event)
    return told


def entry_id(entry_hash: bytes) -> str:
    """An entry's id: drawn from its hash, so that it needs no column and is the same wherever the history is."""
    return uuid8(entry_hash)


def refusal_id(posting: PostingId) -> str:
    """A refusal's id: a posting is refused once."""
    return name_of("refusal", posting)


def proposal_id(posting: PostingId) -> str:
    """A proposal's id: a posting is proposed once."""
    return name_of("proposal", posting)


def entry_event(row: Any) -> Outgoing:
    """The points-changed event of a row of `_ENTRIES`. What is stored as JSON goes out byte by byte."""
    (
        lane, position, shop, member, asset, account_id, epoch, seq, kind, at, recorded_at, source, key, order,
        checkout, hold, cause, available, pending, held, debt, system, available_after, pending_after, held_after,
        debt_after, lots, shortfall, entry_hash, trace,
    ) = row  # fmt: skip
    event_id = entry_id(entry_hash)
    body: dict[str, Any] = {
        "shop": shop,
        "member": member,
        "asset": asset,
        "account": str(account_id),
        "epoch": epoch,
        "seq": seq,
        "entry": event_id,
        "kind": kind,
        "at": at,
        "recorded_at": recorded_at,
        "source": source,
        "posting": key,
        "cause": msgspec.Raw(cause.encode()),
        "changes": {"available": available, "pending": pending, "held": held, "debt": debt},
        "system": msgspec.Raw(system.encode()),
        "balances": {
            "available": available_after,
            "pending": pending_after,
            "held": held_after,
            "debt": debt_after,
        },
        "lots": msgspec.Raw(_told_lots(lots).encode()),
        "shortfall": shortfall,
        "hash": entry_hash.hex(),
    }
    if order is not None:
        body["order"] = order
    if checkout is not None:
        body["checkout"] = checkout
    if hold is not None:
        body["hold"] = hold
    return Outgoing(
        lane=lane,
        position=position,
        id=event_id,
        topic=topics.LEDGER.name,
        key=f"{shop}/{member}",
        type="points-changed",
        subject=kind,
        body=rows.encode_json(body),
        at=recorded_at,
        trace=trace,
    )


def seal_event(sealed: Sealed) -> Outgoing:
    """The log-sealed event of a seal; its id is drawn from its hash."""
    seal = sealed.seal
    return Outgoing(
        lane=SEAL_LANES + seal.lane,
        position=seal.number,
        id=uuid8(seal.hash),
        topic=topics.SEALS.name,
        key=f"*/{seal.lane}",
        type="log-sealed",
        body=rows.encode_json({"shop": "*", **sealed.told()}),
        at=seal.at,
        trace=None,
    )


def _told_lots(lots: str) -> str:
    """An entry of thousands of lots would not fit a message; the statement has them all."""
    if len(lots) <= MOST_LOTS_CHARACTERS:
        return lots
    told: list[Any] = rows.decode_json(lots)
    return rows.json_text(told[: MOST_LOTS_CHARACTERS * len(told) // len(lots)])


def refusal_event(row: Any) -> Outgoing:
    """The posting-refused event of a row of `_REFUSALS`."""
    lane, position, shop, member, asset, kind, at, source, key, order, checkout, code, facts, trace = row
    error = rows.error_of(code, rows.decode_json(facts))
    body: dict[str, Any] = {
        "shop": shop,
        "member": member,
        "asset": asset,
        "source": source,
        "posting": key,
        "kind": kind,
        "code": code,
        "detail": error.detail,
        "facts": msgspec.Raw(facts.encode()),
        "at": at,
    }
    if order is not None:
        body["order"] = order
    if checkout is not None:
        body["checkout"] = checkout
    return Outgoing(
        lane=lane,
        position=position,
        id=refusal_id(PostingId(shop, source, key)),
        topic=topics.LEDGER.name,
        key=f"{shop}/{member}",
        type="posting-refused",
        subject=kind,
        body=rows.encode_json(body),
        at=at,
        trace=trace,
    )
