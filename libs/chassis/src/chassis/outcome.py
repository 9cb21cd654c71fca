"""What a use case gives back: an answer for each command, and the events that follow from all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contracts import Event


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one transaction, before it is committed."""

    answers: Sequence[Any] = ()
    """One per command, in order. An exception among them is raised to that command's caller alone; a `Poison` sends
    that command's message to the dead letters. May be empty when nobody waits for answers."""
    events: Sequence[Event] = ()
    """Facts to publish; the chassis records them in the outbox, in the same transaction."""
    traces: Sequence[str | None] = ()
    """The `traceparent` of each event, in the order of `events`; empty when none is known."""


class Poison(Exception):
    """A message that can never be applied; it goes to the dead letters and the stream goes on."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        """Stable, snake_case."""
        self.detail = detail
        """For people. Holds no personal data and no values of the message."""


def answer_or_raise(answer: Any) -> Any:
    """The answer, or raise it when it is a refusal."""
    if isinstance(answer, BaseException):
        raise answer
    return answer
