"""Shops' own words."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from chassis import Transaction
from notifications.domain import Scenario


@dataclass(frozen=True, slots=True)
class TemplateRow:
    """A shop's own words for one scenario in one language."""

    shop: str
    scenario: Scenario
    language: str
    subject: str
    text: str
    html: str
    updated_at: datetime


async def templates(tx: Transaction, shops: Collection[str]) -> dict[str, list[TemplateRow]]:
    """All words of their own that these shops have."""
    rows = await tx.driver.fetch(
        "SELECT shop, scenario, language, subject, text, html, updated_at FROM template"
        " WHERE shop = ANY($1::text[]) ORDER BY shop, scenario, language",
        sorted(set(shops)),
    )
    by_shop: dict[str, list[TemplateRow]] = {}
    for row in rows:
        by_shop.setdefault(row["shop"], []).append(TemplateRow(**{**dict(row), "scenario": Scenario(row["scenario"])}))
    return by_shop


async def save_template(tx: Transaction, row: TemplateRow) -> None:
    """Keep a shop's words in place of any before."""
    await tx.driver.execute(
        "INSERT INTO template (shop, scenario, language, subject, text, html, updated_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (shop, scenario, language)"
        " DO UPDATE SET (subject, text, html, updated_at) ="
        " (excluded.subject, excluded.text, excluded.html, excluded.updated_at)",
        row.shop,
        row.scenario,
        row.language,
        row.subject,
        row.text,
        row.html,
        row.updated_at,
    )


async def delete_template(tx: Transaction, shop: str, scenario: Scenario, language: str) -> bool:
    """Back to the words that come with the service."""
    status = await tx.driver.execute(
        "DELETE FROM template WHERE shop = $1 AND scenario = $2 AND language = $3", shop, scenario, language
    )
    return str(status) == "DELETE 1"
