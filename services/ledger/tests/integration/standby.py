"""A Postgres and a standby of it, which takes over when it is gone."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncpg

from local import child
from local.databases import ServiceDatabase
from local.postgres import SUPERUSER, USER, Postgres, program
from testkit import wait_until

START_SECONDS = 30
"""A server is up within a second."""


@dataclass
class Pair:
    """Two servers: the first is the primary, the second copies it."""

    primary: Postgres
    standby: Postgres
    running: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    """By port."""

    def of(self, database: ServiceDatabase) -> ServiceDatabase:
        """The same database with both hosts in its addresses, of which the one is wanted that takes writes."""
        one = f"127.0.0.1:{self.primary.port}"
        both = f"{one},127.0.0.1:{self.standby.port}"
        app, owner = (url.replace(one, both) for url in (database.url, database.migration_url))
        wanted = "?target_session_attrs=read-write"
        return replace(database, url=app + wanted, migration_url=owner + wanted)

    def start(self, server: Postgres) -> None:
        command = server.command()
        log = server.folder.with_suffix(".log")
        with log.open("ab") as output:
            process = self.running[server.port] = child.spawn(command, log=output)
        child.wait_ready(process, server.ready, what=command.name, timeout_seconds=START_SECONDS, log=log)

    def copy(self) -> None:
        """Make the standby and let it follow."""
        uid, gid = child.account(USER)
        root = os.geteuid() == 0
        into = self.standby.folder
        into.mkdir(mode=0o700)
        if root:
            os.chown(into, uid, gid)
        subprocess.run(
            [
                str(program("pg_basebackup")),
                *("-h", "127.0.0.1", "-p", str(self.primary.port), "-U", SUPERUSER, "-D", str(into)),
                *("--write-recovery-conf", "--checkpoint=fast"),
            ],
            check=True,
            capture_output=True,
            cwd="/",
            user=uid if root else None,
            group=gid if root else None,
            extra_groups=[] if root else None,
        )
        self.start(self.standby)

    async def commit_on_both(self) -> None:
        """From now on a commit is one when the standby has it too."""
        async with _connected(self.primary) as primary:
            await primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            await primary.execute("SELECT pg_reload_conf()")

            async def is_so() -> bool:
                return bool(await primary.fetchval("SELECT sync_state = 'sync' FROM pg_stat_replication"))

            await wait_until(is_so, what="the standby to count")

    async def until_the_same(self) -> None:
        """Wait until the standby has all that the primary has by now."""
        async with _connected(self.primary) as primary, _connected(self.standby) as standby:
            written = await primary.fetchval("SELECT pg_current_wal_lsn()::text")

            async def same() -> bool:
                return bool(await standby.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written))

            await wait_until(same, what="the standby to have everything")

    def end_all(self) -> None:
        for server in (self.standby, self.primary):
            if server.port in self.running:
                self.end(server, signal.SIGINT)

    def end(self, server: Postgres, how: signal.Signals) -> None:
        process = self.running.pop(server.port)
        process.send_signal(how)
        process.wait(START_SECONDS)

    async def take_over(self) -> None:
        """The primary is gone at once; the standby goes on with what it has."""
        self.end(self.primary, signal.SIGKILL)
        if self.standby.port not in self.running:
            self.start(self.standby)
        async with _connected(self.standby) as standby:
            assert await standby.fetchval("SELECT pg_promote()")


@contextmanager
def pair(folder: Path) -> Iterator[Pair]:
    """A primary in a folder; `copy` makes its standby."""
    made = Pair(*(Postgres(folder=folder / name, port=child.free_port()) for name in ("primary", "standby")))
    made.primary.prepare()
    with (made.primary.folder / "pg_hba.conf").open("a") as file:
        file.write(f"host replication {SUPERUSER} 127.0.0.1/32 trust\n")
    try:
        made.start(made.primary)
        yield made
    finally:
        made.end_all()


@asynccontextmanager
async def _connected(server: Postgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.url)
    try:
        yield connection
    finally:
        await connection.close()
