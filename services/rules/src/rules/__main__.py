"""`python -m rules api | worker | jobs | migrate | all`, and `export | plan | apply` for a shop as a file."""

import sys

from chassis import run
from rules import cli
from rules.app import build

if __name__ == "__main__":
    if sys.argv[1:] and any(word in ("export", "plan", "apply") for word in sys.argv[1:]):
        sys.exit(cli.main(sys.argv[1:]))
    run(build)
