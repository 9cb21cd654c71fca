"""`python -m ledger api | worker | jobs | migrate | all`; for an operator `export | import | restore`."""

import sys

from chassis import run
from ledger.app import build
from ledger.commands import COMMANDS

if __name__ == "__main__":
    command = COMMANDS.get(sys.argv[1]) if sys.argv[1:] else None
    if command is None:
        run(build)
    else:
        command(sys.argv[2:])
