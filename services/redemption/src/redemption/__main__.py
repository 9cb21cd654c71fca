"""`python -m redemption api | worker | jobs | migrate | all`."""

from chassis import run
from redemption.app import build

if __name__ == "__main__":
    run(build)
