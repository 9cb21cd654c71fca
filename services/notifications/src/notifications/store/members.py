"""Members: where they are reached and what they want."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import asyncpg

from chassis import Transaction
from notifications.domain import Recipient, Scenario
from notifications.store.arrays import columns


@dataclass(frozen=True, slots=True)
class Contact:
    """Where and how a member is reached. Personal data."""

    email: str
    name: str | None
    language: str | None


Member = tuple[str, str]
"""Shop and member."""


async def contacts(tx: Transaction, members: Collection[Member]) -> dict[Member, Contact]:
    """The contacts of those who have left one."""
    rows = await tx.driver.fetch(
        "SELECT shop, member, email, name, language FROM unnest($1::text[], $2::text[]) AS wanted (shop, member)"
        " JOIN contact USING (shop, member)",
        *columns(members, 2),
    )
    return {(row["shop"], row["member"]): Contact(row["email"], row["name"], row["language"]) for row in rows}


async def save_contact(tx: Transaction, shop: str, member: str, contact: Contact) -> None:
    """Keep a member's contact in place of any before."""
    await tx.driver.execute(
        "INSERT INTO contact (shop, member, email, name, language, updated_at) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT (shop, member) DO UPDATE SET (email, name, language, updated_at) ="
        " (excluded.email, excluded.name, excluded.language, excluded.updated_at)",
        shop,
        member,
        contact.email,
        contact.name,
        contact.language,
        tx.now,
    )


async def erase_contact(tx: Transaction, shop: str, member: str) -> None:
    """Forget a member's contact."""
    await tx.driver.execute("DELETE FROM contact WHERE shop = $1 AND member = $2", shop, member)


async def reachable(tx: Transaction, members: Collection[Member]) -> dict[Member, Recipient]:
    """Those of these members who have left an address, with what they want."""
    rows = await tx.driver.fetch(
        "SELECT shop, member, coalesce(p.email_on, true) AS email_on, coalesce(p.muted, '{}') AS muted"
        " FROM unnest($1::text[], $2::text[]) AS wanted (shop, member)"
        " JOIN contact USING (shop, member) LEFT JOIN preference AS p USING (shop, member)",
        *columns(members, 2),
    )
    return {(row["shop"], row["member"]): _recipient(row, reachable=True) for row in rows}


async def preferences(tx: Transaction, members: Collection[Member]) -> dict[Member, Recipient]:
    """What members want who have said so, whether or not they have left an address."""
    rows = await tx.driver.fetch(
        "SELECT shop, member, email_on, muted FROM unnest($1::text[], $2::text[]) AS wanted (shop, member)"
        " JOIN preference USING (shop, member)",
        *columns(members, 2),
    )
    return {(row["shop"], row["member"]): _recipient(row, reachable=False) for row in rows}


def _recipient(row: asyncpg.Record, *, reachable: bool) -> Recipient:
    return Recipient(reachable, row["email_on"], frozenset(Scenario(each) for each in row["muted"]))


async def save_preferences(
    tx: Transaction, shop: str, member: str, *, email_on: bool, muted: Iterable[Scenario]
) -> None:
    """Keep what a member wants."""
    await tx.driver.execute(
        "INSERT INTO preference (shop, member, email_on, muted, updated_at) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (shop, member) DO UPDATE SET (email_on, muted, updated_at) ="
        " (excluded.email_on, excluded.muted, excluded.updated_at)",
        shop,
        member,
        email_on,
        sorted(muted),
        tx.now,
    )
