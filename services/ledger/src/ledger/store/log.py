"""The ledger's log as the relay reads it: entries and refusals by their places, made into events as they are read.

Seals and the starts of epochs are sent beside it, from lanes of their own: a seal's number, an epoch, is its position
there. The start of an epoch goes out before any row that is told in it.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from time import monotonic
from typing import Any, Final

import asyncpg
import msgspec

from chassis.outbox import Outgoing
from contracts import topics
from ledger.domain import PostingId
from ledger.domain.hashing import name_of, uuid8
from ledger.store import epochs, rows, seals
from ledger.store.epochs import Started
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
    " r.facts::text, r.trace, x.epoch"
    " FROM epoch AS x, unnest($1::int[], $2::bigint[]) AS c (lane, position)"
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

EPOCH_LANES: Final = 2_000_000
"""The same for the starts of epochs (migration 0006): a multiple of the topic's partitions, so that each goes where the
rows of its lane do."""

SEALS_EVERY_SECONDS: Final = 1.0
"""How often the relay looks for seals: there is one every few seconds, and it looks at the log far more often."""


async def highest(driver: asyncpg.Connection, lanes: Sequence[int]) -> Mapping[int, int]:
    """The highest position ever given in each lane."""
    return dict(await driver.fetch(HIGHEST, lanes))


class LedgerLog:
    """Exactly one event per entry, refusal and seal, by construction: the log is the outbox."""

    def __init__(self) -> None:
        self._look_for_seals_at = 0.0
        self._epoch = 0
        """Of which the starts have been looked for; 0 before the first look."""
        self.held_back = False
        """Nothing is told while it is not known whether the log is behind what was told before."""

    async def read(self, driver: asyncpg.Connection, after: Mapping[int, int], limit: int) -> Sequence[Outgoing]:
        """The rows behind these positions. Two statements see two moments: what is told ends before any gap."""
        if self.held_back:
            return []
        of_rows = {lane: position for lane, position in after.items() if lane < SEAL_LANES}
        of_seals = {lane: number for lane, number in after.items() if SEAL_LANES <= lane < EPOCH_LANES}
        of_epochs = {lane - EPOCH_LANES: epoch for lane, epoch in after.items() if lane >= EPOCH_LANES}
        look = monotonic() >= self._look_for_seals_at
        told, epoch = await self._rows(driver, of_rows, limit)
        if of_epochs and (look or epoch > self._epoch):
            told = [*(epoch_event(started) for started in await epochs.behind(driver, of_epochs)), *told]
            self._epoch = max(self._epoch, epoch)
        if of_seals and look:
            told += await self._seals(driver, of_seals, limit)
        return told

    async def _seals(self, driver: asyncpg.Connection, after: Mapping[int, int], limit: int) -> list[Outgoing]:
        found = await seals.numbered_behind(driver, {lane - SEAL_LANES: n for lane, n in after.items()}, limit)
        if not found:
            self._look_for_seals_at = monotonic() + SEALS_EVERY_SECONDS
        return [seal_event(sealed) for sealed in found]

    async def _rows(
        self, driver: asyncpg.Connection, after: Mapping[int, int], limit: int
    ) -> tuple[list[Outgoing], int]:
        """The rows, and the epoch in which they are told; 0 when there are none."""
        lanes, positions = list(after.keys()), list(after.values())
        entries = await driver.fetch(_ENTRIES, lanes, positions, limit)
        found = [entry_event(row) for row in entries]
        refusals = await driver.fetch(_REFUSALS, lanes, positions, limit)
        epoch = max(entries[-1]["epoch"] if entries else 0, refusals[-1]["epoch"] if refusals else 0)
        if refusals:
            found += [refusal_event(row) for row in refusals]
            found.sort(key=lambda event: (event.lane, event.position))
        return list(_without_gaps(found, after)), epoch

    async def highest(self, driver: asyncpg.Connection, lanes: Sequence[int]) -> Mapping[int, int]:
        """The highest position ever given in each lane; 0 when none was."""
        of_seals = [lane - SEAL_LANES for lane in lanes if SEAL_LANES <= lane < EPOCH_LANES]
        of_epochs = [lane - EPOCH_LANES for lane in lanes if lane >= EPOCH_LANES]
        found = dict(await highest(driver, [lane for lane in lanes if lane < SEAL_LANES]))
        if of_seals:
            numbers = await seals.highest_numbers(driver, of_seals)
            found.update({SEAL_LANES + lane: number for lane, number in numbers.items()})
        if of_epochs:
            reached = await epochs.highest_numbers(driver, of_epochs)
            found.update({EPOCH_LANES + lane: epoch for lane, epoch in reached.items()})
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


def epoch_event(started: Started) -> Outgoing:
    """The epoch-started event of a lane; its id is drawn from the bytes that are signed."""
    start = started.start
    return Outgoing(
        lane=EPOCH_LANES + start.lane,
        position=start.epoch,
        id=uuid8(sha256(start.encoded()).digest()),
        topic=topics.LEDGER.name,
        key=f"*/{start.lane}",
        type="epoch-started",
        body=rows.encode_json({"shop": "*", **started.told()}),
        at=start.at,
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
    lane, position, shop, member, asset, kind, at, source, key, order, checkout, code, facts, trace, epoch = row
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
        "epoch": epoch,
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
