"""What was loaded, and how questions are put: of few postings all in one round trip, of many each by itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import asyncpg

from ledger.domain import Account, State
from ledger.store import rows

FEW: Final = 64
"""Postings up to which round trips cost more than rows."""


@dataclass(slots=True)
class Loaded:
    """The state for a decision, and what only the store needs to know of it."""

    state: State
    positions: dict[int, int] = field(default_factory=dict)
    """By lane that is held: the highest position given so far."""
    debited: set[UUID] = field(default_factory=set)
    """Accounts of which more may change than a credit changes."""
    by_id: dict[UUID, Account] = field(default_factory=dict)
    """Accounts that are stored, by the store's handle."""
    noted: bool = False
    """Of some member there may be a record."""


Question = tuple[str, tuple[Any, ...]]
"""A statement and its parameters."""


async def ask(driver: asyncpg.Connection, questions: Sequence[Question], *, few: bool) -> list[Sequence[Any]]:
    """The rows of each. Where few are expected all go in one round trip, which then costs more than the rows."""
    if not few or len(questions) < 2:
        return [await driver.fetch(statement, *parameters) for statement, parameters in questions]
    found: asyncpg.Record = await driver.fetchrow(
        _as_one(tuple(statement for statement, _ in questions)),
        *(parameter for _, parameters in questions for parameter in parameters),
    )
    return list(found)


@lru_cache(maxsize=256)
def _as_one(statements: tuple[str, ...]) -> str:
    """Several questions as one row: an array of rows for each."""
    columns = ", ".join(f"ARRAY(SELECT q FROM ({part}) AS q)" for part in rows.numbered_on(statements))  # noqa: S608
    return f"SELECT {columns}"  # our own statements


def columns_of(keys: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Keys as one array per part."""
    return list(zip(*keys, strict=True))
