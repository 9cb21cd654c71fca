"""The verdict: one history that everybody's answers fit, told exactly once, with nothing left behind."""

import asyncio
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import asyncpg
from aiokafka import TopicPartition

from bench.chaos import downstream
from bench.chaos.ledger.callers import Story
from bench.chaos.ledger.clock import Clock
from bench.chaos.ledger.mixture import FORGIVING, OWING
from bench.chaos.ledger.replicas import Replica
from bench.ledger import books
from bench.ledger.books import Books
from contracts import topics
from local import system as parts
from testkit import history, wait_until
from testkit.history import Buckets, Line
from testkit.system import System

CALM_SECONDS: Final = 240.0
"""After the last fault everything must have drained within this."""

DUE_SECONDS: Final = 5.0
"""What fell due so long ago has been applied: the job looks every second."""

_UNSEALED: Final = (
    "SELECT count(*) FROM (SELECT lane, max(position) AS last FROM (SELECT lane, position FROM entry"
    " UNION ALL SELECT lane, position FROM refusal) AS row GROUP BY lane) AS log LEFT JOIN"
    " (SELECT lane, max(last_position) AS last FROM seal GROUP BY lane) AS sealed USING (lane)"
    " WHERE log.last > COALESCE(sealed.last, 0)"
)

_LEFT: Final = {
    "messages wait": "SELECT count(*) FROM waiting",
    "dead letters": "SELECT count(*) FROM dead_letter",
    "postings are parked": "SELECT count(*) FROM parked",
    "lanes are not sealed to their end": _UNSEALED,
    "accounts are overdue": "SELECT count(*) FROM account"
    f" WHERE next_due_at < clock_timestamp() - interval '{DUE_SECONDS} seconds'",
    "holds are open beyond their time": "SELECT count(*) FROM hold"
    f" WHERE state = 'open' AND expires_at < clock_timestamp() - interval '{DUE_SECONDS} seconds'",
}
"""What must come to nothing, once it is calm."""

_UNTOLD: Final = (
    "SELECT count(*) FROM relay_cursor AS c WHERE c.position < GREATEST("
    " (SELECT COALESCE(max(e.position), 0) FROM entry AS e WHERE e.lane = c.lane),"
    " (SELECT COALESCE(max(r.position), 0) FROM refusal AS r WHERE r.lane = c.lane))"
)


