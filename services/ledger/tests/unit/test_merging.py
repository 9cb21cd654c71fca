"""A member's accounts merged into another's, and back: nothing lost, nothing made, every late event finds its place."""

import json

from ledger.domain import HoldState, Result
from ledger.domain.lots import lot_number

from .refusing import refused, unchanged


def merged(shelf, **content):
    outcome = shelf.merge(**content)
    assert outcome.result is Result.POSTED, outcome.error
    return shelf.last_merge


def dates(shelf, member):
    return sorted(
        (lot.remaining, str(lot.expires_at)[5:10], str(lot.activates_at)[5:10], lot.priority, lot.pending)
        for lot in shelf.account(member).lots.values()
        if lot.remaining
    )


def everything(shelf):
    """All that a merge must keep the sum of."""
    accounts = [shelf.account(member) for member in ("m", "n")]
    return [
        sum(getattr(account, name) for account in accounts)
        for name in ("available", "pending", "held", "debt", "earned", "spent")
    ]


# -- merging


def test_all_lots_move_with_their_dates_by_one_entry_of_each(shelf):
    shelf.award(30, member="n", expires_at="03-01", priority=2)
    shelf.award(20, member="n", activates_at="02-20", expires_at="05-01")
    shelf.award(10, member="n")
    shelf.debit(10, member="n")
    shelf.award(5, expires_at="04-01")
    before, lots = everything(shelf), sorted(dates(shelf, "m") + dates(shelf, "n"))
    outcome = shelf.merge(key="k", cause='{"operator":"ana","reason":"duplicate"}')
    assert outcome.facts == {"points.available": 30, "points.pending": 20, "points.held": 0, "points.debt": 0}
    out, came = shelf.entries("n")[-1], shelf.entries()[-1]
    assert (out.kind, out.available, out.pending, dict(out.system)) == ("merge_out", -30, -20, {"transferred": 50})
    assert (came.kind, came.available, came.pending, dict(came.system)) == ("merge_in", 30, 20, {"transferred": -50})
    assert json.loads(out.cause) == {
        "merge": shelf.last_merge, "member": "m", "operator": "ana", "reason": "duplicate",
    }  # fmt: skip
    assert json.loads(came.cause)["member"] == "n"
    assert shelf.lots_of(out) == [(2, -20), (1, -30)]
    assert shelf.lots_of(came) == [(2, 20), (lot_number(2, 1), 30)]
    assert sorted(dates(shelf, "m")) == lots
    assert everything(shelf) == before
    assert shelf.buckets("n") == (0, 0, 0, 0)
    assert shelf.account("n").next_due_at is None
    assert shelf.at("02-20").buckets() == (55, 0, 0, 0)
    assert shelf.at("03-01").buckets() == (25, 0, 0, 0)


def test_late_events_of_the_old_member_are_the_others(shelf):
    shelf.award(30, member="n")
    merged(shelf)
    shelf.award(7, member="n", key="late")
    assert shelf.hold("h", 37, member="n").result is Result.POSTED
    shelf.capture("h", member="n")
    assert shelf.buckets("n") == shelf.buckets() == (0, 0, 0, 0)
    shelf.revoke("late", 7, member="n")
    assert [entry.kind for entry in shelf.entries("n")] == ["award", "merge_out"]
    assert shelf.kinds == ["merge_in", "award", "hold", "capture", "revoke"]
    shelf.award(5, member="x")
    shelf.give(5, member="x", to="n")
    assert shelf.buckets() == (5, 0, 0, 0)
    assert refused(shelf, lambda: shelf.give(5, to="n"))[0] == "gift_to_oneself"


def test_open_holds_move_and_can_be_captured_or_released_by_either_name(shelf):
    shelf.award(100, member="n")
    for name in "abcd":
        shelf.hold(name, 10, member="n", expires_at="02-10")
    shelf.capture("d", member="n")
    merged(shelf)
    assert shelf.buckets() == (60, 0, 30, 0)
    shelf.capture("a", member="n")
    shelf.release("b")
    assert shelf.capture("d", member="n").error.facts == {"hold": "d", "state": HoldState.CAPTURED}
    assert shelf.at("02-10").buckets() == (80, 0, 0, 0)
    shelf.job()
    assert unchanged(shelf, lambda: shelf.release("c", member="n")).error is None
    shelf.give_back(10, "d", member="n")  # spent before the merge
    shelf.give_back(10, "a")
    assert shelf.buckets() == (100, 0, 0, 0)
    assert shelf.account().spent == 0


def test_a_spend_of_before_returns_to_where_its_points_came_from(shelf):
    shelf.award(10, member="n", expires_at="03-01")
    shelf.award(10, member="n", expires_at="05-01")
    shelf.award(100, expires_at="06-01")
    shelf.spend(15, member="n", order="o")
    merged(shelf)
    shelf.give_back(15, member="n")
    assert dates(shelf, "m") == [
        (10, "03-01", "02-01", 0, False), (10, "05-01", "02-01", 0, False), (100, "06-01", "02-01", 0, False),
    ]  # fmt: skip
    assert shelf.at("03-01").buckets() == (110, 0, 0, 0)


