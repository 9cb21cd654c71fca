"""The ledger's projection of shops' programmes."""

from collections.abc import Sequence

import asyncpg

from ledger import tables
from ledger.store import rows

_UPSERT = rows.insert_from_arrays(
    tables.programme,
    leave="ON CONFLICT (shop) DO UPDATE"
    " SET revision = excluded.revision, shortfall = excluded.shortfall, zone = excluded.zone"
    " WHERE programme.revision < excluded.revision",
)


async def save(driver: asyncpg.Connection, told: Sequence[tuple[str, int, str, str]]) -> None:
    """Keep settings (shop, revision, shortfall policy, zone), sorted by shop; an older revision changes nothing."""
    if told:
        await driver.execute(_UPSERT, *zip(*told, strict=True))
