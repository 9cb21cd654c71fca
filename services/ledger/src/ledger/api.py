"""The ledger over HTTP: parse, use case, answer. The status of every refusal is in one table."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import asyncpg
from fastapi import APIRouter, Header, Query
from pydantic import AwareDatetime, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from chassis import Database, Problem, Runtime
from chassis.auth import Caller, authenticate
from chassis.grouping import Group
from chassis.idempotency import key_of
from chassis.telemetry import current_traceparent
from contracts.event import MemberId, OpaqueId, PostingKey
from contracts.postings import Asset, Capture, Hold, Release
from ledger import schemas, usecases
from ledger.asking import InstantOutOfRange, asked_of
from ledger.domain import (
    AccountKey,
    AlreadySpent,
    AmountOutOfRange,
    CaptureExceedsHold,
    DatesOutOfOrder,
    Entry,
    HoldExists,
    HoldNotFound,
    HoldNotOpen,
    InsufficientPoints,
    KeyConflict,
    LedgerError,
    OfAnotherMember,
    Result,
    TotalExceedsAward,
)
from ledger.hot import body_of, hot, part_of, query_of
from ledger.store import checking, reading
from ledger.store.reading import Filters, Line, Place, Refused, Standing
from ledger.store.rows import decode_json, encode_json
from ledger.usecases import Asked, Settled

STATUSES: Final[Mapping[type[Exception], int]] = {
    InsufficientPoints: 409,
    AmountOutOfRange: 422,
    DatesOutOfOrder: 422,
    TotalExceedsAward: 409,
    OfAnotherMember: 409,
    HoldExists: 409,
    HoldNotFound: 404,
    HoldNotOpen: 409,
    CaptureExceedsHold: 409,
    AlreadySpent: 409,
    KeyConflict: 409,
}
"""HTTP statuses of the domain's refusals."""

POSTINGS_TOGETHER: Final = 8
"""Up to so many postings of one call join the group commit; more are a transaction of their own."""

DEFAULT_PAGE: Final = 50
LONGEST_PAGE: Final = 200

router = APIRouter(prefix="/v1/shops/{shop}", tags=["ledger"])

_OPAQUE: Final[TypeAdapter[str]] = TypeAdapter(OpaqueId)
_MEMBER: Final[TypeAdapter[str]] = TypeAdapter(MemberId)
_KEY: Final[TypeAdapter[str]] = TypeAdapter(PostingKey)
_ASSET: Final[TypeAdapter[str]] = TypeAdapter(Asset)
_INSTANT: Final[TypeAdapter[datetime]] = TypeAdapter(AwareDatetime)
_LIMIT: Final[TypeAdapter[int]] = TypeAdapter(Annotated[int, Query(ge=1, le=LONGEST_PAGE)])
_SEQ: Final[TypeAdapter[int]] = TypeAdapter(Annotated[int, Query(ge=0, le=2**62)])
_FLAG: Final[TypeAdapter[bool]] = TypeAdapter(bool)

_SHOP: Final = {"shop": OpaqueId}
_OF_MEMBER: Final = {"shop": OpaqueId, "member": MemberId}
_OF_HOLD: Final = {"shop": OpaqueId, "hold": OpaqueId}


class Desk:
    """What lives as long as the process: connections for reads, the group of single postings, shops that are known."""

    def __init__(self, database: Database, reads: asyncpg.Pool) -> None:
        self._database = database
        self.reads = reads
        self.group = Group(database, usecases.post, usecases.lane_key)
        self._known: set[str] = set()

    async def post(self, asked: Sequence[Asked]) -> Sequence[Settled]:
        """Settle postings of one call: a few join the group commit, many are a transaction of their own."""
        if len(asked) > POSTINGS_TOGETHER:
            settled: Sequence[Settled] = await self._database.execute(usecases.post, asked, lane_key=usecases.lane_key)
            return settled
        grouped: list[Settled] = list(await asyncio.gather(*(self.group.submit(one) for one in asked)))
        return grouped

    async def require_shop(self, shop: str) -> None:
        """A shop once known is known for ever; another one may have become so."""
        if shop in self._known:
            return
        async with self.reads.acquire() as driver:
            if not await reading.known_shops(driver, [shop]):
                raise Problem(404, "shop_not_found", "the ledger knows no such shop")
        self._known.add(shop)


async def _at_desk(request: Request, scope: str) -> tuple[Desk, Caller, str]:
    """The desk, the caller with that scope, and the path's shop, which is known."""
    caller = authenticate(request, scope)
    shop: str = part_of(request, "shop", _OPAQUE)
    runtime: Runtime = request.app.state.runtime
    desk: Desk = runtime.extras["desk"]
    await desk.require_shop(shop)
    return desk, caller, shop


