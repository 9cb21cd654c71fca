"""Child processes that never outlive the process that started them."""

import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

_TETHER: Final = Path(__file__).with_name("tether.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How to start one program and how to ask it to end."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to what this process has."""
    directory: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    """What makes the program end in good order; the kernel sends it too if the parent dies."""
    user: str | None = None
    """Run as this user if we are root, for programs that refuse to be root."""


def spawn(
    command: Command, *, log: IO[bytes] | int, inherited: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a program that is told to stop when this thread's process ends; it inherits our environment by default.

    Must be called from a thread that lives as long as the program should: the kernel ties the two.
    """
    uid, gid = account(command.user)
    tether = [
        sys.executable,
        "-I",
        "-S",
        str(_TETHER),
        str(os.getpid()),
        str(int(command.stop_signal)),
        str(uid),
        str(gid),
    ]
    return subprocess.Popen(
        [*tether, *command.argv],
        env={**(os.environ if inherited is None else inherited), **command.environment},
        cwd=command.directory,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a Ctrl-C is for the one who supervises, who then ends these in order
    )


def account(user: str | None) -> tuple[int, int]:
    """The numeric user and group under which to run."""
    if user is None or os.geteuid() != 0:
        return os.getuid(), os.getgid()
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


def stop(process: "subprocess.Popen[bytes]", *, stop_signal: signal.Signals, timeout_seconds: float) -> None:
    """Ask a program to end and, when it takes too long, end it."""
    if process.poll() is None:
        process.send_signal(stop_signal)
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def open_to_others(path: Path) -> None:
    """Let an unprivileged user walk down to a path: adds the right to pass through its folders, nothing more."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as caller:
        caller.settimeout(1.0)
        return caller.connect_ex((host, port)) == 0


def wait_ready(
    process: "subprocess.Popen[bytes]", ready: Callable[[], bool], *, what: str, timeout_seconds: float, log: Path
) -> None:
    """Wait until a started program answers; say what its log said when it ends or takes too long."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        if ready():
            return
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            state = f"ended with {process.returncode}" if process.poll() is not None else "is not ready"
            raise RuntimeError(f"{what} {state} after {timeout_seconds:.0f} s at most; its log ends:\n{said}")
        time.sleep(0.05)
