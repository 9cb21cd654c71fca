"""`accrual-verify export FILE`, `accrual-verify proof FILE`, `accrual-verify show FILE`; `-` is standard input."""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from accrual_verify import export, proof
from accrual_verify.findings import Report, Unreadable
from accrual_verify.layout import Malformed, entry_of, instant_of, refusal_of
from accrual_verify.seals import Published, public_key

GOOD, BAD, UNREADABLE = 0, 1, 2
"""Exit codes: all holds; something does not; a file is not what it should be."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run one command; the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.command == "show":
            return _show(chosen.file)
        published = Published.read(chosen.seals) if chosen.seals else None
        trusted = {public_key(given) for given in chosen.key}
        with _opened(chosen.file) as file:
            if chosen.command == "export":
                report = export.verify(file, published=published, trusted=trusted)
            else:
                report = proof.verify(_document(file), published=published, trusted=trusted)
    except (Unreadable, OSError, EOFError) as error:
        print(f"accrual-verify: {error}", file=sys.stderr)
        return UNREADABLE
    print(json.dumps(report.told(), indent=1) if chosen.json else _in_words(report))
    return GOOD if report.good else BAD


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="accrual-verify", description="Verifies what Accrual's ledger says, offline.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("export", "a shop's whole history"), ("proof", "one entry of one member")):
        command = commands.add_parser(name, help=f"verify {what}")
        command.add_argument("file", help="the file, or - for standard input; .gz is read too")
        command.add_argument(
            "--seals",
            type=Path,
            action="append",
            default=[],
            metavar="FILE_OR_DIR",
            help="seals as they were published; without them a history cut off with its seals looks whole",
        )
        command.add_argument(
            "--key", action="append", default=[], metavar="PUBLIC_KEY", help="a key that may sign: hex, or a PEM file"
        )
        command.add_argument("--json", action="store_true", help="the findings as JSON")
    show = commands.add_parser("show", help="print an export's lines as people read them")
    show.add_argument("file", help="the file, or - for standard input; .gz is read too")
    return parser


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdin.buffer
    elif name.endswith(".gz"):
        with gzip.open(name, "rb") as unpacked:
            yield cast("IO[bytes]", unpacked)
    else:
        with Path(name).open("rb") as file:
            yield file


def _document(file: IO[bytes]) -> dict[str, Any]:
    try:
        told = json.load(file)
    except (ValueError, RecursionError) as error:
        raise Unreadable("not a JSON document") from error
    if not isinstance(told, dict):
        raise Unreadable("not a proof of a ledger")
    return told


def _in_words(report: Report) -> str:
    lines = [
        f"{name}: {json.dumps(value) if isinstance(value, dict | list) else value}"
        for name, value in report.facts.items()
    ]
    lines += [f"NOTE: {note}" for note in report.notes]
    lines += [f"FOUND {finding}" for finding in report.findings]
    hidden = report.counts.total() - len(report.findings)
    if hidden:
        lines.append(f"FOUND {hidden} more")
    lines.append("ALL HOLDS" if report.good else f"DOES NOT HOLD: {report.counts.total()} findings")
    return "\n".join(lines)


def _show(name: str) -> int:
    with _opened(name) as file:
        for line in file:
            print(json.dumps(_shown(json.loads(line)), ensure_ascii=False))
    return GOOD


def _shown(told: Any) -> Any:
    """A line with its bytes spelt out."""
    try:
        match told:
            case ["e", lane, position, str(stored), str(content)]:
                return {
                    "entry": entry_of(bytes.fromhex(content)).told(),
                    "lane": lane,
                    "position": position,
                    "hash": stored,
                }
            case ["r", lane, position, str(content)]:
                refusal = refusal_of(bytes.fromhex(content))
                return {"refusal": {**refusal, "at": instant_of(refusal["at"])}, "lane": lane, "position": position}
    except (Malformed, ValueError) as error:
        return {"unreadable": str(error), "line": told}
    return told


if __name__ == "__main__":
    sys.exit(main())
