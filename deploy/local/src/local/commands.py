"""The commands of the local system, one function each; each gives the exit status of the process."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil

from local import keys
from local.paths import ROOT, SERVICES
from local.settings import LocalSettings
from local.supervisor import Supervisor, state_file

_HOLDERS_UNKNOWN: Final = "something that this user may not see"

KAFKA_TOOLS: Final[Mapping[str, str]] = {
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "topics": "org.apache.kafka.tools.TopicCommand",
}
"""Kafka's own console tools by the names of its scripts, less their `kafka-`."""


def up(settings: LocalSettings) -> int:
    """Start the system in the background and show how it goes; Ctrl-C takes back what was started."""
    state = _state(settings)
    if state and state["phase"] == "ready":
        print("already up")
        return status(settings)
    if state is None and not _ports_free(settings):
        return 1
    started_at = time.monotonic()
    settings.logs.mkdir(parents=True, exist_ok=True)
    with (settings.logs / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "local", "supervise"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=ROOT,
        )
    try:
        return _follow_start(settings, process, started_at)
    except KeyboardInterrupt:
        print("\nstopping what was started …", flush=True)
        _end(process)
        state_file(settings).unlink(missing_ok=True)
        print("nothing is left running")
        return 130


def down(settings: LocalSettings) -> int:
    """Stop the system in good order."""
    state = _state(settings)
    if state is None:
        print("nothing is running")
        return 0
    supervisor = psutil.Process(state["pid"])
    supervisor.send_signal(signal.SIGTERM)
    try:
        supervisor.wait(60)
    except psutil.TimeoutExpired:
        supervisor.kill()  # and the kernel ends the parts with it
        supervisor.wait(5)
    state_file(settings).unlink(missing_ok=True)
    print("stopped")
    return 0


def status(settings: LocalSettings) -> int:
    """Print every part; 0 when all are ready, 3 when not."""
    state = _state(settings)
    if state is None:
        print("nothing is running; `make up` starts everything")
        return 3
    memory, ready = 0, state["phase"] == "ready"
    print(f"{'part':<14}{'state':<10}{'pid':>8}  {'memory':>9}  {'restarts':>8}  where")
    for name, part in state["parts"].items():
        used = _memory(part["pid"])
        memory += used
        faults = _faults(part["where"], name) if part["ready"] else ["starting"]
        how = "ready" if not faults else "starting" if not part["ready"] else "faulty"
        ready = ready and how == "ready"
        about = f"{used >> 20:>5} MiB  {part['restarts']:>8}  {part['where']}"
        print(f"{name:<14}{how:<10}{part['pid'] or '-':>8}  {about}")
        for fault in faults if how == "faulty" else ():
            print(f"{'':<14}  {fault}")
    memory += _memory(state["pid"])
    print(f"{state['phase']}; {memory >> 20} MiB in all")
    return 0 if ready else 3


def logs_of(settings: LocalSettings, names: Sequence[str], *, follow: bool) -> int:
    """Show the logs' last lines and, unless told otherwise, what is added to them."""
    files = [settings.logs / f"{name}.log" for name in names] or sorted(settings.logs.glob("*.log"))
    missing = [file.stem for file in files if not file.exists()]
    if missing or not files:
        print(f"no log of {', '.join(missing) or 'anything'}; parts: {', '.join(_logged(settings)) or 'none yet'}")
        return 1
    try:
        return subprocess.run(
            ["tail", "-n", "20", *(["-F"] if follow else []), *map(str, files)], check=False
        ).returncode
    except KeyboardInterrupt:
        return 0


def clean(settings: LocalSettings) -> int:
    """Stop the system and remove its data, keys and logs; what was fetched stays."""
    down(settings)
    for left in settings.var.iterdir():
        if left.name == "kafka" or left.name.startswith("setup"):
            continue
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
    print(f"removed data, keys and logs in {settings.var}; Kafka's jars are kept")
    return 0


def token_for(settings: LocalSettings, shop: str, scope: str | None, client: str, hours: float) -> int:
    """Print a token, and on the other stream what it must not be used for."""
    # Imported here: signing is needed by this command alone.
    from local.tokens import ALL_SCOPES

    print(
        "*** FOR DEVELOPMENT ONLY: signed with a key that lies on this machine's disk. ***\n"
        f"*** shop {shop}, client {client}, {hours:g} h, scopes: {scope or ALL_SCOPES} ***",
        file=sys.stderr,
    )
    issuer = keys.issuer(settings)
    print(issuer.mint(scope or ALL_SCOPES, shop, client=client, lifetime_seconds=int(hours * 3600)))
    return 0


def engines(settings: LocalSettings) -> int:
    """PostgreSQL and Kafka in the foreground until Ctrl-C, and the variables that make tests use them."""
    if not _ports_free(settings, only=("POSTGRES", "KAFKA")):
        return 1
    # Imported here: it takes the whole system in, which most commands need not.
    from local import system

    print(f"export TEST_POSTGRES_URL={system.postgres(settings).url}")
    print(f"export TEST_KAFKA_BOOTSTRAP_SERVERS={system.kafka(settings).bootstrap_servers}", flush=True)
    return supervise(settings, engines_only=True)


def environment(settings: LocalSettings) -> int:
    """Each service's variables as shell exports."""
    # Imported here: it takes the whole system in, which most commands need not.
    from local import system

    for service in SERVICES:
        for name, value in system.service_environment(settings, service).items():
            print(f"export {name}={value}")
    return 0


