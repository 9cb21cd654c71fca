"""One service as a process of its own, as it is run."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from local import child
from local.paths import ROOT

START_SECONDS: Final = 60.0
"""For a process to be ready on a machine that is busy with other tests."""

STOP_SECONDS: Final = 30.0
"""For one to end what it has begun."""


@asynccontextmanager
async def running(service: str, mode: str, environment: Mapping[str, str], *, log: Path) -> AsyncIterator[None]:
    """`python -m <service> <mode>`, ready, until the block ends; its environment names its port."""
    port = int(environment[f"{service.upper()}_HTTP_PORT"])
    command = child.Command(
        name=f"{service}-{mode}", argv=[sys.executable, "-m", service, mode], environment=environment, directory=ROOT
    )
    with log.open("wb") as output:
        process = child.spawn(command, log=output)
    try:
        await asyncio.to_thread(
            child.wait_ready, process, lambda: _ready(port), what=command.name, timeout_seconds=START_SECONDS, log=log
        )
        yield
    finally:
        await asyncio.to_thread(child.stop, process, stop_signal=command.stop_signal, timeout_seconds=STOP_SECONDS)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ready", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
