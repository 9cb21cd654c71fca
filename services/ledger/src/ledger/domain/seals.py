"""Seals: what a lane's next positions held, for every shop, in one signed hash; each covers the one before it.

    row      leaf of a shop's tree: the entry's or refusal's hash, in order of positions
    shop     leaf of the range's tree, in order of keys: SHA-256(a zero byte · key · content), where
             key = SHA-256("accrual/shop/1\\n" · shop)
             content = SHA-256("accrual/counted/1\\n" · uint64 rows in the range · uint64 rows so far · the root of
             the shop's tree · SHA-256(uint64 position of each row))
    seal     "accrual/seal/1\\n" · 16 bytes ledger · uint32 epoch · uint32 lane · uint64 number · uint64 first · uint64
             last · int64 at · uint32 shops · the hash of the seal before (32 zero bytes before the first) · the range's
             root · the public key that signs it · the public key that follows (32 zero bytes: the same one)

A seal's hash is SHA-256 over these bytes, its signature Ed25519 (RFC 8032) over them. Shops stand in the range's tree
by a hash of their names and counts: two neighbours prove that a shop is not between them without telling who they are.
`rows so far` are those of the shop in the lane, this range included, so that a seal or a leaf that lacks is missed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from struct import Struct, pack
from typing import Final, NamedTuple
from uuid import UUID

from ledger.domain.hashing import micros
from ledger.domain.merkle import path_of, root_of

NO_HASH: Final = bytes(32)
"""Before a lane's first seal; and as a key: none."""

_SEAL_TAG: Final = b"accrual/seal/1\n"
_SHOP_TAG: Final = b"accrual/shop/1\n"
_COUNTED_TAG: Final = b"accrual/counted/1\n"

_BODY: Final = Struct(">16sIIQQQqI32s32s32s32s")
_COUNTS: Final = Struct(">QQ")


class Row(NamedTuple):
    """A row of the log as a seal holds it."""

    position: int
    shop: str
    hash: bytes
    """The entry's or the refusal's."""


@dataclass(frozen=True, slots=True)
class ShopPart:
    """What a range holds of one shop."""

    shop: str
    count: int
    """Rows in the range."""
    total: int
    """Rows of the shop in the lane so far, the range included."""
    root: bytes
    places: bytes
    """The hash of the rows' positions."""

    @property
    def key(self) -> bytes:
        """Where the shop stands in the range's tree."""
        return shop_key(self.shop)

    @property
    def content(self) -> bytes:
        """What is said of it there."""
        return sha256(_COUNTED_TAG + _COUNTS.pack(self.count, self.total) + self.root + self.places).digest()

    @property
    def leaf(self) -> bytes:
        """Its leaf of the range's tree."""
        return shop_leaf(self.key, self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """A range of a lane's positions, sealed."""

    ledger: UUID
    epoch: int
    lane: int
    number: int
    """Grows by one per seal of the lane, from 1."""
    first: int
    last: int
    """Positions `first` to `last`; a seal that only announces a key has none: `last` is `first` less 1."""
    at: datetime
    shops: int
    """Shops with rows in the range."""
    previous: bytes
    root: bytes
    key: bytes
    next_key: bytes
    """The public key that signs from the next seal on; `NO_HASH`: the same one."""

    def encoded(self) -> bytes:
        """The bytes that are hashed and signed."""
        return _SEAL_TAG + _BODY.pack(
            self.ledger.bytes,
            self.epoch,
            self.lane,
            self.number,
            self.first,
            self.last,
            micros(self.at),
            self.shops,
            self.previous,
            self.root,
            self.key,
            self.next_key,
        )

    @property
    def hash(self) -> bytes:
        """What the next seal covers."""
        return sha256(self.encoded()).digest()

    @property
    def successor(self) -> bytes:
        """The only key that may sign the next seal."""
        return self.key if self.next_key == NO_HASH else self.next_key


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A shop's leaf as it is shown to another shop."""

    index: int
    key: bytes
    content: bytes
    path: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Presence:
    """That a range has rows of a shop, and which: with the path, the range's root follows."""

    part: ShopPart
    index: int
    path: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Absence:
    """That a range has no row of a shop: the leaves next to where it would be, one at an end of the tree, none of an
    empty one."""

    neighbours: Sequence[Neighbour]


def shop_key(shop: str) -> bytes:
    """Where a shop stands among others."""
    return sha256(_SHOP_TAG + shop.encode()).digest()


def shop_leaf(key: bytes, content: bytes) -> bytes:
    """A leaf of a range's tree."""
    return sha256(b"\0" + key + content).digest()


def places_hash(positions: Sequence[int]) -> bytes:
    """Which positions a shop's rows have."""
    return sha256(pack(f">{len(positions)}Q", *positions)).digest()


def parts_of(rows: Iterable[Row], totals: Mapping[str, int]) -> list[ShopPart]:
    """A range's rows, in order of positions, shop by shop; `totals` are the shops' rows before it."""
    of_shop: dict[str, list[Row]] = {}
    for row in rows:
        of_shop.setdefault(row.shop, []).append(row)
    parts = [
        ShopPart(
            shop=shop,
            count=len(found),
            total=totals.get(shop, 0) + len(found),
            root=root_of([row.hash for row in found]),
            places=places_hash([row.position for row in found]),
        )
        for shop, found in of_shop.items()
    ]
    return sorted(parts, key=lambda part: part.key)


def range_root(parts: Sequence[ShopPart]) -> bytes:
    """One hash for a range; the parts in order of their keys."""
    return root_of([part.leaf for part in parts])


def look_for(shop: str, parts: Sequence[ShopPart]) -> Presence | Absence:
    """The proof of what a range holds of a shop; the parts in order of their keys."""
    leaves = [part.leaf for part in parts]
    key = shop_key(shop)
    behind = next((index for index, part in enumerate(parts) if part.key >= key), len(parts))
    if behind < len(parts) and parts[behind].shop == shop:
        return Presence(parts[behind], behind, path_of(leaves, behind))
    return Absence(
        [
            Neighbour(index, parts[index].key, parts[index].content, path_of(leaves, index))
            for index in (behind - 1, behind)
            if 0 <= index < len(parts)
        ]
    )
