"""Points given from member to member: lots keep their dates, days have their limits, nobody's return is bent."""

import json
from dataclasses import replace

import pytest

from ledger.domain import MAX_AMOUNT, Entry, Gift, Policy, Result, ShortfallPolicy
from ledger.domain.lots import lot_number

from .refusing import refused, unchanged


def lots_of(shelf, member):
    return [
        (lot.number, lot.remaining, lot.expires_at and lot.expires_at.isoformat()[5:10], lot.priority, lot.order)
        for (key, _), lot in sorted(shelf.lots.items())
        if key.member == member
    ]


def limited(shelf, gifts, points, zone="UTC"):
    shelf.policy = Policy(ShortfallPolicy.FORGIVE, zone=zone, gifts_per_day=gifts, gift_points_per_day=points)


def test_a_gift_is_an_entry_of_each_and_lots_keep_their_dates(shelf):
    shelf.award(30, order="o", expires_at="03-01", activates_at="01-15")
    shelf.award(30, priority=-1, expires_at="05-01")
    shelf.award(30, activates_at="02-20")
    outcome = shelf.give(50, key="g", cause='{"reason":"birthday"}')
    assert (outcome.result, outcome.facts, outcome.first_seq, outcome.last_seq) == (
        Result.POSTED, {"amount": 50}, 4, 4,
    )  # fmt: skip
    out, got = shelf.entries()[-1], shelf.entries("n")[-1]
    assert (out.kind, out.available, dict(out.system)) == ("gift_out", -50, {"transferred": 50})
    assert (got.kind, got.available, dict(got.system)) == ("gift_in", 50, {"transferred": -50})
    assert shelf.lots_of(out) == [(2, -30), (1, -20)]
    assert [(lot.change, lot.expires_at, lot.priority) for lot in got.lots] == [
        (-lot.change, lot.expires_at, lot.priority) for lot in out.lots
    ]
    causes = [json.loads(entry.cause) for entry in (out, got)]
    assert [cause.pop("member") for cause in causes] == ["n", "m"]
    assert causes[0] == causes[1]
    assert (causes[0]["reason"], len(causes[0]["gift"])) == ("birthday", 36)
    assert list(json.loads(out.cause)) == sorted(json.loads(out.cause))
    assert lots_of(shelf, "n") == [(1, 30, "05-01", -1, None), (lot_number(1, 1), 20, "03-01", 0, None)]
    assert shelf.buckets() == (10, 30, 0, 0)
    assert shelf.buckets("n") == (50, 0, 0, 0)
    assert (shelf.account().earned, shelf.account("n").earned, shelf.account("n").spent) == (90, 0, 0)
    assert shelf.system["transferred"] == 0


def test_points_that_were_given_end_when_they_would_have_ended(shelf):
    shelf.award(30, expires_at="03-01")
    shelf.give(30)
    assert shelf.at("02-28 23:59").buckets("n") == (30, 0, 0, 0)
    assert shelf.at("03-01").buckets("n") == (0, 0, 0, 0)
    shelf.job()
    assert [entry.kind for entry in shelf.entries("n")] == ["gift_in", "expire"]
    assert shelf.system["expired"] == 30


def test_pending_held_and_ended_points_are_not_given(shelf):
    shelf.award(10, activates_at="02-20")
    shelf.award(10, expires_at="02-10")
    shelf.award(10)
    shelf.hold("h", 10)
    shelf.at("02-10")  # the lot that has ended is kept for the hold
    assert refused(shelf, lambda: shelf.give(11)) == ("insufficient_points", {"available": 10, "asked": 11})
    assert shelf.entries("n") == []
    shelf.give(10)
    assert lots_of(shelf, "n") == [(1, 10, None, 0, None)]
    shelf.capture("h")
    assert shelf.buckets() == (0, 10, 0, 0)


def test_what_the_receiver_owes_is_repaid_first(books):
    shelf = books("debt")
    shelf.spend(30, order="o", member="n")
    shelf.award(50)
    shelf.give(20)
    assert (shelf.buckets(), shelf.buckets("n")) == ((30, 0, 0, 0), (0, 0, 0, -10))
    shelf.give(30)
    assert (shelf.buckets(), shelf.buckets("n")) == ((0, 0, 0, 0), (20, 0, 0, 0))
    got = shelf.entries("n")[-1]
    assert (got.available, got.debt, shelf.lots_of(got)) == (20, 10, [(3, 30), (3, -10)])
    shelf.give_back(30, member="n")  # it gets back what repaid it
    assert shelf.buckets("n") == (50, 0, 0, 0)


def test_what_is_due_on_the_receiver_comes_first(shelf):
    shelf.award(10, member="n", expires_at="02-10")
    shelf.award(10)
    shelf.at("02-10").give(10)
    assert [entry.kind for entry in shelf.entries("n")] == ["award", "expire", "gift_in"]
    assert shelf.buckets("n") == (10, 0, 0, 0)


def test_nobody_gives_to_oneself(shelf):
    shelf.award(10)
    assert refused(shelf, lambda: shelf.give(1, to="m")) == ("gift_to_oneself", {"member": "m"})


def test_a_frozen_giver_is_refused_and_a_frozen_receiver_is_not(shelf):
    shelf.award(10)
    shelf.freeze(member="n")
    shelf.give(4)
    assert shelf.buckets("n") == (4, 0, 0, 0)
    shelf.freeze()
    assert refused(shelf, lambda: shelf.give(1)) == ("account_frozen", {"member": "m"})
    assert shelf.buckets("n") == (4, 0, 0, 0)


