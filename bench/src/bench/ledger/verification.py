"""An auditor's side: how fast an export and its seals are verified offline, on one core."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench.ledger import books
from bench.ledger.books import Books
from bench.ledger.processes import Load, run
from bench.ledger.service import environment, serving
from bench.ledger.workload import SHOP
from bench.results import Figure
from local.keys import seal_key_file
from testkit import wait_until
from testkit.system import System

MEMBERS: Final = 20_000
OPERATIONS: Final = 400_000
SEAL_SECONDS: Final = 300.0

_UNSEALED: Final = (
    "SELECT count(*) FROM entry AS e WHERE e.position >"
    " COALESCE((SELECT max(s.last_position) FROM seal AS s WHERE s.lane = e.lane), 0)"
)


async def measure(system: System) -> list[Figure]:
    """Fill, seal, export, verify: the last one is measured."""
    on = await books.make(system, "ledger_verified")
    await run(on.settings, Load(members=MEMBERS, operations=0))
    await run(on.settings, Load(MEMBERS, OPERATIONS), processes=2)
    folder = system.settings.var / "verified-seals"
    jobs = serving(system, on, "jobs", {"LEDGER_SEAL_FOLDER": str(folder), "LEDGER_SEAL_EVERY_SECONDS": "1"})
    async with jobs, on.superuser() as connection:

        async def all_sealed() -> bool:
            return not await connection.fetchval(_UNSEALED)

        await wait_until(all_sealed, timeout_seconds=SEAL_SECONDS, every_seconds=0.5, what="all rows to be sealed")
    file = system.settings.var / "verified.ndjson"
    export_seconds = _export(system, on, file)
    entries = await on.count("entry")
    started = time.perf_counter()
    _run("-m", "accrual_verify", "export", str(file), "--seals", str(folder), "--key", str(_key(system)))
    seconds = time.perf_counter() - started
    await books.drop(system, on)
    return [
        Figure("verify_entries_per_second", round(entries / seconds), "entries/s"),
        Figure("export_entries_per_second", round(entries / export_seconds), "entries/s"),
    ]


def _key(system: System) -> Path:
    return seal_key_file(system.settings.keys).with_name("seal-key-public.pem")


def _export(system: System, on: Books, file: Path) -> float:
    started = time.perf_counter()
    with file.open("wb") as output:
        subprocess.run(
            [sys.executable, "-m", "ledger", "export", "--shop", SHOP],
            env={**os.environ, **environment(system, on)},
            stdout=output,
            check=True,
        )
    return time.perf_counter() - started


def _run(*arguments: str) -> None:
    run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{run.stdout[-2000:]}{run.stderr[-2000:]}"
