"""Records of members: read only where an account says that there is one."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import asyncpg

from chassis.database import require_lanes
from chassis.lanes import stored_count
from ledger import tables
from ledger.domain import AccountKey, Member, MemberKey, State
from ledger.store import rows

ASSET: Final = "points"
"""Of this asset whoever has a record has an account, so that most members are never looked for here."""

_UPSERT: Final = rows.insert_from_arrays(
    tables.member,
    leave="ON CONFLICT (shop, member) DO UPDATE SET frozen = excluded.frozen, merged_into = excluded.merged_into",
)
_NOTE: Final = (
    "UPDATE account AS a SET noted = true FROM unnest($1::text[], $2::text[]) AS k (shop, member)"
    " WHERE a.shop = k.shop AND a.member = k.member AND NOT a.noted"
)


async def load(driver: asyncpg.Connection, state: State, lanes: Sequence[int]) -> set[AccountKey]:
    """Put the records of the accounts' members into the state; accounts that are new learn that there is one.

    Gives the accounts to load besides: where these members were merged into. Redirects are looked up under the lanes of
    all members that they lead over, or the transaction begins anew with those (`LanesMissing`).
    """
    accounts = [account for account in state.accounts.values() if account.noted or account.fresh]
    found = await read(driver, {MemberKey(*account.key[:2]) for account in accounts})
    if found:
        over = {
            f"{key.shop}/{name}" for key, member in found.items() for name in (key.member, member.merged_into) if name
        }
        require_lanes(lanes, over, await stored_count(driver))
    state.members.update(found)
    for account in accounts:
        account.noted = MemberKey(*account.key[:2]) in found
    return {home for account in accounts if (home := state.home(account.key)) not in state.accounts}


_CHAINS: Final = (
    "WITH RECURSIVE chain AS (SELECT m.shop, m.member, m.frozen, m.merged_into"
    " FROM unnest($1::text[], $2::text[]) AS k (shop, member) JOIN member AS m USING (shop, member)"
    " UNION SELECT m.shop, m.member, m.frozen, m.merged_into FROM chain AS c"
    " JOIN member AS m ON m.shop = c.shop AND m.member = c.merged_into)"
    " SELECT shop, member, frozen, merged_into FROM chain"
)


async def read(driver: asyncpg.Connection, keys: Collection[MemberKey]) -> Mapping[MemberKey, Member]:
    """The records of these members, and of whom they were merged into; most have none."""
    found = await driver.fetch(_CHAINS, [key.shop for key in keys], [key.member for key in keys])
    members = [Member(key=MemberKey(row[0], row[1]), frozen=row[2], merged_into=row[3]) for row in found]
    return {member.key: member for member in members}


async def save(driver: asyncpg.Connection, members: Sequence[Member]) -> None:
    """Write records, after the accounts: those that are there say from now on that there is a record."""
    ordered = sorted(members, key=lambda member: member.key)
    await driver.execute(
        _UPSERT, *zip(*((*member.key, member.frozen, member.merged_into) for member in ordered), strict=True)
    )
    await driver.execute(_NOTE, [member.key.shop for member in ordered], [member.key.member for member in ordered])
