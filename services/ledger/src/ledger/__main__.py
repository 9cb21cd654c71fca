"""`python -m ledger api | worker | jobs | migrate | all`, and `python -m ledger export --shop S`."""

import sys

from chassis import run
from ledger import commands
from ledger.app import build

if __name__ == "__main__":
    if sys.argv[1:2] == [commands.EXPORT]:
        commands.export(sys.argv[2:])
    else:
        run(build)
