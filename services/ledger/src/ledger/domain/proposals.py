"""Two pairs of eyes: what a person may not move alone, and how an approved posting names both people."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Final

from ledger.domain.assets import takes
from ledger.domain.errors import OwnProposal
from ledger.domain.journal import Journal
from ledger.domain.outcomes import Proposal
from ledger.domain.postings import MAX_AMOUNT, Credit, Debit, Posting

NOBODY: Final = timedelta(0)
"""For `approval_within`: there is nobody to ask, so what needs a second person is refused."""

MANUAL: Final = frozenset({Credit, Debit})
"""Kinds of posting that people ask for; all others are not even looked at."""


def proposal_of(journal: Journal, posting: Posting) -> Proposal | None:
    """The proposal that a posting is, if it needs a second person. What could never be posted is refused at once."""
    if not isinstance(posting, Credit | Debit) or posting.approval_within is None or not takes(posting):
        return None
    above = journal.state.policies[posting.shop].approval_above.get(posting.asset)
    if above is None or not above < posting.amount <= MAX_AMOUNT:
        return None
    return Proposal(posting, journal.now, journal.now + posting.approval_within)


def approved(posting: Credit | Debit, approver: str) -> Credit | Debit:
    """The posting with both people in its cause. Who proposed it does not approve it, under no name of theirs."""
    cause = json.loads(posting.cause)
    if approver in (posting.source, cause.get("operator")):
        raise OwnProposal(approver)
    both = {**cause, "approver": approver, "proposer": posting.source}
    return replace(posting, cause=json.dumps(both, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
