"""The database's clock, so that it can be set: the ledger looks at no other."""

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Final

import asyncpg

from bench.ledger.books import Books
from testkit.history import Read

JUMP_SECONDS: Final = 30.0
"""Ahead of the true time or behind it, at most: what comes to mind when a machine wakes up or is moved."""

FORESEEN_SECONDS: Final = 60.0
"""For so long what a read foresaw may not have been applied: the job looks every second, if it is not hurt."""

_MAKE: Final = """
    CREATE SCHEMA clock;
    CREATE TABLE clock.ahead (seconds double precision NOT NULL);
    INSERT INTO clock.ahead VALUES (0);
    CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
        'SELECT pg_catalog.clock_timestamp() + make_interval(secs => seconds) FROM clock.ahead';
    GRANT USAGE ON SCHEMA clock TO PUBLIC;
    GRANT SELECT ON clock.ahead TO PUBLIC;
"""


@dataclass
class _Setting:
    """How far ahead it may have been, and when, by the callers' clock."""

    ahead: float
    since: float
    until: float = inf


@dataclass
class Clock:
    """A function before Postgres's own of that name, for every session that is opened from now on."""

    on: Books
    chance: random.Random
    _settings: list[_Setting] = field(default_factory=lambda: [_Setting(0.0, -inf)])

    async def install(self) -> None:
        """Before anybody connects to the database."""
        async with self.on.superuser() as database:
            await database.execute(_MAKE)
            await database.execute(f'ALTER DATABASE "{self.on.name}" SET search_path = clock, public, pg_catalog')

    async def jump(self) -> str | None:
        """Anywhere; None while nobody can be asked."""
        ahead = round(self.chance.uniform(-JUMP_SECONDS, JUMP_SECONDS), 3)
        forward = ahead > self._settings[-1].ahead
        try:
            await self.put(ahead)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None
        return "clock put forward" if forward else "clock put back"

    async def put(self, ahead: float) -> None:
        """So many seconds before the true time, or behind it if they are less than none."""
        before = list(self._settings)
        self._settings.append(_Setting(ahead, time.monotonic()))
        async with self.on.superuser() as database:
            await database.execute("UPDATE clock.ahead SET seconds = $1", ahead)
        for setting in before:  # one that failed may have been in force all the same
            setting.until = min(setting.until, time.monotonic())

    def without_foresight(self, reads: Iterable[Read]) -> list[Read]:
        """The reads that no clock was put back behind. A read tells what is due as done, whether or not it is stored:
        it may have told an expiry that then did not come before something else."""
        return [read for read in reads if not self._put_back_behind(read)]

    def _put_back_behind(self, read: Read) -> bool:
        def settings(end: float) -> list[float]:
            return [one.ahead for one in self._settings if one.since <= end and one.until >= read.invoked_at]

        return min(settings(read.answered_at + FORESEEN_SECONDS)) < max(settings(read.answered_at))
