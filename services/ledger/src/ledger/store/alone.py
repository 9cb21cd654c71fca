"""Having a database to oneself, for what an operator does to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from chassis import lanes, lease
from chassis.database import SESSION
from chassis.ids import new_uuid
from chassis.postgres import Server
from chassis.relay import LEASE

LEASE_SECONDS: Final = 60.0
"""Of the relay's lease while others could look at it; what holds them off is the row's lock, until the end."""


@asynccontextmanager
async def alone(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction in which nobody posts; it commits at the block's end, or nothing has changed."""
    driver = await Server(url).connect(server_settings=SESSION)
    try:
        async with driver.transaction():
            await lanes.take(driver, range(await lanes.stored_count(driver)))
            yield driver
    finally:
        await driver.close()


async def lead(driver: asyncpg.Connection) -> bool:
    """Keep every relay from leading until the transaction ends; false while one leads."""
    owner = f"operator.{new_uuid()}"
    if not await lease.take(driver, LEASE, owner, LEASE_SECONDS):
        return False
    await lease.give_up(driver, LEASE, owner)
    return True
