"""Rows of another ledger's export, written as they are: at new places, of accounts with new ids."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from chassis import lanes
from chassis.ids import new_uuid
from ledger import tables
from ledger.domain.books import GIFT_POINTS_PER_DAY, GIFTS_PER_DAY, MOVED
from ledger.domain.journal import BY_TIME
from ledger.domain.lots import MOST_ENTRIES
from ledger.store import log, records, rows


async def is_empty(driver: asyncpg.Connection, shop: str) -> bool:
    """Whether nothing was ever posted in a shop."""
    found: bool = await driver.fetchval(
        "SELECT NOT EXISTS (SELECT FROM account WHERE shop = $1) AND NOT EXISTS (SELECT FROM posting WHERE shop = $1)",
        shop,
    )
    return found


async def untold(driver: asyncpg.Connection) -> dict[int, int]:
    """Lanes that have rows which the relay has not sent, and how many."""
    found = await driver.fetch("SELECT lane, position FROM relay_cursor WHERE lane < $1", log.SEAL_LANES)
    cursors = dict(found)
    highest = await log.highest(driver, list(cursors))
    return {lane: highest[lane] - cursors[lane] for lane in cursors if highest[lane] > cursors[lane]}


async def highest(driver: asyncpg.Connection) -> dict[int, int]:
    """The last position of each lane."""
    return dict(await log.highest(driver, range(await lanes.stored_count(driver))))


async def move_cursors(driver: asyncpg.Connection, reached: Mapping[int, int]) -> None:
    """Let the relay go on behind these positions."""
    await driver.execute(
        "UPDATE relay_cursor AS c SET (position, settled) = (m.position, m.position)"
        " FROM unnest($1::int[], $2::bigint[]) AS m (lane, position) WHERE c.lane = m.lane",
        list(reached),
        list(reached.values()),
    )


async def copy(driver: asyncpg.Connection, table: str, columns: Sequence[str], records: Sequence[Any]) -> None:
    """Many rows of a table."""
    if records:
        await driver.copy_records_to_table(table, columns=columns, records=records)


_STATE_COLUMNS: Final = {
    letter: tuple(name for name in ("account_id", "shop") if name in table.columns)
    for letter, table in records.ALL.items()
}


def lead_columns(letter: str) -> tuple[str, ...]:
    """The columns of a record that its line does not hold."""
    return _STATE_COLUMNS[letter]


async def account_ids(
    driver: asyncpg.Connection, shop: str, names: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], UUID]:
    """The ids of accounts by member and asset."""
    found = await driver.fetch(
        "SELECT member, asset, id FROM unnest($2::text[], $3::text[]) AS k (member, asset)"
        " JOIN account AS a USING (member, asset) WHERE a.shop = $1",
        shop,
        [member for member, _ in names],
        [asset for _, asset in names],
    )
    return {(member, asset): account_id for member, asset, account_id in found}


_LEARN: Final = rows.insert_from_arrays(tables.programme, leave="ON CONFLICT (shop) DO NOTHING")


async def learn(driver: asyncpg.Connection, shop: str, programme: Mapping[str, Any]) -> None:
    """A shop's settings, unless they were told here already; whatever is told later is newer."""
    told = [[programme.get(name)] for name in ("shortfall", "zone", "currency")]
    gifts = [programme.get("gifts_per_day", GIFTS_PER_DAY)], [programme.get("gift_points_per_day", GIFT_POINTS_PER_DAY)]
    await driver.execute(_LEARN, [shop], [0], *told, [programme.get("approval_above", "{}")], *gifts)


async def note_members(driver: asyncpg.Connection, shop: str) -> None:
    """Let the accounts of members of whom more is known say so."""
    await driver.execute(
        "UPDATE account AS a SET noted = true FROM member AS m"
        " WHERE m.shop = $1 AND a.shop = m.shop AND a.member = m.member",
        shop,
    )


async def add_sums(driver: asyncpg.Connection, shop: str, sums: Mapping[tuple[str, str], int]) -> None:
    """The other side of the entries, by asset and name of the system account."""
    records = [(new_uuid(), shop, asset, name, amount) for (asset, name), amount in sorted(sums.items()) if amount]
    await copy(driver, "system_sum", tables.system_sum.columns.keys(), records)


