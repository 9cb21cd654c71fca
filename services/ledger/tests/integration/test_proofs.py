"""A member's proof, followed by a program that shares nothing with the ledger."""

import json
from pathlib import Path
from typing import Any

import pytest

from accrual_verify import proof as verifier
from accrual_verify.__main__ import main as accrual_verify
from accrual_verify.findings import Report
from accrual_verify.seals import Published
from ledger import schemas
from ledger.signing import Keyring

from .conftest import SHOP, Ledger
from .sealed import Seals, key_file


@pytest.fixture
async def seals(ledger: Ledger, tmp_path: Path) -> Seals:
    """Three shops' entries sealed, five rows a seal; one entry is not sealed yet."""
    found = Seals(ledger, tmp_path / "outside", key_file(tmp_path))
    await found.other_shops(9)
    for amount in range(1, 8):
        await ledger.award("m-1", amount)
    await ledger.post("m-1", {"kind": "debit", "amount": 999}, cause={"operator": "op", "reason": "test"})
    await found.run(seal_batch_size=5)
    await ledger.award("m-1", 8)
    return found


async def proof(seals: Seals, member: str = "m-1", *, status: int = 200, **query: Any) -> dict[str, Any]:
    response = await seals.ledger.http.get(f"/v1/shops/{SHOP}/members/{member}/proof", params=query)
    assert response.status_code == status, response.text
    if status == 200:
        schemas.Proof.model_validate_json(response.content)
    told: dict[str, Any] = response.json()
    return told


def verified(seals: Seals, told: dict[str, Any]) -> Report:
    trusted = {Keyring.read(seals.key, None).current.public}
    return verifier.verify(told, published=Published.read([seals.folder]), trusted=trusted)


async def test_every_sealed_entry_is_proved_as_it_is_told(seals: Seals) -> None:
    for seq in range(1, 8):
        told = await proof(seals, seq=seq)
        report = verified(seals, told)
        assert (report.findings, report.notes) == ([], [])
        assert report.facts["entry"]["available"] == told["entry"]["changes"]["available"] == seq
        assert report.facts["entry"]["key"] == told["entry"]["posting"]
        entry = next(e for e in await seals.ledger.entries("m-1") if e.get("seq") == seq)
        assert {**told["entry"], "position": told["position"]} == entry
    assert (await proof(seals))["entry"]["seq"] == 7


async def test_what_cannot_be_proved_is_said_to_be_so(seals: Seals) -> None:
    assert (await proof(seals, seq=8, status=404))["code"] == "entry_not_sealed"
    assert (await proof(seals, seq=9, status=404))["code"] == "entry_not_found"
    assert (await proof(seals, "m-77", status=404))["code"] == "entry_not_found"
    assert (await proof(seals, seq=0, status=422))["code"] == "invalid_request"
    await seals.ledger.award("m-2", 1)
    assert (await proof(seals, "m-2", status=404))["code"] == "entry_not_sealed"
    await seals.as_owner("UPDATE entry SET hash = sha256(hash) WHERE seq = 1")
    assert (await proof(seals, seq=1, status=409))["code"] == "seal_broken"


FORGERIES: dict[str, tuple[str, str]] = {
    "bytes": ("entry_changed", "bytes"),
    "previous_hash": ("entry_changed", "previous_hash"),
    "hash": ("entry_not_sealed", "hash"),
    "path": ("entry_not_sealed", "path"),
    "root": ("seal_proof", "shop_in_seal"),
    "seal": ("seal_signature", "seal"),
}


def _other(text: str) -> str:
    """The same with its last byte changed."""
    return text[:-2] + f"{int(text[-2:], 16) ^ 1:02x}"


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_proof_is_found(seals: Seals, forgery: str) -> None:
    told = await proof(seals, seq=3)
    code, field = FORGERIES[forgery]
    value = told[field]
    told[field] = (
        _other(value)
        if isinstance(value, str)
        else [_other(value[0]), *value[1:]]
        if isinstance(value, list)
        else {**value, "total": value["total"] + 1}
        if field == "shop_in_seal"
        else {**value, "at": "2026-01-01T00:00:00Z"}
    )
    report = verified(seals, told)
    assert code in report.counts, report.findings


async def test_a_proof_by_another_key_or_with_an_unpublished_seal_is_found(seals: Seals, tmp_path: Path) -> None:
    told = await proof(seals)
    stranger = Keyring.read(key_file(tmp_path, "stranger"), None).current.public
    assert set(verifier.verify(told, trusted={stranger}).counts) == {"key_unknown"}
    assert set(verifier.verify(told, published=Published()).counts) == {"seal_unpublished"}


async def test_the_program_follows_a_proof_from_a_file(seals: Seals, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(await proof(seals)))
    assert accrual_verify(["proof", str(file), "--seals", str(seals.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entry"]["available"] == 7
    file.write_text("{}")
    assert accrual_verify(["proof", str(file)]) == 2
