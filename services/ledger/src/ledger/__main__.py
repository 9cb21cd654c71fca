"""`python -m ledger api | worker | jobs | migrate | all`."""

from chassis import run
from ledger.app import build

if __name__ == "__main__":
    run(build)
