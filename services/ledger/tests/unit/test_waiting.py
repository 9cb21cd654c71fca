"""Points that wait for an event: pending however long, dated by the event once, cancelled before it."""

from datetime import UTC, datetime

import pytest

from ledger.domain import Activate, Award, Result

FULFILLED = {"activates_on": "fulfilled", "cause": '{"activates_on":"fulfilled"}'}


def test_points_wait_for_their_event_however_long(shelf):
    shelf.award(100, key="a", **FULFILLED)
    assert shelf.buckets() == (0, 100, 0, 0)
    assert shelf.account().next_due_at is None
    shelf.at("12-31").job()
    assert shelf.buckets() == (0, 100, 0, 0)
    assert shelf.at("12-30").hold("h", 1).error.code == "insufficient_points"
    assert shelf.debit(1).error.code == "insufficient_points"


def test_the_clock_of_expiry_starts_with_the_event(shelf):
    shelf.award(100, key="a", **FULFILLED)
    shelf.at("06-01")
    outcome = shelf.activate("a", expires_at="07-01")
    assert (outcome.result, outcome.facts) == (Result.POSTED, {"activated": 100})
    assert shelf.buckets() == (100, 0, 0, 0)
    (lot,) = shelf.account().lots.values()
    assert (lot.activates_at, lot.expires_at) == (
        datetime(2026, 6, 1, tzinfo=UTC),
        datetime(2026, 7, 1, tzinfo=UTC),
    )
    shelf.at("06-30 23:59")
    assert shelf.available == 100
    shelf.at("07-01")
    assert shelf.available == 0
    shelf.job()
    assert shelf.kinds == ["award", "activate", "expire"]
    assert shelf.entries()[1].source == "test", "asked for, not fallen due"


def test_an_event_gives_dates_once(shelf):
    shelf.award(100, key="a", **FULFILLED)
    shelf.activate("a", expires_at="07-01")
    again = shelf.activate("a", expires_at="12-01")
    assert (again.result, again.first_seq) == (Result.UNCHANGED, 0)
    assert [lot.expires_at for lot in shelf.account().lots.values()] == [datetime(2026, 7, 1, tzinfo=UTC)]
    assert shelf.kinds == ["award", "activate"]


def test_the_same_activation_again_is_its_first_answer_and_another_end_a_conflict(shelf):
    shelf.award(100, key="a", **FULFILLED)
    first = shelf.activate("a", key="k", expires_at="07-01")
    again = shelf.activate("a", key="k", expires_at="07-01")
    assert (again.repeated, again.first_seq) == (True, first.first_seq)
    assert shelf.activate("a", key="k", expires_at="07-02").result is Result.CONFLICT
    assert shelf.activate("a", key="k").result is Result.CONFLICT


def test_an_activation_waits_for_its_award(shelf):
    assert shelf.activate("a", key="early", expires_at="07-01").result is Result.PARKED
    shelf.award(100, key="a", **FULFILLED)
    assert shelf.buckets() == (100, 0, 0, 0)
    assert shelf.outcomes[shelf.ask(Activate, award="a", key="early").id].result is Result.POSTED
    assert not shelf.parked


def test_what_waits_for_an_award_is_done_in_order_of_arrival(books):
    for first in ("activate", "revoke"):
        shelf = books()
        calls = {"activate": lambda s=shelf: s.activate("a"), "revoke": lambda s=shelf: s.revoke("a", 30)}
        calls.pop(first)()
        next(iter(calls.values()))()
        shelf.award(100, key="a", **FULFILLED)
        assert shelf.buckets() == (70, 0, 0, 0)
        wanted = ["activate", "revoke"] if first == "activate" else ["revoke", "activate"]
        assert shelf.kinds == ["award", *wanted]


def test_award_and_activation_in_one_batch(shelf):
    award = shelf.ask(Award, amount=100, key="a", **FULFILLED)
    activation = shelf.ask(Activate, award="a", expires_at="07-01")
    assert [outcome.result for outcome in shelf.post(award, activation)] == [Result.POSTED, Result.POSTED]
    assert shelf.buckets() == (100, 0, 0, 0)
    shelf.at("07-01")
    assert shelf.available == 0


