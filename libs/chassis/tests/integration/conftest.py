"""A fresh probe service for each test of the chassis."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chassis import ServiceSettings
from local.child import free_port
from testkit.probe import Probe


@pytest.fixture
async def probe(service_database: Callable[[str], Awaitable[Any]], topics: str, tokens: Any) -> Probe:
    """The probe with an empty database and empty topics."""
    database = await service_database("chassis")
    settings = ServiceSettings(
        database_url=database.url,
        kafka_bootstrap_servers=topics,
        http_port=free_port(),
        jwks_file=tokens.jwks_file,
        log_format="text",
        session_timeout_ms=6_000,
    )
    return Probe(database.url, topics, settings)
