"""Starts every part in order, keeps each one running, and ends them all: one process watches the others.

One thread starts all parts and lives as long as the process: the kernel ends the parts when that thread ends.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, Literal

from local import child, system
from local.settings import LocalSettings
from local.system import Part

Phase = Literal["starting", "ready", "stopping", "failed"]

_ASK_SECONDS: Final = 0.05
"""Between two questions to a part that is not ready yet."""
_REST_SECONDS: Final = 5.0
"""Between two looks at the logs' sizes; whatever else happens wakes the supervisor."""
_RESTART_SECONDS: Final = (0.0, 0.1, 0.2, 0.4, 0.8)
"""Pause before each further restart of a part that keeps ending early; the first comes at once."""
_STEADY_SECONDS: Final = 5.0
"""A part that has run so long starts anew in the row above when it ends."""
_HOPELESS_RESTARTS: Final = 12
"""Early ends in a row after which a start-up is given up."""
_LOG_BYTES: Final = 32 * 1024 * 1024
_STOP_SECONDS: Final = 12.0


class StartFailed(Exception):
    """The system did not come up; the message says what to look at."""


@dataclass(slots=True)
class _Watched:
    part: Part
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    early_ends: int = 0
    restarts: int = 0
    restart_at: float = 0.0
    ready: bool = False
    answers: "subprocess.Popen[bytes] | None" = None
    """The process that was last seen to be ready; the asking thread's to set."""

    @property
    def silent(self) -> bool:
        """Whether it runs and has not answered yet."""
        return self.process is not None and self.answers is not self.process


class _Bell:
    """Wakes the supervisor at once, so that it need not look again and again: signals ring it, a child's end is one,
    and so does the thread that asks around. A pipe, because a signal may come while a lock is held."""

    def __init__(self) -> None:
        self._heard, self._struck = os.pipe()
        for end in (self._heard, self._struck):
            os.set_blocking(end, False)

    def ring_at_signals(self) -> None:
        """From now on; for the main thread."""
        signal.signal(signal.SIGCHLD, lambda *_: None)  # an ignored signal would wake nobody
        signal.set_wakeup_fd(self._struck, warn_on_full_buffer=False)

    def ring(self) -> None:
        """Wake who waits, or who will wait next."""
        with contextlib.suppress(BlockingIOError):  # full of rings that nobody has heard yet
            os.write(self._struck, b"!")

    def wait(self, seconds: float) -> None:
        """So long at most."""
        if select.select([self._heard], [], [], seconds)[0]:
            os.read(self._heard, 4096)


