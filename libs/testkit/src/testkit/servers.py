"""Finding a real server for a test session: from the environment, from containers, or from the packages."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from local import child
from local.kafka import VERSION as KAFKA_VERSION
from local.kafka import Kafka, tool
from local.postgres import Postgres

POSTGRES_VARIABLE: Final = "TEST_POSTGRES_URL"
"""A superuser's URL of a server to use instead of starting one."""

KAFKA_VARIABLE: Final = "TEST_KAFKA_BOOTSTRAP_SERVERS"
"""A broker to use instead of starting one. Tests empty its topics."""

_PREFIX: Final = "accrual-test-"

_MEMORY: Final = Path("/dev/shm")  # noqa: S108  # folders are made there by mkdtemp
_MEMORY_BYTES: Final = 4 * 1024**3
"""Free there at least, or servers keep their data on disk: a session's are some hundred megabytes, and each database
that is made for a test is four hundred files, which took ten times as long there."""

_START_SECONDS: Final = 60
"""A server is up after a few seconds; ten times that on a busy machine."""


@contextmanager
def postgres_server() -> Iterator[str]:
    """A superuser's URL: the environment's, else a container's where an engine answers, else an embedded server's."""
    given = os.environ.get(POSTGRES_VARIABLE)
    if given:
        yield given
    elif _engine_has("postgres:18"):
        from testcontainers.community.postgres import PostgresContainer

        with PostgresContainer("postgres:18", username="postgres", dbname="postgres", driver=None) as container:
            yield container.get_connection_url()
    else:
        with _folder() as folder:
            server = Postgres(folder=folder / "postgres", port=child.free_port(), durable=False)
            server.prepare()
            with _running(server.command(), server.ready, folder):
                yield server.url


@contextmanager
def broker_with(
    properties: Mapping[str, str], folder: Path, *, ports: Sequence[int], format_with: Sequence[str]
) -> Iterator[None]:
    """An embedded broker with settings of a test's own, until the block ends. It is up when these ports listen."""
    settings = folder / "server.properties"
    settings.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    format_storage = ["format", "--config", str(settings), "--cluster-id", "AAAAAAAAAAAAAAAAAAAAAA", *format_with]
    subprocess.run(tool("kafka.tools.StorageTool", *format_storage), check=True, capture_output=True)
    command = child.Command(name="kafka", argv=tool("kafka.Kafka", str(settings)), directory=folder)
    with _running(command, lambda: all(map(child.listens, ports)), folder):
        yield


@contextmanager
def kafka_broker() -> Iterator[str]:
    """Bootstrap servers: the environment's, else a container's where an engine answers, else an embedded broker's."""
    given = os.environ.get(KAFKA_VARIABLE)
    image = f"apache/kafka:{KAFKA_VERSION}"
    if given:
        yield given
    elif _engine_has(image):
        with _kafka_container(image, child.free_port()) as bootstrap_servers:
            yield bootstrap_servers
    else:
        with _folder() as folder:
            broker = Kafka(folder=folder / "kafka", port=child.free_port(), controller_port=child.free_port())
            broker.prepare()
            with _running(broker.command(), broker.ready, folder):
                yield broker.bootstrap_servers


@contextmanager
def _kafka_container(image: str, port: int) -> Iterator[str]:
    """The library's own Kafka container knows another maker's image only. One port inside and out, because the broker
    finds itself under the address that it tells others."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@127.0.0.1:9093",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://127.0.0.1:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    started = LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(_START_SECONDS)
    container = DockerContainer(image).with_envs(**settings).with_bind_ports(port, port).waiting_for(started)
    with container:
        yield f"127.0.0.1:{port}"


@contextmanager
def _running(command: child.Command, ready: Callable[[], bool], folder: Path) -> Iterator[None]:
    log = folder / f"{command.name}.log"
    with log.open("wb") as output:
        process = child.spawn(command, log=output)
    try:
        child.wait_ready(process, ready, what=command.name, timeout_seconds=_START_SECONDS, log=log)
        yield
    finally:
        child.stop(process, stop_signal=command.stop_signal, timeout_seconds=10)


@contextmanager
def _folder() -> Iterator[Path]:
    # Named after this process, so that what a killed session left behind is known and swept up by the next one.
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_memory()))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path | None:
    roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _MEMORY_BYTES
    return _MEMORY if roomy else None


def _sweep() -> None:
    for parent in (Path(tempfile.gettempdir()), _MEMORY):
        for left in parent.glob(f"{_PREFIX}*"):
            pid = left.name.removeprefix(_PREFIX).split("-")[0]
            if pid.isdigit() and not _alive(int(pid)):
                shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _engine_has(image: str) -> bool:
    # Only images that are there count: an engine may answer and yet be unable to pull, or take minutes over it. One of
    # them is the library's own, which removes what a killed session leaves behind.
    docker = shutil.which("docker")
    if docker is None or find_spec("testcontainers") is None:
        return False
    from testcontainers.core.config import testcontainers_config as library

    images = [image] if library.ryuk_disabled else [image, library.ryuk_image]
    try:
        result = subprocess.run(
            [docker, "image", "inspect", *images], capture_output=True, timeout=5, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0
