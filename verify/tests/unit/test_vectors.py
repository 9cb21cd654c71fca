"""The vectors of docs/tamper-evidence.md: whoever writes another verifier has these; ours must agree with them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accrual_verify import export
from accrual_verify.layout import (
    entry_hash,
    entry_of,
    places_hash,
    refusal_hash,
    refusal_of,
    root_by_path,
    root_of,
    shop_content,
    shop_key,
    shop_leaf,
)
from accrual_verify.seals import Published, Seal

DOCUMENT = (Path(__file__).parents[3] / "docs" / "tamper-evidence.md").read_text()
VECTORS: dict[str, Any] = json.loads(re.search(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)[1])  # type: ignore[index]
EXPORT = re.search(r"```\n(\{.*?)```", DOCUMENT, re.DOTALL)[1].encode().splitlines(keepends=True)  # type: ignore[index]


def test_an_entry() -> None:
    told = VECTORS["entry"]
    content = bytes.fromhex(told["bytes"])
    assert entry_hash(bytes.fromhex(told["previous_hash"]), content).hex() == told["hash"]
    entry = entry_of(content)
    assert (entry["shop"], entry["member"], entry["seq"], entry["available"]) == ("corner-grocer", "m-2417", 1, 11)
    assert entry["system"] == {"issued": -11}
    assert entry.told()["lots"][0]["expires_at"] is None


def test_a_refusal() -> None:
    content = bytes.fromhex(VECTORS["refusal"]["bytes"])
    assert refusal_hash(content).hex() == VECTORS["refusal"]["hash"]
    assert refusal_of(content)["code"] == "insufficient_points"


def test_a_shop_in_a_range() -> None:
    told = VECTORS["shop"]
    leaves = [bytes.fromhex(VECTORS[kind]["hash"]) for kind in ("entry", "refusal")]
    assert root_of(leaves).hex() == told["root"]
    assert root_by_path(leaves[0], 0, 2, [leaves[1]]) == root_of(leaves)
    assert places_hash(told["positions"]).hex() == told["places"]
    content = shop_content(told["count"], told["total"], root_of(leaves), places_hash(told["positions"]))
    assert (content.hex(), shop_key(told["shop"]).hex()) == (told["content"], told["key"])
    assert shop_leaf(shop_key(told["shop"]), content).hex() == told["leaf"] == VECTORS["seal"]["told"]["root"]


def test_a_seal() -> None:
    told = VECTORS["seal"]
    seal = Seal.of(told["told"])
    assert (seal.body.hex(), seal.hash.hex()) == (told["bytes"], told["hash"])
    assert seal.signed()
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS["private_key"]))
    assert (key.sign(seal.body), key.public_key().public_bytes_raw()) == (seal.signature, seal.key)


def test_the_smallest_export() -> None:
    published = Published()
    published.add(VECTORS["seal"]["told"])
    key = bytes.fromhex(VECTORS["seal"]["told"]["public_key"])
    report = export.verify(EXPORT, published=published, trusted={key})
    assert (report.good, report.notes) == (True, [])
    assert report.facts["entries"] == report.facts["refusals"] == report.facts["seals"] == report.facts["accounts"] == 1


@pytest.mark.parametrize("line", range(1, len(EXPORT)))
def test_every_changed_digit_of_the_smallest_export_is_found(line: int) -> None:
    published = Published()
    published.add(VECTORS["seal"]["told"])
    text = EXPORT[line].decode()
    for place, digit in enumerate(text):
        if digit not in "0123456789abcdef":
            continue
        changed = text[:place] + ("1" if digit == "0" else "0") + text[place + 1 :]
        lines = [*EXPORT[:line], changed.encode(), *EXPORT[line + 1 :]]
        report = export.verify(lines, published=published)
        assert not report.good, (place, changed)
