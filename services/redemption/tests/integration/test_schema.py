"""The migrations and the tables that the code speaks of."""

from typing import Any

import asyncpg

from redemption.tables import METADATA


async def test_the_tables_are_those_of_the_migrations(service_database: Any) -> None:
    connection = await asyncpg.connect((await service_database("redemption")).url)
    rows = await connection.fetch(
        "SELECT table_name, column_name, is_nullable FROM information_schema.columns WHERE table_schema = 'public'"
        " AND table_name = ANY($1)",
        list(METADATA.tables),
    )
    await connection.close()
    stored = {(row["table_name"], row["column_name"], row["is_nullable"] == "YES") for row in rows}
    assert stored == {
        (table.name, column.name, column.nullable) for table in METADATA.tables.values() for column in table.c
    }


async def test_the_app_role_cannot_alter_the_schema_or_delete_what_is_kept(service_database: Any) -> None:
    connection = await asyncpg.connect((await service_database("redemption")).url)
    for statement in ("DROP TABLE spend", "ALTER TABLE spend ADD x int", "CREATE TABLE x (y int)", "DELETE FROM spend"):
        try:
            await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            continue
        raise AssertionError(f"the app role may: {statement}")
    await connection.close()
