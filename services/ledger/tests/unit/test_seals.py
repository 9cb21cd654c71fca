"""Trees and seals: vectors that others can check their own implementation against, and what a changed byte does."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from struct import pack
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.domain import LotChange
from ledger.domain.hashing import entry_bytes, entry_hash, refusal_bytes, refusal_hash
from ledger.domain.merkle import path_of, root_by_path, root_of
from ledger.domain.seals import (
    NO_HASH,
    Absence,
    Presence,
    Row,
    Seal,
    look_for,
    parts_of,
    places_hash,
    range_root,
    shop_key,
    shop_leaf,
)
from ledger.signing import SealKey
from ledger.store.rows import encode_json
from ledger.store.seals import Sealed

from .test_hashing import ENTRY

AT = datetime(2026, 3, 2, 9, 32, 1, 250_000, tzinfo=UTC)


def slow_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 as it is written: the left half is the largest power of two that is less than all."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\1" + slow_root(leaves[:half]) + slow_root(leaves[half:])).digest()


def hashes(count: int) -> list[bytes]:
    return [sha256(b"%d" % number).digest() for number in range(count)]


@pytest.mark.parametrize("count", [*range(20), 31, 32, 33, 100])
def test_a_tree_is_that_of_the_rfc_and_every_path_leads_to_its_root(count: int) -> None:
    leaves = hashes(count)
    root = root_of(leaves)
    assert root == slow_root(leaves)
    for index, leaf in enumerate(leaves):
        path = path_of(leaves, index)
        assert root_by_path(leaf, index, count, path) == root
        assert root_by_path(sha256(leaf).digest(), index, count, path) != root
        assert root_by_path(leaf, index, count, [*path, NO_HASH]) is None
        assert not path or root_by_path(leaf, index, count, path[:-1]) is None
        assert root_by_path(leaf, count, count, path) is None


ROWS = [
    Row(position, shop, row_hash)
    for position, shop, row_hash in zip(
        range(11, 18), ["corner", "market", "corner", "corner", "kiosk", "market", "corner"], hashes(7), strict=True
    )
]


def test_the_layout_of_a_seal_by_hand():
    """Written from the description alone."""
    parts = parts_of(ROWS, {"corner": 100})
    leaves = []
    for shop, positions, total in (("corner", [11, 13, 14, 17], 104), ("market", [12, 16], 2), ("kiosk", [15], 1)):
        root = slow_root([row.hash for row in ROWS if row.shop == shop])
        places = sha256(b"".join(pack(">Q", position) for position in positions)).digest()
        counts = pack(">QQ", len(positions), total)
        content = sha256(b"accrual/counted/1\n" + counts + root + places).digest()
        key = sha256(b"accrual/shop/1\n" + shop.encode()).digest()
        leaves.append((key, sha256(b"\0" + key + content).digest()))
    root = slow_root([leaf for _, leaf in sorted(leaves)])
    assert range_root(parts) == root
    seal = Seal(
        ledger=UUID(int=7),
        epoch=1,
        lane=3,
        number=5,
        first=11,
        last=17,
        at=AT,
        shops=3,
        previous=hashes(1)[0],
        root=root,
        key=b"k" * 32,
        next_key=NO_HASH,
    )
    expected = b"accrual/seal/1\n" + UUID(int=7).bytes + pack(">II", 1, 3) + pack(">QQQ", 5, 11, 17)
    expected += pack(">q", 1_772_443_921_250_000) + pack(">I", 3) + hashes(1)[0] + root + b"k" * 32 + bytes(32)
    assert seal.encoded() == expected
    assert seal.hash == sha256(expected).digest()
    assert seal.successor == b"k" * 32
    assert replace(seal, next_key=b"n" * 32).successor == b"n" * 32


def test_vectors():
    """Stable for ever: histories are verified against them."""
    texts = ["corner-grocer", "m-2417", "points", "debit", "till-4", "goodwill-9", None, None, None]
    canonical = refusal_bytes(AT, [*texts, "insufficient_points", '{"available":40,"asked":100}'])
    assert canonical[:52] == pack(">q11I", 1_772_443_921_250_000, 13, 6, 6, 5, 6, 10, 0, 0, 0, 19, 28)
    assert refusal_hash(canonical) == sha256(b"accrual/refusal/1\n" + canonical).digest()
    assert {
        "refusal": refusal_hash(canonical).hex(),
        "shop key": shop_key("corner-grocer").hex(),
        "places": places_hash([11, 13, 14, 17]).hex(),
        "root of seven": root_of(hashes(7)).hex(),
        "range": range_root(parts_of(ROWS, {"corner": 100})).hex(),
    } == VECTORS


def test_the_vectors_for_others():
    """What docs/tamper-evidence.md gives to whoever writes a verifier, made by the ledger's own code."""
    document = (Path(__file__).parents[4] / "docs" / "tamper-evidence.md").read_text()
    told = json.loads(re.search(r"```json\n(.*?)```", document, re.DOTALL)[1])
    lots = (LotChange(1, 11, 11, ENTRY.at, None, 0),)
    entry = replace(ENTRY, seq=1, available_after=11, earned_after=11, lots=lots)
    assert told["entry"] == {
        "previous_hash": NO_HASH.hex(),
        "bytes": entry_bytes(entry).hex(),
        "hash": entry_hash(entry).hex(),
    }
    texts = ["corner-grocer", "m-2417", "points", "debit", "till-4", "goodwill-9", None, None, None]
    refusal = refusal_bytes(AT, [*texts, "insufficient_points", '{"available":11,"asked":100}'])
    assert told["refusal"] == {"bytes": refusal.hex(), "hash": refusal_hash(refusal).hex()}
    rows = [Row(1, "corner-grocer", entry_hash(entry)), Row(2, "corner-grocer", refusal_hash(refusal))]
    (part,) = parts_of(rows, {})
    shown = {name: getattr(part, name).hex() for name in ("key", "places", "root", "content", "leaf")}
    assert told["shop"] == {**shown, "shop": "corner-grocer", "positions": [1, 2], "count": 2, "total": 2}
    key = SealKey.of(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(told["private_key"])))
    seal = Seal(
        ledger=UUID("019cad9f-7c00-7000-8000-000000000000"),
        epoch=1,
        lane=5,
        number=1,
        first=1,
        last=2,
        at=AT,
        shops=1,
        previous=NO_HASH,
        root=range_root([part]),
        key=key.public,
        next_key=NO_HASH,
    )
    sealed = json.loads(encode_json(Sealed(seal, key.sign(seal.encoded())).told()))
    assert told["seal"] == {"told": sealed, "bytes": seal.encoded().hex(), "hash": seal.hash.hex()}


