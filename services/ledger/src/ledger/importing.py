"""Imports: a file is stored as it comes, and worked off in parts beside everything else, each part once."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from chassis import Database, Transaction
from chassis import Outcome as Answers
from chassis.database import with_lanes
from chassis.faults import is_transient
from chassis.lanes import lane_of
from contracts.ledger import IMPORTS
from ledger import usecases
from ledger.domain import Credit, Debit, Outcome, Result, decide
from ledger.lines import Chunk, File, LineInvalid, LineReader
from ledger.store import imports
from ledger.store.imports import Counts, Import, LineError
from ledger.store.loading import load
from ledger.usecases import Asked

BATCH: Final = 500
"""Lines of one transaction: at some 50 µs each it holds its lane no longer than a batch of messages does. Where a
chunk's parts begin follows from it, so another number would count the parts of a chunk in work again."""

INVALID: Final = -1
"""In place of a lane: the lines that are none of any member."""

LINES_PER_TURN: Final = 500
"""Lines read before others have their turn: 5 ms."""

RECEIVING: Final = timedelta(hours=1)
"""A file that has not come in by then never will: the gateway gives it ten minutes."""

DROPPED_TOGETHER: Final = 5_000
"""Rows of one statement."""


@dataclass(frozen=True, slots=True)
class Accept:
    """A file has come in whole."""

    import_id: UUID
    shop: str
    client: str
    key: str
    kind: str
    dry_run: bool
    operator: str
    sha256: bytes
    size: int
    lines: int
    chunks: int

    def asks_the_same_as(self, earlier: Import) -> bool:
        """Whether a file sent before under the key is this one, sent alike."""
        return (self.kind, self.dry_run, self.operator, self.sha256) == (
            earlier.kind,
            earlier.dry_run,
            earlier.operator,
            earlier.sha256,
        )


class GivenUp(Exception):
    """The file was taken for one that will never come in whole, and is gone."""


class KeyUsed(Exception):
    """The key was used for another file."""


async def accept(tx: Transaction, commands: Sequence[Accept]) -> Answers:
    """Take a file in, to be worked off: the import it has become. The same key gives the first one again."""
    answers = []
    for command in commands:
        await imports.lock_file(tx.driver, command.shop, command.sha256)
        earlier = await imports.by_key(tx.driver, command.shop, command.client, command.key)
        if earlier is not None:
            if not command.asks_the_same_as(earlier):
                raise KeyUsed
            answers.append(earlier)
            continue
        accepted = await imports.accept(
            tx.driver,
            command.import_id,
            key=command.key,
            sha256=command.sha256,
            size=command.size,
            lines=command.lines,
            chunks=command.chunks,
            at=tx.now,
        )
        if accepted is None:
            raise GivenUp
        answers.append(accepted)
    return Answers(answers=answers)


# -- the job


async def work(database: Database, stop: asyncio.Event) -> None:
    """Work off what is open, a chunk of each import in turn, until nothing is."""
    while not stop.is_set():
        async with database.look() as driver:
            waiting = await imports.open_imports(driver)
        if not waiting:
            return
        for one in waiting:
            if stop.is_set():
                return
            try:
                await _work_chunk(database, one)
            except Exception as error:
                if is_transient(error):
                    raise
                structlog.get_logger().exception("import_failed", shop=one.shop, import_id=str(one.id))
                async with database.begin() as tx:
                    await imports.fail(tx.driver, one.id, tx.now)


async def _work_chunk(database: Database, one: Import) -> None:
    """The next chunk of an import, lane by lane."""
    number = one.next_chunk
    if number < one.chunks:
        async with database.look() as driver:
            first_line, lines, content = await imports.chunk(driver, one.id, number)
        for part in await _parts(one, Chunk(number, first_line, lines, content), await database.lane_count()):
            lanes = {part.lane} if part.lane != INVALID else set()
            if not await with_lanes(lanes, partial(_work_part, database, part)):
                return
        number += 1
    async with database.begin() as tx:
        await imports.advance(tx.driver, one.id, dry=one.dry, upto=number, at=tx.now)
    if number >= one.chunks:
        structlog.get_logger().info("import_over", shop=one.shop, import_id=str(one.id), dry=one.dry)


async def _work_part(database: Database, part: "Part", lanes: set[int]) -> bool:
    async with database.begin(lanes) as tx:
        return await work_part(tx, part)


@dataclass(frozen=True, slots=True)
class Part:
    """Lines of one chunk and lane that are settled together."""

    import_id: UUID
    dry: bool
    chunk: int
    lane: int
    batch: int
    asked: Sequence[tuple[int, Asked]] = ()
    """By the number of the line."""
    invalid: Sequence[LineError] = ()

    @property
    def place(self) -> tuple[int, int, int]:
        return self.chunk, self.lane, self.batch


