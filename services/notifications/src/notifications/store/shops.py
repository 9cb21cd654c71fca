"""Shops: programmes as they were told, and what each has set here."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import time, timedelta
from typing import Any

import asyncpg

from chassis import Transaction
from chassis.messages import EVERY_SHOP
from notifications.domain import Channel, Reminders, Scenario, Settings


@dataclass(frozen=True, slots=True)
class Sender:
    """How a shop signs its e-mails."""

    name: str | None = None
    reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class Shop:
    """One shop: what decides and what signs."""

    settings: Settings
    sender: Sender


async def known(tx: Transaction, shops: set[str]) -> set[str]:
    """Which of these shops have a programme that we have been told of; what is about every shop waits for none."""
    rows = await tx.driver.fetch("SELECT shop FROM shop WHERE shop = ANY($1::text[])", sorted(shops))
    return {row["shop"] for row in rows} | (shops & {EVERY_SHOP})


async def shops(tx: Transaction, wanted: Collection[str]) -> dict[str, Shop]:
    """These shops' settings; those not known are missing."""
    rows = await tx.driver.fetch(
        'SELECT s.shop, s."on", s.zone, s.language, s.points_name, o.settings::text AS settings'
        " FROM shop AS s LEFT JOIN setting AS o ON o.shop = s.shop WHERE s.shop = ANY($1::text[])",
        sorted(wanted),
    )
    return {row["shop"]: _shop(row) for row in rows}


def _shop(row: asyncpg.Record) -> Shop:
    own: dict[str, Any] = json.loads(row["settings"]) if row["settings"] else {}
    standard = Settings(shop=row["shop"])
    settings = Settings(
        shop=row["shop"],
        on=row["on"],
        zone=row["zone"],
        language=row["language"],
        points_name=row["points_name"],
        switches={
            (Scenario(scenario), Channel(channel)): on
            for scenario, channels in own.get("scenarios", {}).items()
            for channel, on in channels.items()
        },
        reminders=(
            Reminders(tuple(own["reminders"]["lead_days"]), time.fromisoformat(own["reminders"]["local_time"]))
            if "reminders" in own
            else standard.reminders
        ),
        stale_after=(timedelta(hours=own["stale_after_hours"]) if "stale_after_hours" in own else standard.stale_after),
    )
    return Shop(settings, Sender(own.get("sender_name"), own.get("reply_to")))


async def learn_shops(tx: Transaction, programmes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keep programmes, the newest revision of each; gives back the shops whose zone changed."""
    columns = ("shop", "revision", "on", "zone", "language", "points_name")
    rows = await tx.driver.fetch(
        "WITH told AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::bool[], $4::text[], $5::text[], $6::text[])"
        '   AS t (shop, revision, "on", zone, language, points_name)),'
        " before AS (SELECT s.shop, s.zone FROM shop AS s JOIN told USING (shop))"
        ' INSERT INTO shop AS s (shop, revision, "on", zone, language, points_name, updated_at)'
        " SELECT told.*, $7 FROM told ORDER BY shop"
        ' ON CONFLICT (shop) DO UPDATE SET (revision, "on", zone, language, points_name, updated_at) ='
        '   (excluded.revision, excluded."on", excluded.zone, excluded.language, excluded.points_name,'
        "    excluded.updated_at)"
        " WHERE s.revision < excluded.revision"
        " RETURNING s.shop, s.zone <> (SELECT before.zone FROM before WHERE before.shop = s.shop) AS moved",
        *([each[column] for each in programmes] for column in columns),
        tx.now,
    )
    return [row["shop"] for row in rows if row["moved"]]


async def save_settings(tx: Transaction, shop: str, settings: Mapping[str, Any]) -> None:
    """Replace what a shop has set here."""
    await tx.driver.execute(
        "INSERT INTO setting (shop, settings, updated_at) VALUES ($1, $2::jsonb, $3)"
        " ON CONFLICT (shop) DO UPDATE SET settings = excluded.settings, updated_at = excluded.updated_at",
        shop,
        json.dumps(settings),
        tx.now,
    )
