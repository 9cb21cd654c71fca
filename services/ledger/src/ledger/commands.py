"""What an operator runs once, beside the modes of the service.

python -m ledger export --shop S [--complete] > FILE
python -m ledger import FILE
python -m ledger restore
"""

import argparse
import asyncio
import gzip
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from chassis import CannotStart, schema
from chassis.postgres import Server
from ledger import connections, restoring
from ledger.domain.epochs import EpochStart
from ledger.moving import ImportRefused, import_shop
from ledger.settings import LedgerSettings
from ledger.signing import SealKeyUnknown, SealKeyUnusable
from ledger.store import exporting, reading

FOLDER: Final = Path(__file__).parents[2] / "migrations"


def export(arguments: Sequence[str]) -> None:
    """Write a shop's export to standard output."""
    parser = argparse.ArgumentParser(prog="python -m ledger export", description="A shop's whole history, to verify.")
    parser.add_argument("--shop", required=True)
    parser.add_argument("--complete", action="store_true", help="with all that `import` needs besides")
    given = parser.parse_args(arguments)
    asyncio.run(_export(LedgerSettings(), given.shop, complete=given.complete))


async def _export(settings: LedgerSettings, shop: str, *, complete: bool) -> None:
    snapshot = await connections.snapshot(settings, _server(settings))
    try:
        if not await reading.known_shops(snapshot.driver, [shop]):
            sys.exit(f"ledger: knows no shop {shop}")
        async for chunk in exporting.export(snapshot.driver, shop, snapshot.at, complete=complete):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    finally:
        await snapshot.driver.close()


def take_over(arguments: Sequence[str]) -> None:
    """Import a shop's complete export; whatever is wrong with it, then nothing has changed."""
    parser = argparse.ArgumentParser(
        prog="python -m ledger import",
        description="Take over a complete export into a ledger that has nothing of the shop; its workers stopped.",
    )
    parser.add_argument("file", help="the export, `.gz` is unpacked; `-`: standard input")
    try:
        asyncio.run(_import(LedgerSettings(), parser.parse_args(arguments).file))
    except (ImportRefused, schema.UnfitDatabase, OSError) as error:
        sys.exit(f"ledger: {error}")


async def _import(settings: LedgerSettings, file: str) -> None:
    await schema.check(_server(settings), FOLDER)
    imported = await import_shop(settings.database_url.get_secret_value(), _lines(file))
    counts = ", ".join(f"{count} {name}" for name, count in imported.counts.items())
    sys.stdout.write(f"{imported.shop}: {counts}\n")


def _lines(file: str) -> Iterable[bytes]:
    if file == "-":
        yield from sys.stdin.buffer
    elif file.endswith(".gz"):
        with gzip.open(file) as unpacked:
            yield from unpacked
    else:
        with Path(file).open("rb") as opened:
            yield from opened


def restore(arguments: Sequence[str]) -> None:
    """Begin a new epoch on a database that was restored from a backup."""
    parser = argparse.ArgumentParser(
        prog="python -m ledger restore",
        description="Go on with a log that is behind what it told, everything of this ledger stopped.",
    )
    parser.add_argument("--anyway", action="store_true", help="also where nothing outside shows that it is behind")
    given = parser.parse_args(arguments)
    try:
        started = asyncio.run(_restore(LedgerSettings(), anyway=given.anyway))
    except (CannotStart, SealKeyUnusable, SealKeyUnknown, schema.UnfitDatabase, OSError) as error:
        sys.exit(f"ledger: {error}")
    for start in started:
        lost = f", {start.position + 1} to {start.told} are given up" if start.told > start.position else ""
        sys.stdout.write(f"epoch {start.epoch}, lane {start.lane}: goes on behind position {start.position}{lost}\n")


async def _restore(settings: LedgerSettings, *, anyway: bool) -> list[EpochStart]:
    await schema.check(_server(settings), FOLDER)
    return await restoring.restore(settings, anyway=anyway)


def _server(settings: LedgerSettings) -> Server:
    return Server(settings.database_url.get_secret_value())


COMMANDS: Final[Mapping[str, Callable[[Sequence[str]], None]]] = {
    "export": export,
    "import": take_over,
    "restore": restore,
}
