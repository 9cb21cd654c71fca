"""`python -m bench [pipeline] [postings] [http] [rest]` measures the system, `ledger` that alone; `chaos…` kills."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import psutil

from bench import http, pipeline, postings, rest, results
from bench.chaos.ledger.run import OPERATIONS as CHAOS_OPERATIONS
from bench.chaos.ledger.run import run as chaos_ledger
from bench.chaos.run import run as chaos
from bench.ledger import run as ledger
from bench.results import Figure
from testkit.system import System, running_system

PARTS: Final[Mapping[str, Callable[[System], Awaitable[list[Figure]]]]] = {
    "postings": postings.measure,
    "http": http.measure,
    "pipeline": pipeline.measure,
    "rest": rest.measure,
}


async def main() -> None:
    """Each part on a system of its own, so that none inherits another's rows."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        choices=[*PARTS, "ledger", "chaos", "chaos-ledger", []],
        help="all that measure when none is named",
    )
    parser.add_argument("--kills", type=int, default=1_000, help="faults of a chaos campaign")
    parser.add_argument("--seed", type=int, default=1, help="another one hurts at other moments")
    parser.add_argument("--members", type=int, default=ledger.MEMBERS, help="of the ledger alone")
    parser.add_argument("--operations", type=int, help="of each run of the ledger alone, or its chaos")
    parser.add_argument("--entries", type=int, default=ledger.ENTRIES, help="to which the ledger alone grows")
    given = parser.parse_args()
    if given.parts == ["chaos"]:
        verdict, figures = await chaos(given.kills, seed=given.seed)
        _write("chaos", figures)
        sys.exit(not verdict.clean)
    if given.parts == ["chaos-ledger"]:
        found, figures = await chaos_ledger(
            given.kills, operations=given.operations or CHAOS_OPERATIONS, seed=given.seed
        )
        _write("chaos_ledger", figures)
        sys.exit(not found.clean)
    if given.parts == ["ledger"]:
        # The database server is what is measured here: it has what it would have on a machine of its own.
        buffers = {"LOCAL_POSTGRES_SHARED_BUFFERS": f"{psutil.virtual_memory().total // 4 >> 20}MB"}
        async with _system(buffers, engines_only=True) as system:
            figures = await ledger.measure(
                system, members=given.members, operations=given.operations or ledger.OPERATIONS, entries=given.entries
            )
        _write("ledger", figures)
        return
    for name in given.parts or PARTS:
        print(f"{name}:", flush=True)
        async with _system() as system:
            figures = await PARTS[name](system)
        _write(name, figures)


@asynccontextmanager
async def _system(told: Mapping[str, str] | None = None, *, engines_only: bool = False) -> AsyncIterator[System]:
    with tempfile.TemporaryDirectory(prefix="accrual-bench-") as folder:
        Path(folder).chmod(0o711)  # noqa: ASYNC240 - one call before anything runs
        limits = {"GATEWAY_REQUESTS_PER_SECOND": "1000000"}
        async with running_system(Path(folder), {**limits, **(told or {})}, engines_only=engines_only) as system:
            yield system


def _write(name: str, figures: list[Figure]) -> None:
    results.show(figures)
    print(f"  -> {results.write(name, figures).relative_to(results.FOLDER.parents[1])}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
