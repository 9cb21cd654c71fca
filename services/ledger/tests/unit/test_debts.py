"""What is owed or written off is repaid first, and cancelled by what comes back."""

import pytest

from ledger.domain import Spend


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
