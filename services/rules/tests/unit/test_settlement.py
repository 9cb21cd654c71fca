"""An order's life: whatever its states are and in whatever order they come, members keep what the newest one says."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.orders import Order, RefundLine
from rules.domain.calendar import Grant, Lasting, Trigger, Validity
from rules.domain.rule import Multiply, PerUnit, Rule, Scope
from rules.domain.settlement import Award, Revoke
from rules.testing import PAID, PLACED, Books, cancellation, line, one_per_unit, order, refund, rule_set

BASE = rule_set(one_per_unit())


def test_redelivery() -> None:
    books = Books(BASE)
    for _ in range(6):
        books.see(order(10_000))
    assert [type(asked) for asked in books.asked] == [Award]
    assert books.left == {"m": 100}


def test_an_award_names_order_generation_rule_and_trigger() -> None:
    books = Books(rule_set(one_per_unit(), Rule("double", Multiply(Fraction(2))), version=7))
    (asked,) = books.see(order(1000, order="A-1"))
    assert isinstance(asked, Award)
    assert asked.booked.key == "A-1/1/base/paid"
    assert (asked.booked.rule, asked.booked.version, asked.booked.promotions) == ("base", 7, ("double",))


def test_partial_refunds() -> None:
    books = Books(rule_set(one_per_unit(points="0.37")))
    books.see(order(9999))
    refunds = []
    for number, money in enumerate((1, 3333, 3333, 1666, 1666), start=1):
        refunds.append(refund(number, amount=money))
        books.see(order(9999, revision=1 + number, refunds=tuple(refunds)))
    assert books.left == {"m": 0}


def test_refund_halves() -> None:
    books = Books(rule_set(one_per_unit(), Rule("half-more", Multiply(Fraction(3, 2)))))
    books.see(order(1000))
    totals = []
    for number in (1, 2, 3):
        refunds = tuple(refund(n, amount=334 if n == 3 else 333) for n in range(1, number + 1))
        books.see(order(1000, revision=1 + number, refunds=refunds))
        totals += books.taken
    assert totals == [5, 10, 15]


def test_per_line_return() -> None:
    rules = rule_set(
        one_per_unit(exclude=Scope(products=frozenset({"p2"}))),
        Rule("own", PerUnit(Fraction(20)), scope=Scope(products=frozenset({"p1"}))),
    )
    books = Books(rules)
    books.see(order(2000, 2000))
    assert books.left == {"m": 20}
    second = refund(1, RefundLine(line="2", quantity=1))
    assert books.see(order(2000, 2000, revision=2, refunds=(second,))) == []
    books.see(order(2000, 2000, revision=3, refunds=(second, refund(2, RefundLine(line="1", quantity=1)))))
    assert (books.taken, books.left) == ([20], {"m": 0})


@pytest.mark.parametrize("revisions", [(1, 2, 3), (1, 3, 2), (3, 1, 2), (3, 2, 1), (2, 3, 1)])
def test_refunds_any_order(revisions: tuple[int, ...]) -> None:
    first, second = refund(1, amount=2000), refund(2, amount=4000)
    states = {
        1: order(10_000),
        2: order(10_000, revision=2, refunds=(first,)),
        3: order(10_000, revision=3, refunds=(first, second)),
    }
    books = Books(BASE)
    for revision in revisions:
        books.see(states[revision])
    assert books.left == {"m": 40}


def test_stale_revision() -> None:
    books = Books(BASE)
    books.see(order(10_000, revision=3))
    books.see(order(10_000, revision=4, cancellations=(cancellation(),)))
    assert books.left == {"m": 0}
    assert books.see(order(10_000, revision=3)) == []
    again = order(10_000, revision=5, cancellations=(cancellation(),), paid_at=PAID + timedelta(days=20))
    (asked,) = books.see(again)
    assert isinstance(asked, Award)
    assert (asked.booked.key, books.left) == ("o/2/base/paid", {"m": 100})


def test_a_return_takes_what_its_line_gave_with_its_promotion() -> None:
    rules = rule_set(
        one_per_unit(), Rule("double-dairy", Multiply(Fraction(2)), scope=Scope(categories=frozenset({"dairy"})))
    )
    sold = (line(1, 1000), line(2, 1000, categories=("dairy",)))
    books = Books(rules)
    books.see(order(*sold))
    books.see(order(*sold, revision=2, refunds=(refund(1, RefundLine(line="2")),)))
    assert (books.taken, books.left) == ([20], {"m": 10})


def test_points_are_granted_at_the_step_that_the_rule_names() -> None:
    rules = rule_set(
        one_per_unit("placed", grant=Grant(Trigger.PLACED)),
        one_per_unit("paid", grant=Grant(Trigger.PAID), stack=True),
        one_per_unit("fulfilled", grant=Grant(Trigger.FULFILLED), stack=True),
    )
    books = Books(rules)
    steps = [
        order(100, paid_at=None),
        order(100, revision=2),
        order(100, revision=3, fulfilled_at=PAID + timedelta(days=1)),
    ]
    assert [[asked.booked.rule for asked in books.see(step)] for step in steps] == [["placed"], ["paid"], ["fulfilled"]]


def test_a_delay_makes_points_pending_and_validity_runs_from_their_activation() -> None:
    rule = one_per_unit(grant=Grant(Trigger.PAID, after_days=14), validity=Validity(Lasting.DAYS, 30))
    (asked,) = Books(rule_set(rule, zone="Europe/Madrid")).see(order(100))
    assert asked.booked.activates_at == datetime(2026, 3, 16, 9, 5, tzinfo=UTC)
    assert asked.booked.expires_at == datetime(2026, 4, 15, 22, tzinfo=UTC)


def test_without_a_delay_points_are_usable_at_once() -> None:
    (asked,) = Books(BASE).see(order(100))
    assert (asked.booked.activates_at, asked.booked.expires_at) == (None, None)


def test_a_changed_order_raises_the_take_back_or_awards_the_increase() -> None:
    books = Books(BASE)
    books.see(order(10_000))
    books.see(order(8000, revision=2))
    assert (books.taken, books.left) == ([20], {"m": 80})
    (more,) = books.see(order(15_000, revision=3))
    assert isinstance(more, Award)
    assert (more.booked.key, more.booked.points, books.left) == ("o/1/base/paid/3", 70, {"m": 150})
    books.see(order(9000, revision=4))
    assert books.taken == [60]
    assert books.left == {"m": 90}


def test_decreases_take_from_the_newest_award_first() -> None:
    books = Books(BASE)
    books.see(order(10_000))
    books.see(order(12_000, revision=2))
    books.see(order(5000, revision=3))
    assert [(a.booked.key, a.booked.taken) for a in books.last] == [("o/1/base/paid/2", 20), ("o/1/base/paid", 50)]


def test_another_member_means_reversal_and_award_anew() -> None:
    books = Books(BASE)
    books.see(order(10_000, member="a"))
    books.see(order(10_000, member="b", revision=2))
    assert books.left == {"a": 0, "b": 100}
    books.see(order(10_000, member="a", revision=3))
    assert books.left == {"a": 100, "b": 0}
    assert len({asked.booked.key for asked in books.asked if isinstance(asked, Award)}) == 3


def test_a_guest_earns_once_linked_also_after_a_refund() -> None:
    books = Books(BASE)
    half = refund(1, amount=5000)
    assert books.see(order(10_000, member=None)) == []
    assert books.see(order(10_000, member=None, revision=2, refunds=(half,))) == []
    books.see(order(10_000, member="a", revision=3, refunds=(half,)))
    assert books.left == {"a": 50}


def test_a_test_order_moves_nothing() -> None:
    assert Books(BASE).see(order(10_000, test=True)) == []


def test_an_unpaid_order_that_is_cancelled_and_then_paid_earns_once() -> None:
    books = Books(rule_set(one_per_unit(grant=Grant(Trigger.PLACED))))
    books.see(order(1000, paid_at=None))
    books.see(order(1000, paid_at=None, revision=2, cancellations=(cancellation(paid_at=None),)))
    assert books.left == {"m": 0}
    gone = cancellation(paid_at=None)
    books.see(order(1000, revision=3, cancellations=(gone,), paid_at=gone.at + timedelta(days=1)))
    assert books.left == {"m": 10}


def test_while_the_programme_is_off_nothing_is_awarded_and_returns_go_on() -> None:
    books = Books(BASE)
    books.see(order(10_000))
    books.see(order(12_000, revision=2), awarding=False)
    assert books.left == {"m": 100}
    books.see(order(12_000, revision=3, refunds=(refund(1, amount=6000),)), awarding=False)
    assert books.left == {"m": 60}
    other = Books(BASE)
    assert other.see(order(10_000), awarding=False) == []


def test_a_refund_before_the_award_is_taken_back_with_it() -> None:
    books = Books(rule_set(one_per_unit(grant=Grant(Trigger.FULFILLED))))
    half = refund(1, amount=500)
    books.see(order(1000, refunds=(half,)))
    assert books.asked == []
    books.see(order(1000, revision=2, refunds=(half,), fulfilled_at=PAID + timedelta(days=3)))
    assert [(type(a), a.booked.points, a.booked.taken) for a in books.last] == [(Award, 10, 0), (Revoke, 10, 5)]


RULES = rule_set(
    one_per_unit(points="1.5", grant=Grant(Trigger.PAID)),
    Rule("dairy", PerUnit(Fraction(7)), scope=Scope(categories=frozenset({"dairy"})), grant=Grant(Trigger.PLACED)),
    one_per_unit("late", points="3", per=700, grant=Grant(Trigger.FULFILLED), stack=True),
    Rule("double-p2", Multiply(Fraction(2)), scope=Scope(products=frozenset({"p2"}))),
)


@st.composite
def lives(draw: st.DrawFn) -> list[Order]:
    """An order's states in the order in which they happened: anything that platforms do, in any mixture."""
    prices = draw(st.lists(st.integers(0, 5000), min_size=1, max_size=3))
    states: list[Order] = []
    fields: dict[str, object] = {"paid_at": None, "member": draw(st.sampled_from([None, "a"]))}
    now = PLACED
    for revision in range(1, draw(st.integers(2, 8))):
        now += timedelta(hours=1)
        step = draw(st.sampled_from(["pay", "fulfil", "refund", "lines", "cancel", "member", "nothing"]))
        refunds, cancellations = fields.get("refunds", ()), fields.get("cancellations", ())
        assert isinstance(refunds, tuple)
        assert isinstance(cancellations, tuple)
        if step == "pay":
            fields["paid_at"] = now
        elif step == "fulfil":
            fields["fulfilled_at"] = now
        elif step == "member":
            fields["member"] = draw(st.sampled_from([None, "a", "b"]))
        elif step == "lines":
            prices = draw(st.lists(st.integers(0, 5000), min_size=len(prices), max_size=len(prices)))
        elif step == "refund":
            parts = draw(st.lists(st.sampled_from(range(1, len(prices) + 1)), max_size=2))
            amount = draw(st.integers(0, 6000)) if not parts else draw(st.none() | st.integers(0, 6000))
            new = refund(revision, *(RefundLine(line=str(part)) for part in parts), amount=amount)
            fields["refunds"] = (*refunds, new.model_copy(update={"at": now}))
        elif step == "cancel":
            paid_at = fields["paid_at"]
            assert paid_at is None or isinstance(paid_at, datetime)
            new_cancellation = cancellation(revision, paid_at).model_copy(update={"at": now})
            fields["cancellations"] = (*cancellations, new_cancellation)
        made = [line(n, p, 2, categories=("dairy",) if n == 1 else ()) for n, p in enumerate(prices, start=1)]
        states.append(order(*made, **{**fields, "revision": revision}))
    return states


