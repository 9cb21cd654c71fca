"""The broker's command."""

import subprocess
from pathlib import Path

from local.kafka import VERSION, Kafka


def test_a_start_uses_what_the_rehearsal_has_learnt(tmp_path: Path) -> None:
    """The runtime refuses to go on without it when it is told to."""
    broker = Kafka(folder=tmp_path, port=1, controller_port=2)
    *command, _ = broker.command("-XX:AOTMode=on").argv
    told = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, f"{VERSION}\n"), told.stderr
