"""Histories made by hand: good ones pass, and each way of being wrong is found."""

from dataclasses import replace

from testkit.history import BY_TIME, Answer, Buckets, Call, Line, Read, answer_of, check

A = "m-1"


def lines(*asked: tuple[str, str, int]) -> list[Line]:
    """A statement of awards, debits and holds: (key, kind, amount)."""
    made: list[Line] = []
    after = Buckets()
    for seq, (key, kind, amount) in enumerate(asked, 1):
        held = amount if kind == "hold" else 0
        change = amount if kind in ("award", "credit") else -amount
        changes = Buckets(available=change, held=held)
        after = Buckets(after.available + change, 0, after.held + held, 0)
        source = BY_TIME if kind == "expire" else "till"
        made.append(Line(seq, kind, source, key, changes, -sum(changes), after, f"hash-{seq}"))
    return made


def told(line: Line, invoked_at: float, answered_at: float, *, repeated: bool = False) -> Call:
    return Call(A, line.posting, line.kind, invoked_at, answered_at, Answer("posted", repeated, (line,)))


def refused(key: str, available: int, invoked_at: float, answered_at: float) -> Call:
    answer = Answer("refused", code="insufficient_points", available=available)
    return Call(A, key, "debit", invoked_at, answered_at, answer)


def found(calls: list[Call], statement: list[Line], reads: list[Read] | None = None) -> list[str]:
    return [finding.what for finding in check(calls, reads or [], {A: statement})]


AWARD, DEBIT, MORE = STATEMENT = lines(("a", "award", 100), ("d", "debit", 30), ("b", "award", 5))
GOOD = [told(AWARD, 0, 1), told(DEBIT, 2, 5), told(MORE, 3, 4)]


def test_a_history_that_can_have_happened_is_clean() -> None:
    """Parallel calls may come in any order, repeats get the first answer, looks see what was there."""
    calls = [*GOOD, told(DEBIT, 6, 7, repeated=True), refused("x", 70, 2, 3), refused("y", 75, 3, 9)]
    reads = [Read(A, 2, 6, 1, Buckets(100)), Read(A, 5, 6, 3, Buckets(75)), Read(A, 0, 1, 0, Buckets())]
    assert found(calls, STATEMENT, reads) == []


def test_an_acknowledged_posting_that_is_not_there_is_lost() -> None:
    assert found(GOOD, STATEMENT[:2]) == ["lost"]


def test_an_answer_that_differs_from_what_was_kept_is_found() -> None:
    other = replace(MORE, after=Buckets(74))
    assert found([*GOOD[:2], told(other, 3, 4)], STATEMENT) == ["lost"]


def test_a_lost_update_is_found() -> None:
    """Two credits that both started from the same balance."""
    first, second = lines(("a", "award", 10), ("b", "award", 10))
    second = replace(second, after=Buckets(10))
    assert found([told(first, 0, 2), told(second, 0, 2)], [first, second]) == ["lost"]


def test_a_missing_number_is_found() -> None:
    assert found(GOOD[:1], [AWARD, replace(DEBIT, seq=3)])[0] == "lost"


def test_a_number_twice_is_found() -> None:
    assert found(GOOD[:1], [AWARD, replace(AWARD)])[0] == "duplicated"


def test_points_below_zero_are_found() -> None:
    statement = lines(("a", "award", 10), ("d", "debit", 11))
    assert found([told(line, 0, 1) for line in statement], statement) == ["duplicated"]


def test_changes_that_do_not_sum_to_zero_are_found() -> None:
    (award,) = lines(("a", "award", 10))
    award = replace(award, others=-9)
    assert found([told(award, 0, 1)], [award]) == ["lost"]


def test_a_posting_done_twice_is_found() -> None:
    """The same key anew, with an entry of its own."""
    statement = lines(("a", "award", 10), ("a", "award", 10))
    assert set(found([told(line, n, n + 0.5) for n, line in enumerate(statement)], statement)) == {
        "duplicated",
        "disordered",
    }


def test_an_entry_that_nobody_asked_for_is_found() -> None:
    assert found(GOOD[:2], STATEMENT) == ["duplicated"]


def test_an_entry_told_to_two_is_found() -> None:
    call = Call(A, "other", "debit", 2, 5, Answer("posted", lines=(DEBIT,)))
    assert found([*GOOD, call], STATEMENT) == ["duplicated"]


