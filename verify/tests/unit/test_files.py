"""What is no export, no proof, no key: said to be so, never a traceback."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accrual_verify import export, proof
from accrual_verify.__main__ import main
from accrual_verify.epochs import EpochStart
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


def restored(*, seal: int, epoch: int = 2) -> list[bytes]:
    """The export of a ledger that tells of a restore: lane 5 went on from a seal."""
    key = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
    told = {
        "ledger": HEADER["ledger"],
        "epoch": epoch,
        "lane": 5,
        "lanes": 8,
        "position": 2,
        "told": 4,
        "at": "2026-03-02T09:50:00Z",
        "seal": seal,
        "seal_hash": "00" * 32,
        "public_key": key.public_key().public_bytes_raw().hex(),
    }
    signature = key.sign(EpochStart.of({**told, "signature": ""}).body).hex()
    return [json.dumps({**HEADER, "epochs": [{**told, "signature": signature}]}).encode() + b"\n", *EXPORT[1:]]


@pytest.mark.parametrize(
    ("given_up", "newest"),
    [
        ({"epoch": 0, "root": "00" * 32}, {}),
        ({"epoch": 1, "number": 2}, {"epoch": 2, "number": 2, "at": "2026-03-02T10:00:01Z"}),
    ],
)
def test_a_published_seal_behind_the_one_that_was_restored_to_was_given_up(given_up: Any, newest: Any) -> None:
    """Also while the lane has no seal of the new epoch yet, and when one is published after the export."""
    seal, published = VECTORS["seal"]["told"], Published()
    lines = restored(seal=given_up.get("number", 1) - 1, epoch=given_up["epoch"] + 1)
    for told in (given_up, newest):
        published.add({**seal, **told})
        report = export.verify(lines, published=published)
        assert report.good, report.findings
        assert [note for note in report.notes if "published seals" in note] == [
            "lane 5: 1 published seals, of positions 1 to 2, were given up by a restore of the ledger"
        ]


@pytest.mark.parametrize("lines", [EXPORT, restored(seal=2), restored(seal=0, epoch=1)])
def test_a_published_seal_that_no_restore_gave_up_is_missed(lines: list[bytes]) -> None:
    """Whatever epoch the ledger is in, only what is behind the seal that it was restored to may be lacking."""
    published = Published()
    published.add({**VECTORS["seal"]["told"], "number": 2})
    assert export.verify(lines, published=published).counts == {"seal_missing": 1}


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


def test_a_published_seal_of_an_earlier_epoch_is_replaced_unless_a_restore_is_told_of() -> None:
    """Not the number of an epoch excuses another seal in its place, but the signed word of a restore."""
    published = Published()
    published.add({**VECTORS["seal"]["told"], "epoch": 0, "root": "00" * 32})
    assert export.verify(EXPORT, published=published).counts == {"seal_differs": 1}
    assert export.verify(restored(seal=1, epoch=1), published=published).counts == {"seal_differs": 1}
    assert export.verify(restored(seal=0, epoch=1), published=published).good
