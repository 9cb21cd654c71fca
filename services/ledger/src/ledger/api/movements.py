"""Movements: statements as CSV, of one member or of a whole shop."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import Query
from pydantic import AwareDatetime
from starlette.requests import Request

from chassis.hot import HotRouter, part_of, query_of
from contracts.event import OpaqueId
from contracts.postings import Asset
from ledger.api import sheets
from ledger.api.desk import ASSET, INSTANT, MEMBER, OF_MEMBER, OF_SHOP, OPAQUE, PREFIX, TAG, Desk, at_desk, utc
from ledger.store import movements
from ledger.store.reading import Filters
from ledger.store.rows import decode_json

router = HotRouter(prefix=PREFIX, tag=TAG)

COLUMNS: Final = (
    "member", "asset", "seq", "at", "recorded_at", "kind", "source", "posting", "order", "hold", "checkout",
    "rule", "rule_version", "operator", "reason", "refund", "cause", "memo",
    "available", "pending", "held", "debt",
    "available_before", "pending_before", "held_before", "debt_before",
    "available_after", "pending_after", "held_after", "debt_after",
    "system", "shortfall", "hash",
)  # fmt: skip
"""Of a movement. Without a suffix the buckets are what it changed; `cause` and `system` are JSON."""

_CAUSES: Final = ("rule", "rule_version", "operator", "reason", "refund")

_FILTERS: Final = {
    "asset": Annotated[Asset | None, Query(description="Absent: all.")],
    "kind": Annotated[OpaqueId | None, Query()],
    "order": Annotated[OpaqueId | None, Query()],
    "since": Annotated[AwareDatetime | None, Query(description="Inclusive, of `at`.")],
    "until": Annotated[AwareDatetime | None, Query(description="Exclusive, of `at`.")],
}


@router.hot(
    "GET",
    "/members/{member}/entries.csv",
    scopes=["ledger:read"],
    names=OF_MEMBER,
    asks=_FILTERS,
    gives=None,
    media_type=sheets.MEDIA_TYPE,
)
async def export_member(request: Request) -> sheets.Sheet:
    """A member's movements as CSV, oldest first, with cause and the balance before and after; of any length."""
    desk, shop = await at_desk(request)
    member: str = part_of(request, "member", MEMBER)
    return _sheet(request, desk, shop, member=member, name=f"{shop}-{member}-entries.csv")


@router.hot(
    "GET",
    "/entries.csv",
    scopes=["ledger:read"],
    names=OF_SHOP,
    asks=_FILTERS,
    gives=None,
    media_type=sheets.MEDIA_TYPE,
)
async def export_shop(request: Request) -> sheets.Sheet:
    """All movements of a shop as CSV, member by member and oldest first.

    It is read as it is sent: what happens meanwhile may be in it or not. With an `until` that is past by a minute it is
    complete, and the same each time.
    """
    desk, shop = await at_desk(request)
    return _sheet(request, desk, shop, member=None, name=f"{shop}-entries.csv")


def _sheet(request: Request, desk: Desk, shop: str, *, member: str | None, name: str) -> sheets.Sheet:
    since, until = query_of(request, "since", INSTANT), query_of(request, "until", INSTANT)
    filters = Filters(
        kind=query_of(request, "kind", OPAQUE),
        order=query_of(request, "order", OPAQUE),
        since=None if since is None else utc(since),
        until=None if until is None else utc(until),
    )
    asset: str | None = query_of(request, "asset", ASSET)
    found = movements.read(desk.reads.acquire, shop, member=member, asset=asset, filters=filters)
    return sheets.Sheet(COLUMNS, _rows(found), name=name)


async def _rows(found: AsyncIterator[list[tuple[str, str, Any]]]) -> AsyncIterator[list[sheets.Row]]:
    async for page in found:
        yield [_row(member, asset, row) for member, asset, row in page]


def _row(member: str, asset: str, row: Any) -> sheets.Row:
    (
        _, seq, at, recorded_at, kind, source, key, order, hold, checkout, cause, memo, available, pending, held, debt,
        available_after, pending_after, held_after, debt_after, system, shortfall, entry_hash,
    ) = row  # fmt: skip
    causes = decode_json(cause)
    return (
        member, asset, seq, at, recorded_at, kind, source, key, order, hold, checkout,
        *(causes.get(name) for name in _CAUSES), cause, memo,
        available, pending, held, debt,
        available_after - available, pending_after - pending, held_after - held, debt_after - debt,
        available_after, pending_after, held_after, debt_after,
        system, shortfall, entry_hash.hex(),
    )  # fmt: skip
