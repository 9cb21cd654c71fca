"""What each kind of posting does, and how it is refused: always with nothing changed."""

import pytest

from ledger.domain import MAX_AMOUNT, Result, Spend


def unchanged(shelf, ask):
    """The outcome of what is refused; asserts that nothing moved, no lot, hold or spend came to be."""

    def books():
        return (
            shelf.buckets(),
            dict(shelf.system),
            len(shelf.entries()),
            {key: lot.remaining for key, lot in shelf.lots.items()},
            {key: hold.state for key, hold in shelf.holds.items()},
            {key: spend.given_back for key, spend in shelf.spends.items()},
        )

    before = books()
    outcome = ask()
    assert books() == before
    return outcome


def refused(shelf, ask):
    outcome = unchanged(shelf, ask)
    assert outcome.result is Result.REFUSED
    assert shelf.log[-1].error is outcome.error
    return outcome.error.code, outcome.error.facts


# -- points come in


def test_an_award_opens_a_lot_with_its_own_dates(shelf):
    shelf.award(11, key="a", order="o", activates_at="02-10", expires_at="03-01", priority=3)
    [lot] = shelf.lots.values()
    assert (lot.number, lot.amount, lot.remaining, lot.priority, lot.key, lot.order) == (1, 11, 11, 3, "a", "o")
    assert (lot.activates_at.isoformat()[:10], lot.expires_at.isoformat()[:10]) == ("2026-02-10", "2026-03-01")
    assert shelf.buckets() == (0, 11, 0, 0)
    assert shelf.account().earned == 11


def test_pending_points_are_usable_at_their_instant_without_a_job(shelf):
    shelf.award(10, activates_at="02-10", expires_at="02-20")
    shelf.at("02-09 23:59")
    assert refused(shelf, lambda: shelf.hold("h", 1)) == ("insufficient_points", {"available": 0, "asked": 1})
    assert refused(shelf, lambda: shelf.debit(1)) == ("insufficient_points", {"available": 0, "asked": 1})
    assert shelf.at("02-10").buckets() == (10, 0, 0, 0)
    shelf.debit(4)
    assert shelf.kinds == ["award", "activate", "debit"]
    assert shelf.at("02-20").buckets() == (0, 0, 0, 0)


def test_an_award_that_is_past_shows_both_entries(shelf):
    shelf.at("03-05").award(10, expires_at="03-01")
    assert shelf.kinds == ["award", "expire"]
    assert [entry.available for entry in shelf.entries()] == [10, -10]
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.account().next_due_at is None


def test_an_award_that_is_past_repays_nothing(books):
    shelf = books("debt")
    shelf.spend(5)
    shelf.at("03-05").award(10, expires_at="03-01")
    assert shelf.buckets() == (0, 0, 0, -5)
    assert shelf.system["expired"] == 10


def test_a_manual_credit_is_adjusted_not_earned(shelf):
    shelf.credit(10, expires_at="03-01", cause='{"operator":"op-1","reason":"goodwill"}', memo_commitment=bytes(32))
    [entry] = shelf.entries()
    assert (entry.kind, entry.available, dict(entry.system)) == ("credit", 10, {"adjusted": -10})
    assert (entry.cause, entry.memo_commitment) == ('{"operator":"op-1","reason":"goodwill"}', bytes(32))
    assert shelf.account().earned == 0


def test_a_manual_debit_takes_what_is_available_or_nothing(shelf):
    shelf.credit(10)
    assert refused(shelf, lambda: shelf.debit(11)) == ("insufficient_points", {"available": 10, "asked": 11})
    shelf.debit(10)
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.system == {"adjusted": 0}
    assert shelf.account().spent == 0