ACCOUNTS_TOGETHER: Final = 200
"""Whose lots are looked at in one statement."""


async def ids_of_shop(driver: asyncpg.Connection, shop: str) -> AsyncIterator[list[UUID]]:
    """All accounts of a shop, some at a time."""
    after = ("", "")
    while found := await driver.fetch(
        "SELECT id, member, asset FROM account WHERE shop = $1 AND (member, asset) > ($2, $3) ORDER BY member, asset"
        " LIMIT $4",
        shop,
        *after,
        ACCOUNTS_TOGETHER,
    ):
        after = found[-1][1:]
        yield [row[0] for row in found]


# A lot is as the last entry that moved it says. A drained one was not moved when its account was merged, or parted
# again: of that no entry tells.
_LOTS_DIFFER: Final = f"""
    WITH told AS (
        SELECT DISTINCT ON (e.account_id, c.lot) e.account_id, c.lot, c.remaining, c.activates_at, c.expires_at,
            c.priority
        FROM entry AS e CROSS JOIN LATERAL json_array_elements(e.lots) WITH ORDINALITY AS j (change, place)
        CROSS JOIN LATERAL json_to_record(j.change) AS c (lot bigint, remaining bigint, activates_at timestamptz,
            expires_at timestamptz, priority integer)
        WHERE e.account_id = ANY($1::uuid[]) ORDER BY e.account_id, c.lot, e.seq DESC, j.place DESC
    ), opened AS (
        SELECT l.*, e.kind AS entry, CASE
            WHEN e.kind IN ('merge_in', 'unmerge_in') THEN true
            WHEN e.kind = 'gift_in' THEN l.kind IN ('gift', '{MOVED}') AND e.source = l.source AND e.key = l.key
            ELSE l.kind IN (e.kind, '{MOVED}') AND e.source = l.source AND e.key = l.key
                AND e."order" IS NOT DISTINCT FROM l."order" AND (e.lots -> 0 ->> 'change')::bigint = l.amount
        END AS as_told
        FROM lot AS l LEFT JOIN entry AS e ON e.account_id = l.account_id AND e.seq = l.number % {MOST_ENTRIES}
        WHERE l.account_id = ANY($1::uuid[])
    )
    SELECT a.member FROM (
        SELECT COALESCE(l.account_id, t.account_id) AS id FROM told AS t
        FULL JOIN opened AS l ON l.account_id = t.account_id AND l.number = t.lot
        WHERE l.as_told IS NOT TRUE OR CASE
            WHEN l.entry IN ('merge_in', 'unmerge_in') AND t.lot IS NULL THEN l.remaining > 0
            WHEN l.remaining = 0 THEN t.remaining IS DISTINCT FROM 0
            ELSE (l.remaining, l.activates_at, l.expires_at, l.priority)
                IS DISTINCT FROM (t.remaining, t.activates_at, t.expires_at, t.priority)
        END
    ) AS differing JOIN account AS a USING (id) LIMIT 1
"""  # noqa: S608  # our own constants


async def whose_lots_differ(driver: asyncpg.Connection, ids: Sequence[UUID]) -> str | None:
    """A member of these accounts whose lots are not what the hashed entries say of them."""
    found: str | None = await driver.fetchval(_LOTS_DIFFER, ids)
    return found


async def whose_key_differs(driver: asyncpg.Connection, shop: str) -> str | None:
    """The key of a posting whose entries are not there, or of an entry whose posting is not: asked again, it would
    count twice."""
    lost: str | None = await driver.fetchval(
        "SELECT p.key FROM posting AS p LEFT JOIN entry AS e ON e.account_id = p.account_id AND e.seq = p.first_seq"
        " WHERE p.shop = $1 AND p.first_seq > 0 AND e.seq IS NULL LIMIT 1",
        shop,
    )
    if lost is not None:
        return lost
    unknown: str | None = await driver.fetchval(
        "SELECT e.key FROM account AS a JOIN entry AS e ON e.account_id = a.id"
        " LEFT JOIN posting AS p ON p.shop = a.shop AND p.source = e.source AND p.key = e.key"
        " WHERE a.shop = $1 AND e.source <> $2 AND p.key IS NULL LIMIT 1",
        shop,
        BY_TIME,
    )
    return unknown
