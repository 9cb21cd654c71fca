"""Migrations: each service's own Alembic folder, run as the owner role.

A service's `migrations/env.py` is `from chassis.migrations import run; run()`. Migrations only go up: no program drops
what a service has kept, so none of them says how.
"""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from chassis.postgres import Server
from chassis.schema import FIT, ForeignText
from chassis.tables import RIGHTS, TABLES

MIGRATION_LOCK = 0x4D494752
"""Advisory lock of a migration ("MIGR"): two of them wait for each other."""

LOCK_TIMEOUT = "5s"
"""A migration that cannot get a table's lock soon must not queue live traffic behind it."""

STATEMENT_TIMEOUT = "15min"
"""Longest single statement of a migration."""


def upgrade(migration_url: str, folder: Path, app_role: str) -> None:
    """Bring a database to the newest schema, as its owner. `app_role` gets the rights that the migrations grant."""
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.attributes.update(url=migration_url, app_role=app_role)
    command.upgrade(config, "head")


def run() -> None:
    """What a service's `env.py` calls."""
    asyncio.run(_run(context.config.attributes["url"]))


def app_role() -> str:
    """The role that the service runs as, quoted, for the GRANTs of a migration."""
    role: str = context.config.attributes["app_role"]
    return '"' + role.replace('"', '""') + '"'


async def _run(url: str) -> None:
    # The address is read as it is for whoever runs: SQLAlchemy knows another dialect of them.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=Server(url).connect)
    try:
        async with engine.connect() as conn:
            await conn.run_sync(_migrate)
    finally:
        await engine.dispose()


def _migrate(conn: Connection) -> None:
    if not conn.execute(text(FIT)).scalar_one():
        raise ForeignText
    conn.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    conn.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
    conn.commit()
    context.configure(connection=conn, transaction_per_migration=False)
    with context.begin_transaction():
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()
        conn.execute(text(f"GRANT SELECT ON alembic_version TO {app_role()}"))


def chassis_tables(op: Any) -> None:
    """Create what the chassis keeps in each service's database; the first migration of every service calls it."""
    apply(op, TABLES, RIGHTS)


def apply(op: Any, statements: Iterable[str], rights: Mapping[str, str]) -> None:
    """Run a migration's statements, and give the app role its rights on tables."""
    for statement in statements:
        op.execute(statement)
    for table, granted in rights.items():
        op.execute(f"GRANT {granted} ON {table} TO {app_role()}")
