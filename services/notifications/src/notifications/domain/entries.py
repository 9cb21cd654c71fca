"""Entries of the ledger as their events carry them, and how far each account has been told of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Buckets(Protocol):
    """A member's four sums, or a change to them. `debt` is at or below zero."""

    @property
    def available(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def held(self) -> int: ...
    @property
    def debt(self) -> int: ...


class LotChange(Protocol):
    """What an entry did to one lot."""

    @property
    def lot(self) -> str: ...
    @property
    def change(self) -> int: ...
    @property
    def remaining(self) -> int: ...
    @property
    def activates_at(self) -> datetime: ...
    @property
    def expires_at(self) -> datetime | None: ...


class Cause(Protocol):
    """Why an entry was made."""

    @property
    def reason(self) -> str | None: ...
    @property
    def rule(self) -> str | None: ...
    @property
    def activates_on(self) -> str | None: ...


class Entry(Protocol):
    """One entry of the ledger, as far as members are told of it. The event itself is one: a copy of each costs more
    than all that is decided about it."""

    @property
    def shop(self) -> str: ...
    @property
    def member(self) -> str: ...
    @property
    def asset(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def seq(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def is_opening(self) -> bool: ...
    @property
    def at(self) -> datetime: ...
    @property
    def changes(self) -> Buckets: ...
    @property
    def balances(self) -> Buckets: ...
    @property
    def hash(self) -> str: ...
    @property
    def lots(self) -> Sequence[LotChange]: ...
    @property
    def order(self) -> str | None: ...
    @property
    def checkout(self) -> str | None: ...
    @property
    def cause(self) -> Cause: ...
    @property
    def shortfall(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Place:
    """How far an account has been told."""

    epoch: int
    """Grows when a ledger is restored from a backup; its entries start anew from there."""
    seq: int
    hash: str
    available: int


class Standing(StrEnum):
    """An entry against what has been told of its account."""

    NEXT = "next"
    AHEAD = "ahead"
    """Entries between it and the last one told are missing."""
    REPEATED = "repeated"
    """At or before what has been told."""
    FORKED = "forked"
    """The last one's number with another content: the ledger's history has been altered."""


def standing(place: Place | None, entry: Entry) -> Standing:
    """Whether an entry is news. A first sight of an account, or of its epoch, may have any number."""
    if place is None or entry.epoch > place.epoch:
        return Standing.NEXT
    if entry.epoch == place.epoch and entry.seq > place.seq:
        return Standing.NEXT if entry.seq == place.seq + 1 else Standing.AHEAD
    if (entry.epoch, entry.seq) == (place.epoch, place.seq) and entry.hash != place.hash:
        return Standing.FORKED
    return Standing.REPEATED


def place_of(entry: Entry) -> Place:
    """How far an account has been told once this entry has been."""
    return Place(entry.epoch, entry.seq, entry.hash, entry.balances.available)


@dataclass(frozen=True, slots=True)
class Gap:
    """Entries of an account that are missing between the last one told and one that came."""

    shop: str
    member: str
    asset: str
    account: str
    epoch: int
    after: int
    """The last one told."""
    before: int
    """The one that came."""
