"""A member's proof: from one entry up to the seal that holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from ledger.domain import GENESIS, Account, Entry
from ledger.domain.hashing import entry_bytes
from ledger.domain.merkle import path_of, root_of
from ledger.domain.seals import Presence, look_for
from ledger.store import rows, seals
from ledger.store.seals import Sealed

FORMAT: Final = "accrual-ledger-proof"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry and where it stands in the log."""

    entry: Entry
    lane: int
    position: int


async def placed(driver: asyncpg.Connection, account: Account, seq: int) -> Placed | None:
    """An entry with the hash before it; None if there is none of that number."""
    row = await driver.fetchrow(
        f"SELECT {rows.ENTRY_COLUMNS}, e.lane, e.position,"  # noqa: S608
        " (SELECT p.hash FROM entry AS p WHERE p.account_id = e.account_id AND p.seq = e.seq - 1) AS previous"
        " FROM entry AS e WHERE e.account_id = $1 AND e.seq = $2",
        account.id,
        seq,
    )
    if row is None:
        return None
    return Placed(rows.entry_of(row, account, row["previous"] or GENESIS), row["lane"], row["position"])


async def last_sealed(driver: asyncpg.Connection, account: Account) -> int | None:
    """The number of an account's last sealed entry; None if none is. Positions grow with numbers."""
    found: int | None = await driver.fetchval(
        "SELECT e.seq FROM entry AS e WHERE e.account_id = $1 AND e.position <= COALESCE("
        "(SELECT s.last_position FROM seal AS s WHERE s.lane = e.lane ORDER BY s.number DESC LIMIT 1), 0)"
        " ORDER BY e.seq DESC LIMIT 1",
        account.id,
    )
    return found


async def proof(driver: asyncpg.Connection, found: Placed, sealed: Sealed) -> Mapping[str, Any] | None:
    """The way from the entry to the seal; None where stored rows do not lead there, so that nothing can be proved."""
    shop, seal, number = found.entry.account.key.shop, sealed.seal, sealed.seal.number
    parts = (await seals.parts(driver, found.lane, number, number))[number]
    of_shop = look_for(shop, parts)
    in_range = await seals.range_of(driver, found.lane, seal.first, seal.last)
    of_it = [row for row in in_range if row.shop == shop]
    hashes = [row.hash for row in of_it]
    if not isinstance(of_shop, Presence) or root_of(hashes) != of_shop.part.root:
        return None
    index = [row.position for row in of_it].index(found.position)
    return {
        "format": FORMAT,
        "version": VERSION,
        "lane": found.lane,
        "position": found.position,
        "previous_hash": found.entry.previous_hash.hex(),
        "hash": found.entry.hash.hex(),
        "bytes": entry_bytes(found.entry).hex(),
        "index": index,
        "path": [node.hex() for node in path_of(hashes, index)],
        "shop_in_seal": seals.told_of_shop(of_shop),
        "seal": sealed.told(),
    }
