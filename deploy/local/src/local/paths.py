"""Where things are in the repository."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[4]
"""The repository: these packages are installed editable, so this file lies in it."""

VAR: Final = ROOT / "var"
"""Everything that running makes; `make clean` removes it."""

SERVICES: Final = ("ledger", "rules", "redemption", "notifications")
"""The services that `make up` runs, in the order in which a point travels."""
