"""Lots: points that end, for announcing it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import asyncpg

from chassis import Transaction
from notifications.domain import Lot
from notifications.store.arrays import columns

COPY_FROM = 200
"""New lots from which on COPY costs less than a statement; below it, its own two round trips cost more."""


class LotSeen(NamedTuple):
    """A lot as the last entry left it, in the order of the table's columns."""

    shop: str
    account: str
    lot: str
    remaining: int
    opened_at: datetime
    """Since when the member can use it."""
    expires_at: datetime
    look_at: datetime
    """When to see whether its end is to be announced; at its end, to forget it."""


async def add_lots(tx: Transaction, lots: Sequence[LotSeen]) -> None:
    """Keep lots that were opened just now. Should one be there after all, all are taken as seen again."""
    if len(lots) < COPY_FROM:
        await save_lots(tx, lots)
        return
    try:
        async with tx.driver.transaction():
            await tx.driver.copy_records_to_table("lot", records=sorted(lots), columns=LotSeen._fields)
    except asyncpg.UniqueViolationError:
        await save_lots(tx, lots)


async def save_lots(tx: Transaction, lots: Sequence[LotSeen]) -> None:
    """Keep lots as they now are. What was announced of them stays, and so does since when they are here, but for those
    that become usable later than was known."""
    await tx.driver.execute(
        "INSERT INTO lot AS l (shop, account, lot, remaining, opened_at, expires_at, look_at)"
        " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[], $6::timestamptz[],"
        "   $7::timestamptz[])"
        " ON CONFLICT (shop, account, lot) DO UPDATE SET (remaining, opened_at, expires_at, look_at) ="
        " (excluded.remaining, greatest(l.opened_at, excluded.opened_at), excluded.expires_at,"
        "   CASE WHEN excluded.remaining = 0 THEN excluded.expires_at ELSE least(l.look_at, excluded.look_at) END)",
        *columns(sorted(lots), len(LotSeen._fields)),
    )


@dataclass(frozen=True, slots=True)
class LotToLookAt:
    """A lot whose end may be due to be announced."""

    shop: str
    member: str
    account: str
    available: int
    lot: Lot


async def lots_to_look_at(tx: Transaction, limit: int) -> list[LotToLookAt]:
    """Lots that are to be looked at now, locked; those that another is looking at are passed over."""
    rows = await tx.driver.fetch(
        "SELECT l.shop, a.member, l.account, a.available, l.lot, l.remaining, l.opened_at, l.expires_at, l.announced"
        " FROM lot AS l JOIN account AS a ON a.account = l.account"
        " WHERE l.look_at <= $1 ORDER BY l.look_at, l.account LIMIT $2 FOR UPDATE OF l SKIP LOCKED",
        tx.now,
        limit,
    )
    return [
        LotToLookAt(
            row["shop"],
            row["member"],
            row["account"],
            row["available"],
            Lot(row["lot"], row["remaining"], row["opened_at"], row["expires_at"], row["announced"]),
        )
        for row in rows
    ]


class Looked(NamedTuple):
    """A lot that was looked at."""

    shop: str
    account: str
    lot: str
    announced: int | None
    """The lead time announced just now; None: none."""
    look_at: datetime
    """When to look again."""


async def save_looks(tx: Transaction, looks: Sequence[Looked]) -> None:
    """Keep what was announced and when to look again."""
    await tx.driver.execute(
        "UPDATE lot SET announced = coalesce(n.announced, lot.announced), look_at = n.look_at"
        " FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::timestamptz[])"
        "   AS n (shop, account, lot, announced, look_at)"
        " WHERE lot.shop = n.shop AND lot.account = n.account AND lot.lot = n.lot",
        *columns(looks, len(Looked._fields)),
    )


async def forget_lots(tx: Transaction, lots: Sequence[tuple[str, str, str]]) -> None:
    """Delete lots, named by shop, account and lot: they are over."""
    await tx.driver.execute(
        "DELETE FROM lot USING unnest($1::text[], $2::text[], $3::text[]) AS n (shop, account, lot)"
        " WHERE lot.shop = n.shop AND lot.account = n.account AND lot.lot = n.lot",
        *columns(lots, 3),
    )


async def forget_other_lots(tx: Transaction, shop: str, account: str, lots: Sequence[str]) -> None:
    """Delete an account's lots but these."""
    await tx.driver.execute(
        "DELETE FROM lot WHERE shop = $1 AND account = $2 AND lot <> ALL($3::text[])", shop, account, lots
    )


async def look_again(tx: Transaction, shops: Sequence[str]) -> None:
    """Have all these shops' lots looked at, from the first one: their lead times or their zone have changed."""
    await tx.driver.execute(
        "INSERT INTO look_again (shop, account, lot) SELECT shop, '', '' FROM unnest($1::text[]) AS s (shop)"
        " ON CONFLICT (shop) DO UPDATE SET (account, lot) = ('', '')",
        sorted(shops),
    )


async def look_at_more(tx: Transaction, limit: int) -> bool:
    """Have the next lots of a shop that is to be looked at again looked at now; whether there may be more to do.

    How far it has come is kept with it, so a kill loses nothing.
    """
    reached = await tx.driver.fetchrow(
        "SELECT shop, account, lot FROM look_again ORDER BY shop LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    if reached is None:
        return False
    last = await tx.driver.fetchrow(
        "WITH page AS MATERIALIZED (SELECT shop, account, lot FROM lot"
        "   WHERE shop = $1 AND (account, lot) > ($2, $3) ORDER BY account, lot LIMIT $4),"
        " seen AS (UPDATE lot SET look_at = $5 FROM page WHERE lot.shop = page.shop AND lot.account = page.account"
        "   AND lot.lot = page.lot AND lot.remaining > 0 AND lot.expires_at > $5)"
        " SELECT account, lot FROM page ORDER BY account DESC, lot DESC LIMIT 1",
        *reached,
        limit,
        tx.now,
    )
    if last is None:
        await tx.driver.execute("DELETE FROM look_again WHERE shop = $1", reached["shop"])
    else:
        await tx.driver.execute(
            "UPDATE look_again SET (account, lot) = ($2, $3) WHERE shop = $1", reached["shop"], *last
        )
    return True
