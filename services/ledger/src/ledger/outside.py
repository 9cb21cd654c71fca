"""Seals outside the database: files that are only ever appended to, a JSON line for each seal, a file a lane and month.

The files are their own cursor. What was cut off in the middle of a line stays as it is, and its seal follows anew;
readers pass over what is no JSON, and over repeats.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ledger.store.rows import encode_json
from ledger.store.seals import Sealed

Mark = tuple[int, int]
"""Epoch and number: how far a lane's seals are told."""

TAIL_BYTES: Final = 64 * 1024
"""Of a file, read from its end: a hundred seals, of which the last whole one is wanted."""

FILE_MODE: Final = 0o644
"""Everyone may hold an export against them; only their owner adds to them."""


class SealFolder:
    """A folder of such files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def newest(self, lane: int) -> Mapping[str, Any] | None:
        """A lane's last seal as it was told; None when none was."""
        for file in sorted(self._folder.glob(f"lane-{lane}-*.jsonl"), reverse=True):
            told = list(_told(_tail(file)))
            if told:
                return told[-1]
        return None

    def marks(self, lanes: Iterable[int]) -> dict[int, Mark]:
        """How far each lane's seals are told."""
        newest = {lane: self.newest(lane) for lane in lanes}
        return {lane: (told["epoch"], told["number"]) for lane, told in newest.items() if told is not None}

    def append(self, found: Sequence[Sealed]) -> None:
        """Add seals, in order within a lane; they are on the disk when this returns."""
        lines: defaultdict[str, list[bytes]] = defaultdict(list)
        for sealed in found:
            told = sealed.told()
            lines[f"lane-{sealed.seal.lane}-{told['at']:%Y-%m}.jsonl"].append(encode_json(told) + b"\n")
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, of_file in lines.items():
            _append(self._folder / name, b"".join(of_file))
        _sync(self._folder)


def _append(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, FILE_MODE)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            content = b"\n" + content  # behind what a crash cut off
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tail(file: Path) -> bytes:
    with file.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - TAIL_BYTES))
        return opened.read()


def _told(content: bytes) -> Iterator[Mapping[str, Any]]:
    """Whole lines; one that was cut off, at the beginning or by a crash, is no JSON."""
    for line in content.split(b"\n"):
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict) and "number" in told:
            yield told