@pytest.mark.parametrize("amount", [0, -1, MAX_AMOUNT + 1])
def test_an_amount_is_a_number_of_points(shelf, amount):
    shelf.award(10)
    assert refused(shelf, lambda: shelf.give(amount)) == (
        "amount_out_of_range", {"amount": amount, "maximum": MAX_AMOUNT},
    )  # fmt: skip


def test_a_repeated_gift_gives_once_and_another_content_is_a_conflict(shelf):
    shelf.award(100)
    first = shelf.give(10, key="g")
    again = unchanged(shelf, lambda: shelf.give(10, key="g"))
    assert (again.repeated, again.facts, again.first_seq) == (True, first.facts, first.first_seq)
    assert unchanged(shelf, lambda: shelf.give(11, key="g")).result is Result.CONFLICT
    assert unchanged(shelf, lambda: shelf.give(10, key="g", to="x")).result is Result.CONFLICT
    assert shelf.buckets("n") == (10, 0, 0, 0)


@pytest.mark.parametrize("asset", ["stored_value", "growth", "passes"])
def test_only_points_are_given(shelf, asset):
    shelf.credit(10, asset=asset)
    assert refused(shelf, lambda: shelf.give(1, asset=asset)) == ("asset_not_given", {"asset": asset})


# -- limits


def test_so_many_gifts_a_day(shelf):
    limited(shelf, 2, 1_000)
    shelf.award(100)
    shelf.give(1)
    shelf.give(1, to="o")
    facts = {"limit": "gifts_per_day", "maximum": 2, "given": 2, "asked": 1, "day": "2026-02-01"}
    assert refused(shelf, lambda: shelf.give(1)) == ("gift_limit_reached", facts)
    assert shelf.entries("n")[-1].available_after == 1
    shelf.give(1, member="n", to="m")  # others have limits of their own
    shelf.at("02-02").give(1)
    assert shelf.buckets("n") == (1, 0, 0, 0)


def test_so_many_points_a_day(shelf):
    limited(shelf, 10, 50)
    shelf.award(100)
    shelf.give(30)
    facts = {"limit": "gift_points_per_day", "maximum": 50, "given": 30, "asked": 21, "day": "2026-02-01"}
    assert refused(shelf, lambda: shelf.give(21)) == ("gift_limit_reached", facts)
    shelf.give(20)
    assert shelf.at("02-02").give(50).result is Result.POSTED
    assert shelf.buckets("n") == (100, 0, 0, 0)


def test_a_refused_gift_counts_for_nothing(shelf):
    limited(shelf, 1, 1_000)
    shelf.award(10)
    shelf.give(11)
    assert shelf.gift_days == {}
    assert shelf.give(10).result is Result.POSTED


def test_days_are_the_shops(shelf):
    limited(shelf, 1, 1_000, "America/New_York")
    shelf.award(10)
    shelf.at("02-02 04:59").give(1)
    assert refused(shelf, lambda: shelf.give(1))[1]["day"] == "2026-02-01"
    assert shelf.at("02-02 05:00").give(1).result is Result.POSTED


def test_a_shop_may_want_no_gifts(shelf):
    limited(shelf, 0, 1_000)
    shelf.award(10)
    assert refused(shelf, lambda: shelf.give(1))[1]["maximum"] == 0
    limited(shelf, 1, 0)
    assert refused(shelf, lambda: shelf.give(1))[1]["limit"] == "gift_points_per_day"


def test_limits_hold_within_a_batch(shelf):
    limited(shelf, 2, 1_000)
    shelf.award(100)
    outcomes = shelf.post(*(shelf.ask(Gift, to="n", amount=1) for _ in range(3)))
    assert [outcome.result for outcome in outcomes] == [Result.POSTED, Result.POSTED, Result.REFUSED]
    assert shelf.buckets("n") == (2, 0, 0, 0)


# -- what comes after


def test_an_award_whose_points_were_given_away_is_taken_back_from_others_then_by_the_policy(books):
    for policy, left in (("forgive", (0, 0, 0, 0)), ("debt", (0, 0, 0, -20))):
        shelf = books(policy)
        shelf.award(50, key="a", order="o")
        shelf.give(50)
        shelf.award(30)
        outcome = shelf.revoke("a", 50)
        assert outcome.facts == {"taken": 30, "held": 0, "missing": 20}
        assert shelf.buckets() == left
        assert shelf.buckets("n") == (50, 0, 0, 0)


def test_points_that_were_got_are_not_an_orders(shelf):
    """The receiver's own return of an order of the same name takes its own lots first."""
    shelf.award(50, key="a", order="o")
    shelf.give(50)
    shelf.award(50, key="b", order="o", member="n")
    shelf.revoke("b", 50, member="n")
    assert shelf.entries("n")[-1].lots[0].lot == 2


def test_what_was_got_can_be_spent_held_and_given_on(shelf):
    shelf.award(20, expires_at="03-01")
    shelf.award(30)
    shelf.give(50)
    shelf.spend(10, "c", member="n")
    shelf.hold("h", 10, member="n")
    assert shelf.give(30, member="n", to="o").result is Result.POSTED
    shelf.capture("h", member="n")
    shelf.give_back(10, "c", member="n")
    assert (shelf.buckets("n"), shelf.buckets("o")) == ((10, 0, 0, 0), (30, 0, 0, 0))
    assert shelf.at("03-01").buckets("n") == (0, 0, 0, 0)


def test_the_chains_of_both_are_whole(shelf):
    shelf.award(50)
    shelf.give(20)
    entries = [row for row in shelf.log if isinstance(row, Entry)]
    assert [entry.kind for entry in entries] == ["award", "gift_out", "gift_in"]
    assert replace(entries[2], hash=b"").previous_hash == bytes(32)
