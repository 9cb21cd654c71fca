"""Two pairs of eyes: above the shop's threshold a person only proposes, and another one decides."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ledger.domain import OwnProposal, ProposalRejected, Result, content_hash

WITHIN = timedelta(days=30)
CAUSE = '{"operator":"ana","reason":"goodwill"}'
BOTH = '{"approver":"ben","operator":"ana","proposer":"test","reason":"goodwill"}'


@pytest.fixture
def strict(shelf):
    shelf.policy.approval_above = {"points": 100, "growth": 0}
    return shelf


def credit(shelf, amount, **content):
    return shelf.credit(amount, approval_within=WITHIN, cause=CAUSE, **content)


def settle(shelf, key="k", **decided):
    (proposal,) = [proposal for proposal in shelf.proposals if proposal.posting.key == key]
    return shelf.second_person(proposal.posting, **decided)


def test_above_the_threshold_a_credit_is_a_proposal_and_moves_nothing(strict):
    outcome = credit(strict, 101, key="k")
    assert outcome.result is Result.PENDING_APPROVAL
    assert (strict.buckets(), strict.log, strict.system) == ((0, 0, 0, 0), [], {})
    (proposal,) = strict.proposals
    assert (proposal.at, proposal.expires_at) == (strict.now, strict.now + WITHIN)


@pytest.mark.parametrize("amount", [1, 100])
def test_up_to_the_threshold_one_person_is_enough(strict, amount):
    assert credit(strict, amount).result is Result.POSTED
    assert strict.debit(amount, approval_within=WITHIN).result is Result.POSTED
    assert not strict.proposals


def test_a_threshold_of_nothing_is_for_every_amount_and_each_asset_has_its_own(strict):
    assert credit(strict, 1, asset="growth").result is Result.PENDING_APPROVAL
    assert credit(strict, 1_000_000, asset="passes").result is Result.POSTED


def test_services_need_nobodys_approval(strict):
    assert strict.credit(1_000).result is Result.POSTED
    assert strict.award(1_000).result is Result.POSTED


def test_what_is_approved_is_posted_under_its_own_key_with_both_people_in_its_cause(strict):
    credit(strict, 500, key="k", expires_at="03-01")
    outcome = settle(strict)
    assert (outcome.result, outcome.first_seq, strict.buckets()) == (Result.POSTED, 1, (500, 0, 0, 0))
    (entry,) = strict.entries()
    assert (entry.source, entry.key, entry.kind, entry.cause) == ("test", "k", "credit", BOTH)
    again = credit(strict, 500, key="k", expires_at="03-01")
    assert (again.result, again.repeated, again.first_seq) == (Result.POSTED, True, 1)


def test_asked_again_it_is_the_same_proposal_and_with_other_content_a_conflict(strict):
    credit(strict, 500, key="k")
    assert (credit(strict, 500, key="k").result, len(strict.proposals)) == (Result.PENDING_APPROVAL, 1)
    assert credit(strict, 501, key="k").result is Result.CONFLICT
    later = strict.ask(type(strict.proposals[0].posting), amount=500, key="k", cause=CAUSE)
    assert content_hash(later) == content_hash(replace(later, approval_within=WITHIN))


@pytest.mark.parametrize("approver", ["test", "ana"])
def test_who_proposes_does_not_approve(strict, approver):
    credit(strict, 500, key="k")
    with pytest.raises(OwnProposal):
        settle(strict, by=approver)
    assert strict.buckets() == (0, 0, 0, 0)
    assert strict.outcomes[strict.proposals[0].posting.id].result is Result.PENDING_APPROVAL


def test_what_is_rejected_is_refused_for_good(strict):
    credit(strict, 500, key="k")
    outcome = settle(strict, declined=ProposalRejected("ben"))
    assert (outcome.result, outcome.error.code) == (Result.REFUSED, "proposal_rejected")
    assert (strict.buckets(), strict.entries(), len(strict.log)) == ((0, 0, 0, 0), [], 1)
    assert credit(strict, 500, key="k").error.facts == {"rejected_by": "ben"}


def test_a_debit_of_more_than_there_is_by_then_is_refused_at_approval(strict):
    strict.award(500)
    assert strict.debit(400, key="k", approval_within=WITHIN, cause=CAUSE).result is Result.PENDING_APPROVAL
    assert strict.available == 500, "nothing is reserved for it"
    strict.spend(200)
    outcome = settle(strict)
    assert (outcome.result, outcome.error.code, strict.available) == (Result.REFUSED, "insufficient_points", 300)


def test_what_could_never_be_posted_is_refused_at_once(strict):
    assert credit(strict, 10**12 + 1).error.code == "amount_out_of_range"
    assert not strict.proposals


def test_what_is_due_comes_before_what_is_approved(strict):
    strict.award(500, expires_at="02-10")
    strict.debit(400, key="k", approval_within=WITHIN, cause=CAUSE)
    strict.at("02-11")
    assert settle(strict).error.code == "insufficient_points"
    assert strict.kinds == ["award", "expire"]


def test_an_activation_waits_until_its_credit_is_approved(strict):
    credit(strict, 500, key="k", activates_on="signed")
    assert strict.activate("k", expires_at="06-01").result is Result.PARKED
    settle(strict)
    assert (strict.buckets(), strict.kinds) == ((500, 0, 0, 0), ["credit", "activate"])
    assert not strict.parked


def test_an_activation_of_what_was_rejected_has_nothing_to_do(strict):
    credit(strict, 500, key="k", activates_on="signed")
    waiting = strict.activate("k")
    settle(strict, declined=ProposalRejected("ben"))
    assert strict.outcomes[waiting.id].result is Result.UNCHANGED
    assert not strict.parked
