"""The statement: a member's movements and refusals, and how an entry is told wherever it is."""

from typing import Annotated, Any, Final

from fastapi import Query
from pydantic import AwareDatetime, TypeAdapter
from starlette.requests import Request

from chassis import Problem
from chassis.hot import HotRouter, JsonAnswer, part_of, query_of
from contracts.event import OpaqueId
from contracts.postings import Asset
from ledger import schemas
from ledger.api.desk import ASSET, INSTANT, MEMBER, OF_MEMBER, OPAQUE, PREFIX, SEQ, TAG, answer, at_desk
from ledger.domain import AccountKey, Entry
from ledger.store import reading
from ledger.store.reading import Filters, Line, Place, Refused
from ledger.store.rows import decode_json

DEFAULT_PAGE: Final = 50
LONGEST_PAGE: Final = 200

_LIMIT: Final[TypeAdapter[int]] = TypeAdapter(Annotated[int, Query(ge=1, le=LONGEST_PAGE)])

router = HotRouter(prefix=PREFIX, tag=TAG)


@router.hot(
    "GET",
    "/members/{member}/entries",
    scopes=["ledger:read"],
    names=OF_MEMBER,
    asks={
        "asset": Annotated[Asset, Query()],
        "limit": Annotated[int, Query(ge=1, le=LONGEST_PAGE)],
        "after": Annotated[str | None, Query(description="`next` of the page before.")],
        "after_seq": Annotated[int | None, Query(ge=0, description="Oldest first, entries only, behind this number.")],
        "kind": Annotated[OpaqueId | None, Query()],
        "order": Annotated[OpaqueId | None, Query()],
        "since": Annotated[AwareDatetime | None, Query(description="Inclusive.")],
        "until": Annotated[AwareDatetime | None, Query(description="Exclusive.")],
    },
    gives=schemas.Statement,
)
async def list_entries(request: Request) -> JsonAnswer:
    """A member's statement, newest first: movements with cause and the balance before and after, and refusals."""
    desk, shop = await at_desk(request)
    key = AccountKey(shop, part_of(request, "member", MEMBER), query_of(request, "asset", ASSET, "points"))
    limit: int = query_of(request, "limit", _LIMIT, DEFAULT_PAGE)
    after_seq: int | None = query_of(request, "after_seq", SEQ)
    filters = Filters(
        kind=query_of(request, "kind", OPAQUE),
        order=query_of(request, "order", OPAQUE),
        since=query_of(request, "since", INSTANT),
        until=query_of(request, "until", INSTANT),
    )
    before = _place(request.query_params.get("after"))
    async with desk.reads.acquire() as driver:
        account = await reading.account_by_key(driver, key)
        if account is None:
            return answer({"entries": [], "next": None, "merged_into": None})
        if after_seq is not None:
            lines = await reading.entries_after(driver, account, seq=after_seq, limit=limit + 1)
        else:
            lines = await reading.statement(driver, account, filters=filters, before=before, limit=limit + 1)
        merged_into = await reading.merged_into(driver, account)
    page = lines[:limit]
    following = None
    if len(lines) > limit:
        seqs = [line.entry.seq for line in page if isinstance(line.entry, Entry)]
        following = f"{page[-1].position}-{min(seqs, default=before.seq)}"
    return answer(
        {
            "entries": [_line(line) for line in page],
            "next": following if after_seq is None else None,
            "merged_into": merged_into,
        }
    )


def _place(cursor: str | None) -> Place:
    if cursor is None:
        return reading.NEWEST
    position, _, seq = cursor.partition("-")
    if not (position.isascii() and position.isdigit() and seq.isascii() and seq.isdigit() and len(cursor) < 40):
        raise Problem(422, "cursor_invalid", "`after` is not a `next` of an earlier page")
    return Place(min(int(position), reading.NEWEST.position), min(int(seq), reading.NEWEST.seq))


def _line(line: Line) -> dict[str, Any]:
    if isinstance(line.entry, Refused):
        return _refused(line.entry)
    return {**entry_told(line.entry, line.memo), "position": line.position}


def entry_told(entry: Entry, memo: str | None = None) -> dict[str, Any]:
    """One movement."""
    return {
        "type": "entry",
        "seq": entry.seq,
        "kind": entry.kind,
        "at": entry.at,
        "recorded_at": entry.recorded_at,
        "source": entry.source,
        "posting": entry.key,
        "order": entry.order,
        "hold": entry.hold,
        "checkout": entry.checkout,
        "cause": decode_json(entry.cause),
        "memo": memo,
        "changes": {
            "available": entry.available,
            "pending": entry.pending,
            "held": entry.held,
            "debt": entry.debt,
        },
        "system": dict(entry.system),
        "before": {
            "available": entry.available_after - entry.available,
            "pending": entry.pending_after - entry.pending,
            "held": entry.held_after - entry.held,
            "debt": entry.debt_after - entry.debt,
        },
        "after": after_told(entry),
        "lots": [
            {
                "lot": str(change.lot),
                "change": change.change,
                "remaining": change.remaining,
                "activates_at": change.activates_at,
                "expires_at": change.expires_at,
            }
            for change in entry.lots
        ],
        "shortfall": entry.shortfall,
        "hash": entry.hash.hex(),
    }


def after_told(entry: Entry) -> dict[str, int]:
    """The buckets as they were after it."""
    return {
        "available": entry.available_after,
        "pending": entry.pending_after,
        "held": entry.held_after,
        "debt": entry.debt_after,
    }


def _refused(refused: Refused) -> dict[str, Any]:
    return {
        "type": "refusal",
        "kind": refused.kind,
        "at": refused.at,
        "source": refused.source,
        "posting": refused.key,
        "order": refused.order,
        "hold": refused.hold,
        "checkout": refused.checkout,
        "code": refused.error.code,
        "detail": refused.error.detail,
        "facts": refused.error.facts,
    }
