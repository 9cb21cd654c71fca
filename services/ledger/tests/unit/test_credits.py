"""Points come in by award or by hand, and go by hand: in lots with dates of their own, used in one order."""

import pytest

from ledger.domain import MAX_AMOUNT

from .refusing import refused


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
