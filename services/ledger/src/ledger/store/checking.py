"""What must hold of the books, looked at from the outside: sums, replay, numbers, chains."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

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

    def add(self, other: "Findings") -> None:
        """Count these as well."""
        for name in ("accounts", "entries", "replay_mismatches", "seq_gaps", "book_mismatches", "chain_breaks"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.members = [*self.members, *other.members][:NAMED_MEMBERS]
        self.last = other.last


@dataclass(frozen=True, slots=True)
class Parking:
    """What waits for its cause."""

    count: int
    oldest_at: datetime | None


async def sums(driver: asyncpg.Connection, shop: str | None) -> tuple[int, dict[str, int]]:
    """The sum over members' and system accounts, in one moment: always zero; and the system's own, by name."""
    row = await driver.fetchrow(
        "SELECT (SELECT COALESCE(sum(available + pending + held + debt), 0) FROM account WHERE $1::text IS NULL OR"
        " shop = $1)"
        "::bigint AS members, (SELECT json_object_agg(name, amount)::text FROM (SELECT name, sum(amount)::bigint AS"
        " amount"
        " FROM system_sum WHERE $1::text IS NULL OR shop = $1 GROUP BY name) AS s) AS system",
        shop,
    )
    system: dict[str, int] = rows.decode_json(row["system"]) if row["system"] else {}
    return row["members"] + sum(system.values()), system


async def parking(driver: asyncpg.Connection, shop: str | None) -> Parking:
    """How much waits for its award or spend, and since when."""
    row = await driver.fetchrow(
        "SELECT count(*)::bigint, min(since) FROM parked WHERE $1::text IS NULL OR shop = $1", shop
    )
    return Parking(*row)


_REPLAYED: Final = (
    "WITH chosen AS (SELECT * FROM account AS a WHERE ($1::text IS NULL OR a.shop = $1)"
    " AND (a.shop, a.member, a.asset) > ($2, $3, $4) ORDER BY a.shop, a.member, a.asset LIMIT $5)"
    " SELECT a.shop, a.member, a.asset, a.id, a.hash, e.entries,"
    " (e.entries = a.seq AND e.last = a.seq) AS numbered,"
    " (e.available = a.available AND e.pending = a.pending AND e.held = a.held AND e.debt = a.debt) AS replayed,"
    " (l.live = a.available + a.held AND l.pending = a.pending AND h.held = a.held AND f.owed = -a.debt) AS added_up"
    " FROM chosen AS a"
    " CROSS JOIN LATERAL (SELECT count(*) AS entries, COALESCE(max(seq), 0) AS last, COALESCE(sum(available), 0) AS"
    " available,"
    " COALESCE(sum(pending), 0) AS pending, COALESCE(sum(held), 0) AS held, COALESCE(sum(debt), 0) AS debt"
    " FROM entry WHERE account_id = a.id) AS e"
    " CROSS JOIN LATERAL (SELECT COALESCE(sum(remaining) FILTER (WHERE NOT pending), 0) AS live,"
    " COALESCE(sum(remaining) FILTER (WHERE pending), 0) AS pending FROM lot WHERE account_id = a.id) AS l"
    " CROSS JOIN LATERAL (SELECT COALESCE(sum(amount), 0) AS held FROM hold WHERE account_id = a.id AND state ="
    " 'open') AS h"
    " CROSS JOIN LATERAL (SELECT COALESCE(sum(owed), 0) AS owed FROM shortfall WHERE account_id = a.id) AS f"
    " ORDER BY a.shop, a.member, a.asset"
)


async def replay(
    driver: asyncpg.Connection,
    shop: str | None,
    *,
    after: tuple[str, str, str] = ("", "", ""),
    limit: int,
    chains: bool = False,
) -> Findings:
    """Rebuild the balances of some accounts from their entries and compare, each account in one moment.

    With `chains`, every entry's hash is computed again as well.
    """
    findings = Findings()
    found = await driver.fetch(_REPLAYED, shop, *after, limit)
    for row in found:
        findings.accounts += 1
        findings.entries += row["entries"]
        findings.replay_mismatches += not row["replayed"]
        findings.seq_gaps += not row["numbered"]
        findings.book_mismatches += not row["added_up"]
        broken = chains and not await _chained(driver, row)
        findings.chain_breaks += broken
        if broken or not (row["replayed"] and row["numbered"] and row["added_up"]):
            findings.members.append(row["member"])
        findings.last = (row["shop"], row["member"], row["asset"])
    findings.members = findings.members[:NAMED_MEMBERS]
    if len(found) < limit:
        findings.last = None
    return findings


async def _chained(driver: asyncpg.Connection, seen: asyncpg.Record) -> bool:
    """Whether each entry's hash follows from the one before, up to the account's when it was looked at."""
    account = Account(key=AccountKey(seen["shop"], seen["member"], seen["asset"]), id=seen["id"])
    hash_then, previous, seq = GENESIS, GENESIS, 0
    while seq < seen["entries"]:
        found = await driver.fetch(_LINKS, account.id, seq, min(seen["entries"], seq + LINKS_TOGETHER))
        for row in found:
            entry = rows.entry_of(row, account, previous)
            if entry_hash(entry) != entry.hash:
                return False
            hash_then = previous = entry.hash
        seq += LINKS_TOGETHER
    return bool(seen["hash"] == hash_then)


LINKS_TOGETHER: Final = 5_000
"""Entries of one account in memory at once: a hot account has millions."""

_LINKS: Final = (
    f"SELECT {rows.ENTRY_COLUMNS} FROM entry AS e WHERE e.account_id = $1 AND e.seq > $2 AND e.seq <= $3 ORDER BY e.seq"  # noqa: S608
)
