"""Merges: two members that are one person, and the way back."""

from typing import Any, Final

from starlette.requests import Request

from chassis.hot import HotRouter, JsonAnswer, body_of, part_of
from chassis.telemetry import current_traceparent
from contracts.event import OpaqueId
from contracts.postings import Cause
from ledger import schemas, usecases
from ledger.api.desk import MEMBER, OF_MEMBER, OPAQUE, PREFIX, TAG, Desk, answer, at_desk, idempotency_key, source_of
from ledger.asking import cause_text
from ledger.domain import Merge, MergeNotFound, Outcome, UndoMerge, movement_id
from ledger.store.loading_merges import who_was_merged
from ledger.usecases import Asked

router = HotRouter(prefix=PREFIX, tag=TAG)

OF_MERGE: Final = {"shop": OpaqueId, "merge": OpaqueId}


@router.hot(
    "POST",
    "/members/{member}/merge",
    scopes=["ledger:write"],
    names=OF_MEMBER,
    takes=schemas.AskedMerge,
    gives=schemas.MergedMembers,
    keyed=True,
)
async def merge_member(request: Request) -> JsonAnswer:
    """Merge a member into another: points of all assets with their dates, holds, debts, and all that comes later.

    What comes for the merged member's id from now on is the other's. A member that was merged is not merged again, nor
    into, before that is undone.
    """
    desk, shop = await at_desk(request)
    member: str = part_of(request, "member", MEMBER)
    body = await body_of(request, schemas.AskedMerge)
    posting = Merge(
        shop=shop,
        member=member,
        source=source_of(request),
        key=idempotency_key(request),
        cause=cause_text(Cause(operator=body.operator, reason=body.reason)),
        into=body.into,
    )
    outcome = await _settle(desk, posting)
    return answer(
        {
            "merge": movement_id(posting),
            "member": member,
            "into": body.into,
            "moved": _by_asset(outcome),
            "repeated": outcome.repeated,
        }
    )


@router.hot(
    "POST",
    "/merges/{merge}/undo",
    scopes=["ledger:write"],
    names=OF_MERGE,
    takes=schemas.AskedByOperator,
    gives=schemas.UndoneMerge,
    keyed=True,
)
async def undo_merge(request: Request) -> JsonAnswer:
    """Undo a merge: what is left of what came moves back with its dates, holds that are still open too.

    What was done meanwhile stays where it was done; what comes for the member's id from now on is its own again.
    """
    desk, shop = await at_desk(request)
    merge: str = part_of(request, "merge", OPAQUE)
    body = await body_of(request, schemas.AskedByOperator)
    key = idempotency_key(request)
    async with desk.reads.acquire() as driver:
        who = await who_was_merged(driver, shop, merge)
    if who is None:
        raise MergeNotFound(merge)
    member, into = who
    posting = UndoMerge(
        shop=shop,
        member=member,
        source=source_of(request),
        key=key,
        cause=cause_text(Cause(operator=body.operator, reason=body.reason)),
        merge=merge,
        into=into,
    )
    outcome = await _settle(desk, posting)
    return answer(
        {
            "merge": merge,
            "member": member,
            "into": into,
            "returned": _by_asset(outcome),
            "repeated": outcome.repeated,
        }
    )


async def _settle(desk: Desk, posting: Merge | UndoMerge) -> Outcome:
    """In a transaction of its own: it reads whole accounts."""
    asked = Asked(posting, trace=current_traceparent())
    (outcome,) = await desk.database.execute(usecases.merge, [asked], lane_key=usecases.lane_key)
    if outcome.error is not None:
        raise outcome.error
    settled: Outcome = outcome
    return settled


def _by_asset(outcome: Outcome) -> list[dict[str, Any]]:
    """Facts such as `points.available`, an asset at a time."""
    told: dict[str, dict[str, Any]] = {}
    for fact, number in outcome.facts.items():
        asset, _, name = fact.rpartition(".")
        told.setdefault(asset, {"asset": asset})[name] = number
    return [told[asset] for asset in sorted(told)]
