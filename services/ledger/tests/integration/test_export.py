"""Exports: a shop's whole history, which a program that shares nothing with the ledger verifies."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from accrual_verify import export as verifier
from accrual_verify.__main__ import main as accrual_verify
from accrual_verify.findings import Report
from accrual_verify.seals import Published
from ledger import connections
from ledger.api import export as api
from ledger.signing import Keyring
from ledger.store import exporting

from .conftest import SHOP, Ledger, iso
from .sealed import Seals, key_file


@pytest.fixture
def seals(ledger: Ledger, tmp_path: Path) -> Seals:
    return Seals(ledger, tmp_path / "outside", key_file(tmp_path))


async def exported(seals: Seals, shop: str = SHOP) -> bytes:
    """The whole file."""
    response = await seals.ledger.http.get(f"/v1/shops/{shop}/ledger/export")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return response.content


def verified(seals: Seals, content: bytes, *, published: bool = True, trusted: bool = True) -> Report:
    """What the verifier says of it."""
    return verifier.verify(
        content.splitlines(keepends=True),
        published=Published.read([seals.folder]) if published and seals.folder.exists() else None,
        trusted={Keyring.read(seals.key, None).current.public} if trusted else (),
    )


async def tell_a_story(ledger: Ledger) -> None:
    """Most kinds of entries, and refusals."""
    await ledger.award("m-1", 100, expires_at=iso(days=3), order="o-1")
    await ledger.award("m-1", 40, activates_at=iso(days=1), expires_at=iso(days=9), order="o-2")
    await ledger.hold("m-1", 30, hold="h-1")
    await ledger.hold("m-1", 20, hold="h-2")
    await ledger.end("h-1", "capture")
    await ledger.end("h-2", "release")
    await ledger.hold("m-1", 9_999, hold="h-3")
    await ledger.done("m-1", {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 25}, order="o-3")
    await ledger.done("m-1", {"kind": "give_back", "checkout": "c-1", "generation": 1, "total": 10}, order="o-3")
    for number in range(30):
        await ledger.award(f"m-{number}", 1 + number, cause={"rule": "everything", "rule_version": 7})
    operator = {"operator": "op-7", "reason": "goodwill"}
    await ledger.done("m-2", {"kind": "credit", "amount": 7, "memo": "sorry"}, cause=operator)
    await ledger.post("m-3", {"kind": "debit", "amount": 9_999}, cause=operator)


async def test_an_export_with_its_published_seals_holds(seals: Seals, tmp_path: Path, capsys: Any) -> None:
    await tell_a_story(seals.ledger)
    await seals.other_shops(20)
    await seals.run(seal_batch_size=5)
    for number in range(7):
        await seals.ledger.award(f"m-{number}", 3)
    content = await exported(seals)
    report = verified(seals, content)
    assert report.told() == {
        **report.told(),
        "good": True,
        "shop": SHOP,
        "entries": 8 + 30 + 1 + 7,
        "refusals": 2,
        "unsealed": 7,
        "accounts": 30,
        "findings": [],
        "counts": {},
        "notes": ["7 of the newest rows are not sealed yet"],
    }
    assert report.facts["seals"] == len(await seals.stored())
    (tmp_path / "export.ndjson").write_bytes(content)
    (tmp_path / "key.hex").write_text(Keyring.read(seals.key, None).current.public.hex())
    told = ["export", str(tmp_path / "export.ndjson"), "--seals", str(seals.folder), "--key", str(tmp_path / "key.hex")]
    assert accrual_verify(told) == 0
    assert capsys.readouterr().out.endswith("ALL HOLDS\n")
    assert accrual_verify([*told, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["good"] is True
    (tmp_path / "export.ndjson").write_bytes(content.replace(b'"m-2"', b'"m-x"', 1))
    assert accrual_verify(told) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("DOES NOT HOLD")
    (tmp_path / "export.ndjson").write_bytes(b"{}")
    assert accrual_verify(told) == 2


@pytest.mark.parametrize("shop", ["other", "third"])
async def test_seals_without_a_shop_s_rows_prove_that_there_are_none(seals: Seals, shop: str) -> None:
    await tell_a_story(seals.ledger)
    await seals.other_shops(20)
    await seals.run(seal_batch_size=2)
    content = await exported(seals, shop)
    report = verified(seals, content)
    assert report.good, report.findings
    assert (report.facts["entries"], report.facts["unsealed"]) == (20, 0)
    lines = [json.loads(line) for line in content.splitlines()]
    held = [line["shop"] for line in lines if "seal" in line]
    assert {"absent" in of_shop for of_shop in held} == {True, False}
    assert SHOP.encode() not in content  # who else there is, an export does not tell


async def test_windows_and_runs_of_any_size_tell_the_same(seals: Seals, monkeypatch: pytest.MonkeyPatch) -> None:
    await tell_a_story(seals.ledger)
    await seals.other_shops(20)
    await seals.run(seal_batch_size=4)
    await seals.ledger.award("m-1", 3)

    def lines(content: bytes) -> list[bytes]:
        return content.splitlines()[1:]

    whole = lines(await exported(seals))
    for positions, together, accounts in ((1, 1, 1), (3, 2, 5), (7, 200, 1000)):
        monkeypatch.setattr(exporting, "POSITIONS_TOGETHER", positions)
        monkeypatch.setattr(exporting, "SEALS_TOGETHER", together)
        monkeypatch.setattr(exporting, "ACCOUNTS_TOGETHER", accounts)
        assert lines(await exported(seals)) == whole


async def test_an_export_is_of_one_moment(seals: Seals) -> None:
    await tell_a_story(seals.ledger)
    await seals.run()
    snapshot = await connections.snapshot(seals.settings(), seals.ledger.runtime.database.server)
    chunks = exporting.export(snapshot.driver, SHOP, snapshot.at)
    content = await anext(chunks)
    for number in range(30):
        await seals.ledger.award(f"m-{number}", 3)
    await seals.run()
    content += b"".join([chunk async for chunk in chunks])
    await snapshot.driver.close()
    report = verified(seals, content)
    assert report.good, report.findings
    assert (report.facts["entries"], report.facts["unsealed"]) == (39, 0)
    assert verified(seals, await exported(seals)).facts["entries"] == 69


async def test_an_export_before_the_first_seal_and_of_a_shop_without_entries(seals: Seals) -> None:
    report = verified(seals, await exported(seals), trusted=False)
    assert (report.good, report.facts["entries"], report.facts["ledger"]) == (True, 0, None)
    await seals.ledger.award("m-1", 3)
    report = verified(seals, await exported(seals))
    assert (report.good, report.facts["entries"], report.facts["unsealed"]) == (True, 1, 1)


async def test_exports_at_once_are_bounded_and_let_go(seals: Seals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "AT_ONCE", 0)
    response = await seals.ledger.http.get(f"/v1/shops/{SHOP}/ledger/export")
    assert (response.status_code, response.json()["code"]) == (429, "overloaded")
    monkeypatch.setattr(api, "AT_ONCE", 1)
    for _ in range(3):
        assert (await exported(seals)).endswith(b"}}\n")


async def test_the_command_writes_the_same(seals: Seals) -> None:
    await tell_a_story(seals.ledger)
    await seals.run()
    environment = {
        **os.environ,
        "LEDGER_DATABASE_URL": seals.ledger.database.url,
        "LEDGER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "LEDGER_JWKS_FILE": str(seals.ledger.tokens.jwks_file),
    }

    async def command(shop: str) -> tuple[int | None, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ledger", "export", "--shop", shop, env=environment, stdout=PIPE, stderr=PIPE
        )
        out, err = await process.communicate()
        return process.returncode, out, err

    code, out, _ = await command(SHOP)
    assert (code, out.splitlines()[1:]) == (0, (await exported(seals)).splitlines()[1:])
    assert await command("nobody") == (1, b"", b"ledger: knows no shop nobody\n")


async def test_who_may_export(seals: Seals) -> None:
    path = f"/v1/shops/{SHOP}/ledger/export"
    headers = seals.ledger.tokens.headers("ledger:read", SHOP)
    response = await seals.ledger.http.get(path, headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "scope_missing")
    response = await seals.ledger.http.get("/v1/shops/nobody/ledger/export")
    assert (response.status_code, response.json()["code"]) == (404, "shop_not_found")


async def test_no_memo_is_in_an_export(seals: Seals) -> None:
    operator = {"operator": "op-7", "reason": "goodwill"}
    await seals.ledger.done("m-2", {"kind": "credit", "amount": 7, "memo": "for Jane Doe"}, cause=operator)
    content = await exported(seals)
    assert b"Jane" not in content
    assert b"Jane".hex().encode() not in content


async def test_gifts_freezes_and_merges_are_verified_like_all_else(seals: Seals) -> None:
    ledger = seals.ledger
    operator = {"operator": "ana", "reason": "duplicate"}

    await tell_a_story(ledger)
    await ledger.act("members/m-1/gifts", {"to": "m-2", "amount": 3})
    await ledger.act("members/m-1/freeze", operator)
    merge = (await ledger.act("members/m-1/merge", {"into": "m-2", **operator}))["merge"]
    await ledger.award("m-1", 5)
    await ledger.act(f"merges/{merge}/undo", operator)
    await ledger.check()
    await seals.run()
    report = verified(seals, await exported(seals))
    assert report.good, report.findings