def test_a_refused_posting_with_an_entry_is_found() -> None:
    assert found([GOOD[0], refused("d", 100, 2, 5), GOOD[2]], STATEMENT) == ["duplicated"]


def test_what_fell_due_needs_no_caller() -> None:
    award, expire = lines(("a", "award", 10), ("a", "expire", 10))
    read = Read(A, 2, 3, 1, Buckets())  # what is due is subtracted before it is written
    assert found([told(award, 0, 1)], [award, expire], [read]) == []


def test_who_was_answered_first_has_the_lower_number() -> None:
    assert found([told(AWARD, 0, 1), told(DEBIT, 8, 9), told(MORE, 3, 4)], STATEMENT) == ["disordered"]


def test_a_stale_read_is_found() -> None:
    assert found(GOOD, STATEMENT, [Read(A, 6, 7, 2, Buckets(70))]) == ["disordered"]


def test_a_read_of_the_future_is_found() -> None:
    assert found(GOOD, STATEMENT, [Read(A, 1.2, 1.5, 2, Buckets(70))]) == ["disordered"]


def test_a_read_of_what_never_was_is_found() -> None:
    assert found(GOOD, STATEMENT, [Read(A, 2, 9, 2, Buckets(71))]) == ["disordered"]


def test_reads_do_not_go_back() -> None:
    """Each alone is possible while the debit is under way; the later one may not see less."""
    calls = [told(AWARD, 0, 1), told(DEBIT, 2, 9)]
    reads = [Read(A, 3, 4, 2, Buckets(70)), Read(A, 5, 6, 1, Buckets(100))]
    assert found(calls, STATEMENT[:2], reads) == ["disordered"]
    assert found(calls, STATEMENT[:2], reads[::-1][:1]) == []


def test_a_refusal_with_a_balance_that_was_not_then_is_found() -> None:
    assert found([*GOOD, refused("x", 100, 6, 7)], STATEMENT) == ["disordered"]
    assert found([*GOOD, refused("x", 12, 0, 9)], STATEMENT) == ["disordered"]


def test_an_ambiguous_call_is_settled_by_asking_again() -> None:
    unknown = Call(A, "d", "debit", 2)
    asked_again = told(DEBIT, 10, 11, repeated=True)
    assert found([GOOD[0], unknown, asked_again, GOOD[2]], STATEMENT) == []
    assert found([GOOD[0], unknown, GOOD[2]], STATEMENT) == ["lost", "duplicated"]


def test_different_answers_to_the_same_key_are_found() -> None:
    assert "disordered" in found([*GOOD, refused("d", 70, 6, 7)], STATEMENT)


def test_what_waited_takes_effect_when_its_cause_comes() -> None:
    """Answered as parked long before the entry; the settled answer is the first one's end."""
    statement = lines(("a", "award", 10), ("r", "revoke", 4))
    parked = Call(A, "r", "revoke", 0, 1, Answer("parked"))
    settled = Call(A, "r", "revoke", 8, 9, Answer("posted", repeated=True, lines=(statement[1],)))
    assert found([parked, told(statement[0], 2, 3), settled], statement) == []
    assert found([parked, told(statement[0], 2, 3)], statement) == ["lost", "duplicated"]


def test_a_take_back_may_wait_for_the_end_of_a_hold() -> None:
    """It is posted without entries then, and has one when the hold ends; nothing else is."""
    statement = lines(("a", "award", 10), ("r", "revoke", 4))
    award, revoke = told(statement[0], 0, 1), Call(A, "r", "revoke", 2, 3, Answer("posted"))
    assert found([award, revoke], statement) == []
    assert found([award, revoke], statement[:1]) == []
    assert found([award, Call(A, "d", "debit", 2, 3, Answer("posted"))], statement[:1]) == ["lost"]


def test_a_hold_is_found_by_its_key_and_its_balance() -> None:
    statement = lines(("a", "award", 10), ("h", "hold", 4))
    good = Call(A, "h", "hold", 2, 3, Answer("held", after=Buckets(6, 0, 4)))
    assert found([told(statement[0], 0, 1), good], statement) == []
    wrong = replace(good, answer=Answer("held", after=Buckets(10)))
    assert found([told(statement[0], 0, 1), wrong], statement) == ["lost"]
    assert found([told(statement[0], 0, 1), good], statement[:1]) == ["lost"]


