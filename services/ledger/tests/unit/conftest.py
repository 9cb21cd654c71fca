"""How far properties are explored, and the books that tests ask."""

import pytest
from hypothesis import HealthCheck, settings

from testkit.exploring import EXPLORE

from .shelf import Shelf

settings.register_profile(
    "exact", derandomize=EXPLORE == 1, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("exact")


@pytest.fixture
def shelf() -> Shelf:
    """Books of a shop that forgives."""
    return Shelf()


@pytest.fixture
def books() -> type[Shelf]:
    """Makes books of a shop with a policy: `books("debt")`."""
    return Shelf
