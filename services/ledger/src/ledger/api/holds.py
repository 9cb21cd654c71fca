"""Holds: points reserved for checkouts, until they are captured, released or over."""

from typing import Final

from starlette.requests import Request

from chassis.hot import HotRouter, JsonAnswer, body_of, part_of
from contracts.postings import Capture, Hold, Release
from ledger import schemas
from ledger.api.desk import (
    OF_HOLD,
    OF_SHOP,
    OPAQUE,
    PREFIX,
    TAG,
    answer,
    asked_with,
    at_desk,
    idempotency_key,
    source_of,
)
from ledger.api.statement import after_told
from ledger.domain import HoldNotFound, Result
from ledger.store import reading
from ledger.usecases import Settled

router = HotRouter(prefix=PREFIX, tag=TAG)


@router.hot(
    "POST",
    "/holds",
    scopes=["holds:write"],
    names=OF_SHOP,
    takes=schemas.AskedHold,
    gives=schemas.SettledHold,
    keyed=True,
    status=201,
)
async def place_hold(request: Request) -> JsonAnswer:
    """Reserve points of a member for a checkout, until it is captured, released or over."""
    desk, shop = await at_desk(request)
    body = await body_of(request, schemas.AskedHold)
    effect = Hold.model_construct(hold=body.hold, amount=body.amount, at_most=body.at_most, expires_at=body.expires_at)
    asked = asked_with(
        effect,
        shop=shop,
        member=body.member,
        source=source_of(request),
        key=idempotency_key(request),
        order=body.order,
        asset=body.asset,
    )
    return _hold_answer(await desk.postings.submit(asked), status=201)


@router.hot(
    "POST",
    "/holds/{hold}/capture",
    scopes=["holds:write"],
    names=OF_HOLD,
    takes=schemas.AskedCapture,
    gives=schemas.SettledHold,
    keyed=True,
)
async def capture_hold(request: Request) -> JsonAnswer:
    """Debit a hold, whole or in part; the rest is freed. It never fails for lack of points."""
    body = await body_of(request, schemas.AskedCapture)
    return await _end_hold(request, Capture.model_construct(hold=_hold_id(request), amount=body.amount), body.order)


@router.hot(
    "POST",
    "/holds/{hold}/release",
    scopes=["holds:write"],
    names=OF_HOLD,
    gives=schemas.SettledHold,
    keyed=True,
)
async def release_hold(request: Request) -> JsonAnswer:
    """Free a hold. Points whose lots have ended meanwhile are gone at once: `expiring` says how many."""
    return await _end_hold(request, Release.model_construct(hold=_hold_id(request)), None)


def _hold_id(request: Request) -> str:
    hold: str = part_of(request, "hold", OPAQUE)
    return hold


async def _end_hold(request: Request, effect: Capture | Release, order: str | None) -> JsonAnswer:
    desk, shop = await at_desk(request)
    key = idempotency_key(request)
    async with desk.reads.acquire() as driver:
        whose = await reading.hold_member(driver, shop, effect.hold)
    if whose is None:
        raise HoldNotFound(effect.hold)
    member, asset = whose
    asked = asked_with(effect, shop=shop, member=member, source=source_of(request), key=key, order=order, asset=asset)
    return _hold_answer(await desk.postings.submit(asked), status=200)


_BUCKETS: Final = ("available", "pending", "held", "debt")

_STATES: Final = {"hold": "open", "capture": "captured", "release": "released"}


def _hold_answer(settled: Settled, *, status: int) -> JsonAnswer:
    outcome, hold = settled.outcome, settled.hold
    if outcome.error is not None:
        raise outcome.error
    assert hold is not None, "a posting of a hold that was not refused has its hold"
    account, facts = settled.account, outcome.facts
    if outcome.result is Result.UNCHANGED:  # freed before, by another posting or by its time limit: told as it ended
        state, balance = hold.state.value, {bucket: getattr(account, bucket) for bucket in _BUCKETS}
        facts = {"captured": hold.captured, "released": hold.released, "expiring": hold.expiring}
    else:
        state, balance = _STATES[outcome.kind], after_told(settled.entries[-1])
    return answer(
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
