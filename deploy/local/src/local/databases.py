"""Services' roles and databases in a Postgres server, made from the same SQL that the Docker image runs."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import asyncpg

from local.paths import ROOT

_SQL: Final = ROOT / "deploy" / "postgres" / "service.sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDatabase:
    """A service's database and the two ways in."""

    name: str
    app_role: str
    url: str
    """As the app role, which may use what the migrations grant."""
    migration_url: str
    """As the owner, which migrates."""


def address(admin_url: str, *, role: str, password: str, database: str) -> str:
    """The URL of a database for a role, on the server that another URL names."""
    server = urlsplit(admin_url)
    return f"postgresql://{quote(role)}:{quote(password)}@{server.hostname}:{server.port or 5432}/{quote(database)}"


def service_database(admin_url: str, *, service: str, password: str, database: str | None = None) -> ServiceDatabase:
    """The addresses of a service's database; both roles have the same password locally."""
    name = database or service
    return ServiceDatabase(
        name=name,
        app_role=service,
        url=address(admin_url, role=service, password=password, database=name),
        migration_url=address(admin_url, role=f"{service}_owner", password=password, database=name),
    )


async def ensure(admin_url: str, *, service: str, password: str, database: str | None = None) -> ServiceDatabase:
    """Make a service's roles and database where they are missing."""
    found = service_database(admin_url, service=service, password=password, database=database)
    names = {"owner": f"{service}_owner", "app": service, "database": found.name}
    connection = await asyncpg.connect(admin_url)
    try:
        roles = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
        databases = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
        for statement in statements({**names, "owner_password": password, "app_password": password}):
            created = re.match(r'CREATE (ROLE|DATABASE) "([^"]+)"', statement)
            if created and created[2] in (roles if created[1] == "ROLE" else databases):
                continue
            await connection.execute(statement)
    finally:
        await connection.close()
    return found


async def _is_current(database: ServiceDatabase, migrations: Path) -> bool:
    # Migrations are files named after their revisions, 0001_first.py and so on; whatever else there is goes to Alembic.
    newest = max((file.name.split("_")[0] for file in (migrations / "versions").glob("*_*.py")), default="")
    connection = await asyncpg.connect(database.migration_url)
    try:
        if not await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL"):
            return False
        return bool(await connection.fetchval("SELECT version_num FROM alembic_version") == newest)
    finally:
        await connection.close()


def statements(variables: dict[str, str]) -> list[str]:
    """The script's statements with psql's variables filled in as psql does."""
    script = "\n".join(line for line in _SQL.read_text().splitlines() if not line.startswith("--"))
    script = re.sub(r":\"(\w+)\"", lambda match: '"' + variables[match[1]].replace('"', '""') + '"', script)
    script = re.sub(r":'(\w+)'", lambda match: "'" + variables[match[1]].replace("'", "''") + "'", script)
    return [statement.strip() for statement in script.split(";\n") if statement.strip()]


async def migrate(database: ServiceDatabase, migrations: Path) -> None:
    """Bring a service's database to its newest schema."""
    if await _is_current(database, migrations):
        return
    # Imported here: Alembic takes longer to load than to look whether it is needed.
    from chassis.migrations import upgrade

    await asyncio.to_thread(upgrade, database.migration_url, migrations, database.app_role)
