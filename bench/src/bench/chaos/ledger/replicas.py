"""The ledger as processes of its own, two of each kind that callers and Kafka meet, started again whenever they end."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from bench.chaos.faults import SESSION_SECONDS
from bench.ledger.books import Books
from local import child
from local import system as parts
from local.paths import ROOT
from testkit.system import System

MODES: Final = ("api", "api", "worker", "worker", "jobs")
"""Two workers, so that what a frozen one holds is taken from it."""

JOBS_EVERY_SECONDS: Final = 2.0
"""Often, so that many kills find a job at work."""

LAST_WORDS: Final = 1_500
"""Characters of a log that say why it ended."""

STOP_SECONDS: Final = 20.0


@dataclass
class Replica:
    """One process of the ledger, and whichever comes after it."""

    name: str
    mode: str
    command: child.Command
    system: System
    port: int
    starts: int = 0
    ended_by_itself: list[str] = field(default_factory=list)
    """A ledger outlives whatever happens to its engines, and only a kill ends it: last words of those that did not."""
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, or start it again."""
        with self.system.log(self.name).open("ab") as output:
            self._process = child.spawn(self.command, log=output, inherited=dict(os.environ))
        self.starts += 1

    def kill(self) -> None:
        """End it as a crash would, and start it again."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.start()

    async def freeze(self, seconds: float) -> None:
        """Stop it in its tracks for so long; it wakes up believing that nothing happened."""
        assert self._process is not None
        frozen = self._process
        frozen.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            frozen.send_signal(signal.SIGCONT)  # nobody is left to hear it if it was killed meanwhile

    def look_after(self) -> None:
        """Start it again if it has ended."""
        if self._process is not None and self._process.poll() is not None:
            self.ended_by_itself.append(self.system.log(self.name).read_text(errors="replace")[-LAST_WORDS:])
            self.start()

    async def stop(self) -> None:
        """End it for good, in good order: it finishes its work through the proxy, which is in this process."""
        if self._process is not None:
            await asyncio.to_thread(child.stop, self._process, stop_signal=signal.SIGTERM, timeout_seconds=STOP_SECONDS)


@asynccontextmanager
async def replicas(system: System, books: Books, database_port: int) -> AsyncIterator[list[Replica]]:
    """All processes, which reach Postgres by that port."""
    url = books.settings.database_url.get_secret_value()
    direct = f":{parts.postgres(system.settings).port}/"
    assert direct in url
    shared = {
        **parts.service_environment(system.settings, "ledger"),
        "LEDGER_DATABASE_URL": url.replace(direct, f":{database_port}/"),
        "LEDGER_SESSION_TIMEOUT_MS": str(int(SESSION_SECONDS * 1000)),
        "LEDGER_DUE_EVERY_SECONDS": "1",
        "LEDGER_FOLD_EVERY_SECONDS": str(JOBS_EVERY_SECONDS),
        "LEDGER_PARKED_EVERY_SECONDS": str(JOBS_EVERY_SECONDS),
        "LEDGER_PARKED_ALARM_SECONDS": str(JOBS_EVERY_SECONDS),
        "LEDGER_CHECK_EVERY_SECONDS": str(JOBS_EVERY_SECONDS),
        "LEDGER_SEAL_EVERY_SECONDS": str(JOBS_EVERY_SECONDS),
    }
    made = [_replica(system, f"ledger-{mode}-{number}", mode, shared) for number, mode in enumerate(MODES)]
    try:
        for replica in made:
            replica.start()
        yield made
    finally:
        await asyncio.gather(*(replica.stop() for replica in made))


def _replica(system: System, name: str, mode: str, shared: Mapping[str, str]) -> Replica:
    port = child.free_port()
    environment = {**shared, "LEDGER_INSTANCE": name, "LEDGER_HTTP_PORT": str(port)}
    command = child.Command(
        name=name, argv=[sys.executable, "-m", "ledger", mode], environment=environment, directory=ROOT
    )
    return Replica(name, mode, command, system, port)
