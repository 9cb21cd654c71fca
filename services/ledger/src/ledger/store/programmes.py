"""The ledger's projection of shops' programmes."""

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from ledger import tables
from ledger.store import rows

_UPSERT = rows.insert_from_arrays(
    tables.programme,
    leave="ON CONFLICT (shop) DO UPDATE"
    " SET revision = excluded.revision, shortfall = excluded.shortfall, zone = excluded.zone,"
    " gifts_per_day = excluded.gifts_per_day, gift_points_per_day = excluded.gift_points_per_day,"
    " approval_above = excluded.approval_above,"
    " currency = CASE WHEN programme.currency <> excluded.currency AND EXISTS"
    " (SELECT FROM account AS a WHERE a.shop = excluded.shop AND a.asset = 'stored_value')"
    " THEN programme.currency ELSE excluded.currency END"
    # A row of before currencies were kept learns its own from the same revision, which is told again now and then.
    " WHERE programme.revision < excluded.revision"
    " OR (programme.revision = excluded.revision AND programme.currency IS NULL)"
    " RETURNING shop, currency",
)


async def save(
    driver: asyncpg.Connection, told: Sequence[tuple[str, int, str, str, str, str, int, int]]
) -> Mapping[str, str]:
    """Keep settings (shop, revision, shortfall policy, zone, currency, thresholds of approval as JSON, gifts and points
    that may be given in a day), sorted by shop; an older revision changes nothing. The currencies that hold now:
    another one is refused once money is stored."""
    if not told:
        return {}
    return dict(await driver.fetch(_UPSERT, *zip(*told, strict=True)))


async def of_shop(driver: asyncpg.Connection, shop: str) -> dict[str, Any] | None:
    """A shop's settings as far as the ledger cares, without their revision: it counts only where they were told."""
    row = await driver.fetchrow(
        "SELECT shortfall, zone, currency, approval_above::text, gifts_per_day, gift_points_per_day FROM programme"
        " WHERE shop = $1",
        shop,
    )
    return None if row is None else dict(row)
