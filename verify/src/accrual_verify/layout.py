"""The bytes of entries and refusals, and the trees over them, as docs/tamper-evidence.md lays them out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from struct import Struct, error, pack
from typing import Any, Final

ENTRY_TAG: Final = b"accrual/entry/1\n"
REFUSAL_TAG: Final = b"accrual/refusal/1\n"
SHOP_TAG: Final = b"accrual/shop/1\n"
COUNTED_TAG: Final = b"accrual/counted/1\n"

NO_HASH: Final = bytes(32)
EMPTY_ROOT: Final = sha256().digest()
"""The root of no leaves."""

NEVER: Final = -(2**63)

HEAD: Final = Struct(">16q13I")
REFUSAL_HEAD: Final = Struct(">q11I")
_LENGTH: Final = Struct(">I")
_AMOUNT: Final = Struct(">q")
_LOT: Final = Struct(">6q")

_NUMBERS: Final = (
    "seq", "at", "recorded_at", "generation", "available", "pending", "held", "debt", "available_after",
    "pending_after", "held_after", "debt_after", "lifetime_earned", "lifetime_spent", "shortfall", "difference",
)  # fmt: skip
_TEXTS: Final = ("shop", "member", "asset", "kind", "source", "key", "order", "hold", "checkout", "cause")
_REFUSAL_TEXTS: Final = (*_TEXTS[:-1], "code", "facts")
_LOT_FIELDS: Final = ("lot", "change", "remaining", "activates_at", "expires_at", "priority")


class Malformed(Exception):
    """Bytes that are not laid out as they should be."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as its bytes tell it."""

    fields: dict[str, Any]
    """Numbers and texts by their names, `memo_commitment` in hex, `system` and `lots`."""

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def told(self) -> dict[str, Any]:
        """As people read it: instants instead of microseconds, and nothing that is not there."""
        told = {name: value for name, value in self.fields.items() if value not in ("", [], {})}
        told["at"], told["recorded_at"] = instant_of(self["at"]), instant_of(self["recorded_at"])
        dates = ("activates_at", "expires_at")
        lots = [{**lot, **{name: instant_of(lot[name]) for name in dates}} for lot in self["lots"]]
        return {**told, "lots": lots} if lots else told


def entry_of(content: bytes) -> Entry:
    """Read an entry's bytes to the last one; raises `Malformed`."""
    try:
        numbers = HEAD.unpack_from(content)
        at = HEAD.size
        fields: dict[str, Any] = dict(zip(_NUMBERS, numbers, strict=False))
        for name, length in zip(_TEXTS, numbers[16:26], strict=True):
            fields[name], at = content[at : at + length].decode(), at + length
        fields["memo_commitment"], at = content[at : at + numbers[26]].hex(), at + numbers[26]
        system: list[tuple[str, int]] = []
        for _ in range(numbers[27]):
            (length,) = _LENGTH.unpack_from(content, at)
            name = content[at + 4 : at + 4 + length].decode()
            (amount,) = _AMOUNT.unpack_from(content, at + 4 + length)
            system.append((name, amount))
            at += 12 + length
        lots = []
        for _ in range(numbers[28]):
            lots.append(dict(zip(_LOT_FIELDS, _LOT.unpack_from(content, at), strict=True)))
            at += _LOT.size
    except (error, UnicodeDecodeError) as fault:
        raise Malformed(str(fault)) from fault
    if at != len(content):
        raise Malformed(f"{len(content)} bytes instead of {at}")
    fields["system"], fields["lots"] = dict(system), lots
    return Entry(fields)


def refusal_of(content: bytes) -> dict[str, Any]:
    """Read a refusal's bytes to the last one; raises `Malformed`."""
    try:
        at_micros, *lengths = REFUSAL_HEAD.unpack_from(content)
        at = REFUSAL_HEAD.size
        fields: dict[str, Any] = {"at": at_micros}
        for name, length in zip(_REFUSAL_TEXTS, lengths, strict=True):
            fields[name], at = content[at : at + length].decode(), at + length
    except (error, UnicodeDecodeError) as fault:
        raise Malformed(str(fault)) from fault
    if at != len(content):
        raise Malformed(f"{len(content)} bytes instead of {at}")
    return fields


def entry_hash(previous: bytes, content: bytes) -> bytes:
    """The next link of an account's chain."""
    return sha256(ENTRY_TAG + previous + content).digest()


def refusal_hash(content: bytes) -> bytes:
    """A refusal's hash."""
    return sha256(REFUSAL_TAG + content).digest()


# -- trees


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root of leaves, in their order."""
    if not leaves:
        return EMPTY_ROOT
    level, begin = leaves, sha256(b"\1").copy  # a copy is made in half the time of a new one
    while len(level) > 1:
        ordered, above = iter(level), []
        for left, right in zip(ordered, ordered, strict=False):
            node = begin()
            node.update(left)
            node.update(right)
            above.append(node.digest())
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


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
            found = sha256(b"\1" + (neighbour + found if index & 1 else found + neighbour)).digest()
        index, size = index >> 1, (size + 1) >> 1
    return found if next(rest, None) is None else None


def shop_key(shop: str) -> bytes:
    """Where a shop stands in a range's tree."""
    return sha256(SHOP_TAG + shop.encode()).digest()


def shop_content(count: int, total: int, root: bytes, places: bytes) -> bytes:
    """What a range's tree says of a shop."""
    return sha256(COUNTED_TAG + pack(">QQ", count, total) + root + places).digest()


def shop_leaf(key: bytes, content: bytes) -> bytes:
    """A leaf of a range's tree."""
    return sha256(b"\0" + key + content).digest()


def places_hash(positions: Sequence[int]) -> bytes:
    """Which positions a shop's rows have."""
    return sha256(pack(f">{len(positions)}Q", *positions)).digest()


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def micros_of(told: str) -> int:
    """An instant as its bytes have it; raises `ValueError` or `TypeError`."""
    return (datetime.fromisoformat(told) - _EPOCH) // timedelta(microseconds=1)


def instant_of(micros: int) -> str | None:
    """An instant as people read it; None for an absent one."""
    if micros == NEVER:
        return None
    return (_EPOCH + timedelta(microseconds=micros)).isoformat()
