"""The schema that this code was written for: a process refuses to start on a database that has another."""

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from chassis.postgres import Server, each_host

FIT: Final = "SELECT current_setting('server_encoding') = 'UTF8' AND 'Z' < 'a'"
"""Whether text is UTF-8 and in order of its code points: every language that Postgres knows puts a before Z."""


class UnfitDatabase(Exception):
    """This code must not run on the database as it is; the message says why."""


class StaleSchema(UnfitDatabase):
    """The database's schema is not the one that this code was written for."""


class ForeignText(UnfitDatabase):
    """The database has text, or compares it, otherwise than this code does."""

    def __init__(self) -> None:
        super().__init__(
            "text must be UTF-8 and compared by code points, not by a language; make the database with"
            " TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
        )


def newest(folder: Path) -> str:
    """The newest of a service's migrations, whose files begin with their revisions. Alembic, which would read them all,
    takes half a second to load."""
    return max(file.name.split("_")[0] for file in (folder / "versions").glob("*_*.py"))


def role_of(database_url: str) -> str:
    """The role in a database's address."""
    role = urlsplit(each_host(database_url)[0]).username
    assert role is not None, "the database's address names no role"
    return unquote(role)


async def check(server: Server, folder: Path) -> None:
    """Raise `UnfitDatabase` unless it has exactly the newest migration of this code, and text in Python's order."""
    driver = await server.connect()
    try:
        if not await driver.fetchval(FIT):
            raise ForeignText
        exists = await driver.fetchval("SELECT to_regclass('alembic_version')::text")
        stored = await driver.fetchval("SELECT version_num FROM alembic_version") if exists else None
    finally:
        await driver.close()
    wanted = newest(folder)
    if stored != wanted:
        raise StaleSchema(f"the database has schema {stored}, this code needs {wanted}; run `migrate` first")
