"""The test vectors of the exact semantics that the ledger decides, by their names."""

import pytest

from ledger.domain import Award, InsufficientPoints, Result, Spend

BOTH = pytest.mark.parametrize("policy", ["forgive", "debt"])
ORDERS = pytest.mark.parametrize("return_first", [False, True], ids=["take-back first", "return first"])


def test_fifo(shelf):
    shelf.award(100, expires_at="03-01")
    shelf.award(100, expires_at="05-01")
    shelf.spend(120)
    assert shelf.lots_of(shelf.entries()[-1]) == [(1, -100), (2, -20)]
    shelf.at("03-01").job()
    assert shelf.buckets() == (80, 0, 0, 0)
    assert shelf.kinds == ["award", "award", "spend"]


def test_refund_forgive(shelf):
    shelf.award(70, key="a", order="o1")
    shelf.spend(20, order="o2")
    outcome = shelf.revoke("a", 70)
    assert outcome.facts == {"taken": 50, "held": 0, "missing": 20}
    assert shelf.buckets() == (0, 0, 0, 0)
    entry = shelf.entries()[-1]
    assert (entry.kind, entry.available, entry.shortfall, entry.order) == ("revoke", -50, 20, "o1")
    assert dict(entry.system) == {"revoked": 70, "written_off": -20}
    [row] = shelf.shortfalls.values()
    assert (row.order, row.written_off, row.owed, row.held) == ("o1", 20, 0, 0)
    shelf.award(30)
    assert shelf.available == 30


def test_refund_debt(books):
    shelf = books("debt")
    shelf.award(70, key="a", order="o1")
    shelf.spend(20, order="o2")
    assert shelf.revoke("a", 70).facts == {"taken": 50, "held": 0, "missing": 20}
    assert shelf.buckets() == (0, 0, 0, -20)
    shelf.award(30)
    assert shelf.buckets() == (10, 0, 0, 0)
    entry = shelf.entries()[-1]
    assert (entry.available, entry.debt, dict(entry.system)) == (10, 20, {"issued": -30})
    assert shelf.lots_of(entry) == [(4, 30), (4, -20)]


def test_return_to_expired_lot(shelf):
    shelf.award(50, expires_at="03-01")
    shelf.at("02-20").spend(50)
    outcome = shelf.at("03-05").give_back(50)
    assert outcome.facts == {"returned": 50, "expired": 50, "cancelled": 0}
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.kinds == ["award", "spend", "give_back", "expire"]
    assert [entry.available for entry in shelf.entries()] == [50, -50, 50, -50]
    assert shelf.system == {"issued": -50, "redeemed": 0, "expired": 50}


def test_hold_timeout(shelf):
    shelf.award(60, expires_at="03-01")
    shelf.award(40, expires_at="05-01")
    lots = {number: (lot.remaining, lot.expires_at) for number, lot in shelf.lots.items()}
    shelf.hold("h", 100, "02-02")
    assert shelf.buckets() == (0, 0, 100, 0)
    assert shelf.at("02-02").buckets() == (100, 0, 0, 0)
    shelf.job()
    assert shelf.buckets() == (100, 0, 0, 0)
    assert {number: (lot.remaining, lot.expires_at) for number, lot in shelf.lots.items()} == lots
    assert shelf.kinds[-1] == "time_out"
    assert shelf.entries()[-1].source == "ledger"


@pytest.mark.parametrize("job_runs", [True, False])
def test_hold_over_expiry(books, job_runs):
    for ending in ("capture", "release"):
        shelf = books()
        shelf.award(100, expires_at="03-01")
        shelf.at("02-28").hold("h", 60)
        shelf.at("03-01")
        if job_runs:
            shelf.job()
        assert shelf.buckets() == (0, 0, 60, 0)
        shelf.at("03-02")
        if ending == "capture":
            assert shelf.capture("h").facts == {"captured": 60, "released": 0, "expiring": 0}
            assert shelf.system == {"issued": -100, "expired": 40, "redeemed": 60}
        else:
            assert shelf.release("h").facts == {"captured": 0, "released": 60, "expiring": 60}
            assert shelf.system == {"issued": -100, "expired": 100}
        assert shelf.buckets() == (0, 0, 0, 0)
        expiries = [(entry.at.day, entry.available) for entry in shelf.entries() if entry.kind == "expire"]
        assert expiries == ([(1, -40)] if ending == "capture" else [(1, -40), (2, -60)])


