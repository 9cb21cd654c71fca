"""The shop that is measured: programme and rules from the one committed file, as a merchant would apply it."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx

from local.paths import ROOT
from testkit import wait_until
from testkit.system import System

WORKLOAD: Final = ROOT / "bench" / "workload.yaml"
"""Twenty rules on real departments; the workload of every figure."""

DEMO: Final = ROOT / "demo" / "src" / "demo" / "shop.yaml"
"""Rules of every kind; what chaos is told with, and what the slow model reads."""


async def open_shop(system: System, shop: str, rules: Path = WORKLOAD, *, hold_minutes: int = 30) -> None:
    """Apply a file for a shop and wait until every service knows it."""
    await asyncio.to_thread(_apply, system, shop, rules, hold_minutes)
    headers = system.tokens.headers()
    async with httpx.AsyncClient(base_url=system.gateway_url, headers=headers, timeout=20) as http:

        async def known() -> bool:
            balance = await http.get(f"/v1/shops/{shop}/members/nobody/balances")
            settings = await http.get(f"/v1/shops/{shop}/notifications/settings")
            using = await http.get(f"/v1/shops/{shop}/redemption/settings")
            return balance.status_code == settings.status_code == using.status_code == 200

        await wait_until(known, timeout_seconds=30, what=f"every service to know {shop}")


def _apply(system: System, shop: str, rules: Path, hold_minutes: int) -> None:
    """`python -m rules apply`, as the README says it."""
    file, token_file = system.settings.var / f"{shop}.yaml", system.settings.var / "bench.token"
    file.write_text(re.sub(r"hold_minutes: \d+", f"hold_minutes: {hold_minutes}", rules.read_text()))
    token_file.write_text(system.tokens.mint())
    options = ["--url", system.gateway_url, "--token-file", str(token_file)]
    run = subprocess.run(
        [sys.executable, "-m", "rules", *options, "apply", str(file), "--shop", shop],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise RuntimeError(f"the shop's file could not be applied: {run.stdout}{run.stderr}")
