"""Rows as columns, for `unnest`."""

from collections.abc import Collection, Sequence
from typing import Any


def columns(rows: Collection[Sequence[Any]], count: int) -> list[list[Any]]:
    """The first so many columns of rows."""
    return [[row[index] for row in rows] for index in range(count)]
