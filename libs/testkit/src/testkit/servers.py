"""Finding a real server for a test session: from the environment, from containers, or from the packages."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from local import child
from local.kafka import VERSION as KAFKA_VERSION
from local.kafka import Kafka
from local.postgres import Postgres

POSTGRES_VARIABLE: Final = "TEST_POSTGRES_URL"
"""A superuser's URL of a server to use instead of starting one."""

KAFKA_VARIABLE: Final = "TEST_KAFKA_BOOTSTRAP_SERVERS"
"""A broker to use instead of starting one. Tests empty its topics."""

_PREFIX: Final = "accrual-test-"


@contextmanager
def postgres_server() -> Iterator[str]:
    """A superuser's URL: the environment's, else a container's where an engine answers, else an embedded server's."""
    given = os.environ.get(POSTGRES_VARIABLE)
    if given:
        yield given
    elif _engine_has("postgres:18"):
        from testcontainers.postgres import PostgresContainer

        with PostgresContainer("postgres:18", username="postgres", dbname="postgres", driver=None) as container:
            yield container.get_connection_url()
    else:
        with _folder() as folder:
            server = Postgres(folder=folder / "postgres", port=child.free_port(), durable=False)
            server.prepare()
            with _running(server.command(), server.ready, folder):
                yield server.url


@contextmanager
def kafka_broker() -> Iterator[str]:
    """Bootstrap servers: the environment's, else a container's where an engine answers, else an embedded broker's."""
    given = os.environ.get(KAFKA_VARIABLE)
    image = f"apache/kafka:{KAFKA_VERSION}"
    if given:
        yield given
    elif _engine_has(image):
        from testcontainers.kafka import KafkaContainer

        with KafkaContainer(image).with_kraft() as container:
            yield container.get_bootstrap_server()
    else:
        with _folder() as folder:
            broker = Kafka(folder=folder / "kafka", port=child.free_port(), controller_port=child.free_port())
            broker.prepare()
            with _running(broker.command(), broker.ready, folder):
                yield broker.bootstrap_servers


@contextmanager
def _running(command: child.Command, ready: Callable[[], bool], folder: Path) -> Iterator[None]:
    log = folder / f"{command.name}.log"
    with log.open("wb") as output:
        process = child.spawn(command, log=output)
    try:
        child.wait_ready(process, ready, what=command.name, timeout_seconds=150, log=log)
        yield
    finally:
        child.stop(process, stop_signal=command.stop_signal, timeout_seconds=10)


@contextmanager
def _folder() -> Iterator[Path]:
    # Named after this process, so that what a killed session left behind is known and swept up by the next one.
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
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
    # Only an image that is there counts: an engine may answer and yet be unable to pull, or take minutes over it.
    docker = shutil.which("docker")
    if docker is None or find_spec("testcontainers") is None:
        return False
    try:
        result = subprocess.run(
            [docker, "image", "inspect", image], capture_output=True, timeout=5, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0
