"""What must hold of the books, looked at from the outside: sums, replay, numbers, chains."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from ledger.domain import GENESIS, Account, AccountKey
from ledger.domain.hashing import entry_hash
from ledger.store import rows

NAMED_MEMBERS: Final = 20
"""Members that a check names; the first few say where to look."""


@dataclass(slots=True)
class Findings:
    """What a look at some accounts found."""

    accounts: int = 0
    entries: int = 0
    replay_mismatches: int = 0
    """Accounts whose buckets are not the sums of their entries."""
    seq_gaps: int = 0
    """Accounts with a missing entry."""
    book_mismatches: int = 0
    """Accounts whose lots, holds or shortfalls do not add up to their buckets."""
    chain_breaks: int = 0
    """Accounts with an entry whose hash does not follow from the one before, or whose own is not its last entry's."""
    members: list[str] = field(default_factory=list)
    """The first few concerned."""
    last: tuple[str, str, str] | None = None
    """Shop, member and asset of the last account looked at; None when there are no more."""
    links: int = 0
    """Entries of that account's chain that were followed when there was no time for more; 0 when it is done."""

    def add(self, other: "Findings") -> None:
        """Count these as well."""
        for name in ("accounts", "entries", "replay_mismatches", "seq_gaps", "book_mismatches", "chain_breaks"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.members = [*self.members, *other.members][:NAMED_MEMBERS]
        self.last, self.links = other.last, other.links


@dataclass(frozen=True, slots=True)
class Parking:
    """What waits for its cause."""

    count: int
    oldest_at: datetime | None


@dataclass(slots=True)
class Sums:
    """One asset's accounts added up; members and system together are always zero."""

    members: int = 0
    system: dict[str, int] = field(default_factory=dict)
    """By system account."""

    @property
    def total(self) -> int:
        return self.members + sum(self.system.values())


_SUMS: Final = (
    "SELECT asset, NULL AS name, sum(available + pending + held + debt)::bigint FROM account {0} GROUP BY asset"
    " UNION ALL SELECT asset, name, sum(amount)::bigint FROM system_sum {0} GROUP BY asset, name"
)
"""One statement, so that members and system are seen in one moment."""


async def sums(driver: asyncpg.Connection, shop: str | None) -> tuple[int, dict[str, Sums]]:
    """How far the assets' sums over members' and system accounts are off zero in all, and the sums, by asset."""
    # Two texts, so that no plan made for all shops is used for one of them.
    which, parameters = ("", []) if shop is None else ("WHERE shop = $1", [shop])
    by_asset: dict[str, Sums] = {}
    for asset, name, amount in await driver.fetch(_SUMS.format(which), *parameters):
        found = by_asset.setdefault(asset, Sums())
        if name is None:
            found.members = amount
        else:
            found.system[name] = amount
    return sum(abs(found.total) for found in by_asset.values()), by_asset


async def parking(driver: asyncpg.Connection, shop: str | None) -> Parking:
    """How much waits for its award or spend, and since when."""
    which = "" if shop is None else " WHERE shop = $1"
    row = await driver.fetchrow(
        f"SELECT count(*)::bigint, min(since) FROM parked{which}",  # noqa: S608  # one of two
        *([] if shop is None else [shop]),
    )
    return Parking(*row)


_NEXT_OF_ALL: Final = (
    "SELECT shop, member, asset, id, seq FROM account WHERE (shop, member, asset) > ($1, $2, $3)"
    " ORDER BY shop, member, asset LIMIT $4"
)
_NEXT_OF_SHOP: Final = (
    "SELECT shop, member, asset, id, seq FROM account WHERE shop = $1 AND (member, asset) > ($2, $3)"
    " ORDER BY member, asset LIMIT $4"
)

_REPLAYED: Final = (
    "SELECT a.shop, a.member, a.asset, a.id, a.hash, e.entries,"
    " (e.entries = a.seq AND e.last = a.seq) AS numbered,"
    " (e.available = a.available AND e.pending = a.pending AND e.held = a.held AND e.debt = a.debt) AS replayed,"
    " (l.live = a.available + a.held AND l.pending = a.pending AND h.held = a.held AND f.owed = -a.debt) AS added_up"
    " FROM unnest($1::uuid[]) WITH ORDINALITY AS k (id, place) JOIN account AS a ON a.id = k.id"
    " CROSS JOIN LATERAL (SELECT count(*) AS entries, COALESCE(max(seq), 0) AS last, COALESCE(sum(available), 0) AS"
    " available,"
    " COALESCE(sum(pending), 0) AS pending, COALESCE(sum(held), 0) AS held, COALESCE(sum(debt), 0) AS debt"
    " FROM entry WHERE account_id = a.id) AS e"
    " CROSS JOIN LATERAL (SELECT COALESCE(sum(remaining) FILTER (WHERE NOT pending), 0) AS live,"
    " COALESCE(sum(remaining) FILTER (WHERE pending), 0) AS pending FROM lot WHERE account_id = a.id) AS l"
    " CROSS JOIN LATERAL (SELECT COALESCE(sum(amount), 0) AS held FROM hold WHERE account_id = a.id AND state ="
    " 'open') AS h"
    " CROSS JOIN LATERAL (SELECT COALESCE(sum(owed), 0) AS owed FROM shortfall WHERE account_id = a.id) AS f"
    " ORDER BY k.place"
)

ENTRIES_TOGETHER: Final = 200_000
"""Entries summed in one statement, well under a second's worth; only a single account may have more."""


async def replay(
    driver: asyncpg.Connection,
    shop: str | None,
    *,
    after: tuple[str, str, str] = ("", "", ""),
    links: int = 0,
    limit: int,
    chains: bool = False,
    ends_at: float = math.inf,
) -> Findings:
    """Rebuild the balances of some accounts from their entries and compare, each account in one moment.

    With `chains`, every entry's hash is computed again as well, until the monotonic clock says `ends_at`; `links` goes
    on in the middle of the chain of the account `after`, where an earlier look had no more time.
    """
    findings = Findings()
    if links and await _go_on(driver, findings, after, links, ends_at):
        return findings
    chosen = await driver.fetch(_NEXT_OF_ALL if shop is None else _NEXT_OF_SHOP, *after, limit)
    some = _together(chosen)
    for row in await driver.fetch(_REPLAYED, some):
        findings.accounts += 1
        findings.entries += row["entries"]
        findings.replay_mismatches += not row["replayed"]
        findings.seq_gaps += not row["numbered"]
        findings.book_mismatches += not row["added_up"]
        broken, links = await _follow(driver, row, 0, ends_at) if chains else (False, 0)
        findings.chain_breaks += broken
        if broken or not (row["replayed"] and row["numbered"] and row["added_up"]):
            findings.members.append(row["member"])
        findings.last, findings.links = (row["shop"], row["member"], row["asset"]), links
        if time.monotonic() >= ends_at:
            break
    else:
        if len(some) == len(chosen) < limit:
            findings.last = None
    findings.members = findings.members[:NAMED_MEMBERS]
    return findings


def _together(chosen: Sequence[asyncpg.Record]) -> list[UUID]:
    """The first of these accounts, up to so many entries, but at least one."""
    some: list[UUID] = []
    entries = 0
    for row in chosen:
        entries += row["seq"]
        if some and entries > ENTRIES_TOGETHER:
            break
        some.append(row["id"])
    return some


async def _go_on(
    driver: asyncpg.Connection, findings: Findings, key: tuple[str, str, str], links: int, ends_at: float
) -> bool:
    """Follow the rest of a chain, whose account has been counted; whether there was no time for all of it."""
    (row,) = await driver.fetch(
        "SELECT shop, member, asset, id, hash, seq AS entries FROM account WHERE shop = $1 AND member = $2"
        " AND asset = $3",
        *key,
    ) or [None]
    if row is None:
        return False
    broken, findings.links = await _follow(driver, row, links, ends_at)
    findings.chain_breaks += broken
    findings.members += [row["member"]] * broken
    findings.last = key
    return findings.links > 0


LINKS_TOGETHER: Final = 5_000
"""Entries of one account in memory at once: a hot account has millions."""

_LINKS: Final = (
    f"SELECT {rows.ENTRY_COLUMNS} FROM entry AS e WHERE e.account_id = $1 AND e.seq > $2 AND e.seq <= $3 ORDER BY e.seq"  # noqa: S608
)


async def _follow(driver: asyncpg.Connection, seen: asyncpg.Record, links: int, ends_at: float) -> tuple[bool, int]:
    """Whether an entry's hash does not follow from the one before, up to the account's when it was looked at; and
    behind which entry there was no more time, 0 if none. Some are followed in any case, so that every look gets on."""
    account = Account(key=AccountKey(seen["shop"], seen["member"], seen["asset"]), id=seen["id"])
    previous: bytes | None = GENESIS
    if links:
        previous = await driver.fetchval(
            "SELECT hash FROM entry WHERE account_id = $1 AND seq = $2", account.id, links
        )  # None if it is missing, from which no hash follows
    while previous is not None and links < seen["entries"]:
        upto = min(seen["entries"], links + LINKS_TOGETHER)
        for row in await driver.fetch(_LINKS, account.id, links, upto):
            entry = rows.entry_of(row, account, previous)
            if entry_hash(entry) != entry.hash:
                return True, 0
            previous = entry.hash
        links = upto
        if links < seen["entries"] and time.monotonic() >= ends_at:
            return False, links
    return bool(seen["hash"] != previous), 0
