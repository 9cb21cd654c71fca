"""What an order's newest state takes of its member's points, whatever was booked before."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from redemption.domain.spending import GiveBack, Held, Part, Spend, part, settle

HELD = Held(checkout="c-1", hold="h-1", member="ann", points=100)


def apply(spends: Sequence[Spend], generation: int, parts: Sequence[Part], returned: int = 0) -> list[Spend]:
    """The books after a settlement, checked for what must always hold of them."""
    books = {(spend.name, spend.generation): spend for spend in spends}
    for ask in settle("o-1", generation, parts, returned, spends):
        if isinstance(ask, Spend):
            assert (ask.name, ask.generation) not in books, "one debit per checkout and generation"
            assert ask.points > 0 == ask.given_back
            books[ask.name, ask.generation] = ask
        else:
            before = books[ask.spend.name, ask.spend.generation]
            assert before.given_back < ask.spend.given_back <= ask.spend.points == before.points, "totals only rise"
            books[ask.spend.name, ask.spend.generation] = ask.spend
    again = settle("o-1", generation, parts, returned, list(books.values()))
    assert again == (), "the same state again changes nothing"
    return list(books.values())


def used(spends: Sequence[Spend]) -> int:
    return sum(spend.used for spend in spends)


def only(claim: str, points: int, held: Held | None = HELD, *, mine: bool = True) -> Part:
    wanted = part(claim, points, "ann", held, mine=mine)
    assert wanted is not None
    return wanted


def test_a_paid_tender_spends_its_hold_once() -> None:
    books = apply([], 1, [only("c-1", 100)])
    assert books == [Spend("c-1", 1, "c-1", "ann", 100, 0, "h-1")]


def test_tender_and_hold_differ_the_smaller_is_taken_and_the_difference_recorded() -> None:
    assert (only("c-1", 80).points, only("c-1", 80).difference) == (80, -20)
    assert (only("c-1", 120).points, only("c-1", 120).difference) == (100, 20)


def test_a_tender_without_a_checkout_spends_without_a_hold() -> None:
    books = apply([], 1, [only("", 70, None)])
    assert [(spend.points, spend.hold, spend.member) for spend in books] == [(70, None, "ann")]
    assert len(books[0].name) == 36


def test_nobody_pays_for_an_order_that_names_nobody() -> None:
    assert part("", 70, None, None, mine=True) is None
    assert only("c-1", 100).member == "ann"


def test_returns_add_up_to_the_whole() -> None:
    books = apply([], 1, [only("c-1", 100)])
    for returned in (33, 67, 100):
        books = apply(books, 1, [only("c-1", 100)], returned)
        assert used(books) == 100 - returned


def test_a_cancelled_order_gives_back_all_that_is_left_and_a_later_payment_takes_it_again() -> None:
    books = apply(apply([], 1, [only("c-1", 100)]), 1, [only("c-1", 100)], 30)
    books = apply(books, 2, [])
    assert used(books) == 0
    books = apply(books, 2, [only("c-1", 100)])
    assert [(spend.name, spend.generation, spend.used) for spend in books] == [("c-1", 1, 0), ("c-1", 2, 100)]


def test_a_checkout_that_another_order_named_first_lends_neither_hold_nor_name() -> None:
    books = apply([], 1, [only("c-1", 100, mine=False)])
    assert (books[0].hold, books[0].points, books[0].name == "c-1") == (None, 100, False)


def test_what_a_cancellation_gives_back_is_there_for_the_next_payment() -> None:
    books = apply([], 1, [only("c-1", 100)])
    asks = settle("o-1", 2, [only("c-1", 100)], 40, books)
    assert asks == (
        GiveBack(Spend("c-1", 1, "c-1", "ann", 100, 100, "h-1")),
        Spend("c-1", 2, "c-1", "ann", 100, 0, "h-1"),
        GiveBack(Spend("c-1", 2, "c-1", "ann", 100, 40, "h-1")),
    )


def test_another_member_means_giving_back_and_taking_anew() -> None:
    books = apply([], 1, [Part("c-9", "ann", 40, "c-9")])
    books = apply(books, 1, [Part("c-9", "bob", 40, "c-9")])
    assert {spend.member: spend.used for spend in books} == {"ann": 0, "bob": 40}
    books = apply(books, 1, [Part("c-9", "ann", 40, "c-9")])
    assert used([spend for spend in books if spend.member == "ann"]) == 40
    assert used(books) == 40


states = st.lists(
    st.tuples(
        st.integers(1, 3),  # generation
        st.booleans(),  # paid and not cancelled
        st.lists(st.integers(1, 90), min_size=1, max_size=3),  # tenders
        st.sampled_from(["ann", "bob"]),
        st.fractions(0, 1, max_denominator=7),
        st.booleans(),  # the hold is known
    ),
    min_size=1,
    max_size=6,
)


@given(states)
def test_only_the_newest_state_counts_for_the_points_used(history: list[tuple]) -> None:  # type: ignore[type-arg]
    """Whatever states came before, in whatever order: the points used are those of the last one applied."""
    books: list[Spend] = []
    generation = 1
    for step, paid, tenders, member, fraction, known in history:
        generation = max(generation, step)
        parts = [
            wanted
            for number, points in enumerate(tenders)
            if paid
            and (
                wanted := part(
                    f"c-{number}", points, member, replace(HELD, checkout=f"c-{number}") if known else None, mine=True
                )
            )
        ]
        gross = sum(wanted.points for wanted in parts)
        returned = int(gross * fraction)
        books = apply(books, generation, parts, returned)
        assert used(books) == gross - returned
        assert all(spend.used == 0 for spend in books if spend.generation != generation)