@given(lives(), st.data())
def test_any_order_of_arrival_ends_the_same(states: list[Order], data: st.DataObject) -> None:
    told = Books(RULES)
    for state in states:
        told.see(state)
    heard = Books(RULES)
    for state in data.draw(st.permutations(states)) + data.draw(st.lists(st.sampled_from(states), max_size=4)):
        heard.see(state)
    only_last = Books(RULES)
    only_last.see(states[-1])

    def kept(books: Books) -> dict[str, int]:
        return {member: points for member, points in books.left.items() if points}

    assert kept(told) == kept(heard) == kept(only_last)


@given(lives())
def test_totals_never_fall_and_keys_never_repeat(states: list[Order]) -> None:
    books = Books(RULES)
    totals: dict[str, int] = {}
    keys: set[str] = set()
    for state in states:
        for asked in books.see(state):
            booked = asked.booked
            if isinstance(asked, Award):
                assert booked.key not in keys
                assert booked.points > 0
                keys.add(booked.key)
            else:
                assert booked.key in keys
                assert totals.get(booked.key, 0) < booked.taken <= booked.points
                totals[booked.key] = booked.taken


@given(lives())
def test_nobody_keeps_anything_of_a_cancelled_order(states: list[Order]) -> None:
    books = Books(RULES)
    for state in states:
        books.see(state)
    last = states[-1]
    end = cancellation(99, last.paid_at).model_copy(update={"at": PLACED + timedelta(days=90)})
    books.see(last.model_copy(update={"revision": 99, "cancellations": (*last.cancellations, end)}))
    assert not any(books.left.values())
