"""Postings: what is asked of the ledger, one or a thousand at a time."""

from datetime import timedelta
from typing import Any

from starlette.requests import Request

from chassis.hot import HotRouter, JsonAnswer, body_of
from ledger import schemas
from ledger.api.desk import OF_SHOP, PREFIX, TAG, answer, asked_with, at_desk, source_of
from ledger.api.statement import entry_told
from ledger.api.statuses import problem_of
from ledger.domain import Result, Spend
from ledger.settings import LedgerSettings
from ledger.store.log import proposal_id
from ledger.usecases import Settled

router = HotRouter(prefix=PREFIX, tag=TAG)


@router.hot(
    "POST",
    "/postings",
    scopes=["ledger:write"],
    names=OF_SHOP,
    takes=schemas.AskedPostings,
    gives=schemas.SettledPostings,
    also={202: "at least one posting waits for its cause or for a second person; the same document"},
)
async def post_postings(request: Request) -> JsonAnswer:
    """Settle 1 to 1,000 postings, each by its own key and with its own outcome, in this order.

    A single posting's refusal is the answer itself, as a problem; in a longer list it stands with its posting. A manual
    credit or debit above the shop's threshold (`approval_above` of its programme) becomes a proposal, on which a second
    person decides; asking again tells what became of it.
    """
    desk, shop = await at_desk(request)
    body = await body_of(request, schemas.AskedPostings)
    source = source_of(request)
    settings: LedgerSettings = request.app.state.settings
    approval_within = timedelta(days=settings.proposal_days)
    asked = [
        asked_with(
            one.effect,
            shop=shop,
            member=one.member,
            source=source,
            key=one.key,
            order=one.order,
            cause=one.cause,
            asset=one.asset,
            approval_within=approval_within,
        )
        for one in body.postings
    ]
    for one in asked:
        if isinstance(one.posting, Spend):
            one.posting.is_new = one.posting.hold is None
    settled = await desk.post(asked)
    if len(settled) == 1 and settled[0].outcome.error is not None:
        raise settled[0].outcome.error
    outcomes = [_settled_posting(one) for one in settled]
    waits = any(one.outcome.result in (Result.PARKED, Result.PENDING_APPROVAL) for one in settled)
    return answer({"outcomes": outcomes}, status=202 if waits else 200)


def _settled_posting(settled: Settled) -> dict[str, Any]:
    outcome = settled.outcome
    return {
        "key": outcome.id.key,
        "outcome": outcome.result.value,
        "repeated": outcome.repeated,
        "entries": [entry_told(entry) for entry in settled.entries],
        "proposal": proposal_id(outcome.id) if outcome.result is Result.PENDING_APPROVAL else None,
        "refusal": None if outcome.error is None else problem_of(outcome.error),
    }