@dataclass
class Verdict:
    """What was found; empty lists are what is wanted."""

    operations: int = 0
    """Asked for until the last fault; not the asking again after it."""
    entries: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    """Entries by kind, so that it shows when something was asked for and always refused."""
    ambiguous: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    """Answers that no order of everything explains."""
    stuck: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing twice, nothing out of order, nothing stuck."""
        return not (self.lost or self.duplicated or self.disordered or self.stuck)

    def __str__(self) -> str:
        return json.dumps(
            {name: value[:20] if isinstance(value, list) else value for name, value in asdict(self).items()}
        )


async def judge(system: System, on: Books, story: Story, clock: Clock, replicas: Sequence[Replica]) -> Verdict:
    """Wait until all is calm, ask again for what nobody knows, end all who write, and look everywhere."""
    verdict = Verdict(operations=story.operations, ambiguous=story.ambiguous)
    await story.settle()
    await clock.put(0)
    try:
        await wait_until(lambda: _calm(system, on), timeout_seconds=CALM_SECONDS, every_seconds=0.5, what="calm")
        await asyncio.gather(*(replica.stop() for replica in replicas if replica.mode != "worker"))
        await wait_until(lambda: _told(on), timeout_seconds=CALM_SECONDS, every_seconds=0.2, what="all to be told")
    except AssertionError as error:
        verdict.stuck.append(str(error))
    await asyncio.gather(*(replica.stop() for replica in replicas))
    for finding in history.check(story.calls, clock.without_foresight(story.reads), await _statements(on)):
        getattr(verdict, finding.what).append(finding.says)
    try:
        await books.check(on, outcomes=len(story.asked))
    except AssertionError as error:
        verdict.lost.append(f"books: {error}")
    for shop in (FORGIVING, OWING):
        says = await asyncio.to_thread(_verified, system, on, shop)
        if says:
            verdict.lost.append(f"accrual-verify of {shop}: {says}")
    async with on.superuser() as database:
        verdict.kinds = dict(await database.fetch("SELECT kind, count(*) FROM entry GROUP BY kind"))
    told = await downstream.read(system, on.name)
    verdict.entries = told.entries
    verdict.lost += told.lost
    verdict.duplicated += told.duplicated
    return verdict


async def _calm(system: System, on: Books) -> bool:
    """Every record applied, every event sent, nothing due or waiting."""
    ends = await _ends(system)
    async with on.superuser() as database:
        rows = await database.fetch(
            "SELECT partition, next FROM consumer_offset WHERE topic = $1", topics.POSTINGS.name
        )
        read = {row["partition"]: row["next"] for row in rows}
        behind = {number: end - read.get(number, 0) for number, end in ends.items() if end != read.get(number, 0)}
        assert not behind, f"messages to read, by partition: {behind}"
        for what, statement in _LEFT.items():
            left = await database.fetchval(statement)
            assert not left, f"{left} {what}"
    return await _told(on)


async def _told(on: Books) -> bool:
    async with on.superuser() as database:
        untold = await database.fetchval(_UNTOLD)
        assert not untold, f"{untold} lanes have events to send"
    return True


def _verified(system: System, on: Books, shop: str) -> str:
    """What an auditor finds in a shop's export, beside the seals that left the database; nothing is wanted."""
    export = system.settings.var / f"{shop}.ndjson"
    environment = {
        **os.environ,
        **parts.service_environment(system.settings, "ledger"),
        "LEDGER_DATABASE_URL": on.settings.database_url.get_secret_value(),
    }
    with export.open("wb") as file:
        subprocess.run(
            [sys.executable, "-m", "ledger", "export", "--shop", shop], env=environment, stdout=file, check=True
        )
    seals = ["--seals", environment["LEDGER_SEAL_FOLDER"], "--key", str(system.settings.keys / "seal-key-public.pem")]
    verify = subprocess.run(
        [sys.executable, "-m", "accrual_verify", "export", str(export), *seals],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if verify.returncode == 0 else verify.stdout + verify.stderr


async def _ends(system: System) -> dict[int, int]:
    async with downstream.reader(system) as consumer:
        partitions = [TopicPartition(topics.POSTINGS.name, number) for number in range(topics.POSTINGS.partitions)]
        return {tp.partition: end for tp, end in (await consumer.end_offsets(partitions)).items()}


async def _statements(on: Books) -> dict[str, list[Line]]:
    """All entries of all accounts, oldest first."""
    async with on.superuser() as database:
        rows = await database.fetch(
            "SELECT a.shop || '/' || a.member AS account, e.seq, e.kind, e.source, e.key, e.available, e.pending,"
            " e.held, e.debt, e.system::text, e.available_after, e.pending_after, e.held_after, e.debt_after,"
            " encode(e.hash, 'hex') AS hash FROM entry AS e JOIN account AS a ON a.id = e.account_id"
            " ORDER BY e.account_id, e.seq"
        )
    statements: dict[str, list[Line]] = defaultdict(list)
    for row in rows:
        statements[row["account"]].append(_line(row))
    return statements


def _line(row: asyncpg.Record) -> Line:
    return Line(
        seq=row["seq"],
        kind=row["kind"],
        source=row["source"],
        posting=row["key"],
        changes=Buckets(*(row[name] for name in Buckets._fields)),
        others=sum(dict(json.loads(row["system"])).values()),
        after=Buckets(*(row[f"{name}_after"] for name in Buckets._fields)),
        hash=row["hash"],
    )
