"""Members: freezing one, and letting it go again."""

from starlette.requests import Request

from chassis.hot import HotRouter, JsonAnswer, body_of, part_of
from chassis.telemetry import current_traceparent
from contracts.postings import Cause
from ledger import domain, schemas
from ledger.api.desk import MEMBER, OF_MEMBER, PREFIX, TAG, answer, at_desk, idempotency_key, source_of
from ledger.api.statement import entry_told
from ledger.asking import cause_text
from ledger.usecases import Asked

router = HotRouter(prefix=PREFIX, tag=TAG)


@router.hot(
    "POST",
    "/members/{member}/freeze",
    scopes=["ledger:write"],
    names=OF_MEMBER,
    takes=schemas.AskedByOperator,
    gives=schemas.FrozenMember,
    keyed=True,
)
async def freeze_member(request: Request) -> JsonAnswer:
    """Let nothing new take a member's points: no hold, no spend without one, no gift, of whatever asset.

    What was begun goes on: captures, payments of orders, take-backs, returns, awards, incoming gifts, expiries; so does
    an operator's credit or debit. A member that was never seen can be frozen too.
    """
    return await _settle(request, domain.Freeze)


@router.hot(
    "POST",
    "/members/{member}/unfreeze",
    scopes=["ledger:write"],
    names=OF_MEMBER,
    takes=schemas.AskedByOperator,
    gives=schemas.FrozenMember,
    keyed=True,
)
async def unfreeze_member(request: Request) -> JsonAnswer:
    """Let a frozen member use its points again."""
    return await _settle(request, domain.Unfreeze)


async def _settle(request: Request, kind: type[domain.Freeze] | type[domain.Unfreeze]) -> JsonAnswer:
    desk, shop = await at_desk(request)
    member: str = part_of(request, "member", MEMBER)
    body = await body_of(request, schemas.AskedByOperator)
    posting = kind(
        shop=shop,
        member=member,
        source=source_of(request),
        key=idempotency_key(request),
        cause=cause_text(Cause(operator=body.operator, reason=body.reason)),
    )
    settled = await desk.postings.submit(Asked(posting, trace=current_traceparent()))
    outcome = settled.outcome
    if outcome.error is not None:
        raise outcome.error
    return answer(
        {
            "member": member,
            "frozen": kind is domain.Freeze,
            "outcome": outcome.result.value,
            "repeated": outcome.repeated,
            "entry": entry_told(settled.entries[0]) if settled.entries else None,
        }
    )