def test_an_award_of_before_is_taken_back_whatever_became_of_its_lot(books):
    for policy, debt in (("forgive", 0), ("debt", -20)):
        shelf = books(policy)
        shelf.award(30, member="n", key="drained")
        shelf.revoke("drained", 5, member="n")
        shelf.debit(25, member="n")
        shelf.award(40, member="n", key="whole", order="o")
        merged(shelf)
        shelf.award(9, expires_at="02-20")
        assert shelf.revoke("whole", 40, member="n").facts == {"taken": 40, "held": 0, "missing": 0}
        assert shelf.buckets() == (9, 0, 0, 0)
        assert unchanged(shelf, lambda: shelf.revoke("drained", 5)).result is Result.UNCHANGED  # noqa: B023
        assert shelf.revoke("drained", 30, member="n").facts == {"taken": 9, "held": 0, "missing": 16}
        assert shelf.buckets() == (0, 0, 0, debt and -16)
        assert refused(shelf, lambda: shelf.revoke("whole", 41))[0] == "total_exceeds_award"  # noqa: B023


def test_whoever_has_points_repays_what_the_other_owes(books):
    for rich, poor in (("n", "m"), ("m", "n")):
        shelf = books("debt")
        shelf.spend(30, member=poor, checkout="p")
        shelf.award(50, member=rich)
        merged(shelf)
        assert shelf.buckets() == (20, 0, 0, 0)
        assert shelf.buckets("n") == (0, 0, 0, 0)
        shelf.give_back(30, "p", member=poor)
        assert shelf.buckets() == (50, 0, 0, 0)
        assert {name: amount for name, amount in shelf.system.items() if amount} == {"issued": -50}


def test_debts_of_both_are_owed_oldest_first(books):
    shelf = books("debt")
    shelf.spend(10, member="m", checkout="young")
    shelf.now, now = shelf.now.replace(hour=1), shelf.now
    shelf.spend(10, member="n", checkout="old")
    shelf.now = now
    merged(shelf)
    assert shelf.buckets() == (0, 0, 0, -20)
    shelf.award(10)
    (row,) = [row for row in shelf.shortfalls.values() if row.owed]
    assert row.spend.checkout == "young"


def test_what_waits_moves_and_is_done_under_either_name(shelf):
    for name in ("n", "m"):
        waiting = shelf.revoke(f"late-{name}", 30, member="n")
        assert waiting.result is Result.PARKED
    shelf.give_back(5, "c", member="n")
    merged(shelf)
    shelf.award(100, key="late-n", member="n")
    assert shelf.buckets() == (70, 0, 0, 0)
    shelf.award(100, key="late-m", member="m")
    assert shelf.buckets() == (140, 0, 0, 0)
    shelf.spend(40, "c")
    assert shelf.buckets() == (105, 0, 0, 0)
    assert shelf.parked == []
    settled = shelf.outcomes[waiting.id]
    assert (settled.result, settled.account.member, settled.facts["taken"]) == (Result.POSTED, "m", 30)


def test_a_take_back_that_waits_for_a_hold_moves_with_it(shelf):
    shelf.award(100, member="n", key="a", order="o")
    shelf.hold("h", 100, member="n", expires_at="02-10")
    shelf.revoke("a", 100, member="n")
    merged(shelf)
    assert shelf.buckets() == (0, 0, 100, 0)
    assert shelf.at("02-10").buckets() == (0, 0, 0, 0)
    shelf.job()
    assert shelf.system == {"issued": -100, "revoked": 100, "transferred": 0}


def test_an_ended_lot_that_is_kept_for_a_hold_stays_so(shelf):
    shelf.award(60, member="n", expires_at="02-10")
    shelf.hold("h", 60, member="n")
    shelf.award(100, expires_at="03-01")
    shelf.at("02-11")
    merged(shelf)
    assert shelf.buckets() == (100, 0, 60, 0)
    assert shelf.debit(100).result is Result.POSTED
    assert shelf.release("h").facts == {"captured": 0, "released": 60, "expiring": 60}
    assert shelf.buckets() == (0, 0, 0, 0)


def test_a_key_of_the_old_member_keeps_its_first_answer(shelf):
    shelf.award(50, member="n", key="a")
    first = shelf.hold("h", 20, member="n", key="k")
    merged(shelf)
    again = unchanged(shelf, lambda: shelf.hold("h", 20, member="n", key="k"))
    assert (again.repeated, again.facts, again.account.member) == (True, first.facts, "n")
    assert unchanged(shelf, lambda: shelf.award(50, member="n", key="a")).repeated
    assert unchanged(shelf, lambda: shelf.award(50, member="m", key="a")).result is Result.CONFLICT


