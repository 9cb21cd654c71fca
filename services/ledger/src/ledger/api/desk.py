"""Where every request comes to: what lives as long as the process, and what all nouns parse alike."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final

import asyncpg
from fastapi import Query
from pydantic import AwareDatetime, TypeAdapter
from starlette.requests import Request

from chassis import Database, Problem, Runtime
from chassis.auth import Caller
from chassis.grouping import Group
from chassis.hot import JsonAnswer, part_of
from chassis.idempotency import key_of
from chassis.telemetry import current_traceparent
from contracts.event import MemberId, OpaqueId, PostingKey
from contracts.postings import Asset
from ledger import usecases
from ledger.asking import InstantOutOfRange, asked_of
from ledger.connections import Snapshot
from ledger.store import reading
from ledger.store.reading import OfMember, Standing
from ledger.store.rows import encode_json
from ledger.usecases import Asked, Settled

PREFIX: Final = "/v1/shops/{shop}"
TAG: Final = "ledger"

POSTINGS_TOGETHER: Final = 8
"""Up to so many postings of one call join the group commit; more are a transaction of their own."""

GATHER_SECONDS: Final = 0.005
"""For how long a few postings wait for more when others have just gone before them. A transaction costs 3 ms of
processor time and each posting in it 0.3 ms more, so at some hundred a second this halves the cost of each."""

OPAQUE: Final[TypeAdapter[str]] = TypeAdapter(OpaqueId)
MEMBER: Final[TypeAdapter[str]] = TypeAdapter(MemberId)
KEY: Final[TypeAdapter[str]] = TypeAdapter(PostingKey)
ASSET: Final[TypeAdapter[str]] = TypeAdapter(Asset)
INSTANT: Final[TypeAdapter[datetime]] = TypeAdapter(AwareDatetime)
FLAG: Final[TypeAdapter[bool]] = TypeAdapter(bool)
SEQ: Final[TypeAdapter[int]] = TypeAdapter(Annotated[int, Query(ge=0, le=2**62)])

OF_SHOP: Final = {"shop": OpaqueId}
OF_MEMBER: Final = {"shop": OpaqueId, "member": MemberId}
OF_HOLD: Final = {"shop": OpaqueId, "hold": OpaqueId}


class Desk:
    """What lives as long as the process: connections for reads, what is grouped, shops that are known."""

    def __init__(
        self,
        database: Database,
        reads: asyncpg.Pool,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        snapshot: Callable[[], Awaitable[Snapshot]],
    ) -> None:
        """`connect` makes one more connection like those of the pool `reads`; `snapshot` one that sees one moment."""
        self.database = database
        self.reads = reads
        self.snapshot = snapshot
        self.exports = 0
        """On their way now."""
        self._connect = connect
        self.postings = Group(
            partial(database.execute, usecases.post, lane_key=usecases.lane_key), gather_seconds=GATHER_SECONDS
        )
        self._balances = Group(self._read_balances)
        self._known: set[str] = set()
        self._kept: asyncpg.Connection | None = None

    async def close(self) -> None:
        """Give the connections back."""
        if self._kept is not None:
            await self._kept.close()
        await self.reads.close()

    async def post(self, asked: Sequence[Asked]) -> Sequence[Settled]:
        """Settle postings of one call: a few join the group commit, many are a transaction of their own."""
        if len(asked) > POSTINGS_TOGETHER:
            settled: Sequence[Settled] = await self.database.execute(usecases.post, asked, lane_key=usecases.lane_key)
            return settled
        if len(asked) == 1:
            return [await self.postings.submit(asked[0])]
        grouped: list[Settled] = list(await asyncio.gather(*(self.postings.submit(one) for one in asked)))
        return grouped

    async def require_shop(self, shop: str) -> None:
        """A shop once known is known for ever; another one may have become so."""
        if shop in self._known:
            return
        async with self.reads.acquire() as driver:
            if not await reading.known_shops(driver, [shop]):
                raise Problem(404, "shop_not_found", "the ledger knows no such shop")
        self._known.add(shop)

    async def balances_of(self, member: OfMember) -> list[Standing]:
        """A member's accounts as they stand now, read together with those that others ask for. Who must wait for what
        is under way on its lane waits by itself."""
        standings: list[Standing] | None = await self._balances.submit(member)
        return (await self.balances_when_due({member}))[member] if standings is None else standings

    async def balances_when_due(self, members: Collection[OfMember]) -> Mapping[OfMember, list[Standing]]:
        """The accounts of members on whom something is due."""
        lanes = await self.database.lanes_of(f"{shop}/{member}" for shop, member in members)
        async with self.reads.acquire() as driver:
            return await reading.balances_when_due(driver, members, lanes=lanes)

    async def _read_balances(self, asked: Sequence[OfMember]) -> Sequence[list[Standing] | None]:
        """What the balances of one member each ask for, read in one query; None for those on whom something is due."""
        found, due = await reading.balances(await self._reader(), set(asked))
        return [None if one in due else found.get(one, []) for one in asked]

    async def _reader(self) -> asyncpg.Connection:
        """A connection kept for what is asked most: taking one from the pool costs a third of the read. Groups go one
        after the other, so one is enough."""
        if self._kept is None or self._kept.is_closed():
            self._kept = await self._connect()
        return self._kept


async def at_desk(request: Request) -> tuple[Desk, str]:
    """The desk, and the path's shop, which is known."""
    shop: str = part_of(request, "shop", OPAQUE)
    runtime: Runtime = request.app.state.runtime
    desk: Desk = runtime.extras["desk"]
    await desk.require_shop(shop)
    return desk, shop


def source_of(request: Request) -> str:
    """Who asks, by the token: an id, so that it can stand in events."""
    caller: Caller = request.scope["caller"]
    try:
        return OPAQUE.validate_python(caller.client)
    except ValueError as error:
        raise Problem(403, "client_invalid", "the token's subject is not an opaque id") from error


def idempotency_key(request: Request) -> str:
    """The header's, which is the key of the posting."""
    try:
        return KEY.validate_python(key_of(request))
    except ValueError as error:
        raise Problem(400, "idempotency_key_invalid", "1 to 255 of the characters A-Z a-z 0-9 . _ : / -") from error


def asked_with(effect: Any, **shared: Any) -> Asked:
    """The posting that an effect asks for, in the request's trace. `approval_within`: see `asked_of`."""
    try:
        return asked_of(effect, trace=current_traceparent(), **shared)
    except InstantOutOfRange as error:
        raise Problem(422, "instant_out_of_range", "an instant is outside the years 1 to 9999") from error


def utc(instant: datetime) -> datetime:
    """The same instant in UTC, if the calendar has it there."""
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise Problem(422, "instant_out_of_range", "an instant is outside the years 1 to 9999") from error


def answer(body: Mapping[str, Any], *, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> JsonAnswer:
    """A document."""
    return JsonAnswer(encode_json(body), status, headers)
