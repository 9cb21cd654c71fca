"""Use cases of a second person: approve or reject what another one has proposed; what nobody decides on expires."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from chassis import Outcome as Result
from chassis import Transaction
from ledger import metrics
from ledger.domain import (
    LedgerError,
    ProposalExpired,
    ProposalNotFound,
    ProposalNotOpen,
    ProposalRejected,
    approved,
    settle_proposed,
)
from ledger.store import proposals
from ledger.store.loading import load
from ledger.store.proposals import APPROVED, EXPIRED, OPEN, REJECTED, Proposed
from ledger.store.saving import save


@dataclass(frozen=True, slots=True)
class DecideProposal:
    """A person approves a proposal, or rejects it."""

    shop: str
    member: str
    """Whose account it moves: with the shop, its lane."""
    proposal: UUID
    approve: bool
    by: str
    """The token's subject."""
    reason: str | None = None
    trace: str | None = None


async def decide_proposals(tx: Transaction, commands: Sequence[DecideProposal]) -> Result:
    """Settle proposals under the keys of their postings, or refuse these for good; each is decided on once."""
    return Result(answers=[await _decide(tx, command) for command in commands])


async def _decide(tx: Transaction, command: DecideProposal) -> Proposed | LedgerError:
    found = await proposals.one(tx.driver, command.shop, command.proposal)
    if found is None:
        return ProposalNotFound(str(command.proposal))
    if found.state != OPEN:
        return ProposalNotOpen(str(command.proposal), found.state)
    if not command.approve:
        declined = ProposalRejected(command.by)
        return await _close(tx, found, REJECTED, declined=declined, by=command.by, reason=command.reason)
    try:
        found.posting = approved(found.posting, command.by)
    except LedgerError as own:
        return own
    return await _close(tx, found, APPROVED, by=command.by, reason=command.reason, trace=command.trace)


@dataclass(frozen=True, slots=True)
class ExpireProposal:
    """The time of a proposal is over."""

    shop: str
    member: str
    proposal: UUID


def lane_key(command: DecideProposal | ExpireProposal) -> str:
    """That of the account that the proposal moves."""
    return f"{command.shop}/{command.member}"


async def expire_proposals(tx: Transaction, commands: Sequence[ExpireProposal]) -> Result:
    """Refuse for good what nobody has decided on in time. What was decided on meanwhile stays as it is."""
    answers = []
    for command in commands:
        found = await proposals.one(tx.driver, command.shop, command.proposal)
        overdue = found is not None and found.state == EXPIRED and found.decided_at is None
        if found is not None and overdue:
            await _close(tx, found, EXPIRED, declined=ProposalExpired(found.expires_at.isoformat()))
        answers.append(overdue)
    return Result(answers=answers)


async def _close(
    tx: Transaction,
    proposed: Proposed,
    state: str,
    *,
    declined: LedgerError | None = None,
    by: str | None = None,
    reason: str | None = None,
    trace: str | None = None,
) -> Proposed:
    posting = proposed.posting
    loaded = await load(tx.driver, [posting], tx.now, tx.lanes)
    decision = settle_proposed(loaded.state, posting, tx.now, declined)
    traces = {} if trace is None else {posting.id: trace}
    await save(tx.driver, loaded, decision, lane_count=tx.lane_count, traces=traces)
    await proposals.close(tx.driver, proposed.id, state, at=tx.now, by=by, reason=reason)
    metrics.PROPOSALS.labels(state).inc()
    closed = await proposals.one(tx.driver, posting.shop, proposed.id)
    assert closed is not None, "nobody deletes proposals"
    return closed
