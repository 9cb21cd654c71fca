"""Keys are kept for ever: repeats, conflicts, and what waits for its cause."""

from dataclasses import replace

import pytest

from ledger.domain import (
    Account,
    Award,
    Capture,
    Credit,
    Debit,
    Freeze,
    Gift,
    GiveBack,
    Hold,
    Merge,
    Release,
    Result,
    Revoke,
    Spend,
    UndoMerge,
    Unfreeze,
    content_hash,
    settle_parked,
)


def test_the_same_key_and_content_gets_the_first_answer(shelf):
    shelf.award(100)
    hold = shelf.ask(Hold, hold="h", amount=60, expires_at="03-01")
    first = shelf.one(hold)
    shelf.debit(40)
    again = shelf.one(replace(hold))
    assert (again.repeated, again.result, again.facts, again.first_seq) == (True, Result.POSTED, first.facts, 2)
    assert shelf.buckets() == (0, 0, 60, 0)


def test_a_refusal_is_a_first_answer_too(shelf):
    debit = shelf.ask(Debit, amount=10)
    first = shelf.one(debit)
    shelf.award(100)
    again = shelf.one(debit)
    assert (again.repeated, again.result, again.error.facts) == (True, Result.REFUSED, first.error.facts)
    assert shelf.available == 100
    assert len(shelf.log) == 2


def test_the_same_key_with_other_content_is_a_conflict_and_changes_nothing(shelf):
    posting = shelf.ask(Award, amount=10, key="a")
    shelf.one(posting)
    for other in (replace(posting, amount=11), replace(posting, member="n"), replace(posting, order="o")):
        outcome = shelf.one(other)
        assert (outcome.result, outcome.error.code, outcome.error.facts) == (
            Result.CONFLICT, "idempotency_conflict", {"key": "a"},
        )  # fmt: skip
    assert shelf.one(shelf.ask(Credit, amount=10, key="a")).result is Result.CONFLICT
    assert shelf.buckets() == (10, 0, 0, 0)
    assert shelf.buckets("n") == (0, 0, 0, 0)
    assert len(shelf.log) == 1
    assert shelf.one(posting).result is Result.POSTED


def test_keys_are_unique_per_source(shelf):
    shelf.award(10, key="a", source="rules")
    shelf.award(11, key="a", source="till-4")
    assert shelf.available == 21


def test_repeats_and_conflicts_within_one_batch(shelf):
    posting = shelf.ask(Award, amount=10, key="a")
    first, again, conflict = shelf.post(posting, replace(posting), replace(posting, amount=11))
    assert [first.result, again.result, conflict.result] == [Result.POSTED, Result.POSTED, Result.CONFLICT]
    assert [first.repeated, again.repeated] == [False, True]
    assert shelf.available == 10


@pytest.mark.parametrize(
    ("kind", "content", "others"),
    [
        (Award, {"amount": 1}, {"amount": 2, "activates_at": "03-01", "expires_at": "04-01", "priority": 1}),
        (Credit, {"amount": 1}, {"amount": 2, "activates_at": "03-01", "expires_at": "04-01", "priority": 1}),
        (Debit, {"amount": 1}, {"amount": 2}),
        (Revoke, {"award": "a", "total": 1}, {"award": "b", "total": 2, "award_source": "rules"}),
        (Hold, {"hold": "h", "amount": 1, "expires_at": "03-01"},
         {"hold": "g", "amount": 2, "expires_at": "04-01", "at_most": True}),
        (Capture, {"hold": "h"}, {"hold": "g", "amount": 1}),
        (Release, {"hold": "h"}, {"hold": "g"}),
        (Spend, {"checkout": "c", "generation": 1, "amount": 1},
         {"checkout": "d", "generation": 2, "amount": 2}),
        (GiveBack, {"checkout": "c", "generation": 1, "total": 1}, {"checkout": "d", "generation": 2, "total": 2}),
        (Gift, {"to": "t", "amount": 1}, {"to": "u", "amount": 2}),
        (Merge, {"into": "t"}, {"into": "u"}),
        (UndoMerge, {"into": "t", "merge": "x"}, {"into": "u", "merge": "y"}),
        (Freeze, {}, {}),
        (Unfreeze, {}, {}),
    ],
)  # fmt: skip
def test_all_content_makes_the_content(shelf, kind, content, others):
    one = shelf.ask(kind, key="k", **content)
    hashes = {content_hash(one)}
    shared = {"member": "n", "asset": "growth", "order": "o", "cause": '{"rule":"r"}', "key": "l", "source": "s"}
    for name, value in (others | shared).items():
        hashes.add(content_hash(shelf.ask(kind, **({"key": "k"} | content | {name: value}))))
    assert len(hashes) == 1 + len(others) + len(shared)
    assert content_hash(replace(one, memo_commitment=bytes(32))) == content_hash(one)
    if isinstance(one, Spend):
        assert content_hash(replace(one, is_new=True)) == content_hash(one)


