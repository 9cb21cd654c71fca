"""The life of a checkout's points: intended, held, then captured, released or expired."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID


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

RESERVED: Final = frozenset({State.INTENDED, State.HELD, State.RELEASING})
"""States in which the ledger may be holding points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """One attempt to hold points for a checkout."""

    id: UUID
    shop: str
    checkout: str
    client: str
    idempotency_key: str
    content_hash: bytes
    member: str
    channel: str
    currency: str
    points: int
    worth: int
    settings_revision: int
    cart: Mapping[str, Any]
    state: State
    hold: UUID
    expires_at: datetime
    created_at: datetime
    changed_at: datetime
    problem: Mapping[str, Any] | None = None
    order_id: str | None = None
    is_late: bool = False
    answer: str | None = None
    """The first answer, as it was given; the same key and content gets it again."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the ledger has done so far for the orders that name a checkout."""

    captured: int = 0
    returned: int = 0
    shortfall: int = 0
    difference: int = 0


AFTER_ENTRY: Final[Mapping[str, State]] = {
    "hold": State.HELD,
    "release": State.RELEASED,
    "time_out": State.EXPIRED,
    "capture": State.CAPTURED,
    "spend": State.CAPTURED,
}
"""How a checkout stands after an entry of the ledger that concerns its hold."""


def after_entry(state: State, kind: str) -> State:
    """The state after an entry. A hold that is seen again never opens what is closed; a payment always counts."""
    told = AFTER_ENTRY.get(kind)
    if told is None or state is State.CAPTURED:
        return state
    if told is State.HELD:
        return State.HELD if state is State.INTENDED else state
    return told
