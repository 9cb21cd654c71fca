"""Where a posting is decided: pure rules, one function per kind."""

from collections.abc import Sequence
from datetime import datetime

from ledger.domain.books import State
from ledger.domain.outcomes import Decision
from ledger.domain.postings import Posting


def decide(state: State, postings: Sequence[Posting], now: datetime) -> Decision:
    """Decide postings in order of arrival; what is due on an account comes before anything else on it.

    No clock, no IO, no chance: the same state, postings and instant give the same decision. The state is taken over:
    its records are updated in place and handed back in the decision. Load it anew for the next batch.
    """
    raise NotImplementedError


def settle_due(state: State, now: datetime) -> Decision:
    """Apply what is due on every loaded account: the job's work, and what reads do (without saving) before they look."""
    raise NotImplementedError