@pytest.mark.parametrize("amount", [0, -1, MAX_AMOUNT + 1])
def test_amounts_are_numbers_of_points(shelf, amount):
    shelf.credit(10)
    facts = ("amount_out_of_range", {"amount": amount, "maximum": MAX_AMOUNT})
    assert refused(shelf, lambda: shelf.award(amount)) == facts
    assert refused(shelf, lambda: shelf.credit(amount)) == facts
    assert refused(shelf, lambda: shelf.debit(amount)) == facts
    assert refused(shelf, lambda: shelf.spend(amount)) == facts
    assert refused(shelf, lambda: shelf.hold("h", amount)) == facts
    shelf.hold("h", 5)
    assert refused(shelf, lambda: shelf.capture("h", amount)) == facts


def test_points_must_be_usable_before_they_are_gone(shelf):
    code, facts = refused(shelf, lambda: shelf.award(10, activates_at="03-01", expires_at="03-01"))
    assert code == "dates_out_of_order"
    assert facts == {"starts_at": "2026-03-01T00:00:00+00:00", "expires_at": "2026-03-01T00:00:00+00:00"}


def test_consumption_order(shelf):
    shelf.award(1, priority=1, expires_at="03-01")  # 1: last, by priority
    shelf.award(1)  # 2: never ends
    shelf.award(1, expires_at="05-01")  # 3
    shelf.award(1, expires_at="04-01")  # 4: soonest of its priority
    shelf.later(hours=1).award(1, expires_at="05-01", activates_at="01-15")  # 5: active before 3
    shelf.award(1, expires_at="05-01")  # 6: active after 3
    shelf.award(1, expires_at="02-20", activates_at="02-10")  # 7: pending, never consumed
    shelf.debit(6)
    assert [number for number, _ in shelf.lots_of(shelf.entries()[-1])] == [4, 5, 3, 6, 2, 1]


# -- holds


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


# -- what is spent, and comes back


def test_tender_and_hold_differ_the_smaller_is_captured(shelf):
    shelf.award(200)
    shelf.hold("h", 100)
    outcome = shelf.spend(120, "c1", hold="h", order="o")
    assert outcome.facts == {
        "captured": 100, "released": 0, "expiring": 0, "missing": 0, "difference": 20, "hold_over": 0,
    }  # fmt: skip
    assert (shelf.entries()[-1].difference, shelf.entries()[-1].shortfall) == (20, 0)
    assert shelf.buckets() == (100, 0, 0, 0)

    shelf.hold("h2", 100)
    outcome = shelf.spend(70, "c2", hold="h2", order="o")
    assert (outcome.facts["captured"], outcome.facts["released"], outcome.facts["difference"]) == (70, 30, -30)
    assert shelf.buckets() == (30, 0, 0, 0)
    assert shelf.give_back(120, "c1").facts["returned"] == 100


def test_one_debit_per_checkout_and_generation(shelf):
    shelf.award(100)
    shelf.spend(30, "c", 1)
    assert unchanged(shelf, lambda: shelf.spend(30, "c", 1)).result is Result.UNCHANGED
    code, facts = refused(shelf, lambda: shelf.spend(31, "c", 1))
    assert (code, facts) == ("already_spent", {"checkout": "c", "generation": 1, "tender": 30})
    assert refused(shelf, lambda: shelf.spend(30, "c", 1, member="n"))[0] == "already_spent"
    shelf.spend(30, "c", 2)
    assert shelf.available == 40


def test_a_paid_order_is_never_refused(shelf):
    shelf.award(70)
    outcome = shelf.spend(100, hold="never-placed", order="o")
    assert outcome.facts == {"missing": 30, "difference": 0, "hold_over": 1}
    entry = shelf.entries()[-1]
    assert (entry.available, entry.shortfall, dict(entry.system)) == (-70, 30, {"redeemed": 100, "written_off": -30})
    assert shelf.give_back(100).facts == {"returned": 100, "expired": 0, "cancelled": 30}
    assert shelf.buckets() == (70, 0, 0, 0)
    assert shelf.system == {"issued": -70, "redeemed": 0, "written_off": 0}


