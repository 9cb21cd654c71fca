"""The pytest fixtures: real servers once per session, a fresh database and fresh topics per test."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
import structlog
from hypothesis import HealthCheck, settings

from local import databases
from local import topics as topic_setup
from local.databases import ServiceDatabase
from local.paths import ROOT
from local.tokens import DevelopmentIssuer
from testkit import servers
from testkit.exploring import examples
from testkit.system import System, running_system
from testkit.tokens import Tokens

_PASSWORD = "test"


# Hypothesis without a clock: a busy machine must not make a promise look broken.
settings.register_profile(
    "unhurried", max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


def pytest_configure() -> None:
    """Plain tracebacks in logs: the default ones show every variable, which takes seconds for each."""
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, plain])


ServiceDatabases = Callable[[str], Awaitable[ServiceDatabase]]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A superuser's URL of a real PostgreSQL, started once per session."""
    with servers.postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of a real Kafka, started once per session."""
    with servers.kafka_broker() as bootstrap_servers:
        yield bootstrap_servers


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """An issuer whose JWKS file services under test read."""
    issuer = DevelopmentIssuer.generate()
    jwks_file = tmp_path_factory.mktemp("tokens") / "jwks.json"
    jwks_file.write_text(issuer.jwks())
    return Tokens(issuer, jwks_file)


@pytest_asyncio.fixture
async def topics(kafka: str) -> AsyncIterator[str]:
    """Bootstrap servers of the broker with all of the contracts' topics there and empty."""
    await topic_setup.recreate(kafka)
    yield kafka


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """The whole system, started once per session: gateway, services, mailbox, Kafka, Postgres."""
    folder = tmp_path_factory.mktemp("system")
    async with running_system(folder, {"GATEWAY_REQUESTS_PER_SECOND": "5000"}) as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def _templates(postgres: str) -> AsyncIterator["_Templates"]:
    templates = _Templates(postgres)
    yield templates
    await templates.drop()


@pytest_asyncio.fixture
async def service_database(_templates: "_Templates") -> AsyncIterator[ServiceDatabases]:
    """`await service_database("ledger")`: that service's database, migrated and empty, for this test alone."""
    made: list[str] = []

    async def clone(service: str) -> ServiceDatabase:
        database = await _templates.clone(service)
        made.append(database.name)
        return database

    yield clone
    await _templates.drop_databases(made)


class _Templates:
    """One migrated database per service, cloned for each test: use cases commit, so nothing can be rolled back."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url
        self._session = uuid.uuid4().hex[:8]
        self._made: dict[str, ServiceDatabase] = {}

    async def clone(self, service: str) -> ServiceDatabase:
        template = await self._template(service)
        name = f"{service}_{self._session}_{uuid.uuid4().hex[:8]}"
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template.name}" OWNER "{service}_owner"')
        await self._execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')
        await self._execute(f'GRANT CONNECT ON DATABASE "{name}" TO "{service}"')
        return databases.service_database(self._admin_url, service=service, password=_PASSWORD, database=name)

    async def drop(self) -> None:
        await self.drop_databases([template.name for template in self._made.values()])

    async def drop_databases(self, names: list[str]) -> None:
        for name in names:
            await self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def _template(self, service: str) -> ServiceDatabase:
        if service not in self._made:
            made = await databases.ensure(
                self._admin_url, service=service, password=_PASSWORD, database=f"{service}_{self._session}_template"
            )
            await databases.migrate(made, migrations_of(service))
            self._made[service] = made
        return self._made[service]

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._admin_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def migrations_of(service: str) -> Path:
    """A service's Alembic folder; `chassis` names the chassis' own tables for its own tests."""
    folder = ROOT / ("libs/chassis/tests/migrations" if service == "chassis" else f"services/{service}/migrations")
    if not folder.is_dir():
        raise FileNotFoundError(f"{service} has no migrations in {folder.relative_to(ROOT)}")
    return folder
