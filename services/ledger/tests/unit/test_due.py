"""What is due comes first, at its own instant, and time never runs backwards on an account."""

from datetime import timedelta

from ledger.domain import Debit


def test_due_things_happen_in_the_order_of_their_instants(shelf):
    shelf.award(10, expires_at="02-20")
    shelf.award(10, activates_at="02-10", expires_at="02-15")
    shelf.hold("h", 5, "02-12")
    shelf.at("03-01").one(shelf.ask(Debit, amount=1))
    assert [(entry.kind, entry.at.strftime("%m-%d"), entry.source) for entry in shelf.entries()[3:]] == [
        ("activate", "02-10", "ledger"),
        ("time_out", "02-12", "ledger"),
        ("expire", "02-15", "ledger"),
        ("expire", "02-20", "ledger"),
    ]
    assert {entry.recorded_at for entry in shelf.entries()[3:]} == {shelf.now}
    assert [entry.key for entry in shelf.entries()[3:]] == ["k2", "k3", "k2", "k1"]
    assert shelf.buckets() == (0, 0, 0, 0)


def test_at_one_instant_points_activate_then_holds_end_then_points_expire(shelf):
    shelf.award(10, expires_at="02-10")
    shelf.award(10, activates_at="02-10")
    shelf.hold("h", 10, "02-10")
    shelf.at("02-10").job()
    assert shelf.kinds[3:] == ["activate", "time_out", "expire"]
    assert shelf.buckets() == (10, 0, 0, 0)


def test_reads_and_jobs_and_postings_see_the_same(books):
    def story(shelf, *, job):
        shelf.award(10, expires_at="02-20")
        shelf.award(10, activates_at="02-10", expires_at="02-25")
        shelf.hold("h", 5, "02-12")
        for day in ("02-10", "02-12", "02-20", "02-25"):
            shelf.at(day)
            if job:
                shelf.job()
        before = shelf.buckets()
        shelf.award(1)
        return before, shelf.buckets(), [(entry.kind, entry.at) for entry in shelf.entries()]

    assert story(books(), job=True) == story(books(), job=False)


def test_the_job_run_twice_changes_nothing(shelf):
    shelf.award(10, expires_at="02-20")
    shelf.at("02-20").job()
    rows = len(shelf.log)
    assert shelf.job().log == []
    assert len(shelf.log) == rows


def test_next_due_is_never_late(shelf):
    shelf.award(10, activates_at="03-01", expires_at="04-01")
    assert shelf.account().next_due_at.month == 3
    shelf.award(10, expires_at="02-20")
    assert shelf.account().next_due_at.day == 20
    shelf.hold("h", 5, "02-10")
    assert shelf.account().next_due_at.day == 10
    shelf.release("h")
    shelf.at("03-01").job()
    assert shelf.account().next_due_at.month == 4
    shelf.at("04-01").job()
    assert shelf.account().next_due_at is None


def test_a_return_makes_its_lot_due_again(shelf):
    shelf.award(10, expires_at="03-01")
    shelf.spend(10)
    shelf.at("02-20")
    shelf.award(1, expires_at="02-21", member="m")
    shelf.at("02-22").job()
    assert shelf.account().next_due_at is None
    shelf.give_back(10)
    assert shelf.account().next_due_at.month == 3
    assert shelf.at("03-01").available == 0


def test_time_never_runs_backwards_on_an_account(shelf):
    shelf.award(10)
    first = shelf.now
    shelf.now -= timedelta(hours=1)
    shelf.debit(5)
    shelf.hold("h", 5)
    assert [entry.at for entry in shelf.entries()] == [first] * 3
    assert [entry.recorded_at for entry in shelf.entries()] == [first] * 3
    assert shelf.holds[next(iter(shelf.holds))].placed_at == first