def test_hold_spans_lots(shelf):
    shelf.award(100, expires_at="03-01")
    shelf.award(100, expires_at="05-01")
    shelf.at("02-28").hold("h", 100)
    assert shelf.at("03-01").buckets() == (100, 0, 100, 0)
    shelf.at("03-02").capture("h")
    assert shelf.lots_of(shelf.entries()[-1]) == [(1, -100)]
    assert shelf.buckets() == (100, 0, 0, 0)
    assert "expire" not in shelf.kinds


def test_hold_after_expiry(shelf):
    shelf.award(100, expires_at="03-01")
    shelf.award(100, expires_at="05-01")
    shelf.at("03-02").hold("h", 100)
    shelf.capture("h")
    assert shelf.lots_of(shelf.entries()[-1]) == [(2, -100)]
    assert shelf.buckets() == (0, 0, 0, 0)


def test_due_without_job(shelf):
    shelf.award(100, expires_at="03-01")
    shelf.at("03-01")
    assert shelf.buckets() == (0, 0, 0, 0)
    outcome = shelf.hold("h", 1)
    assert isinstance(outcome.error, InsufficientPoints)
    assert outcome.error.facts == {"available": 0, "asked": 1}
    assert shelf.kinds == ["award", "expire"]
    assert shelf.holds == {}


def test_late_paid(books):
    shelf = books("debt")
    shelf.at("02-01 10:00").award(100)
    shelf.hold("h", 100, "02-02")
    shelf.at("02-02 10:50")
    outcome = shelf.spend(100, hold="h", order="o")
    assert outcome.facts == {"missing": 0, "difference": 0, "hold_over": 1}
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.kinds == ["award", "hold", "time_out", "spend"]

    shelf = books("debt")
    shelf.at("02-01 10:00").award(100)
    shelf.hold("h", 100, "02-02")
    shelf.at("02-02 10:40").spend(30, "elsewhere")
    outcome = shelf.at("02-02 10:50").spend(100, hold="h", order="o")
    assert outcome.facts == {"missing": 30, "difference": 0, "hold_over": 1}
    assert shelf.buckets() == (0, 0, 0, -30)
    entry = shelf.entries()[-1]
    assert (entry.available, entry.debt, entry.shortfall, dict(entry.system)) == (-70, -30, 30, {"redeemed": 100})


@ORDERS
def test_refund_spent_and_drained(shelf, return_first):
    shelf.award(150)
    shelf.spend(150, order="o")
    shelf.award(70, key="a", order="o")
    shelf.debit(70)
    if return_first:
        shelf.give_back(150)
        shelf.revoke("a", 70)
    else:
        shelf.revoke("a", 70)
        assert shelf.buckets() == (0, 0, 0, 0)
        assert shelf.give_back(150).facts == {"returned": 150, "expired": 0, "cancelled": 70}
    assert shelf.buckets() == (80, 0, 0, 0)
    assert shelf.system == {"issued": -220, "redeemed": 0, "adjusted": 70, "revoked": 70} | (
        {} if return_first else {"written_off": 0}
    )


@BOTH
@ORDERS
def test_return_ended_either_order(books, policy, return_first):
    shelf = books(policy)
    shelf.award(150, expires_at="03-01")
    shelf.spend(150, order="o")
    shelf.award(70, key="a", order="o")
    shelf.debit(70)
    shelf.at("03-05")
    if return_first:
        assert shelf.give_back(150).facts == {"returned": 150, "expired": 150, "cancelled": 0}
        assert shelf.revoke("a", 70).facts == {"taken": 70, "held": 0, "missing": 0}
    else:
        assert shelf.revoke("a", 70).facts == {"taken": 0, "held": 0, "missing": 70}
        assert shelf.give_back(150).facts == {"returned": 150, "expired": 80, "cancelled": 70}
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.system["expired"] == 80
    assert shelf.system["revoked"] == 70
    assert shelf.system.get("written_off", 0) == 0


