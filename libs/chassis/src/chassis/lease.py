"""Leases: one leader at a time, by a row with an expiry.

An advisory lock would stay with a leader that is frozen, for ever. A lease ends by itself; what a leader does after it
has lost the lease unawares must be harmless, and each user says why it is.
"""

import asyncpg


async def take(driver: asyncpg.Connection, name: str, owner: str, seconds: float) -> bool:
    """Take or renew the lease; false while another owner has it."""
    row = await driver.fetchval(
        "INSERT INTO lease (name, owner, expires_at) VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))"
        " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at"
        " WHERE lease.owner = excluded.owner OR lease.expires_at < clock_timestamp() RETURNING owner",
        name,
        owner,
        seconds,
    )
    return row is not None


async def give_up(driver: asyncpg.Connection, name: str, owner: str) -> None:
    """End the lease now, so that the next leader need not wait for its expiry."""
    await driver.execute("DELETE FROM lease WHERE name = $1 AND owner = $2", name, owner)


async def inherit(driver: asyncpg.Connection, instance: str) -> None:
    """End what an earlier process of this replica's name held: it is gone, or else it will be a leader that wakes late,
    which every user of a lease must bear anyway. Without this a replica that was killed waits for its own leases."""
    await driver.execute(
        "DELETE FROM lease WHERE starts_with(owner, $1) AND substr(owner, length($1) + 1) ~ '^[0-9]+[.][0-9a-f-]{36}$'",
        f"{instance}.",
    )
