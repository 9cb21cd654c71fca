"""What statements are made of: rows as columns for `unnest`, and conditions that are asked only sometimes."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any


def columns(rows: Collection[Sequence[Any]], count: int) -> list[list[Any]]:
    """The first so many columns of rows."""
    return [[row[index] for row in rows] for index in range(count)]


def only(asked: Mapping[str, Any], first: int) -> tuple[str, list[Any]]:
    """The conditions that are asked, by column, and their values, which are numbered from `first` on.

    Statements have one plan whatever their values, so a condition that is not asked must not stand in them.
    """
    given = {column: value for column, value in asked.items() if value is not None}
    return "".join(f" AND {column} = ${number}" for number, column in enumerate(given, first)), list(given.values())
