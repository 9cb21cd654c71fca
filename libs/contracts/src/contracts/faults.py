"""What a model finds wrong with a value: as much as somebody can read, however much is wrong."""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema

Fault = TypeVar("Fault", bound=Any)
"""As pydantic tells one: `type`, `loc`, `msg` and more."""


def _stop_early(part: Any) -> None:
    if isinstance(part, dict):
        if part.get("type") == "tuple" and "variadic_item_index" in part:
            part["fail_fast"] = True
        for inner in part.values():
            _stop_early(inner)
    elif isinstance(part, list):
        for inner in part:
            _stop_early(inner)


class FirstFaults(BaseModel):
    """A model whose tuples are looked through up to the first item at fault. A tuple is counted after its items, so a
    body of a megabyte could have a million faults, and telling them take seconds."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler, /) -> CoreSchema:
        schema = handler(source)
        _stop_early(schema)
        return schema


def causes(faults: Sequence[Fault]) -> list[Fault]:
    """A tuple is counted without the items that are at fault; that it is too short then is their fault."""
    above = {tuple(fault["loc"][:depth]) for fault in faults for depth in range(len(fault["loc"]))}
    return [fault for fault in faults if fault["type"] != "too_short" or tuple(fault["loc"]) not in above]
