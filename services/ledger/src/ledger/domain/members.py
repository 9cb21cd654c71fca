"""Members of whom the ledger knows more than points: those that are frozen, or were merged into another."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class MemberKey(NamedTuple):
    """Names a member."""

    shop: str
    member: str


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """What holds for all assets of a member alike; nearly all members have no such record."""

    key: MemberKey
    frozen: bool = False
    """Points come in and what was begun goes on; nothing new that takes points is begun."""
    merged_into: str | None = None
    """What is asked of it from now on is asked of this member."""
    changed: bool = False


def chain_of(members: Mapping[MemberKey, Member], key: MemberKey) -> Iterator[Member]:
    """The records of a member and of whom it was merged into, and so on, as far as there are some."""
    while (member := members.get(key)) is not None:
        yield member
        if member.merged_into is None:
            return
        key = MemberKey(key.shop, member.merged_into)
