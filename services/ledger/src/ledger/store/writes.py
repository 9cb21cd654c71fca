"""Many writes in few round trips: one statement per table, all in one when they are small, COPY when they are large."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import asyncpg
from sqlalchemy import Table

from ledger.store import rows

COPY_FROM: Final = 200
"""Rows from which COPY beats an INSERT with arrays; below it, its extra round trip costs more than it saves."""

TOGETHER_UPTO: Final = 200
"""Rows of all tables up to which the writes of a batch go as one statement."""


class Writes:
    """Statements with their rows. Few rows go in one round trip, many by one statement per table, very many by COPY."""

    def __init__(self) -> None:
        self._statements: list[tuple[str, Sequence[tuple[Any, ...]]]] = []
        self._copies: list[tuple[Table, Sequence[tuple[Any, ...]]]] = []
        self._rows = 0

    def add(self, statement: str, records: Sequence[tuple[Any, ...]], *, into: Table | None = None) -> None:
        """A statement with array parameters; one that only inserts `into` a table may become a COPY."""
        if not records:
            return
        if into is not None and len(records) >= COPY_FROM:
            self._copies.append((into, records))
            return
        self._statements.append((statement, records))
        self._rows += len(records)

    async def run(self, driver: asyncpg.Connection) -> None:
        """No statement reads what another one writes, so their order does not matter."""
        for table, records in self._copies:
            await driver.copy_records_to_table(table.name, records=records, columns=table.columns.keys())
        if len(self._statements) > 1 and self._rows <= TOGETHER_UPTO:
            await driver.execute(
                _together(tuple(statement for statement, _ in self._statements)),
                *(column for _, records in self._statements for column in zip(*records, strict=True)),
            )
            return
        for statement, records in self._statements:
            await driver.execute(statement, *zip(*records, strict=True))


@lru_cache(maxsize=256)
def _together(statements: tuple[str, ...]) -> str:
    """Several writes as one statement, their parameters numbered on: a round trip costs more than a row."""
    *others, last = rows.numbered_on(statements)
    named = ", ".join(f"w{place} AS ({part})" for place, part in enumerate(others))
    return f"WITH {named} {last}"
