"""A disk of its own for Postgres, small enough to be filled."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SIZE_BYTES: Final = 8 * 2**30
"""What a long campaign writes, and the log of it; the file behind it takes only what is used."""

LEFT_BYTES: Final = 64 * 1024
"""Of a full disk: so little that the next pages or the next piece of the log do not fit."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A file with a file system in it."""

    mounted_at: Path

    @property
    def _ballast(self) -> Path:
        return self.mounted_at / "ballast"

    def fill(self) -> None:
        """Leave nearly nothing of it; what is reserved is on no page of the file behind it."""
        room = shutil.disk_usage(self.mounted_at).free - LEFT_BYTES
        with self._ballast.open("wb") as file, suppress(OSError):  # somebody else may be the one to fill it
            os.posix_fallocate(file.fileno(), 0, max(1, room))

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def disk_at(folder: Path, image: Path) -> Iterator[Disk | None]:
    """Mount a new disk there; None where this user or this machine may not."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        yield None
        return
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    folder.mkdir(parents=True, exist_ok=True)
    if not (_run("mkfs.ext4", "-q", "-F", "-m", "0", image) and _run("mount", "-o", "loop", image, folder)):
        image.unlink()
        yield None
        return
    (folder / "lost+found").rmdir()  # a new server wants its folder empty
    try:
        yield Disk(folder)
    finally:
        if not _run("umount", folder):
            _run("umount", "-l", folder)
        image.unlink()


def _run(*command: str | Path) -> bool:
    return subprocess.run([str(part) for part in command], capture_output=True, check=False).returncode == 0
