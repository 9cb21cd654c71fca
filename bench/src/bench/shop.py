"""The shop that is measured: programme and rules from the one committed file, as a merchant would apply it."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from local.paths import ROOT
from testkit import wait_until
from testkit.system import System

WORKLOAD: Final = ROOT / "bench" / "workload.yaml"
"""Twenty rules on real departments; the workload of every figure."""

DEMO: Final = ROOT / "demo" / "src" / "demo" / "shop.yaml"
"""Rules of every kind; what chaos is told with, and what the slow model reads."""


async def open_shop(system: System, shop: str, rules: Path = WORKLOAD, **programme: str) -> None:
    """Apply a file for a shop and wait until every service knows it."""
    document = await asyncio.to_thread(_read, rules)
    document["shop"] = shop
    document["programme"].update(programme)
    file = system.settings.var / f"{shop}.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    await asyncio.to_thread(_apply, system, file)
    headers = system.tokens.headers()
    async with httpx.AsyncClient(base_url=system.gateway_url, headers=headers, timeout=20) as http:

        async def known() -> bool:
            balance = await http.get(f"/v1/shops/{shop}/members/nobody/balances")
            settings = await http.get(f"/v1/shops/{shop}/notifications/settings")
            using = await http.get(f"/v1/shops/{shop}/redemption/settings")
            return balance.status_code == settings.status_code == using.status_code == 200

        await wait_until(known, timeout_seconds=30, what=f"every service to know {shop}")


def _read(file: Path) -> Any:
    """All scalars stay text, as the file has them."""
    return yaml.load(file.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - it makes nothing but text


def _apply(system: System, file: Path) -> None:
    """`python -m rules apply`, as the README says it."""
    token_file = system.settings.var / "bench.token"
    token_file.write_text(system.tokens.mint())
    command = ["-m", "rules", "--url", system.gateway_url, "--token-file", str(token_file), "apply", str(file)]
    run = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"the shop's file could not be applied: {run.stdout}{run.stderr}")