def test_a_spend_is_the_same_whatever_hold_it_names(shelf):
    """Redemption, its database put back to an earlier moment, asks again for what it no longer knows the hold of."""
    shelf.award(100)
    shelf.hold("h", 60)
    shelf.hold("g", 40)
    spend = shelf.ask(Spend, key="c/1/spend", checkout="c", generation=1, amount=60, hold="h")
    first = shelf.one(spend)
    for hold in ("h", None, "g"):
        again = shelf.one(replace(spend, hold=hold))
        assert (again.result, again.repeated, again.facts) == (Result.POSTED, True, first.facts)
    assert shelf.buckets() == (0, 0, 40, 0)


def test_content_cannot_slide_from_one_field_to_the_next(shelf):
    def hashed(member, source):
        return content_hash(shelf.ask(Debit, key="k", amount=1, member=member, source=source))

    assert hashed("ab", "c") != hashed("a", "bc")


# -- what waits


def test_a_revoke_waits_for_its_award_and_applies_right_after_it(shelf):
    waiting = shelf.ask(Revoke, award="a", total=30)
    assert shelf.one(waiting).result is Result.PARKED
    again = shelf.one(waiting)
    assert (again.result, again.repeated) == (Result.PARKED, True)
    assert shelf.entries() == []
    shelf.revoke("a", 50)
    shelf.award(100, key="a", order="o")
    assert [(entry.kind, entry.available) for entry in shelf.entries()] == [
        ("award", 100), ("revoke", -30), ("revoke", -20),
    ]  # fmt: skip
    assert shelf.parked == []
    settled = shelf.one(waiting)
    assert (settled.result, settled.repeated, settled.facts["taken"], settled.first_seq) == (
        Result.POSTED, True, 30, 2,
    )  # fmt: skip
    assert shelf.available == 50


def test_a_give_back_waits_for_its_spend(shelf):
    shelf.award(100)
    assert shelf.give_back(30).result is Result.PARKED
    shelf.spend(80)
    assert shelf.kinds == ["award", "spend", "give_back"]
    assert shelf.available == 50
    assert shelf.give_back(10, "h").result is Result.PARKED
    shelf.hold("h", 20)
    shelf.capture("h", 21)
    assert len(shelf.parked) == 1
    shelf.capture("h")
    assert shelf.parked == []
    assert shelf.available == 40


def test_what_waits_and_its_cause_in_one_batch(shelf):
    outcomes = shelf.post(
        shelf.ask(Revoke, award="a", total=30), shelf.ask(Award, amount=100, key="a"), shelf.ask(Debit, amount=70)
    )
    assert [outcome.result for outcome in outcomes] == [Result.POSTED] * 3
    assert shelf.kinds == ["award", "revoke", "debit"]
    assert shelf.parked == []


def test_a_refused_award_settles_what_waited_as_nothing_to_do(shelf):
    """Its key is used up: that award never comes."""
    waiting = shelf.revoke("a", 30)
    shelf.award(0, key="a")
    assert shelf.parked == []
    assert shelf.outcomes[waiting.id].result is Result.UNCHANGED
    assert shelf.revoke("a", 40).result is Result.UNCHANGED
    assert shelf.entries() == []


def test_a_return_waits_on_while_its_spend_is_refused_whichever_came_first(books):
    """A checkout is spent under any key: the refused one says nothing of the next."""
    for is_first in (True, False):
        shelf = books()
        shelf.award(100)
        shelf.freeze()
        calls = [lambda s=shelf: s.give_back(30, key="r"), lambda s=shelf: s.spend(80, key="s", is_new=True)]
        for call in calls if is_first else reversed(calls):
            call()
        (waiting,) = shelf.parked
        assert shelf.outcomes[waiting.posting.id].result is Result.PARKED
        assert shelf.kinds == ["award", "freeze"]
        shelf.unfreeze()
        shelf.spend(80, key="again", is_new=True)
        assert shelf.kinds == ["award", "freeze", "unfreeze", "spend", "give_back"]
        assert shelf.parked == []
        assert shelf.available == 50


def test_what_waits_is_refused_as_it_would_have_been(shelf):
    waiting = shelf.revoke("a", 30)
    shelf.award(20, key="a")
    assert shelf.outcomes[waiting.id].result is Result.REFUSED
    assert shelf.outcomes[waiting.id].error.code == "total_exceeds_award"
    assert shelf.available == 20


def test_what_names_another_members_award_is_settled_by_the_sweep(shelf):
    waiting = shelf.ask(Revoke, award="a", total=30, member="n")
    shelf.one(waiting)
    shelf.award(100, key="a")
    assert len(shelf.parked) == 1
    shelf.offer_again(waiting)
    assert shelf.parked == []
    assert shelf.outcomes[waiting.id].error.code == "of_another_member"
    assert shelf.available == 100
    assert shelf.buckets("n") == (0, 0, 0, 0)


def test_the_sweep_leaves_what_still_waits(shelf):
    waiting = shelf.ask(Revoke, award="a", total=30)
    shelf.one(waiting)
    state = shelf.load([waiting])
    decision = settle_parked(state, shelf.now)
    assert (decision.unparked, decision.settled, decision.log) == ([], [], [])


def test_an_account_that_nothing_touched_is_not_saved(shelf):
    shelf.revoke("a", 1, member="n")
    shelf.debit(1, member="o")
    assert shelf.accounts == {}
    assert isinstance(shelf.account("n"), Account)