def kafka_tool(settings: LocalSettings, name: str, arguments: Sequence[str]) -> int:
    """Run one of Kafka's own console tools, by the name of its class, on this machine's broker."""
    # Imported here: it looks for the Java runtime.
    from local import kafka, system

    addressed = arguments if "--bootstrap-server" in arguments else [
        "--bootstrap-server", system.kafka(settings).bootstrap_servers, *arguments
    ]  # fmt: skip
    return subprocess.run(kafka.tool(KAFKA_TOOLS[name], *addressed), check=False).returncode


def fetch() -> int:
    """Bring Kafka's jars into `var/`."""
    # Imported here: most commands have nothing to fetch.
    from local import kafka

    kafka.fetch()
    kafka.rehearse()
    return 0


def supervise(settings: LocalSettings, *, engines_only: bool) -> int:
    """Be the supervisor until told to stop."""
    settings = _for(settings, engines_only=engines_only)
    with _only_one(settings):
        keys.prepare(settings)
        return Supervisor(settings).run(engines_only=engines_only)


def prepare(settings: LocalSettings, *, engines_only: bool) -> int:
    """Databases, migrations, topics."""
    asyncio.run(_prepare(_for(settings, engines_only=engines_only), engines_only=engines_only))
    return 0


def _for(settings: LocalSettings, *, engines_only: bool) -> LocalSettings:
    """Tests of one service play all the others, so a broker alone asks nobody who they are."""
    return settings.model_copy(update={"kafka_guarded": False}) if engines_only else settings


async def _prepare(settings: LocalSettings, *, engines_only: bool) -> None:
    # Imported here: databases and topics are this one step's.
    from local import access, databases, system, topics

    if not engines_only:
        admin_url = system.postgres(settings).url
        password = keys.database_password(settings)
        for service in SERVICES:
            made = await databases.ensure(admin_url, service=service, password=password)
            await databases.migrate(made, ROOT / "services" / service / "migrations")
            print(f"{service}: database and schema are there", flush=True)
    broker = system.kafka(settings)
    deadline = time.monotonic() + settings.start_seconds
    while not broker.ready() and time.monotonic() < deadline:  # noqa: ASYNC110 - no event tells of another process
        await asyncio.sleep(0.05)
    await topics.ensure(system.kafka_access(settings, access.ADMIN), guarded=settings.kafka_guarded)
    print("topics are there", flush=True)


def _follow_start(settings: LocalSettings, process: "subprocess.Popen[bytes]", started_at: float) -> int:
    said = ""
    while True:
        state = _state(settings) or {}
        failed = process.poll() is not None
        phase, message = state.get("phase", "starting"), state.get("message", "")
        if failed:
            message = _last_message(settings)
            print(f"the system did not come up: {message}", file=sys.stderr)
            state_file(settings).unlink(missing_ok=True)
            return 1
        if message and message != said:
            said = message
            print(f"  {time.monotonic() - started_at:5.1f} s  {message}", flush=True)
        if phase == "ready":
            print(f"  {time.monotonic() - started_at:5.1f} s  ready: http://127.0.0.1:{settings.gateway_port}/docs")
            return 0
        time.sleep(0.1)


def _last_message(settings: LocalSettings) -> str:
    try:
        return str(json.loads(state_file(settings).read_text())["message"])
    except (OSError, ValueError, KeyError):
        return f"see {settings.logs / 'supervisor.log'}"


def _state(settings: LocalSettings) -> dict[str, Any] | None:
    """What the supervisor says, if it lives."""
    try:
        state: dict[str, Any] = json.loads(state_file(settings).read_text())
    except (OSError, ValueError):
        return None
    try:
        alive = "supervise" in psutil.Process(state["pid"]).cmdline() or state["pid"] == os.getpid()
    except psutil.NoSuchProcess:
        return None
    return state if alive else None


def _ports_free(settings: LocalSettings, *, only: Sequence[str] = ()) -> bool:
    taken = False
    listening = {
        connection.laddr.port: connection.pid
        for connection in psutil.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    for name, port in settings.ports.items():
        if only and not any(part in name for part in only):
            continue
        if port in listening:
            taken = True
            print(
                f"port {port} ({name}) is taken by {_holder(listening[port])}: stop it, or choose another port, "
                f"for example {name}={port + 10_000} here or in .env",
                file=sys.stderr,
            )
    return not taken


def _holder(pid: int | None) -> str:
    if pid is None:
        return _HOLDERS_UNKNOWN
    try:
        process = psutil.Process(pid)
        return f"{process.name()} (process {pid}: {' '.join(process.cmdline())[:100]})"
    except psutil.Error:
        return _HOLDERS_UNKNOWN


def _faults(where: str, name: str) -> list[str]:
    """What a service says is wrong with it; engines and pages are well when they run."""
    if name not in SERVICES:
        return []
    try:
        with urlopen(f"{where}/ready", timeout=3) as response:  # noqa: S310 - an address of ours
            answer = json.load(response)
    except HTTPError as error:
        answer = json.load(error)
    except OSError as error:
        return [f"does not answer: {error}"]
    return [str(fault) for fault in answer.get("faults", ())]


def _memory(pid: int | None) -> int:
    if pid is None:
        return 0
    try:
        process = psutil.Process(pid)
        # Postgres' sessions share most of their memory: what is theirs alone is counted, and the shared part once.
        family = [process, *process.children(recursive=True)] if process.name() == "postgres" else [process]
        return sum(member.memory_full_info().pss for member in family)
    except psutil.Error:
        return 0


def _logged(settings: LocalSettings) -> list[str]:
    return sorted(file.stem for file in settings.logs.glob("*.log"))


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _only_one(settings: LocalSettings) -> Iterator[None]:
    file = Path(settings.var / "supervisor.lock")
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("another system runs in this folder already; `make down` stops it")
        yield
