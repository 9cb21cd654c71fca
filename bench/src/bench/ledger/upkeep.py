"""What falls due on accounts that nobody touches: lots expired per second, beside postings that go on."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from bench.ledger import books
from bench.ledger.books import Books
from bench.ledger.service import serving
from bench.ledger.workload import AWARD, SHOP, SOURCE
from bench.results import Figure
from chassis import Database
from ledger import usecases
from ledger.domain.postings import Award
from ledger.usecases import Asked, lane_key
from testkit import wait_until
from testkit.system import System

LOTS_EACH: Final = 4
"""Of a member, all with the same end, as a campaign's points have: they end in one entry."""
FILLED_TOGETHER: Final = 2_000
FILL_PER_SECOND: Final = 4_000
"""What a slow machine manages, so that the end has not come before all lots are there."""
POSTINGS_PER_SECOND: Final = 3_000
TICK_SECONDS: Final = 0.1
GIVE_UP_SECONDS: Final = 600.0

_DUE: Final = "SELECT count(*) FROM account WHERE next_due_at <= clock_timestamp()"


async def measure(system: System, *, members: int) -> list[Figure]:
    """Lots of so many members end at one instant; the job's process starts after it."""
    on = await books.make(system, "ledger_due")
    ends_at = datetime.now(UTC) + timedelta(seconds=10 + members * LOTS_EACH / FILL_PER_SECOND)
    await _fill(on, members, ends_at)
    await on.settle()
    async with on.superuser() as connection:
        await asyncio.sleep(max(0.0, (ends_at - datetime.now(UTC)).total_seconds()))
        due = await connection.fetchval(_DUE)
        assert due == members, f"{due} of {members} members are due: lots ended before all were there"
        beside = asyncio.create_task(_post_beside(on))
        async with serving(system, on, "jobs", {"LEDGER_DUE_EVERY_SECONDS": "1"}):
            started_at = time.monotonic()

            async def nothing_due() -> bool:
                return not await connection.fetchval(_DUE)

            await wait_until(
                nothing_due, timeout_seconds=GIVE_UP_SECONDS, every_seconds=TICK_SECONDS, what="nothing to be due"
            )
            seconds = time.monotonic() - started_at
        beside.cancel()
        (posted,) = await asyncio.gather(beside, return_exceptions=True)
        expired = await connection.fetchval("SELECT sum(json_array_length(lots)) FROM entry WHERE kind = 'expire'")
        assert expired == members * LOTS_EACH, f"{expired} of {members * LOTS_EACH} lots expired; {posted!r}"
        beside_rate = await connection.fetchval("SELECT count(*) FROM entry WHERE source = $1", "beside") / seconds
    keys = await on.count("posting")
    await books.check(on, outcomes=keys)
    await books.drop(system, on)
    return [
        Figure("expired_lots_per_second", round(expired / seconds), "lots/s"),
        Figure("postings_per_second_beside_expiry", round(beside_rate), "postings/s"),
    ]


async def _fill(on: Books, members: int, ends_at: datetime) -> None:
    database = Database(on.settings, events_from_log=True)
    try:
        for lot in range(LOTS_EACH):
            for first in range(0, members, FILLED_TOGETHER):
                asked = [
                    _award(f"m-{number}", f"{lot}/{number}", SOURCE, ends_at)
                    for number in range(first, min(first + FILLED_TOGETHER, members))
                ]
                await database.execute(usecases.obey, asked, lane_key=lane_key)
    finally:
        await database.close()


async def _post_beside(on: Books) -> None:
    """A fixed rate on other members, until cancelled."""
    database = Database(on.settings, events_from_log=True)
    together = int(POSTINGS_PER_SECOND * TICK_SECONDS)
    number = 0
    due = time.monotonic()
    try:
        while True:
            asked = [_award(f"o-{n % 50_000}", str(n), "beside", None) for n in range(number, number + together)]
            await database.execute(usecases.obey, asked, lane_key=lane_key)
            number += together
            due += TICK_SECONDS
            await asyncio.sleep(max(0.0, due - time.monotonic()))
    finally:
        await database.close()


def _award(member: str, key: str, source: str, ends_at: datetime | None) -> Asked:
    return Asked(Award(shop=SHOP, member=member, source=source, key=key, amount=AWARD, expires_at=ends_at))
