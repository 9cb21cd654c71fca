"""What is spent once, and comes back by totals that never fall."""

from ledger.domain import Result

from .refusing import refused, unchanged


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