@dataclass(slots=True)
class Supervisor:
    """The processes of one system."""

    settings: LocalSettings
    watched: dict[str, _Watched] = field(default_factory=dict)
    phase: Phase = "starting"
    message: str = ""
    stopping: bool = False
    _bell: _Bell = field(default_factory=_Bell)
    _started: threading.Event = field(default_factory=threading.Event)
    """Some part has been started and has to be asked whether it is ready."""
    _last_look_at_logs: float = 0.0

    def run(self, *, engines_only: bool = False) -> int:
        """Bring the system up and keep it up until told to stop; the exit status of the process."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._asked_to_stop)
        self._bell.ring_at_signals()
        threading.Thread(target=self._ask_around, name="ask-around", daemon=True).start()
        status = 0
        try:
            self._bring_up(engines_only=engines_only)
            self._say("ready")
            while not self.stopping:
                self._look_after()
                self._rest()
        except StartFailed as error:
            status = 1
            self._say("failed", str(error))
        finally:
            if status == 0:
                self._say("stopping")
            self._end_all()
            if status == 0:
                state_file(self.settings).unlink(missing_ok=True)
        return status

    def _ask_around(self) -> None:
        # In a thread of its own: a part that answers slowly must not delay the restart of another one.
        while True:
            self._started.wait()
            self._started.clear()
            while silent := [watched for watched in list(self.watched.values()) if watched.silent]:
                for watched in silent:
                    process = watched.process
                    if process is not None and watched.part.ready():
                        watched.answers = process
                        self._bell.ring()
                time.sleep(_ASK_SECONDS)

    def _bring_up(self, *, engines_only: bool) -> None:
        self._say("starting", "keys")
        self.settings.logs.mkdir(parents=True, exist_ok=True)
        database, broker = system.postgres(self.settings), system.kafka(self.settings)
        self._say("starting", "PostgreSQL")
        database.prepare()
        engines = system.engines(self.settings)
        self._start(engines[0])
        if not engines_only:
            for part in system.applications(self.settings):
                if part.name in ("mailbox", "gateway"):
                    self._start(part)
        self._say("starting", "Kafka")
        broker.prepare()
        self._start(engines[1])
        self._wait_for([engines[0].name])
        self._say("starting", "databases, migrations, topics")
        self._run_once("prepare", engines_only=engines_only)
        self._wait_for([engines[1].name])
        if engines_only:
            return
        self._say("starting", "services")
        for part in system.applications(self.settings):
            if part.name not in self.watched:
                self._start(part)
        self._wait_for(list(self.watched))

    def _run_once(self, step: str, *, engines_only: bool) -> None:
        log = self.settings.logs / f"{step}.log"
        command = child.Command(
            name=step, argv=[sys.executable, "-m", "local", step, *(["--engines-only"] if engines_only else [])]
        )
        with log.open("wb") as output:
            process = child.spawn(command, log=output)
        while process.poll() is None:
            if self.stopping:
                child.stop(process, stop_signal=command.stop_signal, timeout_seconds=3)
                raise StartFailed("stopped while starting")
            self._look_after()
            self._rest()
        if process.returncode != 0:
            raise StartFailed(f"{step} failed; {_tail(log)}")

    def _start(self, part: Part) -> None:
        watched = self.watched.setdefault(part.name, _Watched(part))
        with self._log(part.name).open("ab") as output:
            watched.process = child.spawn(part.command, log=output)
        watched.started_at = time.monotonic()
        watched.ready = False
        self._started.set()
        self._save()

    def _wait_for(self, names: Sequence[str]) -> None:
        deadline = time.monotonic() + self.settings.start_seconds
        while True:
            self._look_after()
            waiting = [name for name in names if not self.watched[name].ready]
            if not waiting:
                return
            if self.stopping:
                raise StartFailed("stopped while starting")
            hopeless = [name for name in waiting if self.watched[name].early_ends >= _HOPELESS_RESTARTS]
            if hopeless or time.monotonic() > deadline:
                late = (hopeless or waiting)[0]
                raise StartFailed(f"{late} is not ready; {_tail(self._log(late))}")
            self._rest()

    def _rest(self) -> None:
        """Until a part ends or answers, a signal comes, or a restart is due."""
        due = [watched.restart_at for watched in self.watched.values() if watched.process is None]
        self._bell.wait(max(0.0, min(due) - time.monotonic()) if due else _REST_SECONDS)

    def _look_after(self) -> None:
        now = time.monotonic()
        for name, watched in self.watched.items():
            if watched.process is None:
                if now >= watched.restart_at:
                    watched.restarts += 1
                    self._start(watched.part)
            elif watched.process.poll() is not None:
                self._ended(name, watched, now)
            elif not watched.ready and watched.answers is watched.process:
                watched.ready = True
                self._save()
        if now - self._last_look_at_logs > 10:
            self._last_look_at_logs = now
            for name in self.watched:
                _rotate(self._log(name))

    def _ended(self, name: str, watched: _Watched, now: float) -> None:
        assert watched.process is not None
        lived = now - watched.started_at
        watched.early_ends = 0 if lived >= _STEADY_SECONDS else watched.early_ends + 1
        pause = _RESTART_SECONDS[min(watched.early_ends, len(_RESTART_SECONDS) - 1)]
        print(f"{name} ended with {watched.process.returncode} after {lived:.1f} s; starting it again", flush=True)
        watched.process = None
        watched.ready = False
        watched.restart_at = now + pause
        self._save()

    def _end_all(self) -> None:
        # The other way round: the gateway first, so that nobody asks services that are ending; Postgres last.
        for name in sorted(self.watched, key=_ENDING.index):
            watched = self.watched[name]
            if watched.process is not None and name not in _TOGETHER:
                self._end(watched)
            elif name == _TOGETHER[0]:
                together = [self.watched[other] for other in _TOGETHER if other in self.watched]
                for other in together:
                    if other.process is not None and other.process.poll() is None:
                        other.process.send_signal(other.part.command.stop_signal)
                for other in together:
                    self._end(other)

    def _end(self, watched: _Watched) -> None:
        if watched.process is not None:
            child.stop(watched.process, stop_signal=watched.part.command.stop_signal, timeout_seconds=_STOP_SECONDS)

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the kernel's form
        self.stopping = True

    def _say(self, phase: Phase, message: str = "") -> None:
        self.phase, self.message = phase, message
        print(phase, message, flush=True)
        self._save()

    def _save(self) -> None:
        state = {
            "pid": os.getpid(),
            "phase": self.phase,
            "message": self.message,
            "parts": {
                name: {
                    "pid": watched.process.pid if watched.process else None,
                    "ready": watched.ready,
                    "restarts": watched.restarts,
                    "where": watched.part.where,
                }
                for name, watched in self.watched.items()
            },
        }
        file = state_file(self.settings)
        new = file.with_suffix(".new")
        new.write_text(json.dumps(state, indent=1))
        new.replace(file)

    def _log(self, name: str) -> Path:
        return self.settings.logs / f"{name}.log"


_TOGETHER: Final = ("ledger", "rules", "redemption", "notifications")
_ENDING: Final = ("gateway", *_TOGETHER, "mailbox", "kafka", "postgres")


def state_file(settings: LocalSettings) -> Path:
    """Where the supervisor says how it goes."""
    return settings.var / "system.json"


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-25:] if log.exists() else []
    return f"its log, {log}, ends:\n" + "\n".join(f"  {line}" for line in lines)


def _rotate(log: Path) -> None:
    # The parts keep their files open for appending, so the file is copied and emptied rather than moved.
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.with_suffix(".log.1").write_bytes(log.read_bytes())
        os.truncate(log, 0)
