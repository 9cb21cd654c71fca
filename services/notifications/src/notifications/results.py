"""What can come of an attempt, whatever the channel. Reasons hold no personal data: they are stored and shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sent:
    """The other side has taken it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now; perhaps later."""

    reason: str
    after_seconds: float | None = None
    """The other side asks for this pause at least."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Never, as it is: a person has to look."""

    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """Never again, nor anything else: the endpoint wants no more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The channel itself is down, which is no fault of the message: it is not counted as an attempt."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotDue:
    """Not wanted any more: the address was deleted, or the member has opted out meanwhile."""

    reason: str


Result = Sent | Retry | Rejected | Gone | Unreachable | NotDue
