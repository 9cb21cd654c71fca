"""Where a posting is decided: keys once, due things first, then the posting, then what waited for it."""

from collections.abc import Sequence
from datetime import datetime

from ledger.domain.assets import check_asset, takes
from ledger.domain.books import Account, State
from ledger.domain.due import apply_due
from ledger.domain.errors import ApprovalNeeded, KeyConflict, LedgerError
from ledger.domain.hashing import content_hash
from ledger.domain.journal import Journal
from ledger.domain.kinds import ACTS
from ledger.domain.outcomes import Decision, Outcome, Parked, Refusal, Result
from ledger.domain.postings import Activate, Award, Capture, GiveBack, Posting, PostingId, Revoke, Spend, SpendId
from ledger.domain.proposals import MANUAL, proposal_of


def decide(state: State, postings: Sequence[Posting], now: datetime) -> Decision:
    """Decide postings in order of arrival; what is due on an account comes before anything else on it.

    No clock, no IO, no chance: the same state, postings and instant give the same decision. The state is taken over:
    its records are updated in place and handed back in the decision. Load it anew for the next batch.
    """
    journal = Journal(state, now)
    answers = journal.decision.outcomes
    for posting in postings:
        answers.append(_settle(journal, posting))
    return journal.decision


def settle_due(state: State, now: datetime) -> Decision:
    """Apply what is due on every loaded account: the job's work; reads do it too, without saving, before they look."""
    journal = Journal(state, now)
    for account in state.accounts.values():
        if account.next_due_at is not None and account.next_due_at <= now:
            apply_due(journal, account)
    return journal.decision


def settle_parked(state: State, now: datetime) -> Decision:
    """Do what is parked in the state and has a cause that is known by now: the sweep's work, the second defence."""
    journal = Journal(state, now)
    for waiting in list(state.parked.values()):
        for parked in waiting:
            if _unknown_cause(journal, parked.posting) is None:
                _unpark(journal, parked)
    return journal.decision


def settle_proposed(state: State, posting: Posting, now: datetime, declined: LedgerError | None = None) -> Decision:
    """Settle what was proposed, under its own key, as if it came now; what waits for it follows. Or decline it."""
    journal = Journal(state, now)
    account = state.accounts[state.home_of(posting)]
    if account.next_due_at is not None and account.next_due_at <= now:
        apply_due(journal, account)
    outcome = state.outcomes[posting.id]
    _do(journal, posting, account, outcome, declined)
    journal.decision.settled.append(outcome)
    if state.parked:
        _settle_what_waited(journal, posting)
    return journal.decision


def _settle(journal: Journal, posting: Posting) -> Outcome:
    """A key is used once: the same content again gets the first answer, other content changes nothing."""
    posting_id = posting.id
    digest = content_hash(posting)
    first = journal.state.outcomes.get(posting_id)
    if first is None:
        return _apply(journal, posting, posting_id, digest)
    if first.content_hash == digest:
        return first.again()
    return Outcome(
        id=posting_id,
        account=posting.account_key,
        kind=posting.kind,
        content_hash=digest,
        result=Result.CONFLICT,
        error=KeyConflict(posting.key),
    )


def _apply(journal: Journal, posting: Posting, posting_id: PostingId, digest: bytes) -> Outcome:
    """What is due, then the posting, then what waited for it."""
    state = journal.state
    account = state.accounts[state.home_of(posting) if state.members else posting.account_key]
    if account.next_due_at is not None and account.next_due_at <= journal.now:
        apply_due(journal, account)
    outcome = Outcome(id=posting_id, account=account.key, kind=posting.kind, content_hash=digest, result=Result.PARKED)
    journal.state.outcomes[posting_id] = outcome
    journal.decision.decided.append(outcome)
    cause = _unknown_cause(journal, posting)
    if cause is not None:
        parked = Parked(posting, digest, cause, since=journal.now, fresh=True)
        journal.state.add_parked(parked)
        journal.decision.parked.append(parked)
        return outcome
    proposal = proposal_of(journal, posting) if type(posting) in MANUAL else None
    if proposal is not None and proposal.expires_at > proposal.at:
        outcome.result = Result.PENDING_APPROVAL
        journal.decision.proposals.append(proposal)
        return outcome
    _do(journal, posting, account, outcome, None if proposal is None else ApprovalNeeded(proposal.posting.amount))
    if journal.state.parked:
        _settle_what_waited(journal, posting)
    return outcome


def _do(
    journal: Journal, posting: Posting, account: Account, outcome: Outcome, declined: LedgerError | None = None
) -> None:
    """One posting with a known cause: its entries, or its refusal, and its outcome."""
    seq = account.seq
    try:
        if declined is not None:
            raise declined
        check_asset(posting)
        facts = ACTS[type(posting)](journal, account, posting)
    except LedgerError as error:
        outcome.result, outcome.error = Result.REFUSED, error
        journal.decision.log.append(Refusal(account, posting, error, journal.moment(account)))
        return
    if facts is None:
        outcome.result = Result.UNCHANGED
        return
    outcome.result, outcome.facts = Result.POSTED, facts
    if account.seq > seq:
        outcome.first_seq, outcome.last_seq = seq + 1, account.seq


def _unknown_cause(journal: Journal, posting: Posting) -> PostingId | SpendId | None:
    """A revoke or activation waits for its award and a give-back for its spend, while nothing is known of them."""
    state = journal.state
    if isinstance(posting, Award) or not takes(posting):  # nearly all of them; or it is refused, whatever its cause
        return None
    if isinstance(posting, Revoke | Activate):
        award = posting.award_id
        known = state.outcomes.get(award)
        proposed = known is not None and known.result is Result.PENDING_APPROVAL
        return None if award in state.awards or (known is not None and not proposed) else award
    if isinstance(posting, GiveBack):
        return None if posting.spend_id in state.spends else posting.spend_id
    return None


def _settle_what_waited(journal: Journal, posting: Posting) -> None:
    """The transaction that applies a cause applies what waits for it, in order of arrival, after it."""
    cause: PostingId | SpendId = posting.id
    if isinstance(posting, Spend | Capture):
        cause = posting.spend_id
        if cause not in journal.state.spends:
            return  # refused; another key may still spend it
    for parked in journal.state.parked.pop(cause, ()):
        _unpark(journal, parked)


def _unpark(journal: Journal, parked: Parked) -> None:
    """Do what waited. Another member's account may not be loaded with its cause: `settle_parked` finds it later."""
    decision = journal.decision
    account = journal.state.accounts.get(journal.state.home_of(parked.posting))
    if account is None:
        return
    if account.next_due_at is not None and account.next_due_at <= journal.now:
        apply_due(journal, account)
    outcome = journal.state.outcomes[parked.posting.id]
    _do(journal, parked.posting, account, outcome)
    if parked.fresh:
        decision.parked.remove(parked)
    else:
        decision.unparked.append(parked)
        decision.settled.append(outcome)