def test_members_that_were_never_seen_can_be_merged(shelf):
    merged(shelf)
    assert [entry.kind for entry in shelf.entries("n")] == ["merge_out"]
    shelf.award(10, member="n")
    assert shelf.buckets() == (10, 0, 0, 0)
    shelf.undo(shelf.last_merge)
    shelf.award(1, member="n")
    assert (shelf.buckets(), shelf.buckets("n")) == ((10, 0, 0, 0), (1, 0, 0, 0))


def test_all_assets_move(shelf):
    shelf.award(10, member="n")
    shelf.credit(20, member="n", asset="growth")
    outcome = shelf.merge()
    assert (outcome.facts["points.available"], outcome.facts["growth.available"]) == (10, 20)
    shelf.credit(5, member="n", asset="growth")
    shelf.credit(7, member="n", asset="passes")

    def available(member):
        return {key.asset: account.available for key, account in shelf.accounts.items() if key.member == member}

    assert available("m") == {"growth": 25, "passes": 7, "points": 10}
    shelf.undo(shelf.last_merge)
    assert available("n") == {"growth": 20, "points": 10}
    assert available("m") == {"growth": 5, "passes": 7, "points": 0}


def test_gifts_of_the_day_count_on(shelf):
    shelf.award(100, member="n")
    shelf.award(100)
    for _ in range(6):
        shelf.give(1, member="n", to="x")
    for _ in range(3):
        shelf.give(1, to="x")
    merged(shelf)
    assert shelf.give(1, member="n", to="x").result is Result.POSTED
    assert refused(shelf, lambda: shelf.give(1, to="x"))[1]["given"] == 10


def test_a_frozen_member_stays_so_under_its_own_name(shelf):
    """A lost card: whoever finds it spends nothing, whoever has the new one goes on."""
    shelf.award(50, member="n")
    shelf.freeze(member="n")
    merged(shelf)
    assert refused(shelf, lambda: shelf.hold("h", 1, member="n")) == ("account_frozen", {"member": "n"})
    assert shelf.hold("h", 1).result is Result.POSTED
    shelf.freeze()
    shelf.unfreeze(member="n")
    assert refused(shelf, lambda: shelf.hold("g", 1, member="n")) == ("account_frozen", {"member": "m"})
    assert [entry.kind for entry in shelf.entries("n")] == ["award", "freeze", "merge_out", "unfreeze"]


def test_what_cannot_be_merged(shelf):
    shelf.award(10, member="n")
    assert refused(shelf, lambda: shelf.merge(into="n")) == ("merge_with_itself", {"member": "n"})
    merged(shelf)
    assert refused(shelf, lambda: shelf.merge(into="x")) == ("member_merged", {"member": "n", "into": "m"})
    assert refused(shelf, lambda: shelf.merge("m", "n")) == ("member_merged", {"member": "n", "into": "m"})
    assert refused(shelf, lambda: shelf.merge("x", "n")) == ("member_merged", {"member": "n", "into": "m"})
    assert shelf.buckets() == (10, 0, 0, 0)


# -- chains


def test_chains_are_followed_and_undone_from_the_end(shelf):
    shelf.award(10, member="a", key="a", order="o")
    shelf.spend(4, "c", member="a", order="o")
    shelf.hold("h", 2, member="a")
    first = merged(shelf, member="a", into="b")
    shelf.award(20, member="b")
    second = merged(shelf, member="b", into="c")
    shelf.award(1, member="a")
    assert shelf.buckets("c") == (25, 0, 2, 0)
    assert refused(shelf, lambda: shelf.undo(first, "a", "b")) == ("member_merged", {"member": "b", "into": "c"})
    shelf.give_back(1, "c", member="a")
    shelf.revoke("a", 3, member="a")
    assert shelf.buckets("c") == (23, 0, 2, 0)
    shelf.undo(second, "b", "c")
    assert (shelf.buckets("b"), shelf.buckets("c")) == ((22, 0, 2, 0), (1, 0, 0, 0))
    shelf.give_back(2, "c", member="a")
    assert shelf.buckets("b") == (23, 0, 2, 0)
    shelf.undo(first, "a", "b")
    assert (shelf.buckets("a"), shelf.buckets("b")) == ((3, 0, 2, 0), (20, 0, 0, 0))
    shelf.capture("h", member="a")
    shelf.give_back(4, "c", member="a")
    shelf.revoke("a", 10, member="a")
    assert shelf.buckets("a") == (0, 0, 0, 0)
    assert shelf.outcomes[shelf.last.id].facts == {"taken": 5, "held": 0, "missing": 2}


def test_a_member_can_be_merged_again_once_that_was_undone(shelf):
    shelf.award(10, member="n", key="a")
    shelf.undo(merged(shelf))
    shelf.undo(merged(shelf))
    shelf.merge(into="x")
    shelf.revoke("a", 4, member="n")
    assert (shelf.buckets("x"), shelf.buckets(), shelf.buckets("n")) == ((6, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0))