def test_returns_go_to_the_lots_last_used_first_with_their_dates(shelf):
    shelf.award(50, expires_at="03-01")
    shelf.award(50, expires_at="05-01")
    shelf.spend(80)
    shelf.give_back(30)
    assert shelf.lots_of(shelf.entries()[-1]) == [(2, 30)]
    shelf.give_back(50)
    assert shelf.lots_of(shelf.entries()[-1]) == [(1, 20)]
    assert shelf.at("03-01").available == 50
    assert shelf.account().spent == 30
    assert shelf.account().earned == 100


def test_totals_of_returns_never_fall_and_never_exceed_the_spend(shelf):
    shelf.award(100)
    shelf.spend(80)
    shelf.give_back(50)
    assert unchanged(shelf, lambda: shelf.give_back(50)).result is Result.UNCHANGED
    assert unchanged(shelf, lambda: shelf.give_back(20)).result is Result.UNCHANGED
    assert refused(shelf, lambda: shelf.give_back(-1))[0] == "amount_out_of_range"
    assert refused(shelf, lambda: shelf.give_back(60, member="n")) == ("of_another_member", {"named": "c"})
    assert shelf.give_back(500).facts["returned"] == 30
    assert shelf.available == 100


def test_what_was_captured_can_be_given_back_once(shelf):
    shelf.award(100)
    shelf.hold("h", 60)
    shelf.capture("h", 40)
    assert unchanged(shelf, lambda: shelf.spend(40, "h", 1)).result is Result.UNCHANGED
    assert shelf.give_back(40, "h").facts == {"returned": 40, "expired": 0, "cancelled": 0}
    assert shelf.available == 100


def test_a_checkout_is_not_debited_by_capture_and_spend(shelf):
    shelf.award(100)
    shelf.hold("h", 60)
    shelf.spend(30, "h", 1)
    code, facts = refused(shelf, lambda: shelf.capture("h"))
    assert (code, facts) == ("already_spent", {"checkout": "h", "generation": 1, "tender": 30})


# -- take-backs


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


# -- debts


@pytest.mark.parametrize("how", ["award", "credit", "activation", "release", "time_out", "part capture", "return"])
def test_whatever_raises_available_first_repays_debt(books, how):
    shelf = books("debt")
    shelf.award(50)
    shelf.hold("h", 50, "02-10")
    shelf.award(40, activates_at="02-05")
    if how == "return":
        shelf.award(50)
        shelf.spend(50, "returned")
    shelf.spend(30, "late", order="o")
    assert shelf.buckets() == (0, 40, 50, -30)
    match how:
        case "award":
            shelf.award(50)
        case "credit":
            shelf.credit(50)
        case "activation":
            assert shelf.at("02-05").buckets() == (10, 0, 50, 0)
            return
        case "release":
            shelf.release("h")
        case "time_out":
            shelf.at("02-10")
            assert shelf.buckets() == (60, 0, 0, 0)
            return
        case "part capture":
            shelf.capture("h", 1)
            assert shelf.buckets() == (19, 40, 0, 0)
            return
        case "return":
            shelf.give_back(50, "returned")
    assert shelf.buckets() == (20, 40, 0 if how == "release" else 50, 0)
    entry = shelf.entries()[-1]
    assert (entry.available, entry.debt) == (20, 30)


def test_the_oldest_cause_is_repaid_first(books):
    shelf = books("debt")
    shelf.spend(10, "c1", order="o1")
    shelf.later(hours=1).spend(10, "c2", order="o2")
    shelf.award(15)
    assert {row.order: row.owed for row in shelf.shortfalls.values()} == {"o1": 0, "o2": 5}


def test_what_repaid_a_spend_is_what_it_used(books):
    """So that its return gives those points back, to that lot and with its dates."""
    shelf = books("debt")
    shelf.award(70, expires_at="05-01")
    shelf.spend(100, order="o")
    shelf.award(40, expires_at="03-01")
    assert shelf.buckets() == (10, 0, 0, 0)
    shelf.give_back(100)
    assert shelf.lots_of(shelf.entries()[-1]) == [(3, 30), (1, 70)]
    assert shelf.buckets() == (110, 0, 0, 0)
    assert shelf.at("03-01").available == 70