def test_what_is_past_when_it_is_activated_shows_both_and_repays_nothing(books):
    shelf = books("debt")
    shelf.spend(40)
    shelf.award(100, key="a", **FULFILLED)
    shelf.at("06-01")
    shelf.activate("a", expires_at="05-01")
    assert shelf.buckets() == (0, 0, 0, -40)
    assert shelf.kinds[-2:] == ["activate", "expire"]


def test_what_becomes_active_repays_debt_first(books):
    shelf = books("debt")
    shelf.spend(40)
    shelf.award(100, key="a", **FULFILLED)
    shelf.activate("a", expires_at="07-01")
    assert shelf.buckets() == (60, 0, 0, 0)
    shelf.give_back(40)
    assert shelf.available == 100


def test_a_waiting_award_is_cancelled_by_taking_it_back(shelf):
    shelf.award(100, key="a", **FULFILLED)
    assert shelf.revoke("a", 100).facts == {"taken": 100, "held": 0, "missing": 0}
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.activate("a", expires_at="07-01").result is Result.UNCHANGED
    assert (shelf.account().earned, shelf.system) == (0, {"issued": -100, "revoked": 100})


def test_a_part_that_was_taken_back_does_not_become_active(shelf):
    shelf.award(100, key="a", **FULFILLED)
    shelf.revoke("a", 30)
    assert shelf.activate("a").facts == {"activated": 70}
    shelf.revoke("a", 100)
    assert shelf.buckets() == (0, 0, 0, 0)


def test_an_operators_credit_waits_and_is_activated_by_another_source(shelf):
    shelf.credit(50, key="c", **FULFILLED)
    assert shelf.buckets() == (0, 50, 0, 0)
    shelf.activate("c", source="shipping", award_source="test", expires_at="07-01")
    assert shelf.buckets() == (50, 0, 0, 0)
    assert shelf.system == {"adjusted": -50}


def test_of_a_credit_only_what_is_pending_is_taken_back(shelf):
    shelf.credit(50, key="c", **FULFILLED)
    assert shelf.revoke("c", 20).facts == {"taken": 20, "held": 0, "missing": 0}
    assert shelf.revoke("c", 20).result is Result.UNCHANGED
    assert shelf.revoke("c", 51).error.code == "total_exceeds_award"
    shelf.activate("c")
    assert shelf.revoke("c", 50).result is Result.UNCHANGED
    assert shelf.buckets() == (30, 0, 0, 0)
    assert (shelf.account().earned, shelf.system) == (0, {"adjusted": -50, "revoked": 20})


@pytest.mark.parametrize("dates", [{}, {"activates_at": "03-01"}])
def test_what_waits_for_no_event_is_not_activated(shelf, dates):
    shelf.award(100, key="a", expires_at="04-01", **dates)
    before = shelf.buckets()
    outcome = shelf.activate("a")
    assert (outcome.result, outcome.error.code, outcome.error.facts) == (
        Result.REFUSED,
        "award_not_waiting",
        {"award": "a"},
    )
    assert shelf.buckets() == before
    assert [lot.expires_at for lot in shelf.account().lots.values()] == [datetime(2026, 4, 1, tzinfo=UTC)]


def test_another_members_award_is_not_activated(shelf):
    shelf.award(100, key="a", **FULFILLED)
    assert shelf.activate("a", member="n").error.code == "of_another_member"
    assert shelf.buckets() == (0, 100, 0, 0)


def test_activating_a_refused_award_has_nothing_to_do(shelf):
    shelf.award(10**15, key="a", **FULFILLED)
    assert shelf.activate("a").result is Result.UNCHANGED


def test_lots_are_consumed_by_the_dates_that_the_event_gave(shelf):
    shelf.award(100, key="a", **FULFILLED)
    shelf.award(100, expires_at="06-01")
    shelf.debit(10)  # sorts what can be consumed
    shelf.post(shelf.ask(Activate, award="a", expires_at="05-01"))
    shelf.debit(50)
    assert shelf.lots_of(shelf.entries()[-1]) == [(1, -50)]


def test_growth_that_waits_counts_with_its_event(books):
    growth = books(asset="growth")
    growth.award(100, key="a", **FULFILLED)
    assert growth.buckets() == (0, 100, 0, 0)
    growth.activate("a", expires_at="07-01")
    assert growth.buckets() == (100, 0, 0, 0)
