"""What a process says of itself."""

import json
import subprocess
import sys

PROGRAM = """
import logging, warnings
from chassis import telemetry
from testkit.probe import settings_of_nobody
telemetry.set_up("probe", settings_of_nobody())
warnings.warn("of a library", UserWarning)
logging.getLogger("a.library").error("of another")
"""


def test_what_libraries_say_are_lines_of_the_log_too() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert [(line["level"], line["service"]) for line in lines] == [("warning", "probe"), ("error", "probe")]
    assert "UserWarning: of a library" in lines[0]["event"]
