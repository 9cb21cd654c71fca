"""Transactions: one begin, one commit, and another try where the fault may pass."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import asyncpg

from chassis import lanes as lane_locks
from chassis import outbox, postgres
from chassis.faults import is_key_violation, is_read_only, is_transient, sqlstate_of
from chassis.lanes import lane_of
from chassis.outcome import Outcome
from chassis.postgres import Server
from chassis.settings import ServiceSettings
from chassis.telemetry import TRANSACTION_RETRIES

LaneKeys = str | tuple[str, ...]
"""What must stay in order shares a key; a command that concerns several gives them all."""

Answer = TypeVar("Answer")

UseCase = Callable[["Transaction", Sequence[Any]], Awaitable[Outcome]]
"""`usecase(tx, commands in order of arrival) → Outcome`: the one shape, for HTTP, Kafka and jobs."""

POOL_TIMEOUT_SECONDS = 5.0
"""Waiting for a free connection; longer and the caller is better told to come back."""

CLOSE_SECONDS = 5.0
"""For the last transactions to end, before their connections are cut."""

FIRST_BACKOFF_SECONDS = 0.02
LONGEST_BACKOFF_SECONDS = 1.0
"""Doubling from the first to the longest: a deadlock's victim goes again at once, a starting server is not hammered."""

KEY_VIOLATION_TRIES = 3
"""A unique violation is a race at first: the next try finds the row. One that comes back so often is none."""

SESSION = {
    # Each statement sees what was committed before it: whoever has waited for a lane must not see what was before it.
    "default_transaction_isolation": "read committed",
    # A killed process must not keep its locks until a statement of its own ends.
    "client_connection_check_interval": "1000",
    # Every statement of a service reads by key. Plans made while tables were small, or filled just now and without
    # statistics, must not stay when they have grown.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    # So one plan serves whatever the key. Making it takes longer than running it, and for short arrays of keys the
    # server would make one each time.
    "plan_cache_mode": "force_generic_plan",
    **postgres.TOLD,
}
"""What a service's every connection tells the server, whatever the server prefers."""

_LANES_THEN_CLOCK = (
    "SELECT clock_timestamp() FROM (SELECT count(pg_advisory_xact_lock($1::int, lane))"
    " FROM unnest($2::int[]) AS lane) AS taken"
)
"""The lanes in ascending order, so that two transactions cannot wait for each other, and then the time: the aggregate
is done before the clock is read. One round trip for what every transaction begins with."""


class Superseded(Exception):
    """Another owner has applied these messages already; read the position again."""


class LanesMissing(Exception):
    """A use case has found, under its lanes, that it needs others too: all is rolled back and begins anew with them."""

    def __init__(self, lanes: Iterable[int]) -> None:
        self.lanes = frozenset(lanes)
        super().__init__(f"lanes {sorted(self.lanes)} are not held")


def require_lanes(held: Iterable[int], keys: Iterable[str], lane_count: int) -> None:
    """Go on only if the lanes of these keys are held; what is read under them from here on stays as it is."""
    missing = {lane_of(key, lane_count) for key in keys}.difference(held)
    if missing:
        raise LanesMissing(missing)


async def with_lanes(lanes: set[int], work: Callable[[set[int]], Awaitable[Answer]]) -> Answer:
    """Do work that begins a transaction with these lanes; anew with more, as long as it finds that it needs more."""
    while True:
        try:
            return await work(lanes)
        except LanesMissing as missing:
            lanes = lanes | missing.lanes


@dataclass(slots=True)
class Transaction:
    """An open transaction, READ COMMITTED, with its lanes taken."""

    driver: asyncpg.Connection
    """The driver's connection, inside the transaction."""
    now: datetime
    """The database's clock, read after the lanes were taken. Time is never a caller's to choose."""
    lanes: tuple[int, ...]
    """The lanes that were taken at the begin."""
    lane_count: int
    """How many lanes the database has."""
    tells: bool = False
    """Whether it leaves something to publish."""