def test_two_early_holds(shelf):
    shelf.award(100, expires_at="03-01")
    shelf.at("02-28").hold("h1", 60)
    shelf.hold("h2", 40)
    assert shelf.at("03-01").buckets() == (0, 0, 100, 0)
    assert shelf.at("03-02").release("h1").facts == {"captured": 0, "released": 60, "expiring": 60}
    assert shelf.buckets() == (0, 0, 40, 0)
    assert shelf.capture("h2").facts == {"captured": 40, "released": 0, "expiring": 0}
    assert shelf.system == {"issued": -100, "expired": 60, "redeemed": 40}


def test_ended_lot_kept(shelf):
    shelf.award(60, expires_at="03-01")
    shelf.at("02-28").hold("h", 60)
    shelf.at("03-02").award(100, expires_at="05-01")
    shelf.spend(100)
    assert shelf.lots_of(shelf.entries()[-1]) == [(3, -100)]
    assert shelf.release("h").facts == {"captured": 0, "released": 60, "expiring": 60}
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.system["expired"] == 60


@BOTH
@pytest.mark.parametrize("ending", ["time_out", "release"])
def test_held_take_back(books, policy, ending):
    shelf = books(policy)
    shelf.award(100, key="a", order="o")
    shelf.hold("h", 100, "02-02")
    assert shelf.revoke("a", 100).facts == {"taken": 0, "held": 100, "missing": 0}
    assert shelf.buckets() == (0, 0, 100, 0)
    if ending == "release":
        assert shelf.release("h").facts == {"captured": 0, "released": 0, "expiring": 0}
    assert shelf.at("02-02").buckets() == (0, 0, 0, 0)
    shelf.job()
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.system == {"issued": -100, "revoked": 100}
    assert shelf.kinds == ["award", "hold", "revoke", ending]


def test_double_spend(shelf):
    shelf.award(100)
    holds = [shelf.hold(f"h{number}", 100) for number in range(20)]
    assert [outcome.result for outcome in holds] == [Result.POSTED] + [Result.REFUSED] * 19
    assert shelf.buckets() == (0, 0, 100, 0)
    shelf.release("h0")
    debits = [shelf.debit(100) for _ in range(20)]
    assert [outcome.result for outcome in debits] == [Result.POSTED] + [Result.REFUSED] * 19
    assert {outcome.error.facts["available"] for outcome in debits[1:]} == {0}
    assert shelf.buckets() == (0, 0, 0, 0)


def test_redelivery(shelf):
    posting = shelf.ask(Award, amount=11, key="10042/1/rule/paid")
    first, *again = [shelf.one(posting) for _ in range(5)] + shelf.post(posting, posting)
    assert (first.result, first.repeated, first.first_seq) == (Result.POSTED, False, 1)
    assert all(o.repeated and o.result is Result.POSTED and o.first_seq == 1 for o in again)
    assert shelf.buckets() == (11, 0, 0, 0)
    assert shelf.kinds == ["award"]


def test_cross_channel(shelf):
    shelf.award(100, source="pos-rules")
    shelf.one(shelf.ask(Spend, checkout="web", generation=1, amount=40, source="web-redemption"))
    assert shelf.buckets() == (60, 0, 0, 0)


@pytest.mark.parametrize("totals", [(50,), (1, 2, 50), (20, 20, 49, 50), (17, 50, 34)])
def test_partial_refunds(shelf, totals):
    shelf.award(50, key="a", order="o")
    for total in totals:
        shelf.revoke("a", total)
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.system == {"issued": -50, "revoked": 50}


def test_refunds_any_order(books):
    for totals in ((20, 60), (60, 20)):
        shelf = books()
        shelf.award(100, key="a", order="o")
        for total in totals:
            shelf.revoke("a", total)
        assert shelf.available == 40


def test_points_refund(shelf):
    shelf.award(30)
    shelf.spend(30, order="o")
    shelf.award(70, key="a", order="o")
    shelf.revoke("a", 70)
    shelf.give_back(30)
    assert shelf.buckets() == (30, 0, 0, 0)
    assert shelf.account().earned == 30
    assert shelf.account().spent == 0
