"""What a model finds wrong with a value, without what only follows from it."""

from collections.abc import Sequence
from typing import Any, TypeVar

Fault = TypeVar("Fault", bound=Any)
"""As pydantic tells one: `type`, `loc`, `msg` and more."""


def causes(faults: Sequence[Fault]) -> list[Fault]:
    """A tuple is counted without the items that are at fault; that it is too short then is their fault."""
    places = [tuple(fault["loc"]) for fault in faults]
    return [
        fault
        for fault, place in zip(faults, places, strict=True)
        if fault["type"] != "too_short" or not any(len(p) > len(place) and p[: len(place)] == place for p in places)
    ]
