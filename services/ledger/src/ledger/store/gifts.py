"""How much each account has given on the newest day on which it gave."""

from collections.abc import Collection, Sequence
from typing import Final

import asyncpg

from ledger import tables
from ledger.domain import AccountKey, GiftDay, State
from ledger.store import rows

_UPSERT: Final = rows.insert_from_arrays(
    tables.gift_day,
    leave="ON CONFLICT (account_id) DO UPDATE SET day = excluded.day, gifts = excluded.gifts, points = excluded.points",
)


async def load(driver: asyncpg.Connection, state: State, givers: Collection[AccountKey]) -> None:
    """What these accounts have given."""
    by_id = {state.accounts[key].id: state.accounts[key] for key in givers}
    for row in await driver.fetch(
        "SELECT account_id, day, gifts, points FROM gift_day WHERE account_id = ANY($1)", list(by_id)
    ):
        account = by_id[row[0]]
        state.gift_days[account.key] = GiftDay(account=account, day=row[1], gifts=row[2], points=row[3])


async def save(driver: asyncpg.Connection, days: Sequence[GiftDay]) -> None:
    """Write what accounts have given by now."""
    ordered = sorted((day.account.id, day.day, day.gifts, day.points) for day in days)
    await driver.execute(_UPSERT, *zip(*ordered, strict=True))
