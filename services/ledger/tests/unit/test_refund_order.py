"""A refund's steps (take-backs and returns of one order) give the same sums in whatever order they arrive."""

from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.domain import GiveBack, Revoke
from testkit.exploring import examples


@st.composite
def refunds(draw):
    """An order that earned and spent, what became of the member's points since, and the steps of its refund."""
    lots = draw(
        st.lists(
            st.tuples(st.integers(1, 30), st.sampled_from(["03-01", "12-01"]), st.integers(0, 2)),
            min_size=1,
            max_size=4,
        )
    )
    spent = draw(st.integers(1, sum(amount for amount, _, _ in lots)))
    awards = draw(st.lists(st.integers(1, 30), min_size=1, max_size=2))
    pending = draw(st.booleans())
    drained = draw(st.integers(0, 60))
    held = draw(st.integers(0, 60))
    owes = draw(st.integers(0, 20))
    hold_ended = draw(st.sampled_from(["released", "captured", "before", "open"]))
    steps = [("give", part) for part in sorted(draw(st.sets(st.integers(1, spent), min_size=1, max_size=3)) | {spent})]
    for number, amount in enumerate(awards):
        totals = draw(st.sets(st.integers(1, amount), min_size=1, max_size=2)) | {amount}
        steps += [(f"a{number}", total) for total in sorted(totals)]
    late = draw(st.booleans())
    return lots, spent, awards, pending, drained, held, owes, hold_ended, steps, late


def after(shelf, case, steps):
    lots, spent, awards, pending, drained, held, owes, hold_ended, _, late = case
    for amount, expires_at, priority in lots:
        shelf.award(amount, expires_at=expires_at, priority=priority)
    if late:  # its hold is over and something else took points: the spend itself misses some
        shelf.debit(min(5, shelf.available))
    shelf.spend(spent, order="o")
    for number, amount in enumerate(awards):
        shelf.award(amount, key=f"a{number}", order="o", activates_at="06-01" if pending and number == 0 else None)
    if shelf.available and held:
        shelf.hold("h", min(held, shelf.available))
    if shelf.available and drained:
        shelf.debit(min(drained, shelf.available))
    if owes:
        shelf.spend(owes, "another", order="another")
    shelf.at("03-05")
    if hold_ended == "before":
        shelf.release("h")
    for what, total in steps:
        posting = (
            shelf.ask(GiveBack, checkout="c", generation=1, total=total)
            if what == "give"
            else shelf.ask(Revoke, award=what, total=total)
        )
        shelf.one(posting)
    if hold_ended == "released":
        shelf.release("h")
    elif hold_ended == "captured":
        shelf.capture("h")
    return shelf.buckets(), {name: total for name, total in shelf.system.items() if total}, shelf.account().earned


class Arriving(Random):
    """A shuffle of one's own choice: the steps arrive in just this order, named by their places in the case."""

    def __init__(self, *places):
        super().__init__(0)
        self.places = places

    def shuffle(self, steps):
        assert sorted(self.places) == list(range(len(steps)))
        steps[:] = [steps[place] for place in self.places]


# Cases that longer runs have found.
# A take-back before the return uses up a live lot that it would have left after it: the hold, whose ended lot is kept
# and stands between the two in consumption order, must end with the same balance all the same.
KEPT_BETWEEN = (
    [(25, "03-01", 1), (6, "12-01", 1), (25, "03-01", 1), (18, "12-01", 0)],
    *(26, [14], False, 25, 6, 17, "captured"),
    [("give", 21), ("give", 24), ("give", 26), ("a0", 7), ("a0", 11), ("a0", 14)],
    False,
)
# The same in two steps, with the policy `debt`.
KEPT_BETWEEN_SMALL = (
    [(4, "12-01", 2), (3, "03-01", 2), (1, "12-01", 0)],
    *(1, [2], False, 2, 2, 0, "captured"),
    [("give", 1), ("a0", 2)],
    False,
)


@example(case=KEPT_BETWEEN, policy="forgive", shuffle=Arriving(5, 3, 1, 0, 2, 4))
@example(case=KEPT_BETWEEN_SMALL, policy="debt", shuffle=Arriving(1, 0))
@settings(max_examples=examples(300))
@given(case=refunds(), policy=st.sampled_from(["forgive", "debt"]), shuffle=st.randoms(use_true_random=False))
def test_refund_steps_in_any_order(books, case, policy, shuffle):
    steps = list(case[8])
    in_order = after(books(policy), case, steps)
    shuffle.shuffle(steps)
    assert after(books(policy), case, steps) == in_order
