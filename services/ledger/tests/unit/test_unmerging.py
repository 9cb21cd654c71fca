"""A merge undone: what is left of what came goes back, what was done meanwhile stays, and no point is made or lost."""

import json

from ledger.domain import Result

from .refusing import refused, unchanged
from .test_merging import dates, merged


def test_what_nobody_touched_moves_back_as_it_was(shelf):
    shelf.award(30, member="n", expires_at="03-01", priority=2, key="a", order="o")
    shelf.award(20, member="n", activates_at="02-20", expires_at="05-01")
    shelf.spend(5, member="n", order="o")
    shelf.hold("h", 5, member="n", expires_at="02-25")
    shelf.award(9)
    before = (dates(shelf, "n"), shelf.buckets("n"), shelf.account("n").earned, shelf.account("n").spent)
    name = merged(shelf)
    outcome = shelf.undo(name)
    assert outcome.facts == {
        "points.available": 20, "points.pending": 20, "points.held": 5, "points.debt": 0,
        "points.missing": 0, "points.expired": 0,
    }  # fmt: skip
    after = (dates(shelf, "n"), shelf.buckets("n"), shelf.account("n").earned, shelf.account("n").spent)
    assert after == before
    assert shelf.buckets() == (9, 0, 0, 0)
    assert [
        (lot.account.key.member, lot.number) for lot in shelf.lots.values() if lot.remaining and lot.key == "a"
    ] == [("n", 1)]
    out, back = shelf.entries()[-1], shelf.entries("n")[-1]
    assert (out.kind, dict(out.system), back.kind) == ("unmerge_out", {"transferred": 45}, "unmerge_in")
    assert json.loads(back.cause) == {"member": "m", "merge": name}
    shelf.capture("h", member="n")
    shelf.give_back(5, member="n")
    shelf.revoke("a", 30, member="n")
    assert shelf.at("02-20").buckets("n") == (20, 0, 0, 0)
    assert shelf.buckets() == (9, 0, 0, 0)


def test_what_was_spent_or_has_expired_is_missing(shelf):
    shelf.award(30, member="n", expires_at="02-10")
    shelf.award(40, member="n", expires_at="05-01")
    shelf.award(100, expires_at="06-01")
    name = merged(shelf)
    shelf.debit(10)
    shelf.at("02-10").debit(15)
    outcome = shelf.undo(name)
    assert outcome.facts == {
        "points.available": 25, "points.pending": 0, "points.held": 0, "points.debt": 0,
        "points.missing": 45, "points.expired": 20,
    }  # fmt: skip
    assert (shelf.buckets(), shelf.buckets("n")) == ((100, 0, 0, 0), (25, 0, 0, 0))
    for entry in (shelf.entries()[-1], shelf.entries("n")[-1]):
        assert {name: json.loads(entry.cause)[name] for name in ("missing", "expired")} == {
            "missing": 45,
            "expired": 20,
        }


def test_later_events_go_to_the_old_account_again(shelf):
    shelf.award(10, member="n", key="a")
    name = merged(shelf)
    shelf.award(5, member="n", key="between")
    shelf.undo(name)
    shelf.award(1, member="n")
    assert (shelf.buckets("n"), shelf.buckets()) == ((11, 0, 0, 0), (5, 0, 0, 0))
    shelf.revoke("a", 10, member="n")
    assert shelf.buckets("n") == (1, 0, 0, 0)
    assert shelf.revoke("between", 5).result is Result.POSTED  # what came between is the other's
    assert shelf.buckets() == (0, 0, 0, 0)


def test_a_hold_goes_back_with_points_even_if_those_that_came_are_spent(shelf):
    shelf.award(100, member="n", expires_at="03-01")
    shelf.hold("h", 60, member="n")
    shelf.award(100, expires_at="05-01")
    name = merged(shelf)
    shelf.debit(120)  # the soonest to end first: all that came, and 20 more
    outcome = shelf.undo(name)
    assert (outcome.facts["points.held"], outcome.facts["points.missing"]) == (60, 40)
    assert (shelf.buckets(), shelf.buckets("n")) == ((20, 0, 0, 0), (0, 0, 60, 0))
    assert dates(shelf, "n") == [(60, "05-01", "02-01", 0, False)]
    shelf.release("h", member="n")
    assert shelf.buckets("n") == (60, 0, 0, 0)


def test_holds_of_both_keep_their_points(shelf):
    shelf.award(50, member="n", expires_at="02-10")
    shelf.hold("old", 30, member="n")
    shelf.award(50, expires_at="02-10")
    shelf.hold("own", 40)
    name = merged(shelf)
    shelf.at("02-10")  # 30 expire
    shelf.undo(name)
    assert (shelf.buckets(), shelf.buckets("n")) == ((0, 0, 40, 0), (0, 0, 30, 0))
    shelf.capture("own")
    shelf.capture("old", member="n")
    assert (shelf.buckets(), shelf.buckets("n")) == ((0, 0, 0, 0), (0, 0, 0, 0))


def test_debts_that_are_still_owed_move_back(books):
    shelf = books("debt")
    shelf.spend(30, member="n", checkout="c")
    name = merged(shelf)
    shelf.award(10)
    shelf.undo(name)
    assert (shelf.buckets(), shelf.buckets("n")) == ((0, 0, 0, 0), (0, 0, 0, -20))
    shelf.give_back(30, "c", member="n")  # ten of them were another's points: they are the member's now
    assert (shelf.buckets(), shelf.buckets("n")) == ((0, 0, 0, 0), (10, 0, 0, 0))


