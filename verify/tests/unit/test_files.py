"""What is no export, no proof, no key: said to be so, never a traceback."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from accrual_verify import export, proof
from accrual_verify.__main__ import main
from accrual_verify.findings import SHOWN, Report, Unreadable
from accrual_verify.seals import Published, public_key

from .test_vectors import EXPORT, VECTORS

HEADER = json.loads(EXPORT[0])


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        json.dumps({**HEADER, "version": 2}).encode(),
        json.dumps({**HEADER, "format": "another"}).encode(),
        json.dumps({**HEADER, "lanes": "8"}).encode(),
        json.dumps({**HEADER, "lanes": 10**15}).encode(),
        b"[" * 100_000,
        json.dumps({**HEADER, "at": "yesterday"}).encode(),
        json.dumps({**HEADER, "shop": 7}).encode(),
    ],
)
def test_what_is_no_export(first: bytes) -> None:
    with pytest.raises(Unreadable):
        export.verify([first, *EXPORT[1:]])


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b"\xff\n",
        b"[]\n",
        b"{}\n",
        b"null\n",
        b'["x"]\n',
        b"[" * 100_000,
        b'["e",5]\n',
        b'["e",5,1,"zz","00"]\n',
        b'["e",5,1,"00","00"]\n',
        b'["e","5","1","00","00"]\n',
        b'["r",5,1,"00"]\n',
        b'["a",5,"m","points"]\n',
        b'["a",5,"m","points",1,"zz",0,0,0,0,0,0]\n',
        b'{"seal":{},"shop":{}}\n',
        b'{"seal":null,"shop":{}}\n',
        b'{"seal":{"ledger":7},"shop":{}}\n',
        b'["e",99,1,"00","00"]\n',
        b'["e",-1,1,"00","00"]\n',
        EXPORT[1].replace(b'"count":2', b'"count":-2'),
        EXPORT[1].replace(b'"index":0', b'"index":"0"'),
        EXPORT[1].replace(b'"path":[]', b'"path":[7]'),
        EXPORT[1].replace(b'"lane":5', b'"lane":99'),
    ],
)
def test_odd_lines_are_findings(line: bytes) -> None:
    for place in range(1, len(EXPORT) + 1):
        report = export.verify([*EXPORT[:place], line, *EXPORT[place:]])
        assert not report.good


@pytest.mark.parametrize(
    "told", [{}, {"format": "accrual-ledger-proof"}, {"format": "accrual-ledger-proof", "version": 1}]
)
def test_what_is_no_proof(told: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        proof.verify(told)


def test_keys_as_hex_as_files_and_as_nonsense(tmp_path: Path) -> None:
    key = VECTORS["seal"]["told"]["public_key"]
    (tmp_path / "key").write_text(key + "\n")
    (tmp_path / "nonsense").write_text("nonsense")
    (tmp_path / "pem").write_text("-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----\n")
    assert public_key(key) == public_key(str(tmp_path / "key")) == bytes.fromhex(key)
    for bad in ("nonsense", "pem", "missing"):
        with pytest.raises(Unreadable):
            public_key(str(tmp_path / bad))
    with pytest.raises(Unreadable):
        public_key("z" * 64)


def test_published_seals_may_come_twice_and_be_cut_off_but_not_differ(tmp_path: Path) -> None:
    told = VECTORS["seal"]["told"]
    line = json.dumps(told)
    (tmp_path / "lane-5.jsonl").write_text(f"{line[:40]}\n{line}\n{line}\n")
    published = Published.read([tmp_path, tmp_path / "lane-5.jsonl"])
    assert (len(published.newest), published.forks) == (1, [])
    published.add({**told, "shops": 2})
    report = export.verify(EXPORT, published=published)
    assert set(report.counts) == {"published_fork"}
    with pytest.raises(Unreadable):
        Published.read([tmp_path / "missing"])
    with pytest.raises(Unreadable):
        published.add({**told, "root": "00"})


def test_a_published_seal_of_an_earlier_epoch_was_given_up() -> None:
    published = Published()
    published.add({**VECTORS["seal"]["told"], "epoch": 0, "root": "00" * 32})
    report = export.verify(EXPORT, published=published)
    assert report.good
    assert any("given up by a restore" in note for note in report.notes)


def test_seals_that_were_published_after_an_export_are_not_missed() -> None:
    told = VECTORS["seal"]["told"]
    for at, good in (("2026-03-02T10:00:00Z", False), ("2026-03-02T10:00:00.000001Z", True)):
        published = Published()
        published.add(told)
        published.add({**told, "number": 2, "at": at})
        assert export.verify(EXPORT, published=published).good is good


def test_standard_input_compressed_files_and_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    content = b"".join(EXPORT)
    (tmp_path / "export.ndjson.gz").write_bytes(gzip.compress(content))
    assert main(["export", str(tmp_path / "export.ndjson.gz")]) == 0
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert main(["export", "-"]) == 0
    assert main(["export", str(tmp_path / "missing")]) == 2
    assert main(["proof", str(tmp_path / "export.ndjson.gz")]) == 2
    capsys.readouterr()
    assert main(["show", str(tmp_path / "export.ndjson.gz")]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert shown[2]["entry"]["cause"] == '{"rule":"everything-earns","rule_version":7}'
    assert shown[3]["refusal"]["facts"] == '{"available":11,"asked":100}'


def test_of_very_many_findings_some_are_shown_and_all_are_counted() -> None:
    report = Report()
    for number in range(SHOWN + 5):
        report.add("entry_changed", "x", seq=number)
    assert (len(report.findings), report.counts["entry_changed"]) == (SHOWN, SHOWN + 5)
