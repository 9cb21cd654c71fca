"""What the demo shows: headings, facts, and one line of progress that is written over."""

import os
import shutil
import sys
import time
from collections.abc import Iterable

BAR_CELLS = 24
PLAIN_SECONDS = 5.0
"""Where nothing can be written over, progress is a line every so often."""


class Screen:
    """Writes to a terminal with colours, or to anything else without."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._colours = self._live and "NO_COLOR" not in os.environ
        self._over = False
        self._plain_at = 0.0

    def title(self, text: str) -> None:
        """A part of the demo begins."""
        self._end_line()
        print(f"\n{self._style('1;36', '━━')} {self._style('1', text)}", flush=True)

    def say(self, text: str = "") -> None:
        """A line."""
        self._end_line()
        print(f"   {text}" if text else "", flush=True)

    def facts(self, rows: Iterable[tuple[str, str]]) -> None:
        """Names and values, aligned."""
        rows = list(rows)
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.say(f"{self.dim(name.ljust(width))}  {value}")

    def progress(self, done: int, total: int, text: str) -> None:
        """One line that is written over."""
        share = min(done / total, 1.0) if total else 1.0
        filled = int(share * BAR_CELLS)
        bar = self._style("36", "█" * filled) + self.dim("░" * (BAR_CELLS - filled))
        line = f"   {bar} {share:>4.0%}  {text}"
        if self._live:
            room = shutil.get_terminal_size().columns + len(bar) - BAR_CELLS
            print(f"\r\x1b[K{line[:room]}", end="", flush=True)
            self._over = True
        elif time.monotonic() - self._plain_at > PLAIN_SECONDS:
            self._plain_at = time.monotonic()
            print(f"   {share:>4.0%}  {text}", flush=True)

    def end_progress(self, text: str) -> None:
        """The line as it stays."""
        if self._live:
            print("\r\x1b[K", end="")
            self._over = False
        self.say(text)

    def good(self, text: str) -> str:
        """Marked as right."""
        return self._style("32", f"✓ {text}")

    def bad(self, text: str) -> str:
        """Marked as wrong."""
        return self._style("1;31", f"✗ {text}")

    def strong(self, text: str) -> str:
        """Stands out."""
        return self._style("1", text)

    def dim(self, text: str) -> str:
        """Stands back."""
        return self._style("2", text)

    def _end_line(self) -> None:
        if self._over:
            print(flush=True)
            self._over = False

    def _style(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text