def test_what_repaid_the_others_debt_is_missing(books):
    shelf = books("debt")
    shelf.spend(30, checkout="c")
    shelf.award(50, member="n")
    outcome = shelf.undo(merged(shelf))
    assert (outcome.facts["points.available"], outcome.facts["points.missing"]) == (20, 30)
    shelf.give_back(30, "c")
    assert (shelf.buckets(), shelf.buckets("n")) == ((30, 0, 0, 0), (20, 0, 0, 0))
    assert shelf.revoke("k2", 50, member="n").facts["missing"] == 30


def test_take_backs_that_wait_for_holds_find_them_again(shelf):
    shelf.award(50, member="n", key="a")
    shelf.hold("h", 50, member="n")
    shelf.award(20, key="b")
    shelf.debit(20)
    shelf.revoke("a", 50, member="n")
    name = merged(shelf)
    shelf.undo(name)
    assert (shelf.buckets(), shelf.buckets("n")) == ((0, 0, 0, 0), (0, 0, 50, 0))
    shelf.release("h", member="n")
    assert shelf.buckets("n") == (0, 0, 0, 0)


def test_a_take_back_that_waits_for_a_hold_that_goes_is_settled_without_it(books):
    for policy, debt in (("forgive", 0), ("debt", -20)):
        shelf = books(policy)
        shelf.award(20, key="b")
        shelf.debit(20)
        shelf.award(50, member="n")
        shelf.hold("h", 50, member="n")
        name = merged(shelf)
        assert shelf.revoke("b", 20).facts == {"taken": 0, "held": 20, "missing": 0}
        shelf.undo(name)
        assert (shelf.buckets(), shelf.buckets("n")) == ((0, 0, 0, debt), (0, 0, 50, 0))
        shelf.release("h", member="n")
        assert shelf.buckets("n") == (50, 0, 0, 0)


def test_lifetimes_move_and_move_back_less_what_was_taken_back_or_returned_meanwhile(shelf):
    shelf.award(100, member="n", key="a", order="o")
    shelf.spend(40, member="n", order="o")
    shelf.award(7)
    name = merged(shelf)
    assert (shelf.account().earned, shelf.account().spent) == (107, 40)
    shelf.revoke("a", 10, member="n")
    shelf.give_back(15, member="n")
    shelf.undo(name)
    assert (shelf.account().earned, shelf.account().spent) == (7, 0)
    assert (shelf.account("n").earned, shelf.account("n").spent) == (90, 25)


def test_what_waits_goes_back_to_wait_under_its_own_name(shelf):
    shelf.revoke("late", 30, member="n")
    name = merged(shelf)
    shelf.give_back(5, "c", member="n")
    shelf.undo(name)
    shelf.award(100, key="late", member="n")
    shelf.spend(10, "c", member="n")
    assert (shelf.buckets("n"), shelf.buckets()) == ((65, 0, 0, 0), (0, 0, 0, 0))
    assert shelf.parked == []


def test_what_was_spent_of_lots_that_came_returns_to_the_spender(shelf):
    shelf.award(50, member="n", key="a", order="o")
    name = merged(shelf)
    shelf.spend(30, "c")
    shelf.undo(name)
    shelf.give_back(30, "c")
    assert (shelf.buckets(), shelf.buckets("n")) == ((30, 0, 0, 0), (20, 0, 0, 0))
    assert shelf.revoke("a", 50, member="n").facts == {"taken": 20, "held": 0, "missing": 30}
    assert shelf.buckets() == (30, 0, 0, 0)


def test_undoing_is_done_once(shelf):
    shelf.award(10, member="n")
    name = merged(shelf)
    undone = shelf.undo(name, key="u")
    again = unchanged(shelf, lambda: shelf.undo(name, key="u"))
    assert (again.repeated, again.facts) == (True, undone.facts)
    assert refused(shelf, lambda: shelf.undo(name)) == ("merge_undone", {"merge": name})
    assert refused(shelf, lambda: shelf.undo("no-such")) == ("merge_not_found", {"merge": "no-such"})
    second = merged(shelf)
    assert second != name
    assert refused(shelf, lambda: shelf.undo(name)) == ("merge_undone", {"merge": name})
    assert shelf.buckets() == (10, 0, 0, 0)


def test_a_hold_that_was_placed_meanwhile_stays(shelf):
    shelf.award(50, member="n")
    name = merged(shelf)
    shelf.hold("h", 10, member="n")
    shelf.undo(name)
    assert (shelf.buckets(), shelf.buckets("n")) == ((0, 0, 10, 0), (40, 0, 0, 0))
    shelf.release("h")
    assert shelf.buckets() == (10, 0, 0, 0)


def test_a_take_back_that_stays_with_a_hold_knows_its_order_only(shelf):
    shelf.award(5, expires_at="06-01")
    shelf.award(5, member="n", key="a")
    name = merged(shelf)
    shelf.hold("h", 10)
    shelf.revoke("a", 2)
    shelf.undo(name)
    assert (shelf.buckets(), shelf.buckets("n")) == ((0, 0, 10, 0), (0, 0, 0, 0))
    shelf.release("h")
    assert shelf.available == 8
    assert shelf.at("06-01").available == 5
