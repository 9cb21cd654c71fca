"""Gifts: points that one member gives another."""

from starlette.requests import Request

from chassis.hot import HotRouter, JsonAnswer, body_of, part_of
from chassis.telemetry import current_traceparent
from ledger import schemas
from ledger.api.desk import MEMBER, OF_MEMBER, PREFIX, TAG, answer, at_desk, idempotency_key, source_of
from ledger.api.statement import after_told
from ledger.domain import Gift, movement_id
from ledger.usecases import Asked

router = HotRouter(prefix=PREFIX, tag=TAG)


@router.hot(
    "POST",
    "/members/{member}/gifts",
    scopes=["ledger:write"],
    names=OF_MEMBER,
    takes=schemas.AskedGift,
    gives=schemas.Gift,
    keyed=True,
    status=201,
)
async def give_points(request: Request) -> JsonAnswer:
    """Give points of a member to another member of the shop; they keep their dates.

    Only what is available can be given, soonest to end first, and so much a day as the shop's programme allows. What
    the receiver owes is repaid first.
    """
    desk, shop = await at_desk(request)
    member: str = part_of(request, "member", MEMBER)
    body = await body_of(request, schemas.AskedGift)
    gift = Gift(
        shop=shop,
        member=member,
        source=source_of(request),
        key=idempotency_key(request),
        asset=body.asset,
        to=body.to,
        amount=body.amount,
    )
    settled = await desk.postings.submit(Asked(gift, trace=current_traceparent()))
    outcome = settled.outcome
    if outcome.error is not None:
        raise outcome.error
    return answer(
        {
            "gift": movement_id(gift),
            "member": member,
            "to": body.to,
            "asset": body.asset,
            "amount": outcome.facts["amount"],
            "balance": after_told(settled.entries[-1]),
            "repeated": outcome.repeated,
        },
        status=201,
    )
