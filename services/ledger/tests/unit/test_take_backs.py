"""Awards are taken back: from which lots, and what becomes of what is not there."""

import pytest

from ledger.domain import Result

from .refusing import refused, unchanged


def test_take_back_order(shelf):
    """The order's pending points, its own lots (the award's first), then other active lots in consumption order."""
    shelf.award(10, expires_at="02-20")  # 1
    shelf.award(10, expires_at="02-10")  # 2
    shelf.award(10, key="b", order="o")  # 3
    shelf.award(10, key="a", order="o")  # 4
    shelf.award(10, key="p", order="o", activates_at="06-01")  # 5
    shelf.award(10, key="other", order="o2", activates_at="06-01")  # 6
    for total in range(1, 11):
        shelf.revoke("a", total)
    shelf.revoke("b", 10)
    shelf.revoke("p", 10)
    taken = [shelf.lots_of(entry) for entry in shelf.entries() if entry.kind == "revoke"]
    assert taken == [[(5, -1)]] * 10 + [[(3, -10)], [(4, -10)]]
    assert shelf.buckets() == (20, 10, 0, 0)
    shelf.award(15, key="c", order="o3")  # 19
    shelf.debit(30)
    shelf.credit(25)
    shelf.revoke("c", 15)
    assert shelf.lots_of(shelf.entries()[-1])[0][0] == 19


def test_take_back_takes_other_active_lots_but_no_other_pending_ones(shelf):
    shelf.award(10, key="a", order="o")
    shelf.debit(10)
    shelf.award(4, expires_at="05-01")
    shelf.award(4, expires_at="04-01")
    shelf.award(10, activates_at="06-01", order="o2")
    outcome = shelf.revoke("a", 10)
    assert outcome.facts == {"taken": 8, "held": 0, "missing": 2}
    assert shelf.lots_of(shelf.entries()[-1]) == [(4, -4), (3, -4)]
    assert shelf.buckets() == (0, 10, 0, 0)
    assert shelf.account().earned == 18


def test_totals_of_take_backs_never_fall_and_never_exceed_the_award(shelf):
    shelf.award(70, key="a")
    shelf.revoke("a", 50)
    assert unchanged(shelf, lambda: shelf.revoke("a", 50)).result is Result.UNCHANGED
    assert unchanged(shelf, lambda: shelf.revoke("a", 10)).result is Result.UNCHANGED
    code, facts = refused(shelf, lambda: shelf.revoke("a", 71))
    assert (code, facts) == ("total_exceeds_award", {"total": 71, "awarded": 70})
    assert refused(shelf, lambda: shelf.revoke("a", -1))[0] == "total_exceeds_award"
    assert refused(shelf, lambda: shelf.revoke("a", 60, member="n")) == ("of_another_member", {"named": "a"})
    assert shelf.available == 20


def test_an_award_of_another_source_is_named_with_it(shelf):
    shelf.award(70, key="a", source="rules")
    assert shelf.revoke("a", 70).result is Result.PARKED
    assert shelf.revoke("a", 70, award_source="rules").result is Result.POSTED
    assert shelf.available == 0


@pytest.mark.parametrize("policy", ["forgive", "debt"])
def test_a_take_back_that_waits_for_a_hold_falls_to_the_policy_when_that_is_captured(books, policy):
    shelf = books(policy)
    shelf.award(100, key="a", order="o")
    shelf.hold("h", 100)
    shelf.revoke("a", 70)
    shelf.capture("h", 60)
    assert shelf.kinds[2:] == ["revoke", "capture", "revoke"]
    debt = -30 if policy == "debt" else 0
    assert shelf.buckets() == (0, 0, 0, debt)
    assert shelf.system["revoked"] == 70
    assert shelf.system.get("written_off", 0) == (0 if policy == "debt" else -30)
    [row] = shelf.shortfalls.values()
    assert (row.held, row.owed, row.written_off, row.missed) == (0, -debt, 30 + debt, 70)


def test_a_take_back_that_waits_is_covered_by_any_hold(shelf):
    shelf.award(100, key="a", order="o")
    shelf.hold("h1", 60)
    shelf.hold("h2", 40)
    shelf.revoke("a", 50)
    shelf.capture("h1")
    assert [row.held for row in shelf.shortfalls.values()] == [40]
    assert shelf.system["written_off"] == -10
    shelf.release("h2")
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.system == {"issued": -100, "redeemed": 60, "revoked": 50, "written_off": -10}


def test_what_was_missed_because_held_is_taken_before_an_ended_lot_lets_go(books):
    """It was there when it was asked for; that its lot ended meanwhile makes no debt of it."""
    shelf = books("debt")
    shelf.award(100, key="a", order="o", expires_at="03-01")
    shelf.at("02-28").hold("h", 100)
    shelf.revoke("a", 70)
    assert shelf.at("03-02").release("h").facts == {"captured": 0, "released": 30, "expiring": 30}
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.system == {"issued": -100, "revoked": 70, "expired": 30}


def test_a_capture_after_usable_points_came_takes_those_before_the_policy(books):
    for policy in ("forgive", "debt"):
        shelf = books(policy)
        shelf.award(100, key="a", order="o")
        shelf.hold("h", 100)
        shelf.revoke("a", 70)
        shelf.award(50)
        assert shelf.available == 50
        shelf.capture("h")
        assert shelf.buckets() == (0, 0, 0, -20 if policy == "debt" else 0)
