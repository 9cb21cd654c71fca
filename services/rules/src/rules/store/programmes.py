"""Shops' programmes, and when they were off."""
# ruff: noqa: S608 – what is put into statements are this module's own lists of columns

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from chassis import Transaction
from rules.domain.errors import ShopNotFound

PROGRAMME_LOCK: Final = 0x50524F47
"""First key of the advisory locks on programmes ("PROG")."""


@dataclass(frozen=True, slots=True)
class Programme:
    """A shop's settings as stored."""

    shop: str
    revision: int
    on: bool
    zone: str
    currency: str
    shortfall: str
    points_name: str
    language: str
    hold_minutes: int
    gifts_per_day: int
    gift_points_per_day: int
    approval_above: Mapping[str, int] = field(default_factory=dict)
    """By asset."""


_SETTINGS: Final = (
    'shop, revision, "on", zone, currency, shortfall, points_name, language, hold_minutes, gifts_per_day,'
    " gift_points_per_day"
)
_PROGRAMME: Final = f"{_SETTINGS}, approval_above::text"


def _programme_of(row: Any) -> Programme:
    return Programme(**{**dict(row), "approval_above": json.loads(row["approval_above"])})


async def known_shops(tx: Transaction, shops: set[str]) -> set[str]:
    """Which of these shops have rules, be it for later; before, their orders wait, since nothing could be decided."""
    rows = await tx.driver.fetch(
        "SELECT p.shop FROM programme AS p WHERE p.shop = ANY($1::text[])"
        " AND EXISTS (SELECT FROM activation AS a WHERE a.shop = p.shop)",
        list(shops),
    )
    return {row["shop"] for row in rows}


async def lock_shop(tx: Transaction, shop: str) -> None:
    """One change of a shop's programme at a time, also of one that is not there yet."""
    await tx.driver.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", PROGRAMME_LOCK, shop)


async def programme(tx: Transaction, shop: str, *, lock: bool = False) -> Programme | None:
    """A shop's settings; locked until the end where they are to change."""
    row = await tx.driver.fetchrow(
        f"SELECT {_PROGRAMME} FROM programme WHERE shop = $1{' FOR UPDATE' if lock else ''}", shop
    )
    return None if row is None else _programme_of(row)


async def required_programme(tx: Transaction, shop: str, *, lock: bool = False) -> Programme:
    """The same, where there must be one."""
    found = await programme(tx, shop, lock=lock)
    if found is None:
        raise ShopNotFound(shop)
    return found


async def programmes_after(tx: Transaction, shop: str, limit: int) -> list[Programme]:
    """Settings of all shops, a page at a time; none changes before the end, so none is told before."""
    rows = await tx.driver.fetch(
        f"SELECT {_PROGRAMME} FROM programme WHERE shop > $1 ORDER BY shop LIMIT $2 FOR SHARE", shop, limit
    )
    return [_programme_of(row) for row in rows]


async def save_programme(tx: Transaction, new: Programme) -> None:
    """Insert or replace a shop's settings; turning it off begins a pause, turning it on ends it."""
    await tx.driver.execute(
        f"INSERT INTO programme ({_SETTINGS}, approval_above, changed_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
        ' ON CONFLICT (shop) DO UPDATE SET revision = $2, "on" = $3, zone = $4, currency = $5, shortfall = $6,'
        " points_name = $7, language = $8, hold_minutes = $9, gifts_per_day = $10, gift_points_per_day = $11,"
        " approval_above = $12, changed_at = $13",
        new.shop, new.revision, new.on, new.zone, new.currency, new.shortfall, new.points_name, new.language,
        new.hold_minutes, new.gifts_per_day, new.gift_points_per_day,
        json.dumps(new.approval_above, sort_keys=True), tx.now,
    )  # fmt: skip
    if new.on:
        await tx.driver.execute("UPDATE pause SET until = $2 WHERE shop = $1 AND until IS NULL", new.shop, tx.now)
    else:
        await tx.driver.execute(
            "INSERT INTO pause (shop, since) SELECT $1, $2"
            " WHERE NOT EXISTS (SELECT FROM pause WHERE shop = $1 AND until IS NULL) ON CONFLICT DO NOTHING",
            new.shop,
            tx.now,
        )