def _source(caller: Caller) -> str:
    """Who asks, by the token: an id, so that it can stand in events."""
    try:
        return _OPAQUE.validate_python(caller.client)
    except ValueError as error:
        raise Problem(403, "client_invalid", "the token's subject is not an opaque id") from error


def _idempotency_key(request: Request) -> str:
    try:
        return _KEY.validate_python(key_of(request))
    except ValueError as error:
        raise Problem(400, "idempotency_key_invalid", "1 to 255 of the characters A-Z a-z 0-9 . _ : / -") from error


def _asked(effect: Any, **shared: Any) -> Asked:
    try:
        return asked_of(effect, trace=current_traceparent(), **shared)
    except InstantOutOfRange as error:
        raise Problem(422, "instant_out_of_range", "an instant is outside the years 1 to 9999") from error


# -- postings


@hot(
    router,
    "POST",
    "/postings",
    scopes=["ledger:write"],
    names=_SHOP,
    takes=schemas.AskedPostings,
    gives=schemas.SettledPostings,
    also={202: "at least one posting waits for its cause; the same document"},
)
async def post_postings(request: Request) -> Response:
    """Settle 1 to 1,000 postings, each by its own key and with its own outcome, in this order.

    A single posting's refusal is the answer itself, as a problem; in a longer list it stands with its posting.
    """
    desk, caller, shop = await _at_desk(request, "ledger:write")
    body = await body_of(request, schemas.AskedPostings)
    source = _source(caller)
    asked = [
        _asked(
            one.effect,
            shop=shop,
            member=one.member,
            source=source,
            key=one.key,
            order=one.order,
            cause=one.cause,
            asset=one.asset,
        )
        for one in body.postings
    ]
    settled = await desk.post(asked)
    if len(settled) == 1 and settled[0].outcome.error is not None:
        raise settled[0].outcome.error
    outcomes = [_settled_posting(one) for one in settled]
    waits = any(one.outcome.result is Result.PARKED for one in settled)
    return _json({"outcomes": outcomes}, status=202 if waits else 200)


def _settled_posting(settled: Settled) -> dict[str, Any]:
    outcome = settled.outcome
    return {
        "key": outcome.id.key,
        "outcome": outcome.result.value,
        "repeated": outcome.repeated,
        "entries": [_entry(entry) for entry in settled.entries],
        "refusal": None if outcome.error is None else _problem(outcome.error),
    }


def _problem(error: LedgerError) -> dict[str, Any]:
    return {
        "type": f"urn:accrual:problem:{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": STATUSES[type(error)],
        "detail": error.detail,
        "code": error.code,
        **error.facts,
    }


# -- holds


@hot(
    router,
    "POST",
    "/holds",
    scopes=["holds:write"],
    names=_SHOP,
    takes=schemas.AskedHold,
    gives=schemas.SettledHold,
    keyed=True,
    status=201,
)
async def place_hold(request: Request) -> Response:
    """Reserve points of a member for a checkout, until it is captured, released or over."""
    desk, caller, shop = await _at_desk(request, "holds:write")
    body = await body_of(request, schemas.AskedHold)
    effect = Hold.model_construct(hold=body.hold, amount=body.amount, at_most=body.at_most, expires_at=body.expires_at)
    asked = _asked(
        effect,
        shop=shop,
        member=body.member,
        source=_source(caller),
        key=_idempotency_key(request),
        order=body.order,
        asset=body.asset,
    )
    return _hold_answer(await desk.group.submit(asked), status=201)


@hot(
    router,
    "POST",
    "/holds/{hold}/capture",
    scopes=["holds:write"],
    names=_OF_HOLD,
    takes=schemas.AskedCapture,
    gives=schemas.SettledHold,
    keyed=True,
)
async def capture_hold(request: Request) -> Response:
    """Debit a hold, whole or in part; the rest is freed. It never fails for lack of points."""
    body = await body_of(request, schemas.AskedCapture)
    return await _end_hold(request, Capture.model_construct(hold=_hold_id(request), amount=body.amount), body.order)


@hot(
    router,
    "POST",
    "/holds/{hold}/release",
    scopes=["holds:write"],
    names=_OF_HOLD,
    gives=schemas.SettledHold,
    keyed=True,
)
async def release_hold(request: Request) -> Response:
    """Free a hold. Points whose lots have ended meanwhile are gone at once: `expiring` says how many."""
    return await _end_hold(request, Release.model_construct(hold=_hold_id(request)), None)


def _hold_id(request: Request) -> str:
    hold: str = part_of(request, "hold", _OPAQUE)
    return hold