def test_a_clock_that_jumps_back_undoes_nothing_and_takes_nothing_twice(shelf):
    """Between batches, as a machine's clock may when it is set: what was due has happened, and stays."""
    shelf.award(10, expires_at="02-20")
    shelf.award(10, activates_at="02-25", expires_at="03-10")
    shelf.hold("h", 5, "02-22")
    shelf.at("03-01").job()
    happened = [("expire", "02-20"), ("time_out", "02-22"), ("expire", "02-22"), ("activate", "02-25")]
    assert [(entry.kind, entry.at.strftime("%m-%d")) for entry in shelf.entries()[3:]] == happened
    shelf.at("02-01").job()  # a month back, before any of it
    assert len(shelf.entries()) == 7
    shelf.debit(4)
    shelf.hold("h2", 3, "02-15")  # by the account's time it would be over before it is placed: refused
    shelf.at("02-24").award(1)
    later = shelf.entries()[7:]
    assert [entry.at.strftime("%m-%d") for entry in later] == ["02-25"] * len(later)
    assert shelf.buckets() == (7, 0, 0, 0)
    assert [entry.kind for entry in later] == ["debit", "award"]


def test_a_pending_award_cancelled_before_its_day_never_activates(shelf):
    shelf.award(10, key="a", activates_at="03-01", expires_at="04-01")
    shelf.revoke("a", 10)
    assert shelf.buckets() == (0, 0, 0, 0)
    shelf.at("04-02").job()
    assert shelf.kinds == ["award", "revoke"]
    assert shelf.account().next_due_at is None


def test_lots_that_end_at_one_instant_end_in_one_entry_and_others_in_their_own(shelf):
    shelf.award(10, key="a", order="o-1", expires_at="02-20")
    shelf.award(20, key="b", order="o-2", expires_at="02-20")
    shelf.award(40, key="c", order="o-2", expires_at="02-21")
    shelf.award(80, key="d", order="o-2", expires_at="02-21")
    shelf.debit(5)
    shelf.at("03-01").job()
    first, second = shelf.entries()[5:]
    assert (first.kind, first.at.strftime("%m-%d"), first.available, first.system) == (
        "expire",
        "02-20",
        -25,
        (("expired", 25),),
    )
    assert [(change.lot, change.change, change.remaining) for change in first.lots] == [(1, -5, 0), (2, -20, 0)]
    assert (first.key, first.order) == ("a", None), "of several orders it is none's"
    assert (second.key, second.order, second.available) == ("c", "o-2", -120)
    assert shelf.account().next_due_at is None


def test_of_lots_that_end_together_each_keeps_what_holds_would_use_of_it(shelf):
    shelf.award(10, key="a", expires_at="02-20")
    shelf.award(10, key="b", expires_at="02-20")
    shelf.award(10, key="c", expires_at="02-20")
    shelf.hold("h", 15, "03-10")
    shelf.at("02-20").job()
    (gone,) = [entry for entry in shelf.entries() if entry.kind == "expire"]
    assert [(change.lot, change.change, change.remaining) for change in gone.lots] == [(2, -5, 5), (3, -10, 0)]
    assert shelf.buckets() == (0, 0, 15, 0)
    shelf.capture("h")
    assert shelf.buckets() == (0, 0, 0, 0)
    assert shelf.system["expired"] == 15


def test_lots_that_holds_need_whole_end_without_an_entry(shelf):
    shelf.award(10, expires_at="02-20")
    shelf.award(10, expires_at="02-20")
    shelf.hold("h", 20, "03-10")
    rows = len(shelf.log)
    shelf.at("02-20").job()
    assert len(shelf.log) == rows
    shelf.release("h")
    assert shelf.buckets() == (0, 0, 0, 0)


def test_what_waited_for_a_hold_is_taken_from_its_own_lot_as_far_as_later_holds_can_do_without(shelf):
    shelf.award(4, key="ends", expires_at="02-10")
    shelf.award(4, key="other", expires_at="03-01")
    shelf.award(3, key="own", order="o", priority=1)
    shelf.hold("first", 5, "02-20")
    shelf.at("02-10")  # what ends is kept for the first hold
    shelf.hold("second", 6, "03-20")
    assert shelf.revoke("own", 1).facts == {"taken": 0, "held": 1, "missing": 0}
    shelf.at("02-20").job()
    # The second hold needs six of the seven that have not ended: one of its own is to be had.
    (taken,) = [entry for entry in shelf.entries() if entry.kind == "revoke"]
    assert [(change.lot, change.change, change.remaining) for change in taken.lots] == [(3, -1, 2)]
    assert shelf.system == {"issued": -11, "revoked": 1, "expired": 4}
    assert shelf.buckets() == (0, 0, 6, 0)
    assert shelf.capture("second").facts["captured"] == 6
