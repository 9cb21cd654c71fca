"""Waiting until a system has nothing left to do, so that a fixed rate is measured and not a backlog beside it."""

from typing import Final

import httpx

from local.paths import SERVICES
from testkit import wait_until
from testkit.system import System

_LAGS: Final = ("accrual_consumer_lag_messages{", "accrual_relay_lag_rows ")
"""Metrics of what is recorded and not read yet."""


async def caught_up(system: System) -> None:
    """Wait until every relay and every consumer has read what there is."""
    async with httpx.AsyncClient(timeout=10) as http:

        async def nothing_waits() -> bool:
            lags = [
                float(line.rpartition(" ")[2])
                for service in SERVICES
                for line in (await http.get(f"{system.service_url(service)}/metrics")).text.splitlines()
                if line.startswith(_LAGS)
            ]
            return bool(lags) and not any(lags)

        await wait_until(nothing_waits, timeout_seconds=180, every_seconds=0.5, what="readers to catch up")
