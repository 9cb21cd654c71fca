"""`python -m contracts generate | check`: publish the contracts; see that what is published is what the code says."""

import argparse
import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from contracts.additive import breaking_changes
from contracts.documents import EXAMPLES, SCHEMAS, files

ROOT = Path(__file__).parents[4]
"""The repository, when the package runs from it; only then is there something to publish."""


def generate(root: Path, made: Mapping[str, str], unpublished: Collection[str] = ()) -> list[str]:
    """Write what is generated. Nothing is written, and the reasons are told, when a published schema would break."""
    faults = broken(root, made, unpublished)
    if faults:
        return faults
    for path in stray(root, made):
        (root / path).unlink()
    for path, text in made.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return []


def check(root: Path, made: Mapping[str, str], published: Path | None = None) -> list[str]:
    """Where what is committed is not what the code says, or breaks what `published` holds (an earlier checkout)."""
    faults = [] if published is None else broken(published, made)
    for path, text in made.items():
        file = root / path
        if not file.exists():
            faults.append(f"{path}: missing; run `python -m contracts generate`")
        elif file.read_text() != text:
            faults.append(f"{path}: not what the code says; run `python -m contracts generate`")
    faults += [f"{path}: nothing in the code says it" for path in stray(root, made)]
    return faults


def broken(root: Path, made: Mapping[str, str], unpublished: Collection[str] = ()) -> list[str]:
    """Changes to published schemas that are not additive. A schema that is gone is one of them."""
    faults = []
    for file in sorted((root / SCHEMAS).rglob("*.json")):
        path = file.relative_to(root).as_posix()
        if file.stem in unpublished:
            continue
        if path not in made:
            faults.append(f"{path}: a published type is gone; keep it until nobody reads it")
            continue
        changes = breaking_changes(json.loads(file.read_text()), json.loads(made[path]))
        faults += [f"{path}: {change}; publish a new type beside it instead" for change in changes]
    return faults


def stray(root: Path, made: Mapping[str, str]) -> list[str]:
    """Files among the generated ones that nothing generates any more."""
    there = [*(root / SCHEMAS).rglob("*.json"), *(root / EXAMPLES).rglob("*.json")]
    return sorted(path for path in (file.relative_to(root).as_posix() for file in there) if path not in made)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m contracts", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    generating = commands.add_parser("generate", help="write schemas, examples and documents")
    generating.add_argument(
        "--unpublished",
        action="append",
        default=[],
        metavar="TYPE",
        help="a type that nobody uses yet may change freely",
    )
    checking = commands.add_parser("check", help="see that what is committed is what the code says")
    checking.add_argument("--published", type=Path, help="an earlier checkout that must not break")
    arguments = parser.parse_args()
    made = files()
    if arguments.command == "generate":
        faults = generate(ROOT, made, arguments.unpublished)
    else:
        faults = check(ROOT, made, arguments.published)
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
