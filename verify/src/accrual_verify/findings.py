"""What was found: each thing that does not hold, named as exactly as the file allows."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SHOWN: Final = 1_000
"""Findings that are kept; all are counted. A file that is wrong throughout says so in the first few."""


class Unreadable(Exception):
    """A file that is not what it should be at all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold."""

    code: str
    """Stable, such as `entry_changed`."""
    what: str
    """For people."""
    facts: Mapping[str, Any]
    """Where: lane, position, member, asset, seq, or seal."""

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"code": self.code, "what": self.what, **self.facts}

    def __str__(self) -> str:
        where = " ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.code}: {self.what} [{where}]"


@dataclass(slots=True)
class Report:
    """All that was found in a file, and what was looked at."""

    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """Of findings, by their code."""
    notes: list[str] = field(default_factory=list)
    """What an auditor should know, though nothing is wrong."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What was verified."""

    def add(self, code: str, what: str, **facts: Any) -> None:
        """Something does not hold."""
        self.counts[code] += 1
        if len(self.findings) < SHOWN:
            self.findings.append(Finding(code, what, facts))

    @property
    def good(self) -> bool:
        """Whether all holds."""
        return not self.counts

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "good": self.good,
            **self.facts,
            "findings": [finding.told() for finding in self.findings],
            "counts": dict(self.counts),
            "notes": self.notes,
        }