async def _end_hold(request: Request, effect: Capture | Release, order: str | None) -> Response:
    desk, caller, shop = await _at_desk(request, "holds:write")
    key = _idempotency_key(request)
    async with desk.reads.acquire() as driver:
        whose = await reading.hold_member(driver, shop, effect.hold)
    if whose is None:
        raise HoldNotFound(effect.hold)
    member, asset = whose
    asked = _asked(effect, shop=shop, member=member, source=_source(caller), key=key, order=order, asset=asset)
    return _hold_answer(await desk.group.submit(asked), status=200)


_BUCKETS: Final = ("available", "pending", "held", "debt")

_STATES: Final = {"hold": "open", "capture": "captured", "release": "released"}


def _hold_answer(settled: Settled, *, status: int) -> Response:
    outcome, hold = settled.outcome, settled.hold
    if outcome.error is not None:
        raise outcome.error
    assert hold is not None, "a posting of a hold that was not refused has its hold"
    account, facts = settled.account, outcome.facts
    if outcome.result is Result.UNCHANGED:  # freed before, by another posting or by its time limit: told as it ended
        state, balance = hold.state.value, {bucket: getattr(account, bucket) for bucket in _BUCKETS}
        facts = {"captured": hold.captured, "released": hold.released, "expiring": hold.expiring}
    else:
        state, balance = _STATES[outcome.kind], _after(settled.entries[-1])
    return _json(
        {
            "hold": hold.hold,
            "member": account.key.member,
            "asset": account.key.asset,
            "state": state,
            "amount": hold.amount,
            "captured": facts.get("captured", 0),
            "released": facts.get("released", 0),
            "expiring": facts.get("expiring", 0),
            "expires_at": hold.expires_at,
            "balance": balance,
            "repeated": outcome.repeated,
        },
        status=status,
    )


# -- balances


@hot(
    router,
    "GET",
    "/members/{member}/balances",
    scopes=["ledger:read"],
    names=_OF_MEMBER,
    asks={
        "as_of": Annotated[AwareDatetime | None, Query(description="A past instant; absent: now.")],
        "if_none_match": Annotated[str | None, Header()],
    },
    gives=schemas.MemberBalances,
    also={304: "nothing has changed since the ETag that was given"},
)
async def get_balances(request: Request) -> Response:
    """A member's points, with what is due applied, whether or not a job has run. A member never seen has none."""
    desk, _, shop = await _at_desk(request, "ledger:read")
    member: str = part_of(request, "member", _MEMBER)
    as_of: datetime | None = query_of(request, "as_of", _INSTANT)
    async with desk.reads.acquire() as driver:
        if as_of is not None:
            if as_of > datetime.now(UTC):
                raise Problem(422, "as_of_in_the_future", "balances are known up to now")
            standings = await reading.balances_as_of(driver, shop, member, as_of)
            return _json(_balances(member, standings, as_of))
        standings = (await reading.balances(driver, shop, [member])).get(member, [])
    tag = _etag(standings)
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"etag": tag})
    return _json(_balances(member, standings, datetime.now(UTC)), headers={"etag": tag, "cache-control": "no-cache"})


def _etag(standings: Sequence[Standing]) -> str:
    """Weak: an account's number of entries says all but the moment of the answer."""
    accounts = sorted((standing.account for standing in standings), key=lambda account: account.key.asset)
    return 'W/"' + ".".join(f"{account.id.hex[-12:]}-{account.seq}" for account in accounts) + '"'


@hot(
    router,
    "POST",
    "/balances/lookup",
    scopes=["ledger:read"],
    names=_SHOP,
    takes=schemas.AskedMembers,
    gives=schemas.ManyBalances,
)
async def look_up_balances(request: Request) -> Response:
    """The balances of up to 1,000 members, in the order asked."""
    desk, _, shop = await _at_desk(request, "ledger:read")
    body = await body_of(request, schemas.AskedMembers)
    async with desk.reads.acquire() as driver:
        found = await reading.balances(driver, shop, list(dict.fromkeys(body.members)))
    now = datetime.now(UTC)
    return _json({"members": [_balances(member, found.get(member, []), now) for member in body.members]})


_NOTHING: Final[Mapping[str, Any]] = {
    "asset": "points",
    "available": 0,
    "pending": 0,
    "held": 0,
    "debt": 0,
    "lifetime_earned": 0,
    "lifetime_spent": 0,
    "next_expiries": [],
    "next_activations": [],
    "seq": 0,
}


def _balances(member: str, standings: Sequence[Standing], as_of: datetime) -> dict[str, Any]:
    return {
        "member": member,
        "as_of": as_of,
        "balances": [_balance(standing) for standing in standings] or [_NOTHING],
    }


