"""Proposals: what one person has asked for and a second one decides on."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Query
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.types import ASGIApp

from chassis.auth import Caller
from chassis.hot import HotRouter, JsonAnswer, body_of, part_of, query_of
from chassis.idempotency import idempotent
from chassis.telemetry import current_traceparent
from contracts.event import OpaqueId
from ledger import approving, schemas
from ledger.api.desk import OF_SHOP, PREFIX, TAG, answer, at_desk, source_of
from ledger.api.statuses import problem_of
from ledger.approving import DecideProposal
from ledger.domain import Credit, ProposalNotFound
from ledger.store import proposals
from ledger.store.proposals import OPEN, Proposed
from ledger.store.rows import decode_json

router = HotRouter(prefix=PREFIX, tag=TAG)

DEFAULT_PAGE: Final = 50
LONGEST_PAGE: Final = 200

State = Literal["open", "approved", "rejected", "expired"]

_ID: Final[TypeAdapter[UUID]] = TypeAdapter(UUID)
_LIMIT: Final[TypeAdapter[int]] = TypeAdapter(Annotated[int, Query(ge=1, le=LONGEST_PAGE)])
_STATE: Final[TypeAdapter[str]] = TypeAdapter(State)
_AFTER: Final[TypeAdapter[int]] = TypeAdapter(Annotated[int, Query(ge=1, lt=2**63)])

OF_PROPOSAL: Final = {"shop": OpaqueId, "proposal": UUID}


@router.hot(
    "GET",
    "/ledger/proposals",
    scopes=["ledger:read"],
    names=OF_SHOP,
    asks={
        "state": Annotated[State | None, Query(description="Absent: all of them.")],
        "limit": Annotated[int, Query(ge=1, le=LONGEST_PAGE)],
        "after": Annotated[int | None, Query(ge=1, lt=2**63, description="`next` of the page before.")],
    },
    gives=schemas.Proposals,
)
async def list_proposals(request: Request) -> JsonAnswer:
    """Manual credits and debits above the shop's threshold, newest first: open ones, and what became of the others."""
    desk, shop = await at_desk(request)
    limit: int = query_of(request, "limit", _LIMIT, DEFAULT_PAGE)
    async with desk.reads.acquire() as driver:
        found = await proposals.page(
            driver,
            shop,
            state=query_of(request, "state", _STATE),
            before=query_of(request, "after", _AFTER, 2**63 - 1),
            limit=limit + 1,
        )
    return answer(
        {
            "proposals": [proposal_told(one) for one in found[:limit]],
            "next": found[limit - 1].place if len(found) > limit else None,
        }
    )


@router.hot("GET", "/ledger/proposals/{proposal}", scopes=["ledger:read"], names=OF_PROPOSAL, gives=schemas.Proposal)
async def get_proposal(request: Request) -> JsonAnswer:
    """One proposal: who asked for what and when, who decided, and what came of it."""
    return answer(proposal_told(await _proposed(request)))


@router.hot(
    "POST",
    "/ledger/proposals/{proposal}/approve",
    scopes=["ledger:approve"],
    names=OF_PROPOSAL,
    takes=schemas.AskedDecision,
    gives=schemas.Proposal,
    keyed=True,
)
async def approve_proposal(request: Request) -> ASGIApp:
    """Settle the posting now, under its own key; its cause names both people.

    Whoever proposed it, by the token or as its operator, is answered 403 (`own_proposal`). What the ledger refuses now,
    such as a debit of more than there is, is refused for good: `refusal` says so.
    """
    return await _decide(request, approve=True)


@router.hot(
    "POST",
    "/ledger/proposals/{proposal}/reject",
    scopes=["ledger:approve"],
    names=OF_PROPOSAL,
    takes=schemas.AskedDecision,
    gives=schemas.Proposal,
    keyed=True,
)
async def reject_proposal(request: Request) -> ASGIApp:
    """Refuse the posting for good. Who proposed it may do so too, to withdraw it."""
    return await _decide(request, approve=False)


async def _proposed(request: Request) -> Proposed:
    desk, shop = await at_desk(request)
    proposal: UUID = part_of(request, "proposal", _ID)
    async with desk.reads.acquire() as driver:
        found = await proposals.one(driver, shop, proposal)
    if found is None:
        raise ProposalNotFound(str(proposal))
    return found


async def _decide(request: Request, *, approve: bool) -> ASGIApp:
    body = await body_of(request, schemas.AskedDecision)
    found = await _proposed(request)
    caller: Caller = request.scope["caller"]
    command = DecideProposal(
        shop=found.account.shop,
        member=found.account.member,
        proposal=found.id,
        approve=approve,
        by=source_of(request),
        reason=body.reason,
        trace=current_traceparent(),
    )
    return await idempotent(
        request,
        caller,
        approving.decide_proposals,
        command,
        respond=lambda decided: schemas.Proposal.model_validate(proposal_told(decided)),
        lane_key=approving.lane_key,
    )


def proposal_told(proposed: Proposed) -> dict[str, Any]:
    """A proposal as it is told."""
    posting, outcome = proposed.posting, proposed.outcome
    credit = posting if isinstance(posting, Credit) else None
    return {
        "proposal": str(proposed.id),
        "state": proposed.state,
        "key": posting.key,
        "member": proposed.account.member,
        "asset": proposed.account.asset,
        "order": posting.order,
        "kind": posting.kind,
        "amount": posting.amount,
        "activates_at": credit and credit.activates_at,
        "expires_at": credit and credit.expires_at,
        "cause": decode_json(posting.cause),
        "memo": proposed.memo,
        "proposed_by": posting.source,
        "proposed_at": proposed.proposed_at,
        "open_until": proposed.expires_at,
        # Over since then, whenever a job has noticed.
        "decided_at": proposed.decided_at or (None if proposed.state == OPEN else proposed.expires_at),
        "decided_by": proposed.decided_by,
        "reason": proposed.reason,
        "outcome": outcome.result.value,
        "seq": outcome.last_seq or None,
        "refusal": None if outcome.error is None else problem_of(outcome.error),
    }