VECTORS = {
    "refusal": "2cede1fb0210549be256ba91e620f712226e21e564f96b0db0f69e6f0451dec8",
    "shop key": "0913e49beaf99a164f6e4c092ecc279b0cdff0397abb23c00135de1f10c4ae8a",
    "places": "5da3b5d2a0b3a7de31cbcd1d07a58a843836248468735c7f093acd8b431d7c21",
    "root of seven": "5cf6906870de8c19271bb3008d4c6ebc578299c7f7e8ba39b8589f9b5a272aba",
    "range": "f1ee95bd79106657f2b8a86c7867dd4fe058ac24a43afe90320375daef512be5",
}


@pytest.mark.parametrize("shop", ["corner", "market", "kiosk", "nobody", "a", "b", "c", "d", "e", "f"])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_what_a_range_holds_of_a_shop_can_be_proved_and_so_can_that_it_holds_nothing(shop: str, count: int) -> None:
    parts = parts_of(ROWS[:count], {})
    root, size, key = range_root(parts), len(parts), shop_key(shop)
    found = look_for(shop, parts)
    if any(row.shop == shop for row in ROWS[:count]):
        assert isinstance(found, Presence)
        leaf = shop_leaf(key, found.part.content)
        assert root_by_path(leaf, found.index, size, found.path) == root
        return
    assert isinstance(found, Absence)
    for neighbour in found.neighbours:
        leaf = shop_leaf(neighbour.key, neighbour.content)
        assert root_by_path(leaf, neighbour.index, size, neighbour.path) == root
    indexes = [neighbour.index for neighbour in found.neighbours]
    keys = [neighbour.key for neighbour in found.neighbours]
    if size == 0:
        assert indexes == []
    elif len(indexes) == 2:
        assert indexes[1] == indexes[0] + 1
        assert keys[0] < key < keys[1]
    else:
        assert (indexes == [0] and key < keys[0]) or (indexes == [size - 1] and key > keys[0])