def _balance(standing: Standing) -> dict[str, Any]:
    account = standing.account
    return {
        "asset": account.key.asset,
        "available": account.available,
        "pending": account.pending,
        "held": account.held,
        "debt": account.debt,
        "lifetime_earned": account.earned,
        "lifetime_spent": account.spent,
        "next_expiries": [{"at": dated.at, "amount": dated.amount} for dated in standing.next_expiries],
        "next_activations": [{"at": dated.at, "amount": dated.amount} for dated in standing.next_activations],
        "seq": account.seq,
    }


# -- statement


@hot(
    router,
    "GET",
    "/members/{member}/entries",
    scopes=["ledger:read"],
    names=_OF_MEMBER,
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
async def list_entries(request: Request) -> Response:
    """A member's statement, newest first: movements with cause and the balance before and after, and refusals."""
    desk, _, shop = await _at_desk(request, "ledger:read")
    key = AccountKey(shop, part_of(request, "member", _MEMBER), query_of(request, "asset", _ASSET, "points"))
    limit: int = query_of(request, "limit", _LIMIT, DEFAULT_PAGE)
    after_seq: int | None = query_of(request, "after_seq", _SEQ)
    filters = Filters(
        kind=query_of(request, "kind", _OPAQUE),
        order=query_of(request, "order", _OPAQUE),
        since=query_of(request, "since", _INSTANT),
        until=query_of(request, "until", _INSTANT),
    )
    before = _place(request.query_params.get("after"))
    async with desk.reads.acquire() as driver:
        account = await reading.account_by_key(driver, key)
        if account is None:
            return _json({"entries": [], "next": None})
        if after_seq is not None:
            lines = await reading.entries_after(driver, account, seq=after_seq, limit=limit + 1)
        else:
            lines = await reading.statement(driver, account, filters=filters, before=before, limit=limit + 1)
    page = lines[:limit]
    following = None
    if len(lines) > limit:
        seqs = [line.entry.seq for line in page if isinstance(line.entry, Entry)]
        following = f"{page[-1].position}-{min(seqs, default=before.seq)}"
    return _json({"entries": [_line(line) for line in page], "next": following if after_seq is None else None})


def _place(cursor: str | None) -> Place:
    if cursor is None:
        return reading.NEWEST
    position, _, seq = cursor.partition("-")
    if not (position.isascii() and position.isdigit() and seq.isascii() and seq.isdigit() and len(cursor) < 40):
        raise Problem(422, "cursor_invalid", "`after` is not a `next` of an earlier page")
    return Place(min(int(position), reading.NEWEST.position), min(int(seq), reading.NEWEST.seq))


def _line(line: Line) -> dict[str, Any]:
    return _refused(line.entry) if isinstance(line.entry, Refused) else _entry(line.entry, line.memo)


def _entry(entry: Entry, memo: str | None = None) -> dict[str, Any]:
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
        "after": _after(entry),
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


def _after(entry: Entry) -> dict[str, int]:
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


# -- checks

CHECKED_TOGETHER: Final = 1_000
"""Accounts of one statement of the check, so that none runs long."""


@hot(
    router,
    "GET",
    "/ledger/check",
    scopes=["operations"],
    names=_SHOP,
    asks={"chains": Annotated[bool, Query(description="Compute every entry's hash again as well; takes longer.")]},
    gives=schemas.CheckedLedger,
)
async def check_ledger(request: Request) -> Response:
    """Prove a shop's books now: all accounts sum to zero, stored balances are the replayed ones, no entry lacks."""
    desk, _, shop = await _at_desk(request, "operations")
    chains: bool = query_of(request, "chains", _FLAG, default=False)
    found = checking.Findings()
    after = ("", "", "")
    async with desk.reads.acquire() as driver:
        total, system = await checking.sums(driver, shop)
        waiting = await checking.parking(driver, shop)
    while True:
        async with desk.reads.acquire() as driver:  # anew each time: a long check must not keep others from reading
            some = await checking.replay(driver, shop, after=after, limit=CHECKED_TOGETHER, chains=chains)
        found.add(some)
        if some.last is None:
            break
        after = some.last
    return _json(
        {
            "sum_of_accounts": total,
            "system": system,
            "accounts": found.accounts,
            "entries": found.entries,
            "replay_mismatches": found.replay_mismatches,
            "seq_gaps": found.seq_gaps,
            "book_mismatches": found.book_mismatches,
            "chain_breaks": found.chain_breaks if chains else None,
            "parked": waiting.count,
            "oldest_parked_at": waiting.oldest_at,
            "mismatched_members": found.members,
        }
    )


def _json(body: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(encode_json(body), status, headers=dict(headers or {}), media_type="application/json")
