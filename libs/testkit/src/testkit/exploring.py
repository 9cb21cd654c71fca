"""How far property tests look: `make explore` looks further than every run does, and elsewhere each time."""

import os
from typing import Final

EXPLORE: Final = int(os.environ.get("EXPLORE", "1"))
"""So many times as many examples."""


def examples(usual: int) -> int:
    """How many examples to try, where a usual run tries so many."""
    return usual * EXPLORE
