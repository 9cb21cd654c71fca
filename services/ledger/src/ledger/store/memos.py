"""Operators' memos, apart from the history so that they can go."""

import asyncpg


async def erase(driver: asyncpg.Connection, shop: str, source: str, key: str) -> bool:
    """Delete the memo of a posting, if it has one; whether there is such a posting."""
    account_id = await driver.fetchval(
        "SELECT account_id FROM posting WHERE shop = $1 AND source = $2 AND key = $3", shop, source, key
    )
    if account_id is None:
        return False
    await driver.execute("DELETE FROM memo WHERE account_id = $1 AND source = $2 AND key = $3", account_id, source, key)
    return True
