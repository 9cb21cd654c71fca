"""`python -m bench [pipeline] [postings] [http] [rest]` measures; `python -m bench chaos` kills."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from bench import http, pipeline, postings, rest, results
from bench.chaos.run import run as chaos
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
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "chaos", []], help="all that measure when none is named")
    parser.add_argument("--kills", type=int, default=1_000, help="faults of a chaos campaign")
    parser.add_argument("--seed", type=int, default=1, help="another one hurts at other moments")
    given = parser.parse_args()
    if given.parts == ["chaos"]:
        verdict, figures = await chaos(given.kills, seed=given.seed)
        results.show(figures)
        print(f"  -> {results.write('chaos', figures).relative_to(results.FOLDER.parents[1])}", flush=True)
        sys.exit(not verdict.clean)
    for name in given.parts or PARTS:
        print(f"{name}:", flush=True)
        with tempfile.TemporaryDirectory(prefix="accrual-bench-") as folder:
            Path(folder).chmod(0o711)  # noqa: ASYNC240 - one call before anything runs
            async with running_system(Path(folder), {"GATEWAY_REQUESTS_PER_SECOND": "1000000"}) as system:
                figures = await PARTS[name](system)
        results.show(figures)
        print(f"  -> {results.write(name, figures).relative_to(results.FOLDER.parents[1])}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
