"""Holds: what they keep, how they are captured, released or end, and what an ended lot keeps for them."""

from ledger.domain import Result

from .refusing import refused, unchanged


def test_a_hold_for_more_than_is_available_is_refused_with_the_maximum(shelf):
    shelf.award(40)
    assert refused(shelf, lambda: shelf.hold("h", 41)) == ("insufficient_points", {"available": 40, "asked": 41})
    outcome = shelf.hold("h", 41, at_most=True)
    assert outcome.facts == {"amount": 40}
    assert shelf.buckets() == (0, 0, 40, 0)
    code, facts = refused(shelf, lambda: shelf.hold("h2", 1, at_most=True))
    assert (code, facts) == ("insufficient_points", {"available": 0, "asked": 1})


def test_a_hold_has_one_id_and_an_end(shelf):
    shelf.award(40)
    shelf.hold("h", 10)
    assert refused(shelf, lambda: shelf.hold("h", 10)) == ("hold_exists", {"hold": "h"})
    assert refused(shelf, lambda: shelf.hold("h", 10, member="n"))[0] == "hold_exists"
    assert refused(shelf, lambda: shelf.hold("late", 10, expires_at="02-01"))[0] == "dates_out_of_order"


def test_a_part_capture_closes_the_hold_and_frees_the_rest(shelf):
    shelf.award(100)
    shelf.hold("h", 60)
    assert shelf.capture("h", 25).facts == {"captured": 25, "released": 35, "expiring": 0}
    assert shelf.buckets() == (75, 0, 0, 0)
    entry = shelf.entries()[-1]
    assert (entry.available, entry.held, dict(entry.system)) == (35, -60, {"redeemed": 25})
    assert shelf.account().spent == 25
    assert refused(shelf, lambda: shelf.capture("h", 25)) == ("hold_not_open", {"hold": "h", "state": "captured"})
    assert refused(shelf, lambda: shelf.release("h")) == ("hold_not_open", {"hold": "h", "state": "captured"})


def test_a_capture_is_within_its_hold(shelf):
    shelf.award(100)
    shelf.hold("h", 60)
    assert refused(shelf, lambda: shelf.capture("h", 61)) == ("capture_exceeds_hold", {"amount": 61, "held": 60})
    assert refused(shelf, lambda: shelf.capture("other")) == ("hold_not_found", {"hold": "other"})
    assert refused(shelf, lambda: shelf.capture("h", member="n")) == ("of_another_member", {"named": "h"})
    assert refused(shelf, lambda: shelf.release("h", member="n")) == ("of_another_member", {"named": "h"})


def test_releasing_what_is_free_changes_nothing(shelf):
    shelf.award(100)
    shelf.hold("h", 60)
    shelf.release("h")
    assert unchanged(shelf, lambda: shelf.release("h")).result is Result.UNCHANGED
    shelf.hold("h2", 60, "02-02")
    shelf.at("02-02").job()
    assert unchanged(shelf, lambda: shelf.release("h2")).result is Result.UNCHANGED
    assert refused(shelf, lambda: shelf.capture("h2")) == ("hold_not_open", {"hold": "h2", "state": "expired"})


def test_a_hold_is_over_at_its_instant_without_a_job(shelf):
    shelf.award(100)
    shelf.hold("h", 60, "02-02")
    shelf.at("02-02")
    assert shelf.capture("h").error.facts == {"hold": "h", "state": "expired"}
    assert shelf.buckets() == (100, 0, 0, 0)


def test_a_capture_never_fails_whatever_came_since(shelf):
    """An early hold may use an ended lot, a late one may not: the early one leaves it what it needs."""
    shelf.award(60, expires_at="03-01", priority=1)
    shelf.at("02-28").hold("early", 60)
    shelf.at("03-02").award(60, priority=0)
    shelf.hold("late", 60)
    shelf.capture("early")
    assert shelf.lots_of(shelf.entries()[-1]) == [(1, -60)]
    shelf.capture("late")
    assert shelf.lots_of(shelf.entries()[-1]) == [(3, -60)]
    assert shelf.buckets() == (0, 0, 0, 0)
    assert "expire" not in shelf.kinds


def test_a_capture_uses_an_ended_lot_kept_for_it_before_a_better_one(shelf):
    """Nobody loses points that were kept for a hold because others of a better priority came meanwhile."""
    shelf.award(60, expires_at="03-01", priority=1)
    shelf.at("02-28").hold("early", 60)
    shelf.at("03-02").award(60, priority=0)
    shelf.capture("early", 50)
    assert [entry.kind for entry in shelf.entries()[-2:]] == ["capture", "expire"]
    assert shelf.lots_of(shelf.entries()[-2]) == [(1, -50)]
    assert shelf.lots_of(shelf.entries()[-1]) == [(1, -10)]
    assert shelf.buckets() == (60, 0, 0, 0)


def test_a_capture_keeps_to_the_order_of_consumption_where_nothing_has_ended(shelf):
    shelf.award(60, expires_at="03-01", priority=1)
    shelf.at("02-27").hold("h", 60)
    shelf.at("02-28").award(60, priority=0)
    shelf.capture("h")
    assert shelf.lots_of(shelf.entries()[-1]) == [(3, -60)]
    assert shelf.buckets() == (60, 0, 0, 0)


def test_at_its_end_a_lot_keeps_nothing_that_better_ones_can_serve(shelf):
    """Until then it is a lot like all others, in the order of consumption."""
    shelf.award(60, expires_at="03-01", priority=1)
    shelf.award(50, priority=0)
    shelf.at("02-28").hold("h", 60)
    shelf.at("03-01").job()
    assert shelf.system == {"issued": -110, "expired": 50}
    shelf.capture("h")
    assert shelf.lots_of(shelf.entries()[-1]) == [(1, -10), (2, -50)]
    assert shelf.buckets() == (0, 0, 0, 0)


def test_what_waited_for_a_hold_is_taken_from_its_ended_lot_before_a_better_one(shelf):
    """As any use of the hold; only the order's own lots come before."""
    shelf.award(12, key="a", order="o")  # 1
    shelf.debit(9)
    shelf.award(20, expires_at="03-01", priority=1)  # 3
    shelf.award(5)  # 4
    shelf.at("02-28").hold("h", 28)
    assert shelf.at("03-02").revoke("a", 12).facts == {"taken": 0, "held": 12, "missing": 0}
    assert shelf.release("h").facts == {"captured": 0, "released": 16, "expiring": 11}
    assert [shelf.lots_of(entry) for entry in shelf.entries()[-3:]] == [[(1, -3), (3, -9)], [], [(3, -11)]]
    assert shelf.buckets() == (5, 0, 0, 0)
    assert shelf.system == {"issued": -37, "adjusted": 9, "revoked": 12, "expired": 11}


def test_what_an_ended_lot_keeps_is_allocated_anew_when_a_hold_ends(shelf):
    """What the holds that stay open do not use of it goes; it serves them before a better lot that came since."""
    shelf.award(100, expires_at="03-01", priority=1)
    shelf.at("02-28").hold("h1", 60)
    shelf.hold("h2", 40)
    shelf.at("03-02").award(100, priority=0)
    shelf.hold("late", 100)
    assert shelf.release("h1").facts == {"captured": 0, "released": 60, "expiring": 60}
    shelf.capture("late")
    shelf.capture("h2")
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.system == {"issued": -200, "expired": 60, "redeemed": 140}
