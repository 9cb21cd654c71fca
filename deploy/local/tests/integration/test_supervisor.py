"""The supervisor with real engines: it survives their deaths and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest_asyncio

from local import child
from local.settings import LocalSettings
from testkit import wait_until


@dataclass(slots=True)
class Engines:
    """`python -m local engines` in a folder of its own."""

    process: "subprocess.Popen[bytes]"
    folder: Path

    def state(self) -> dict[str, Any]:
        file = self.folder / "system.json"
        answer: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"phase": "none", "parts": {}}
        return answer

    def ready(self) -> bool:
        state = self.state()
        assert self.process.poll() is None, "the supervisor ended"
        return state["phase"] == "ready" and all(part["ready"] for part in state["parts"].values())

    def pid(self, part: str) -> int:
        return int(self.state()["parts"][part]["pid"])


def _environment(folder: Path) -> dict[str, str]:
    ports = {name: str(child.free_port()) for name in LocalSettings().ports}
    return {**os.environ, **ports, "LOCAL_VAR": str(folder)}


@pytest_asyncio.fixture(loop_scope="session")
async def engines(tmp_path: Path) -> AsyncIterator[Engines]:
    process = subprocess.Popen(
        [sys.executable, "-m", "local", "engines"], env=_environment(tmp_path), stdout=subprocess.DEVNULL
    )
    running = Engines(process, tmp_path)
    try:
        await wait_until(running.ready, timeout_seconds=60, what="the engines")
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


async def test_a_killed_part_is_started_again_within_a_second(engines: Engines) -> None:
    for part in ("kafka", "postgres"):
        before = engines.pid(part)
        os.kill(before, signal.SIGKILL)

        def started_again(part: str = part, before: int = before) -> bool:
            return engines.state()["parts"][part]["pid"] not in (None, before)

        await wait_until(started_again, timeout_seconds=1, what=f"{part} to be started again")
    await wait_until(engines.ready, timeout_seconds=30, what="both to be ready again")
    assert [engines.state()["parts"][part]["restarts"] >= 1 for part in ("kafka", "postgres")] == [True, True]


async def test_nothing_is_left_when_the_supervisor_is_killed(engines: Engines) -> None:
    parts = [psutil.Process(engines.pid(part)) for part in ("kafka", "postgres")]
    engines.process.send_signal(signal.SIGKILL)
    engines.process.wait()
    await wait_until(lambda: not any(map(_alive, parts)), what="the parts to end with their supervisor")


def test_a_taken_port_is_named_with_its_setting_and_its_holder(tmp_path: Path) -> None:
    environment = _environment(tmp_path)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        environment["LOCAL_KAFKA_PORT"] = str(port)
        result = subprocess.run(
            [sys.executable, "-m", "local", "up"], env=environment, capture_output=True, text=True, check=False
        )
    assert result.returncode == 1
    assert f"port {port} (LOCAL_KAFKA_PORT) is taken by" in result.stderr
    assert f"process {os.getpid()}" in result.stderr
    assert not (tmp_path / "system.json").exists()


def test_tokens_are_loudly_for_development(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "local", "token", "--shop", "demo", "--scope", "ledger:read"],
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "FOR DEVELOPMENT ONLY" in result.stderr
    assert result.stdout.count(".") == 2
    assert (tmp_path / "keys" / "development-private.json").stat().st_mode & 0o777 == 0o600


def test_status_without_a_system_says_so(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "local", "status"],
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, "nothing is running" in result.stdout) == (3, True)


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
