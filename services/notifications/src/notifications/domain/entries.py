"""Entries of the ledger, and how far each account has been told of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Buckets:
    """A member's four sums, or a change to them. `debt` is at or below zero."""

    available: int = 0
    pending: int = 0
    held: int = 0
    debt: int = 0

    @property
    def net(self) -> int:
        return self.available + self.pending + self.held + self.debt


@dataclass(frozen=True, slots=True)
class LotChange:
    """What an entry did to one lot."""

    lot: str
    change: int
    remaining: int
    activates_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the ledger, as far as members are told of it."""

    shop: str
    member: str
    account: str
    epoch: int
    """Grows when a ledger is restored from a backup; its entries start anew from there."""
    seq: int
    entry: str
    kind: str
    at: datetime
    changes: Buckets
    balances: Buckets
    hash: str = ""
    lots: tuple[LotChange, ...] = ()
    order: str | None = None
    checkout: str | None = None
    reason: str | None = None
    rule: str | None = None
    shortfall: int = 0


MAX_GAP = 1_000
"""Entries of one account remembered as missing at one jump. A longer jump is a reader that starts anew."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far an account has been told."""

    epoch: int
    seq: int
    hash: str
    available: int


class Standing(StrEnum):
    """An entry against what has been told of its account."""

    NEXT = "next"
    REPEATED = "repeated"
    """The last one once more."""
    FORKED = "forked"
    """The last one's number with another content: the ledger's history has been altered."""
    OLDER = "older"
    """At or before what has been told: a repeat, unless it was jumped over."""


def standing(place: Place | None, entry: Entry) -> tuple[Standing, range]:
    """Whether an entry is news, and which numbers it jumps over. A first sight of an account jumps over nothing."""
    if place is None or entry.epoch > place.epoch:
        return Standing.NEXT, range(0)
    if entry.epoch == place.epoch and entry.seq > place.seq:
        return Standing.NEXT, range(max(place.seq + 1, entry.seq - MAX_GAP), entry.seq)
    if (entry.epoch, entry.seq) == (place.epoch, place.seq):
        return (Standing.REPEATED if entry.hash == place.hash else Standing.FORKED), range(0)
    return Standing.OLDER, range(0)


def place_of(entry: Entry) -> Place:
    """How far an account has been told once this entry has been."""
    return Place(entry.epoch, entry.seq, entry.hash, entry.balances.available)
