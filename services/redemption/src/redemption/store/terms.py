"""Programmes and settings of shops."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chassis import Transaction


@dataclass(frozen=True, slots=True)
class Programme:
    """What redemption needs of a shop's programme."""

    shop: str
    revision: int
    is_on: bool
    currency: str
    hold_minutes: int


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a shop's points can be used: its programme, and its own settings if there are any."""

    programme: Programme
    document: str | None
    """The settings as JSON, which `schemas` reads; None when there are none."""
    is_stopped: bool
    revision: int
    changed_at: datetime | None


async def save_programmes(tx: Transaction, programmes: Sequence[Programme]) -> None:
    """Keep the newest revision of each shop's programme."""
    newest = {p.shop: p for p in sorted(programmes, key=lambda p: p.revision)}
    ordered = [newest[shop] for shop in sorted(newest)]
    await tx.driver.execute(
        "INSERT INTO programme AS p (shop, revision, is_on, currency, hold_minutes)"
        " SELECT * FROM unnest($1::text[], $2::bigint[], $3::bool[], $4::text[], $5::int[])"
        " ON CONFLICT (shop) DO UPDATE SET revision = excluded.revision, is_on = excluded.is_on,"
        " currency = excluded.currency, hold_minutes = excluded.hold_minutes WHERE p.revision < excluded.revision",
        [p.shop for p in ordered],
        [p.revision for p in ordered],
        [p.is_on for p in ordered],
        [p.currency for p in ordered],
        [p.hold_minutes for p in ordered],
    )


async def known_shops(tx: Transaction, shops: Iterable[str]) -> set[str]:
    """Which of these shops have a programme."""
    rows = await tx.driver.fetch("SELECT shop FROM programme WHERE shop = ANY($1)", list(shops))
    return {row["shop"] for row in rows}


async def load_terms(tx: Transaction, shops: Iterable[str]) -> dict[str, Terms]:
    """The terms of those shops that are known."""
    rows = await tx.driver.fetch(
        "SELECT p.shop, p.revision, p.is_on, p.currency, p.hold_minutes, u.document::text, u.is_stopped,"
        ' u.revision AS settings_revision, u.changed_at FROM programme AS p LEFT JOIN "using" AS u USING (shop)'
        " WHERE p.shop = ANY($1)",
        list(shops),
    )
    return {
        row["shop"]: Terms(
            programme=Programme(row["shop"], row["revision"], row["is_on"], row["currency"], row["hold_minutes"]),
            document=row["document"],
            is_stopped=bool(row["is_stopped"]),
            revision=row["settings_revision"] or 0,
            changed_at=row["changed_at"],
        )
        for row in rows
    }


async def save_document(tx: Transaction, shop: str, document: Mapping[str, Any]) -> None:
    """Replace a shop's settings; the same again changes nothing."""
    await tx.driver.execute(
        'INSERT INTO "using" AS u (shop, revision, document, is_stopped, changed_at) VALUES ($1, 1, $2, false, $3)'
        " ON CONFLICT (shop) DO UPDATE SET document = excluded.document, revision = u.revision + 1,"
        " changed_at = excluded.changed_at WHERE u.document IS DISTINCT FROM excluded.document",
        shop,
        json.dumps(document),
        tx.now,
    )


async def save_switch(tx: Transaction, shop: str, *, is_stopped: bool) -> None:
    """Stop or start the use of points; the same again changes nothing."""
    await tx.driver.execute(
        'INSERT INTO "using" AS u (shop, revision, is_stopped, changed_at) VALUES ($1, 1, $2, $3)'
        " ON CONFLICT (shop) DO UPDATE SET is_stopped = excluded.is_stopped, revision = u.revision + 1,"
        " changed_at = excluded.changed_at WHERE u.is_stopped <> excluded.is_stopped",
        shop,
        is_stopped,
        tx.now,
    )
