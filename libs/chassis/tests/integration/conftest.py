"""A fresh probe service for each test of the chassis."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chassis import ServiceSettings
from local.child import free_port
from testkit.probe import Probe

NOWHERE = "127.0.0.1:1"
"""No broker listens there."""


@pytest.fixture
async def offline(service_database: Callable[[str], Awaitable[Any]], tokens: Any) -> Probe:
    """The probe with an empty database and no broker, for what needs none."""
    database = await service_database("chassis")
    settings = ServiceSettings(
        database_url=database.url,
        kafka_bootstrap_servers=NOWHERE,
        http_port=free_port(),
        jwks_file=tokens.jwks_file,
        log_format="text",
        session_timeout_ms=6_000,
    )
    return Probe(database.url, NOWHERE, settings)


@pytest.fixture
async def probe(offline: Probe, topics: str) -> Probe:
    """The probe with an empty database and empty topics."""
    settings = offline.settings.model_copy(update={"kafka_bootstrap_servers": topics})
    return Probe(offline.url, topics, settings)