class Database:
    """One service's database, as its app role."""

    def __init__(self, settings: ServiceSettings, *, events_from_log: bool = False) -> None:
        """`events_from_log`: the service's own log is its outbox, so use cases return no events."""
        self._settings = settings
        self.server = Server(settings.database_url.get_secret_value())
        self._events_from_log = events_from_log
        self._lane_count = 0
        self.committed = asyncio.Event()
        """Set after each commit that left something to publish; wakes the relay of the same process."""
        self._opened: asyncpg.Pool | None = None

    async def _pool(self) -> asyncpg.Pool:
        """The connections, of which none is made before it is needed."""
        if self._opened is None:
            settings = self._settings
            self._opened = asyncpg.create_pool(
                connect=self.server.connect,
                min_size=0,
                max_size=settings.database_connections,
                reset=keep_as_it_is,
                server_settings={
                    "statement_timeout": _ms(settings.statement_timeout_seconds),
                    "lock_timeout": _ms(settings.lock_timeout_seconds),
                    "idle_in_transaction_session_timeout": _ms(settings.transaction_timeout_seconds),
                    "transaction_timeout": _ms(settings.transaction_timeout_seconds),
                    **SESSION,
                },
            )
            await self._opened  # connects to nothing, so it is there at once
        return self._opened

    async def close(self) -> None:
        """Close all connections, those too that are still in use after a moment."""
        if self._opened is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._opened.close()

    async def lane_count(self) -> int:
        """How many lanes the database has; read once."""
        if not self._lane_count:
            async with self.look() as driver:
                self._lane_count = await driver.fetchval("SELECT lanes FROM lane_count")
        return self._lane_count

    async def lanes_of(self, keys: Iterable[LaneKeys]) -> set[int]:
        """The lanes of these keys; what concerns several gives all of them."""
        count = await self.lane_count()
        lanes = set()
        for key in keys:
            if type(key) is str:
                lanes.add(lane_of(key, count))
            else:
                lanes.update(lane_of(part, count) for part in key)
        return lanes

    @asynccontextmanager
    async def begin(self, lanes: Iterable[int] = ()) -> AsyncIterator[Transaction]:
        """A transaction that commits at the block's end and rolls back on any exception. Lanes are taken first."""
        lane_count = await self.lane_count()
        taken = sorted(set(lanes))
        async with self.look() as driver:
            transaction = driver.transaction()
            await transaction.start()
            try:
                now = await driver.fetchval(_LANES_THEN_CLOCK, lane_locks.LANE_LOCK, taken)
                tx = Transaction(driver, now, tuple(taken), lane_count, tells=self._events_from_log)
                yield tx
            except Exception:
                with suppress(Exception):  # a connection that is gone has rolled back
                    await transaction.rollback()
                raise
            await transaction.commit()
        if tx.tells:
            self.committed.set()

    @asynccontextmanager
    async def look(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection outside any transaction, for what is asked again and again: one round trip for each statement,
        which commits by itself. Whatever needs two statements or a lock needs `begin`, and so does what leaves
        something to publish: this wakes no relay.

        What is cancelled, or fails without a word of the server, ends its connection: a server that hangs would not
        answer a goodbye either. So does a server that takes no writes any more: the next one may be another.
        """
        pool = await self._pool()
        async with asyncio.timeout(POOL_TIMEOUT_SECONDS):
            driver = await pool.acquire()
        try:
            yield driver
        except BaseException as error:
            silent = sqlstate_of(error) is None and is_transient(error)
            if not isinstance(error, Exception) or silent or is_read_only(error):
                with suppress(asyncpg.InterfaceError):  # it was lost, and the pool has taken it back: `error` is told
                    driver.terminate()
            raise
        finally:
            await pool.release(driver)

    async def execute(
        self,
        usecase: UseCase,
        commands: Sequence[Any],
        *,
        lane_key: Callable[[Any], LaneKeys] | None = None,
        retry_seconds: float | None = None,
    ) -> Sequence[Any]:
        """Run a use case in one transaction and give its answers; transient faults are tried again.

        After a commit whose answer was lost the same commands run again; their natural keys settle it.
        """
        budget = self._settings.retry_seconds if retry_seconds is None else retry_seconds
        give_up_at = time.monotonic() + budget
        backoff = FIRST_BACKOFF_SECONDS
        key_violations = 0

        async def once(lanes: set[int]) -> Outcome:
            async with self.begin(lanes) as tx:
                outcome = await usecase(tx, commands)
                await self.append(tx, outcome)
            return outcome

        while True:
            try:
                lanes = await self.lanes_of(lane_key(command) for command in commands) if lane_key else set()
                return (await with_lanes(lanes, once)).answers
            except Exception as error:
                key_violations += is_key_violation(error)
                if (
                    not is_transient(error)
                    or key_violations >= KEY_VIOLATION_TRIES
                    or time.monotonic() + backoff > give_up_at
                ):
                    raise
                TRANSACTION_RETRIES.inc()
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    async def append(self, tx: Transaction, outcome: Outcome) -> None:
        """Record a use case's events in its own transaction; last of all, since it takes the outbox lanes."""
        if self._events_from_log:
            assert not outcome.events, "this service's log is its outbox: events follow from it"
        elif outcome.events:
            tx.tells = True
            await outbox.append(tx.driver, outcome.events, outcome.traces, lanes=tx.lane_count)


async def keep_as_it_is(_: asyncpg.Connection) -> None:
    """For a pool: nothing is left behind on a connection, so nothing is reset, which would be a round trip."""


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))
