"""`python -m notifications api | worker | jobs | migrate | all`"""

from chassis import run
from notifications.app import build

if __name__ == "__main__":
    run(build)
