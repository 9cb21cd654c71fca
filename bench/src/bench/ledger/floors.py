"""What the same rows cost with no logic: a run's own writes, recorded and done again on a copy of its database."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

from sqlalchemy import Table

from bench.ledger.books import Books
from bench.ledger.workload import Keys, Spread, members_of, operations
from chassis import Database
from ledger import usecases
from ledger.store import saving
from ledger.store.writes import Writes
from ledger.usecases import Asked, lane_key

Way = Literal["unnest", "copy"]
"""All by statements with arrays, or with COPY where the ledger copies too."""

Added = tuple[str, Sequence[tuple[Any, ...]], Table | None]
BATCH: Final = 1_000


class _Recorded(Writes):
    """Writes that are remembered."""

    kept: list[list[Added]] = []  # noqa: RUF012 - of one run at a time

    def __init__(self) -> None:
        super().__init__()
        self.kept.append([])

    def add(self, statement: str, records: Sequence[tuple[Any, ...]], *, into: Table | None = None) -> None:
        self.kept[-1].append((statement, records, into))
        super().add(statement, records, into=into)


@contextmanager
def _recording() -> Iterator[list[list[Added]]]:
    _Recorded.kept = []
    saving.Writes = _Recorded  # type: ignore[attr-defined]
    try:
        yield _Recorded.kept
    finally:
        saving.Writes = Writes  # type: ignore[attr-defined]


async def record(books: Books, members: int, count: int) -> tuple[list[list[Added]], float]:
    """Post, and keep what each transaction wrote; postings per second beside it."""
    made = list(
        operations(
            members_of(members, 1, 0, 1), count, spread=Spread.UNIFORM, keys=Keys.TIME_ORDERED, name="recorded"
        )
    )  # fmt: skip
    database = Database(books.settings, events_from_log=True)
    try:
        with _recording() as kept:
            started = time.perf_counter()
            for first in range(0, count, BATCH):
                asked = [Asked(posting) for posting in made[first : first + BATCH]]
                await database.execute(usecases.obey, asked, lane_key=lane_key)
            return kept, count / (time.perf_counter() - started)
    finally:
        await database.close()


async def repeat(books: Books, recorded: list[list[Added]], count: int, way: Way) -> float:
    """The same rows again, a transaction for each batch; postings per second that they stand for."""
    database = Database(books.settings, events_from_log=True)
    try:
        await database.lane_count()
        started = time.perf_counter()
        for added in recorded:
            writes = Writes()
            for statement, records, into in added:
                writes.add(statement, records, into=into if way == "copy" else None)
            async with database.begin() as tx:
                await writes.run(tx.driver)
        return count / (time.perf_counter() - started)
    finally:
        await database.close()
