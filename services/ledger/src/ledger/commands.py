"""What an operator runs once, beside the modes of the service: `python -m ledger export --shop S > FILE`."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from ledger import connections
from ledger.settings import LedgerSettings
from ledger.store import exporting, reading

EXPORT = "export"


def export(arguments: Sequence[str]) -> None:
    """Write a shop's export to standard output."""
    parser = argparse.ArgumentParser(
        prog=f"python -m ledger {EXPORT}", description="A shop's whole history, to verify."
    )
    parser.add_argument("--shop", required=True)
    asyncio.run(_export(LedgerSettings(), parser.parse_args(arguments).shop))


async def _export(settings: LedgerSettings, shop: str) -> None:
    snapshot = await connections.snapshot(settings)
    try:
        if not await reading.known_shops(snapshot.driver, [shop]):
            sys.exit(f"ledger: knows no shop {shop}")
        async for chunk in exporting.export(snapshot.driver, shop, snapshot.at):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    finally:
        await snapshot.driver.close()