def test_points_that_are_gone_at_once_repay_nothing(books):
    shelf = books("debt")
    shelf.award(100, expires_at="03-01")
    shelf.at("02-27").spend(40, "c", order="o")
    shelf.hold("h", 60)
    shelf.at("03-02").spend(20, "late", order="late")
    assert shelf.buckets() == (0, 0, 60, -20)
    assert shelf.give_back(40).facts == {"returned": 40, "expired": 40, "cancelled": 0}
    assert shelf.release("h").facts == {"captured": 0, "released": 60, "expiring": 60}
    assert shelf.buckets() == (0, 0, 0, -20)
    assert shelf.system["expired"] == 100


def test_usable_points_that_come_later_make_good_what_ended_ones_served(shelf):
    """Returns of ended and of usable points around a take-back: the same as if it came last."""
    shelf.award(50, expires_at="12-01", priority=0)
    shelf.award(100, expires_at="03-01", priority=1)
    shelf.spend(150, order="o")
    shelf.award(70, key="a", order="o")
    shelf.debit(70)
    shelf.at("03-05").give_back(100)
    assert shelf.system["expired"] == 100
    shelf.revoke("a", 70)
    assert shelf.system["expired"] == 30
    shelf.give_back(150)
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.system["expired"] == 80
    assert shelf.kinds[-2:] == ["give_back", "revoke"]


def test_without_an_order_a_shortfall_is_cancelled_by_its_own_spend_only(books):
    shelf = books("debt")
    shelf.award(10, key="a")
    shelf.spend(10, "c1")
    shelf.spend(10, "c2")
    shelf.revoke("a", 10)
    assert shelf.buckets() == (0, 0, 0, -20)
    assert shelf.give_back(10, "c2").facts == {"returned": 10, "expired": 0, "cancelled": 10}
    assert shelf.buckets() == (0, 0, 0, -10)


@pytest.mark.parametrize("policy", ["forgive", "debt"])
def test_a_return_cancels_its_orders_shortfalls_oldest_first_and_no_further(books, policy):
    shelf = books(policy)
    shelf.award(40)
    shelf.spend(40, order="o")
    shelf.award(10, key="a", order="o")
    shelf.award(20, key="b", order="o")
    shelf.award(5, key="c", order="elsewhere")
    shelf.debit(35)
    shelf.revoke("c", 5)
    shelf.revoke("a", 10)
    shelf.revoke("b", 20)

    def missing():
        return {row.lot: row.owed + row.written_off for row in shelf.shortfalls.values()}

    assert missing() == {5: 5, 3: 10, 4: 20}
    assert shelf.give_back(15).facts == {"returned": 15, "expired": 0, "cancelled": 15 if policy == "forgive" else 10}
    if policy == "forgive":  # write-offs of other orders stay
        assert missing() == {5: 5, 3: 0, 4: 15}
        assert shelf.give_back(40).facts["cancelled"] == 15
        assert missing() == {5: 5, 3: 0, 4: 0}
        assert shelf.buckets() == (10, 0, 0, 0)
    else:  # debts of other orders are repaid
        assert missing() == {5: 0, 3: 0, 4: 20}
        assert shelf.give_back(40).facts["cancelled"] == 20
        assert shelf.buckets() == (5, 0, 0, 0)


def test_shortfalls_of_one_key_from_two_sources_are_two(books):
    shelf = books("debt")
    shelf.one(shelf.ask(Spend, key="k", source="till-1", checkout="c1", generation=1, amount=10))
    shelf.one(shelf.ask(Spend, key="k", source="till-2", checkout="c2", generation=1, amount=5))
    assert [(row.source, row.owed) for row in shelf.shortfalls.values()] == [("till-1", 10), ("till-2", 5)]
    assert shelf.give_back(5, "c2").facts["cancelled"] == 5
    assert shelf.buckets() == (0, 0, 0, -10)
