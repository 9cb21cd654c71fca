"""What an earlier run has replayed, so that a later one sends the same orders or none."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Marker:
    """Kept beside the system's data, and removed with it."""

    ends_at: str
    """The instant at which the replayed year ends: with it the same baskets become the same orders."""
    baskets: int = 0
    """How many baskets were asked for."""
    orders: int = 0
    events: int = 0
    seconds: float = 0.0
    """From the first event sent to the last entry seen behind the ledger; 0 while nothing has gone through."""

    @classmethod
    def read(cls, file: Path) -> "Marker":
        """As kept, or a new one that ends now."""
        if file.exists():
            kept: dict[str, Any] = json.loads(file.read_text())
            return cls(**kept)
        return cls(ends_at=datetime.now(UTC).replace(microsecond=0).isoformat())

    def keep(self, file: Path) -> None:
        """Write it, whole or not at all."""
        new = file.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=2))
        new.replace(file)

    def after(self, *, baskets: int, orders: int, events: int, seconds: float) -> "Marker":
        """The same with what has gone through now."""
        return replace(self, baskets=baskets, orders=orders, events=events, seconds=round(seconds, 2))

    @property
    def year_ends_at(self) -> datetime:
        """As a time."""
        return datetime.fromisoformat(self.ends_at)
