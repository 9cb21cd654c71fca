"""Merkle trees as RFC 6962 has them: one root for many leaves, and a short path that proves one of them to be there.

Leaves are hashes already, made behind tags of their own; a node is the hash of a one byte and its two halves' hashes,
so that neither can pass for the other. The left half of a tree has the largest power of two of leaves that leaves
something for the right one; built level by level that is: pairs from the left, and what is left over moves up as it is.
No leaves: SHA-256 of nothing.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

EMPTY: Final = sha256().digest()
"""The root of no leaves."""


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root of leaves, in their order."""
    if not leaves:
        return EMPTY
    level = list(leaves)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def path_of(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The neighbours from a leaf up to the root."""
    level, path = list(leaves), []
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        level, index = _above(level), index >> 1
    return path


def root_by_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root of a tree of that size with this leaf at that index; None if the path does not fit it."""
    if not 0 <= index < size:
        return None
    found, rest = leaf, iter(path)
    while size > 1:
        if index ^ 1 < size:
            neighbour = next(rest, None)
            if neighbour is None:
                return None
            found = _node(neighbour, found) if index & 1 else _node(found, neighbour)
        index, size = index >> 1, (size + 1) >> 1
    return found if next(rest, None) is None else None


def _above(level: list[bytes]) -> list[bytes]:
    ordered = iter(level)
    above = [_node(left, right) for left, right in zip(ordered, ordered, strict=False)]
    if len(level) % 2:
        above.append(level[-1])
    return above


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()