def test_what_the_ledger_says_is_read() -> None:
    balance = {"available": 6, "pending": 0, "held": 4, "debt": 0}
    assert answer_of(201, {"balance": balance, "repeated": True}) == Answer(
        "held", repeated=True, after=Buckets(6, 0, 4)
    )
    problem = {"code": "insufficient_points", "available": 3, "asked": 4}
    assert answer_of(409, problem) == Answer("refused", code="insufficient_points", available=3)
    assert answer_of(503, {"code": "unavailable"}) is None
    outcome = {"outcome": "parked", "repeated": False, "entries": [], "refusal": None}
    assert answer_of(202, {"outcomes": [outcome]}) == Answer("parked")


def gift(*, got: int | None = 7, answered: bool = True) -> tuple[list[Call], dict[str, list[Line]]]:
    """Seven of ten points are given away, as somebody was told who asked."""
    award, out = lines(("a", "award", 10), ("g", "gift_out", 7))
    came = () if got is None else [replace(line, kind="gift_in") for line in lines(("g", "award", got))]
    answer = Answer("held", after=out.after) if answered else Answer("refused", code="gift_limit_reached")
    calls = [told(award, 0, 1), Call(A, "g", "gift", 2, 3, answer)]
    return calls, {A: [award, out], "m-2": list(came)}


def test_a_gift_has_an_entry_on_both_sides() -> None:
    calls, statements = gift()
    assert check(calls, [], statements) == []


def test_a_gift_that_did_not_arrive_or_not_as_given_is_found() -> None:
    for got, what in ((None, "lost"), (6, "lost"), (8, "duplicated")):
        calls, statements = gift(got=got)
        assert [finding.what for finding in check(calls, [], statements)] == [what]


def test_a_gift_that_was_refused_has_no_entries() -> None:
    calls, statements = gift(answered=False)
    assert [finding.what for finding in check(calls, [], statements)] == ["duplicated", "duplicated"]


def test_a_gift_that_came_after_what_was_asked_later_is_found() -> None:
    calls, statements = gift()
    (came,) = statements["m-2"]
    first = replace(lines(("x", "award", 5))[0], hash="hash-x")
    came = replace(came, seq=2, after=Buckets(12))
    late = Call("m-2", "x", "award", 4, 5, Answer("posted", lines=(first,)))
    findings = check([*calls, late], [], {**statements, "m-2": [first, came]})
    assert [finding.what for finding in findings] == ["disordered"]


def frozen_at_two(*kinds: str) -> list[Line]:
    """An award, a freeze, and then what is given; each of an hour."""
    return lines(("a", "award", 100), ("f", "freeze", 0), *((f"x-{n}", kind, 1) for n, kind in enumerate(kinds)))


def called(statement: list[Line]) -> list[Call]:
    return [told(line, line.seq, line.seq + 0.5) for line in statement]


def test_nothing_is_taken_anew_of_a_frozen_member() -> None:
    held = Answer("held", after=Buckets(99, 0, 1))
    for kind, calls in (
        ("hold", [Call(A, "x-0", "hold", 3, 3.5, held)]),
        ("spend", called(frozen_at_two("spend"))[2:]),
    ):
        statement = frozen_at_two(kind)
        assert found([*called(statement)[:2], *calls], statement) == ["disordered"]
    statement = frozen_at_two("spend")
    late = replace(called(statement)[2], is_late=True)
    assert found([*called(statement)[:2], late], statement) == []
    statement = frozen_at_two("debit", "award", "capture")[:4]
    assert found(called(statement), statement) == []
    statement = [*frozen_at_two(), replace(frozen_at_two("award")[2], kind="unfreeze", changes=Buckets(), others=0)]
    statement[2] = replace(statement[2], after=statement[1].after)
    assert found(called(statement), statement) == []


def test_a_refusal_of_a_frozen_member_has_a_moment_at_which_it_was() -> None:
    statement = frozen_at_two()
    refusal = Answer("refused", code="account_frozen")
    for asked, answered, wrong in ((0, 1, ["disordered"]), (1.5, 2.2, []), (5, 6, [])):
        call = Call(A, "s", "spend", asked, answered, refusal)
        assert found([*called(statement), call], statement) == wrong


def test_freezing_anew_changes_nothing_only_while_it_is_so() -> None:
    statement = frozen_at_two()
    for kind, asked, wrong in (("freeze", 0, ["disordered"]), ("freeze", 4, []), ("unfreeze", 4, ["disordered"])):
        call = Call(A, "again", kind, asked, asked + 0.5, Answer("unchanged"))
        assert found([*called(statement), call], statement) == wrong
