"""Postings per second into the ledger: the use case on a real database, with everything that a posting entails."""

import gc
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from bench import floors
from bench.results import Figure
from chassis import Database
from ledger import usecases
from ledger.domain.postings import Award, Debit, Posting
from ledger.settings import LedgerSettings
from ledger.usecases import Asked, lane_key
from local import databases
from local.paths import ROOT
from testkit.system import System

MEMBERS: Final = 5_000
SHOP: Final = "bench"
SPENDS_PERCENT: Final = 15
START: Final = 2_000
"""Points that every member has at first, so that no debit is refused."""
POSTINGS: Final = {1: 3_000, 100: 50_000, 1_000: 100_000}
"""Postings measured at each batch size: some seconds each."""
EXPIRES_AT: Final = datetime(2040, 1, 1, tzinfo=UTC)


async def measure(system: System) -> list[Figure]:
    """Batches of 1, 100 and 1,000 over many members, and of 1,000 for one member."""
    gc.collect()
    gc.freeze()
    gc.disable()  # as every service runs: cycles are looked for by the clock
    admin_url = system.database_url("postgres")
    floor = floors.say("bare_rows_per_second", await floors.bare_rows(admin_url))
    single = floors.say("tpcb_per_second", floors.tpcb(admin_url))
    figures = []
    for name, members, batch in (
        ("batch_1", MEMBERS, 1), ("batch_100", MEMBERS, 100), ("batch_1000", MEMBERS, 1_000), ("hot", 1, 1_000),
    ):  # fmt: skip
        rate = await _run(system, members=members, batch=batch)
        figures.append(
            Figure.beside(f"postings_per_second_{name}", rate, "postings/s", single if batch == 1 else floor)
        )
    return figures


async def _run(system: System, *, members: int, batch: int) -> float:
    """On a fresh database: fill it with one award per member, measure, then check the books."""
    database_name = f"bench_postings_{members}_{batch}"
    made = await databases.ensure(
        system.database_url("postgres"), service="ledger", password=_password(system), database=database_name
    )
    await databases.migrate(made, ROOT / "services" / "ledger" / "migrations")
    settings = LedgerSettings(
        database_url=made.url, kafka_bootstrap_servers=system.bootstrap_servers, jwks_file=system.tokens.jwks_file
    )
    database = Database(settings, events_from_log=True)
    try:
        await database.execute(
            usecases.learn_programmes,
            [usecases.LearnProgramme(shop=SHOP, revision=1, shortfall="forgive", zone="UTC", currency="EUR")],
        )
        filled = [_award(f"fill-{number}", number, amount=START) for number in range(members)]
        for first in range(0, members, 1_000):
            await database.execute(usecases.post, _asked(filled[first : first + 1_000]), lane_key=lane_key)
        postings = _workload(POSTINGS[batch], members)
        started = time.perf_counter()
        for first in range(0, len(postings), batch):
            answers = await database.execute(usecases.post, _asked(postings[first : first + batch]), lane_key=lane_key)
            assert len(answers) == len(postings[first : first + batch])
        seconds = time.perf_counter() - started
        await _check(made.url, expected=len(postings) + members)
        return len(postings) / seconds
    finally:
        await database.close()


def _workload(count: int, members: int) -> list[Posting]:
    """Awards of 20 points, and debits that use up five or six of them: what comes in goes out again."""
    chance = random.Random(7)
    return [
        Debit(shop=SHOP, member=f"m-{chance.randrange(members)}", source="bench", key=f"d-{number}", amount=110)
        if chance.randrange(100) < SPENDS_PERCENT
        else _award(f"a-{number}", chance.randrange(members), days=chance.randrange(1_000))
        for number in range(count)
    ]


def _award(key: str, member: int, days: int = 0, amount: int = 20) -> Award:
    return Award(
        shop=SHOP, member=f"m-{member}", source="bench", key=key, order=key, amount=amount,
        expires_at=EXPIRES_AT + timedelta(days=days),
    )  # fmt: skip


def _asked(postings: Sequence[Posting]) -> list[Asked]:
    return [Asked(posting) for posting in postings]


async def _check(url: str, *, expected: int) -> None:
    """A run that leaves wrong books does not count: one outcome per posting, and every change in balance."""
    connection = await asyncpg.connect(url)
    try:
        accounts = await connection.fetchval("SELECT sum(available + pending + held + debt)::bigint FROM account")
        outcomes = await connection.fetchval("SELECT count(*) FROM posting")
        system = await connection.fetchval("SELECT sum(amount)::bigint FROM system_sum")
    finally:
        await connection.close()
    if outcomes != expected or accounts + system != 0:
        raise AssertionError(f"the books are wrong: {outcomes} of {expected} outcomes, sum {accounts + system}")


def _password(system: System) -> str:
    from local import keys

    return keys.database_password(system.settings)
