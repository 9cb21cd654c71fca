"""The faults: what is hurt, how, and how often one is next to the others."""

import asyncio
import contextlib
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import psutil

from bench.chaos.faults import SESSION_SECONDS
from bench.chaos.ledger.clock import Clock
from bench.chaos.ledger.disk import Disk
from bench.chaos.ledger.proxy import Cut, Proxy
from bench.chaos.ledger.replicas import Replica
from testkit import wait_until
from testkit.system import System

WEIGHTS: Final = {
    "commit": 60,
    "connections": 8,
    "api": 8,
    "worker": 8,
    "jobs": 6,
    "postgres killed": 2,
    "postgres stopped": 2,
    "kafka": 2,
    "frozen": 2,
    "disk": 2,
    "clock": 2,
}
"""Lost answers cost nothing but themselves, so there are most of them; a broker is back after seconds."""

PAUSE_SECONDS: Final = (0.02, 0.6)
"""Between two faults: most hit something that has not recovered from the last one."""

SHARE_SECONDS: Final = 3.0
"""For the operations that come before a fault, at most."""

COMMIT_SECONDS: Final = 3.0
"""For a COMMIT to come by: in the midst of everything there are some every second, unless all is down."""

FULL_SECONDS: Final = (0.5, 3.0)
"""A disk stays full for so long."""


@dataclass
class Faults:
    """Everything that can be hurt, and what was."""

    system: System
    proxy: Proxy
    replicas: list[Replica]
    disk: Disk | None
    clock: Clock
    chance: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to end early."""
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def campaign(
        self, kills: int, told: Callable[[str], None], *, asked: Callable[[], int], operations: int
    ) -> None:
        """Hurt the ledger so many times, spread over so many operations; `asked` says how many there were so far."""
        weights = {name: weight for name, weight in WEIGHTS.items() if name != "disk" or self.disk is not None}
        while (done := self.counts.total()) < kills and not self.enough.is_set():
            await asyncio.sleep(self.chance.uniform(*PAUSE_SECONDS))
            await self._share_of(asked, done * operations // kills)
            for replica in self.replicas:
                replica.look_after()
            (name,) = self.chance.choices(list(weights), weights=list(weights.values()))
            what = await self._done(name)
            if what is not None:
                self.counts[what] += 1
                if (done + 1) % 25 == 0:
                    told(f"fault {done + 1} of {kills}: {what}")
        await asyncio.gather(*self._under_way)

    async def _share_of(self, asked: Callable[[], int], operations: int) -> None:
        """Wait for the operations that come before this fault; not for ever, for all may be down."""
        with contextlib.suppress(AssertionError):
            await wait_until(
                lambda: asked() >= operations or self.enough.is_set(), timeout_seconds=SHARE_SECONDS, every_seconds=0.05
            )

    async def _done(self, name: str) -> str | None:
        """Do it; what it was, or None if there was nothing to hurt."""
        acts: dict[str, Callable[[], Awaitable[str | None]]] = {
            "commit": self._commit,
            "connections": self._connections,
            "frozen": self._frozen,
            "disk": self._full,
            "clock": self.clock.jump,
            "postgres killed": lambda: self._engine("postgres", signal.SIGKILL, "postgres killed"),
            # The server's immediate shutdown: every session is dropped, and it recovers at its next start.
            "postgres stopped": lambda: self._engine("postgres", signal.SIGQUIT, "postgres stopped at once"),
            "kafka": lambda: self._engine("kafka", signal.SIGKILL, "kafka killed"),
        }
        if name in acts:
            return await acts[name]()
        self.chance.choice([replica for replica in self.replicas if replica.mode == name]).kill()
        return f"{name} killed"

    async def _commit(self) -> str | None:
        how = self.chance.choice(list(Cut))
        return how.value if await self.proxy.cut_next_commit(how, timeout_seconds=COMMIT_SECONDS) else None

    async def _connections(self) -> str | None:
        return "all connections to postgres cut" if self.proxy.cut_all() else None

    async def _frozen(self) -> str | None:
        replica = self.chance.choice(self.replicas)
        self._meanwhile(replica.freeze(SESSION_SECONDS + 1.5))
        return f"{replica.mode} frozen beyond its session"

    async def _full(self) -> str | None:
        assert self.disk is not None
        self.disk.fill()
        await asyncio.sleep(self.chance.uniform(*FULL_SECONDS))
        self.disk.free()
        return "disk full"

    async def _engine(self, part: str, number: signal.Signals, says: str) -> str | None:
        try:
            self.system.process(part).send_signal(number)
        except (LookupError, psutil.NoSuchProcess):
            return None  # not back yet from the last one
        return says

    def _meanwhile(self, doing: Awaitable[None]) -> None:
        """Other faults go on beside it."""

        async def do() -> None:
            await doing

        task = asyncio.create_task(do())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
