"""How books are read for a decision: few lots in one round trip with the rest, many as rows of their own."""

from collections.abc import Sequence
from typing import Any

import pytest

from ledger.store import loading_books
from ledger.store.loaded import Question, ask

from .conftest import Ledger


async def test_few_lots_are_read_with_the_rest_and_many_by_themselves(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[Sequence[str]] = []

    async def seen(driver: Any, questions: Sequence[Question], *, few: bool) -> Any:
        if few:
            at_once.append([statement for statement, _ in questions])
        return await ask(driver, questions, few=few)

    monkeypatch.setattr(loading_books, "ask", seen)
    for number in range(loading_books.FEW_ENTRIES):
        await ledger.award("m-1", 10, key=f"a-{number}")
    assert (await ledger.hold("m-1", 15, hold="h-1")).status_code == 201
    assert loading_books._OPEN_LOTS in at_once[-1]
    assert (await ledger.hold("m-1", 15, hold="h-2")).status_code == 201
    assert loading_books._OPEN_HOLDS in at_once[-1]
    assert loading_books._OPEN_LOTS not in at_once[-1]
    assert await ledger.buckets("m-1") == (10 * loading_books.FEW_ENTRIES - 30, 0, 30, 0)
    await ledger.check()
