"""The ledger's own process on one of the databases: what callers and Kafka meet."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import urlopen

from bench.ledger.books import Books
from local import child
from local import system as parts
from local.paths import ROOT
from testkit.system import System

START_SECONDS = 60.0


@contextmanager
def serving(system: System, books: Books, mode: str = "all", more: Mapping[str, str] | None = None) -> Iterator[int]:
    """`python -m ledger` until the block ends; its port."""
    port = child.free_port()
    told = {**environment(system, books), "LEDGER_HTTP_PORT": str(port), **(more or {})}
    command = child.Command(
        name=f"ledger-{mode}", argv=[sys.executable, "-m", "ledger", mode], environment=told, directory=ROOT
    )
    log = system.log(command.name)
    with log.open("wb") as output:
        process = child.spawn(command, log=output, inherited=dict(os.environ))
    try:
        child.wait_ready(process, lambda: _ready(port), what=command.name, timeout_seconds=START_SECONDS, log=log)
        yield port
    finally:
        child.stop(process, stop_signal=command.stop_signal, timeout_seconds=15)


def environment(system: System, books: Books) -> Mapping[str, str]:
    """What the ledger is told to be on this database. Seals of one are not another's, so they stay in the database."""
    told = dict(parts.service_environment(system.settings, "ledger"))
    del told["LEDGER_SEAL_FOLDER"]
    return {**told, "LEDGER_DATABASE_URL": books.settings.database_url.get_secret_value()}


def _ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False
