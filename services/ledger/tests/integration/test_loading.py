"""How books are read for a decision: few lots in one round trip with the rest, many as rows of their own."""

from collections.abc import Sequence
from typing import Any

import pytest

from ledger.store import loading_books
from ledger.store.loaded import Question, ask

from .conftest import Ledger, iso

OPERATOR = {"operator": "ana", "reason": "goodwill"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Statements that were asked in one round trip, of the books of each batch."""
    at_once: list[Sequence[str]] = []

    async def seen(driver: Any, questions: Sequence[Question], *, few: bool) -> Any:
        if few:
            at_once.append([statement for statement, _ in questions])
        return await ask(driver, questions, few=few)

    monkeypatch.setattr(loading_books, "ask", seen)
    return at_once


async def test_few_lots_are_read_with_the_rest_and_many_by_themselves(
    ledger: Ledger, asked: list[Sequence[str]]
) -> None:
    for number in range(loading_books.FEW_ENTRIES):
        await ledger.award("m-1", 10, key=f"a-{number}")
    await ledger.done("m-1", {"kind": "debit", "amount": 15}, cause=OPERATOR)
    assert loading_books._OPEN_LOTS in asked[-1]
    await ledger.done("m-1", {"kind": "debit", "amount": 15}, cause=OPERATOR)
    assert loading_books._OPEN_HOLDS in asked[-1]
    assert loading_books._OPEN_LOTS not in asked[-1]
    assert await ledger.buckets("m-1") == (10 * loading_books.FEW_ENTRIES - 30, 0, 0, 0)
    await ledger.check()


async def test_a_hold_reads_no_lots_unless_something_is_due_or_owed(ledger: Ledger, asked: list[Sequence[str]]) -> None:
    await ledger.award("m-1", 10)
    await ledger.award("m-1", 10, expires_at=iso(hours=1))
    assert (await ledger.hold("m-1", 15, hold="h-1", expires_at=iso(minutes=30))).status_code == 201
    assert [loading_books._OPEN_LOTS in statements for statements in asked] == [False] * 3
    assert await ledger.buckets("m-1") == (5, 0, 15, 0)
    await ledger.age(hours=2)  # the first hold has ended, then one of the lots
    assert (await ledger.hold("m-1", 7, hold="h-2", expires_at=iso(hours=1))).status_code == 201
    assert loading_books._OPEN_LOTS in asked[-1]
    assert await ledger.buckets("m-1") == (3, 0, 7, 0)
    await ledger.check()
