"""A ledger with all that it has outside its database: a broker, a folder for seals, a key."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from chassis import Runtime
from ledger.app import build
from ledger.settings import LedgerSettings
from ledger.store import seals as stored_seals
from ledger.store.log import LedgerLog
from local.child import free_port
from local.databases import ServiceDatabase
from testkit import wait_until
from testkit.conformance import conforming
from testkit.tokens import Tokens

from .conftest import Ledger


@dataclass
class Site:
    """Where a ledger runs: a broker, a folder for seals, and databases of which one is in place."""

    admin_url: str
    servers: str
    tokens: Tokens
    folder: Path
    key: Path
    database: ServiceDatabase
    url: str
    """Of the database in place."""
    runs: int = 0

    def settings(self, **changes: Any) -> LedgerSettings:
        told = {
            "database_url": self.url,
            "migration_database_url": self.url.replace("ledger:", "ledger_owner:", 1),
            "kafka_bootstrap_servers": self.servers,
            "http_port": free_port(),
            "jwks_file": self.tokens.jwks_file,
            "seal_key_file": self.key,
            "seal_folder": self.folder,
            "seal_every_seconds": 0.2,
            "relay_lease_seconds": 1,
            **changes,
        }
        return LedgerSettings(**told)

    @asynccontextmanager
    async def running(self, mode: str = "all", **changes: Any) -> AsyncIterator[Ledger]:
        """The whole ledger in this process; at its end all is told and sealed."""
        self.runs += 1
        settings, stop = self.settings(**changes), asyncio.Event()
        runtime = Runtime(build(settings))
        task = asyncio.create_task(runtime.run(mode, stop))
        url = f"http://127.0.0.1:{settings.http_port}"
        async with httpx.AsyncClient(base_url=url, headers=self.tokens.headers(), event_hooks=conforming()) as http:
            try:

                async def ready() -> bool:
                    if task.done():
                        task.result()
                    try:
                        return (await http.get("/ready")).status_code == 200
                    except httpx.TransportError:
                        return False

                await wait_until(ready, what="the ledger to be ready")
                yield Ledger(runtime, http, self.database, self.tokens, _keys=1_000 * self.runs)
                if mode == "all":
                    await wait_until(lambda: self._all_out(runtime), what="everything to be told and sealed")
            finally:
                stop.set()
                await task

    async def _all_out(self, runtime: Runtime) -> bool:
        async with runtime.database.look() as driver:
            sealed = all(one.sealed == one.highest for one in await stored_seals.standings(driver))
            cursors = dict(await driver.fetch("SELECT lane, position FROM relay_cursor"))
            highest = await LedgerLog().highest(driver, list(cursors))
            untold = await driver.fetchval("SELECT count(*) FROM seal")
        lines = sum(file.read_bytes().count(b"\n") for file in self.folder.glob("*.jsonl"))
        return sealed and dict(highest) == cursors and lines >= untold

    async def copy(self, name: str) -> str:
        """A backup as it is: the URL of the copy."""
        source = self.url.rsplit("/", 1)[1].split("?")[0]
        admin = await asyncpg.connect(self.admin_url)
        try:
            await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}" OWNER ledger_owner')
        finally:
            await admin.close()
        return self.url.replace(source, name)

    def command(self, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        given = self.settings(**changes)
        environment = {
            "LEDGER_DATABASE_URL": given.database_url.get_secret_value(),
            "LEDGER_MIGRATION_DATABASE_URL": self.owner_url,
            "LEDGER_KAFKA_BOOTSTRAP_SERVERS": given.kafka_bootstrap_servers,
            "LEDGER_JWKS_FILE": str(given.jwks_file),
            "LEDGER_RELAY_LEASE_SECONDS": "1",
            **({"LEDGER_SEAL_KEY_FILE": str(given.seal_key_file)} if given.seal_key_file else {}),
            "LEDGER_SEAL_FOLDER": str(given.seal_folder),
        }
        return subprocess.run(
            [sys.executable, "-m", "ledger", *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def owner_url(self) -> str:
        return self.database.migration_url.replace(self.database.name, self.url.rsplit("/", 1)[1].split("?")[0])
