"""The life of a checkout's points: intended, held, then captured, released or expired."""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """How a checkout stands."""

    INTENDED = "intended"
    """The ledger is about to be asked; a crash leaves it here and a job finishes it."""
    REFUSED = "refused"
    """The ledger refused the hold; nothing is reserved."""
    HELD = "held"
    """Points are reserved until `expires_at`."""
    RELEASING = "releasing"
    """The ledger is about to be asked to free them; a crash leaves it here and a job finishes it."""
    RELEASED = "released"
    EXPIRED = "expired"
    """The time limit freed the points; a late payment debits what is available then."""
    CAPTURED = "captured"
    """The order has been paid."""


LIVE: Final = frozenset({State.INTENDED, State.HELD, State.RELEASING, State.CAPTURED})
"""States in which a checkout's id cannot take another hold."""

UNFINISHED: Final = frozenset({State.INTENDED, State.RELEASING})
"""States that wait for the ledger's answer."""