async def _parts(one: Import, chunk: Chunk, lane_count: int) -> list[Part]:
    """A chunk as parts: of one lane each, a member's lines in their order. The same chunk gives the same parts."""
    reader = LineReader(File(one.shop, one.kind, one.columns, one.sha256.hex(), one.posts_as, ZoneInfo(one.zone)))
    by_lane: dict[int, list[tuple[int, Asked]]] = defaultdict(list)
    invalid: list[LineError] = []
    for turn, (number, line) in enumerate(chunk.numbered()):
        if turn % LINES_PER_TURN == LINES_PER_TURN - 1:
            await asyncio.sleep(0)
        try:
            asked = reader.asked(number, line)
        except LineInvalid as error:
            invalid.append(LineError(number, error.code, error.detail))
            continue
        by_lane[lane_of(usecases.member_key(asked), lane_count)].append((number, asked))
    parts = [
        Part(one.id, one.dry, chunk.number, lane, batch, asked=lines)
        for lane, all_lines in sorted(by_lane.items())
        for batch, lines in enumerate(_batches(all_lines))
    ]
    if invalid:
        parts.append(Part(one.id, one.dry, chunk.number, INVALID, 0, invalid=invalid))
    return parts


def _batches(lines: Sequence[tuple[int, Asked]]) -> Iterator[Sequence[tuple[int, Asked]]]:
    for first in range(0, len(lines), BATCH):
        yield lines[first : first + BATCH]


async def work_part(tx: Transaction, part: Part) -> bool:
    """Settle a part and note what became of it, in one transaction; false when the import is open no longer."""
    if not await imports.is_open(tx.driver, part.import_id, dry=part.dry):
        return False
    if await imports.is_done(tx.driver, part.import_id, dry=part.dry, part=part.place):
        return True
    asked = [one for _, one in part.asked]
    outcomes: Sequence[Outcome] = ()
    if asked:
        outcomes = await _try(tx, part.import_id, asked) if part.dry else (await usecases.obey(tx, asked)).answers
    counts, errors = _count(part, outcomes)
    await imports.add_part(tx.driver, part.import_id, dry=part.dry, part=part.place, counts=counts, errors=errors)
    return True


def _count(part: Part, outcomes: Sequence[Outcome]) -> tuple[Counts, list[LineError]]:
    posted = repeated = points = 0
    errors: list[LineError] = []
    for (line, asked), outcome in zip(part.asked, outcomes, strict=True):
        if outcome.error is not None:
            errors.append(LineError(line, outcome.error.code, outcome.error.detail))
        elif outcome.repeated:
            repeated += 1
        else:
            posted += 1
            points += _amount(asked)
    counts = Counts(posted, repeated, len(errors), len(part.invalid), points)
    return counts, [*errors, *part.invalid]


def _amount(asked: Asked) -> int:
    posting = asked.posting
    assert isinstance(posting, Credit | Debit), "a line of a file is one of the two"
    return posting.amount


async def _try(tx: Transaction, import_id: UUID, asked: Sequence[Asked]) -> Sequence[Outcome]:
    """What would become of these lines now, after all lines before them; nothing of it is saved.

    What earlier parts would have debited is debited first, so that a member's lines are judged one after the other.
    """
    postings = [one.posting for one in asked]
    loaded = await load(tx.driver, postings, tx.now, tx.lanes)
    debited = sorted({(one.member, one.asset) for one in postings if isinstance(one, Debit)})
    before: Mapping[tuple[str, str], int] = {}
    if debited:
        before = await imports.taken(tx.driver, import_id, debited)
    earlier = [
        Debit(shop=postings[0].shop, member=member, asset=asset, source=IMPORTS, key=f"tried/{member}", amount=amount)
        for (member, asset), amount in before.items()
    ]
    outcomes = decide(loaded.state, [*earlier, *postings], tx.now).outcomes[len(earlier) :]
    taken: dict[tuple[str, str], int] = defaultdict(int)
    for posting, outcome in zip(postings, outcomes, strict=True):
        if isinstance(posting, Debit) and outcome.result is Result.POSTED and not outcome.repeated:
            taken[posting.member, posting.asset] += posting.amount
    if taken:
        await imports.take(tx.driver, import_id, taken)
    return outcomes


async def drop_old(database: Database, stop: asyncio.Event, *, keep: timedelta) -> None:
    """Drop the lines of files that are over for so long, and files that never came in whole."""
    async with database.begin() as tx:
        old = await imports.to_drop(tx.driver, received_before=tx.now - RECEIVING, kept_since=tx.now - keep, limit=100)
    for import_id in old:
        more = True
        while more and not stop.is_set():
            async with database.begin() as tx:
                more = await imports.drop_lines(tx.driver, import_id, rows=DROPPED_TOGETHER)
                if not more:
                    await imports.dropped(tx.driver, import_id, tx.now)
