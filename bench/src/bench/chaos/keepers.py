"""What the keeper of the database server does to services: shuts them out, and puts their databases back."""

import asyncio
import contextlib
import random
from typing import Final

import asyncpg
import psutil

from chassis.faults import is_transient
from local.paths import SERVICES
from testkit import wait_until
from testkit.system import System

SHUT_OUT: Final = {
    "{role} may not log in": ('ALTER ROLE "{role}" NOLOGIN', 'ALTER ROLE "{role}" LOGIN'),
    "{role} may only read": (
        'ALTER ROLE "{role}" SET default_transaction_read_only = on',
        'ALTER ROLE "{role}" RESET default_transaction_read_only',
    ),
    "{role} is thrown out": ("SELECT", "SELECT"),
}
"""What the keeper of a database does to the service that uses it, and how it is undone."""

KEPT_OUT_SECONDS: Final = (0.5, 4.0)
"""Over a batch's and a relay's back-off, so that they ask again more than once."""

KEEPER_SECONDS: Final = 60.0
"""For a server that was killed to be back."""

PUT_BACK: Final = ("rules", "notifications")
"""Services whose databases are put back. Redemption's would know nothing of checkouts that are held and not yet paid,
and the ledger's needs a word of its keeper first."""


async def keep_out(system: System, chance: random.Random) -> str:
    """Whoever keeps the database server lets a service in no more, or only to read, and after a moment as before."""
    role = chance.choice(SERVICES)
    what, (done, undone) = chance.choice(list(SHUT_OUT.items()))
    thrown_out = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    await _do(system, done.format(role=role), thrown_out)
    await asyncio.sleep(chance.uniform(*KEPT_OUT_SECONDS))
    await _do(system, undone.format(role=role))
    return what.format(role=role)


async def copy(system: System, service: str) -> str:
    """A copy of a service's database, as a backup is; nobody is let in meanwhile."""
    await _close(system, service)
    await _do(
        system,
        f'CREATE DATABASE "{service}_copy" TEMPLATE "{service}" STRATEGY file_copy OWNER "{service}_owner"',
        f'ALTER DATABASE "{service}" ALLOW_CONNECTIONS true',
    )
    return f"{service}'s database was copied, and let nobody in"


async def put_back(system: System, service: str) -> str:
    """The copy in the place of what has become of the database since, while the service is down."""
    await _close(system, service)
    with contextlib.suppress(LookupError, psutil.NoSuchProcess):  # it is down from the last fault
        system.kill(service)
    await _do(
        system,
        f'DROP DATABASE "{service}"',
        f'ALTER DATABASE "{service}_copy" RENAME TO "{service}"',
    )
    return f"{service}'s database was put back"


async def _close(system: System, database: str) -> None:
    """Let nobody in, and everybody out."""
    await _do(
        system,
        f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false',
        # Behind whoever was let in just before.
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'",
    )


async def _do(system: System, *statements: str) -> None:
    """As soon as the server answers: it may have been killed just now."""

    async def done() -> bool:
        try:
            keeper = await asyncpg.connect(system.database_url("ledger"))
            try:
                for statement in statements:
                    await keeper.execute(statement)
            finally:
                await keeper.close()
        except Exception as error:
            if not is_transient(error):
                raise
            return False
        return True

    await wait_until(done, timeout_seconds=KEEPER_SECONDS, what="Postgres to answer its keeper")
