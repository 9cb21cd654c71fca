"""What a model finds wrong with a value, without what only follows from it."""

from collections.abc import Sequence
from typing import Any, TypeVar

Fault = TypeVar("Fault", bound=Any)
"""As pydantic tells one: `type`, `loc`, `msg` and more."""


def causes(faults: Sequence[Fault]) -> list[Fault]:
    """A tuple is counted without the items that are at fault; that it is too short then is their fault."""
    above = {tuple(fault["loc"][:depth]) for fault in faults for depth in range(len(fault["loc"]))}
    return [fault for fault in faults if fault["type"] != "too_short" or tuple(fault["loc"]) not in above]
