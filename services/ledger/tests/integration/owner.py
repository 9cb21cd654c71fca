"""Whoever owns the database, and changes what the ledger itself cannot."""

import asyncpg

from ledger.domain import GENESIS, Account, AccountKey
from ledger.domain.hashing import entry_hash
from ledger.store import rows

from .conftest import SHOP

OF_M1 = "account_id = (SELECT id FROM account WHERE shop = 'corner-grocer' AND member = 'm-1')"


M1 = "shop = 'corner-grocer' AND member = 'm-1'"


class Owner:
    """Whoever owns the database, with the ledger's own code at hand."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self.driver = driver

    async def do(self, *statements: str) -> None:
        for statement in statements:
            await self.driver.execute(statement)

    async def rehash(self, *, first: int, last: int = 10**6, member: str = "m-1") -> None:
        """Make the hashes of an account's entries follow from what they now hold, and its head from the last."""
        key = AccountKey(SHOP, member, "points")
        account_id = await self.driver.fetchval("SELECT id FROM account WHERE shop = $1 AND member = $2", *key[:2])
        account = Account(key=key, id=account_id)
        found = await self.driver.fetch(
            f"SELECT {rows.ENTRY_COLUMNS} FROM entry AS e WHERE account_id = $1 ORDER BY seq", account_id
        )
        previous = GENESIS
        for row in found:
            entry = rows.entry_of(row, account, previous)
            previous = entry.hash
            if first <= entry.seq <= last:
                previous = entry_hash(entry)
                update = "UPDATE entry SET hash = $3 WHERE account_id = $1 AND seq = $2"
                await self.driver.execute(update, account_id, entry.seq, previous)
        await self.driver.execute(
            "UPDATE account SET hash = $2, seq = $3 WHERE id = $1", account_id, previous, entry.seq
        )

    async def enrich(self, seq: int) -> None:
        """A hundred points more by one entry, and all that follows from it but hashes."""
        await self.do(
            f"UPDATE entry SET available = available + 100, system = '{{\"issued\":-{seq + 100}}}' WHERE {OF_M1}"
            f" AND seq = {seq}",
            "UPDATE entry SET available_after = available_after + 100, earned_after = earned_after + 100"
            f" WHERE {OF_M1} AND seq >= {seq}",
            f"UPDATE account SET available = available + 100, earned = earned + 100 WHERE {M1}",
        )

    async def cut(self, lane: int, position: int) -> None:
        """Forget all of a lane behind a position, as if it had never been: rows, seals, and accounts as they were."""
        await self.do(
            f"DELETE FROM entry WHERE lane = {lane} AND position > {position}",
            f"DELETE FROM refusal WHERE lane = {lane} AND position > {position}",
            f"DELETE FROM seal_shop WHERE lane = {lane} AND number IN"
            f" (SELECT number FROM seal WHERE lane = {lane} AND last_position > {position})",
            f"DELETE FROM seal WHERE lane = {lane} AND last_position > {position}",
            "UPDATE account AS a SET seq = e.seq, hash = e.hash, available = e.available_after, earned = e.earned_after"
            " FROM entry AS e WHERE e.account_id = a.id"
            " AND e.seq = (SELECT max(seq) FROM entry WHERE account_id = a.id)",
            "DELETE FROM account WHERE seq > 0 AND NOT EXISTS (SELECT FROM entry WHERE account_id = account.id)",
        )

    async def swap_places(self, one: tuple[int, int], other: tuple[int, int]) -> None:
        """Let two rows change places."""
        for old, new in ((one, (one[0], -1)), (other, one), ((one[0], -1), other)):
            await self.do(
                f"UPDATE entry SET lane = {new[0]}, position = {new[1]} WHERE lane = {old[0]} AND position = {old[1]}"
            )
