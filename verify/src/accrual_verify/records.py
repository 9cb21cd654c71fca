"""The records of a complete export, with which a shop can go on living elsewhere: what of them can be proved.

No hash covers them. Lots, open holds and debts must add up to the buckets of their accounts, which hashes do cover.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from accrual_verify.findings import Report

_ADDED_UP: Final = frozenset("lhf")
"""Lots, holds, shortfalls."""

KINDS: Final = _ADDED_UP | frozenset("sgkwpnmv")
"""Also spends, gifts of a day, keys, what waits, proposals, members, merges and what they moved."""


class Records:
    """One lane's sums at a time."""

    def __init__(self, layout: Mapping[str, Sequence[str]], report: Report) -> None:
        self._places = {
            kind: {name: place for place, name in enumerate(names)} for kind, names in layout.items() if kind in KINDS
        }
        self._report = report
        self._left: dict[tuple[str, str], list[int]] = {}
        """By account what its records have yet to add up to: lots that are not pending, pending ones, holds, debts."""

    def account(self, member: str, asset: str, buckets: Sequence[int]) -> None:
        """An account as it is stored."""
        available, pending, held, debt = buckets
        self._left[member, asset] = [available + held, pending, held, -debt]

    def add(self, kind: str, member: str, asset: str, values: Sequence[Any]) -> None:
        """A record of an account."""
        if kind not in _ADDED_UP:
            return
        record = {name: values[place] for name, place in self._places[kind].items()}
        left = self._left.setdefault((member, asset), [0, 0, 0, 0])
        if kind == "l":
            left[1 if record["pending"] else 0] -= record["remaining"]
        elif kind == "f":
            left[3] -= record["owed"]
        elif record["state"] == "open":
            left[2] -= record["amount"]

    def end_lane(self, lane: int) -> None:
        """All records of its accounts have passed."""
        for (member, asset), left in self._left.items():
            if any(left):
                what = "its lots, holds or debts do not add up to its balances"
                self._report.add("books_differ", what, member=member, asset=asset, lane=lane)
        self._left = {}
