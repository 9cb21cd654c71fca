"""The whole system on free ports for one test session, and the faults that are done to it."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import psutil

from local import child, databases, keys
from local import system as parts
from local.paths import SERVICES
from local.settings import PREFIX, LocalSettings
from local.supervisor import state_file
from testkit.tokens import Tokens
from testkit.waiting import wait_until

START_SECONDS: Final = 180.0
_OWN_VARIABLES: Final = (PREFIX, "GATEWAY_", "MAILBOX_", *(f"{service.upper()}_" for service in SERVICES))


@dataclass(frozen=True, slots=True)
class System:
    """A running system: where its parts are, and how to hurt them."""

    settings: LocalSettings
    ready_after_seconds: float = 0.0
    """From the start of the supervisor in an empty folder until every part was ready."""

    @property
    def gateway_url(self) -> str:
        """The public face."""
        return f"http://127.0.0.1:{self.settings.gateway_port}"

    @property
    def mailbox_url(self) -> str:
        """The page that shows sent mail."""
        return f"http://127.0.0.1:{self.settings.mailbox_http_port}"

    @property
    def bootstrap_servers(self) -> str:
        """Kafka, for whoever has no name."""
        return parts.kafka(self.settings).bootstrap_servers

    def brokers(self, user: str) -> dict[str, Any]:
        """Kafka for a service or `admin`: arguments of aiokafka's clients."""
        return parts.kafka_access(self.settings, user)

    @property
    def tokens(self) -> Tokens:
        """The issuer that this system trusts."""
        return Tokens(keys.issuer(self.settings), keys.jwks_file(self.settings))

    def service_url(self, service: str) -> str:
        """A service without the gateway before it."""
        return f"http://127.0.0.1:{parts.service_port(self.settings, service)}"

    def database_url(self, service: str) -> str:
        """A service's database, as the superuser: to look inside, not to act as the service."""
        return parts.postgres(self.settings).url.rsplit("/", 1)[0] + f"/{service}"

    def app_database(self, service: str) -> databases.ServiceDatabase:
        """A service's database as the service itself reaches it."""
        password = keys.database_password(self.settings)
        return databases.service_database(parts.postgres(self.settings).url, service=service, password=password)

    def state(self) -> Mapping[str, Any]:
        """What the supervisor says of all parts: `pid`, `ready`, `restarts`."""
        answer: Mapping[str, Any] = json.loads(state_file(self.settings).read_text())
        return answer

    def process(self, part: str) -> psutil.Process:
        """A part's process as it is now."""
        pid = self.state()["parts"][part]["pid"]
        if pid is None:
            raise LookupError(f"{part} is not running just now")
        return psutil.Process(pid)

    def kill(self, part: str) -> int:
        """End a part as a crash would (SIGKILL); the process id that ended."""
        process = self.process(part)
        process.kill()
        return int(process.pid)

    def end(self, part: str) -> None:
        """Ask a part to end, as whoever puts a new version of it in its place would."""
        every = (*parts.engines(self.settings), *parts.applications(self.settings))
        (stop_signal,) = (one.command.stop_signal for one in every if one.name == part)
        self.process(part).send_signal(stop_signal)

    def pause(self, part: str) -> psutil.Process:
        """Stop a part in its tracks, as a long pause of its machine would; `resume()` it on the process returned."""
        process = self.process(part)
        process.suspend()
        return process

    async def until_ready(self, *, timeout_seconds: float = 60.0) -> None:
        """Wait until every part is up and ready."""
        await wait_until(self._is_ready, timeout_seconds=timeout_seconds, what="all parts to be ready")

    def log(self, part: str) -> Path:
        """A part's log file."""
        return self.settings.logs / f"{part}.log"

    def _is_ready(self) -> bool:
        state = self.state()
        late = [name for name, part in state["parts"].items() if not (part["ready"] and psutil.pid_exists(part["pid"]))]
        assert not late, f"not ready: {late}"
        return bool(state["phase"] == "ready")


@asynccontextmanager
async def running_system(
    folder: Path, environment: Mapping[str, str] | None = None, *, engines_only: bool = False
) -> AsyncIterator[System]:
    """Start everything in a folder on free ports; everything ends with the block, or with this process.

    `environment` sets further variables of the parts, such as `GATEWAY_REQUESTS_PER_SECOND`. With `engines_only` there
    are an empty Postgres and Kafka with its topics, and nothing runs on them.
    """
    settings = _settings(folder, kafka_guarded=not engines_only)
    told = {f"{PREFIX}VAR": str(folder), **{name: str(port) for name, port in settings.ports.items()}}
    told[f"{PREFIX}START_SECONDS"] = str(START_SECONDS)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
    command = child.Command(
        name="supervisor",
        argv=[sys.executable, "-m", "local", "engines" if engines_only else "supervise"],
        environment={**told, **(environment or {})},
    )
    log = settings.logs / "supervisor.log"
    began_at = time.monotonic()
    with log.open("wb") as output:
        process = child.spawn(command, log=output, inherited=inherited)
    system = System(settings)

    def started() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"the system did not come up:\n{log.read_text()[-4000:]}")
        return state_file(settings).exists() and system.state()["phase"] == "ready"

    try:
        await wait_until(started, timeout_seconds=START_SECONDS, every_seconds=0.1, what=f"the system (log: {log})")
        yield replace(system, ready_after_seconds=time.monotonic() - began_at)
    finally:
        await asyncio.to_thread(child.stop, process, stop_signal=signal.SIGTERM, timeout_seconds=40)


def _settings(folder: Path, *, kafka_guarded: bool) -> LocalSettings:
    names = [name for name in LocalSettings.model_fields if name.endswith("_port")]
    ports: dict[str, Any] = dict(zip(names, _free_ports(len(names)), strict=True))
    settings = LocalSettings(var=folder, kafka_guarded=kafka_guarded, **ports)
    settings.logs.mkdir(parents=True, exist_ok=True)
    return settings


def _free_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(child.free_port())
    return list(ports)
