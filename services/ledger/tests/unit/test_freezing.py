"""A frozen member: nothing new takes points, all that was begun and all that comes in goes on."""

from ledger.domain import Award, Entry, Freeze, Hold, Result, Unfreeze

from .refusing import refused, unchanged

FROZEN = ("account_frozen", {"member": "m"})
OPERATOR = '{"operator":"ana","reason":"lost_card"}'


def test_freezing_is_an_entry_that_moves_nothing(shelf):
    shelf.award(100)
    outcome = shelf.freeze(key="f", cause=OPERATOR)
    assert (outcome.result, outcome.first_seq, outcome.last_seq) == (Result.POSTED, 2, 2)
    entry = shelf.entries()[-1]
    assert (entry.kind, entry.key, entry.cause, entry.lots, entry.system) == ("freeze", "f", OPERATOR, (), ())
    assert (entry.available, entry.pending, entry.held, entry.debt) == (0, 0, 0, 0)
    assert entry.hash == shelf.account().hash
    shelf.unfreeze()
    assert shelf.kinds == ["award", "freeze", "unfreeze"]


def test_freezing_again_changes_nothing(shelf):
    assert unchanged(shelf, shelf.unfreeze).result is Result.UNCHANGED
    shelf.freeze()
    assert unchanged(shelf, shelf.freeze).result is Result.UNCHANGED
    shelf.unfreeze()
    assert unchanged(shelf, shelf.unfreeze).result is Result.UNCHANGED
    assert shelf.kinds == ["freeze", "unfreeze"]


def test_nothing_new_takes_points_of_a_frozen_member(shelf):
    shelf.award(100)
    shelf.freeze()
    assert refused(shelf, lambda: shelf.hold("h", 10)) == FROZEN
    assert refused(shelf, lambda: shelf.hold("h", 10, at_most=True)) == FROZEN
    assert refused(shelf, lambda: shelf.spend(10, is_new=True)) == FROZEN
    assert refused(shelf, lambda: shelf.hold("h", 10, asset="passes")) == FROZEN
    shelf.unfreeze()
    shelf.hold("h", 10)
    shelf.spend(10, is_new=True)
    assert shelf.buckets() == (80, 0, 10, 0)


def test_what_was_begun_and_what_comes_in_goes_on(shelf):
    shelf.award(100, key="a", order="o", expires_at="03-01")
    shelf.award(5, activates_at="02-10")
    shelf.hold("captured", 10)
    shelf.hold("released", 10)
    shelf.hold("spent", 10)
    shelf.hold("over", 10, expires_at="02-05")
    shelf.freeze()
    shelf.capture("captured")
    shelf.release("released")
    shelf.spend(10, "c", hold="spent", order="p")
    shelf.spend(10, "late", hold="gone")
    shelf.give_back(10, "c")
    shelf.revoke("a", 20)
    shelf.award(7)
    shelf.credit(3)
    shelf.debit(1)
    assert shelf.buckets() == (59, 5, 10, 0)
    assert shelf.at("02-10").buckets() == (74, 0, 0, 0)
    shelf.job()
    assert shelf.at("03-01").buckets() == (15, 0, 0, 0)
    assert all(isinstance(row, Entry) for row in shelf.log)


def test_a_member_that_was_never_seen_can_be_frozen(shelf):
    shelf.freeze(member="stranger")
    assert [entry.kind for entry in shelf.entries("stranger")] == ["freeze"]
    shelf.award(10, member="stranger")
    outcome = shelf.hold("h", 1, member="stranger")
    assert (outcome.error.code, outcome.error.facts) == ("account_frozen", {"member": "stranger"})
    assert shelf.buckets("stranger") == (10, 0, 0, 0)


def test_others_are_not_concerned(shelf):
    shelf.award(10)
    shelf.freeze(member="n")
    assert shelf.hold("h", 10).result is Result.POSTED


def test_a_refusal_stays_the_first_answer(shelf):
    shelf.award(10)
    shelf.freeze()
    first = shelf.hold("h", 1, key="h")
    shelf.unfreeze()
    again = shelf.hold("h", 1, key="h")
    assert (again.repeated, again.result, again.error.facts) == (True, Result.REFUSED, first.error.facts)
    assert shelf.buckets() == (10, 0, 0, 0)


def test_a_batch_is_decided_in_order(shelf):
    outcomes = shelf.post(
        shelf.ask(Award, amount=10),
        shelf.ask(Freeze),
        shelf.ask(Hold, hold="h", amount=1, expires_at="03-01"),
        shelf.ask(Unfreeze),
        shelf.ask(Hold, hold="g", amount=1, expires_at="03-01"),
    )
    assert [outcome.result for outcome in outcomes] == [
        Result.POSTED, Result.POSTED, Result.REFUSED, Result.POSTED, Result.POSTED,
    ]  # fmt: skip
