"""What is read before two members are merged, or that is undone: their whole accounts, under both lanes."""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from chassis.ids import new_uuid
from ledger.domain import (
    Account,
    AccountKey,
    MemberKey,
    Merge,
    MergedAccount,
    MovedLot,
    Policy,
    ShortfallPolicy,
    SpendId,
    UndoMerge,
)
from ledger.store import gifts, members, rows
from ledger.store.loaded import Loaded
from ledger.store.loading import load_whole


async def who_was_merged(driver: asyncpg.Connection, shop: str, merge: str) -> tuple[str, str] | None:
    """Who was merged by it, and into whom; None if there is no such merge. It never changes."""
    row = await driver.fetchrow(
        "SELECT member, into_member FROM merge WHERE shop = $1 AND merge = $2 LIMIT 1", shop, merge
    )
    return None if row is None else (row[0], row[1])


_ACCOUNT_IDS: Final = "SELECT id FROM account WHERE shop = $1 AND member = ANY($2::text[])"
_OUTCOME: Final = (
    f"SELECT {rows.OUTCOME_COLUMNS} FROM posting AS p JOIN account AS a ON a.id = p.account_id"  # noqa: S608
    " WHERE p.shop = $1 AND p.source = $2 AND p.key = $3"
)
_LOTS: Final = f"SELECT {rows.LOT_COLUMNS} FROM lot AS l WHERE l.account_id = ANY($1::uuid[])"  # noqa: S608
_SOME_LOTS: Final = f"SELECT {rows.LOT_COLUMNS} FROM lot AS l WHERE l.account_id = $1 AND l.number = ANY($2::bigint[])"  # noqa: S608
_SPENDS: Final = f"SELECT {rows.SPEND_COLUMNS} FROM spend AS s WHERE s.account_id = ANY($1::uuid[])"  # noqa: S608
_MERGED: Final = (
    "SELECT account_id, into_account_id, number, points, earned, spent, taken_back, given_back, undone FROM merge"
    " WHERE shop = $1 AND merge = $2"
)
_MOVED_LOTS: Final = "SELECT from_number, number FROM moved_lot WHERE account_id = $1 AND merge = $2"
_EXPIRED: Final = (
    "SELECT COALESCE(-sum((c->>'change')::bigint), 0)::bigint FROM entry AS e, json_array_elements(e.lots) AS c"
    " WHERE e.account_id = $1 AND e.seq > $2 AND e.kind = 'expire' AND (c->>'lot')::bigint = ANY($3::bigint[])"
)

FAMILY: Final = (
    "WITH RECURSIVE family AS (SELECT {shop}::text AS shop, {member}::text AS member"
    " UNION SELECT m.shop, m.member FROM family AS f JOIN member AS m ON m.shop = f.shop AND m.merged_into = f.member)"
)
"""A member and all that were merged into it: whatever was asked of these before a merge is what came by it."""

_FAMILY_IDS: Final = (
    f"{FAMILY.format(shop='$1', member='$2')}"  # noqa: S608
    " SELECT a.id FROM family JOIN account AS a USING (shop, member) WHERE a.asset = $3"
)


async def load(driver: asyncpg.Connection, posting: Merge | UndoMerge, lanes: Sequence[int]) -> Loaded:
    """All that deciding a merge, or its undoing, needs; `lanes`, which are held, are those of both members."""
    both = (posting.member, posting.into)
    found = await driver.fetch(_ACCOUNT_IDS, posting.shop, list(both))
    loaded = await load_whole(driver, [row[0] for row in found], lanes)
    state = loaded.state
    state.policies = {posting.shop: Policy(ShortfallPolicy.FORGIVE), **state.policies}
    state.members.update(await members.read(driver, {MemberKey(posting.shop, member) for member in both}))
    for row in await driver.fetch(_OUTCOME, *posting.id):
        state.outcomes[posting.id] = rows.outcome_of(row)
    for asset in {posting.asset} | {key.asset for key in state.accounts}:
        for member in both:
            key = AccountKey(posting.shop, member, asset)
            if key not in state.accounts:
                noted = MemberKey(posting.shop, member) in state.members
                state.add_account(Account(key=key, id=new_uuid(), fresh=True, noted=noted))
    if isinstance(posting, UndoMerge):
        for row in await driver.fetch(_MERGED, posting.shop, posting.merge):
            state.merged.append(_merged_of(row, loaded, posting.merge))
        for merged in state.merged:
            if not merged.undone:
                await _what_came(driver, loaded, merged)
        return loaded
    own = [account.id for account in loaded.by_id.values() if account.key.member == posting.member]
    _add_lots(loaded, await driver.fetch(_LOTS, own))
    _add_spends(loaded, await driver.fetch(_SPENDS, own))
    await gifts.load(driver, state, state.accounts)
    return loaded


def _merged_of(row: Any, loaded: Loaded, merge: str) -> MergedAccount:
    """A row of _MERGED."""
    return MergedAccount(
        merge=merge,
        account=loaded.by_id[row[0]],
        into=loaded.by_id[row[1]],
        number=row[2],
        points=row[3],
        earned=row[4],
        spent=row[5],
        taken_back=row[6],
        given_back=row[7],
        undone=row[8],
    )


async def _what_came(driver: asyncpg.Connection, loaded: Loaded, merged: MergedAccount) -> None:
    """The lots that the merge moved; and holds, spends and shortfalls whose postings were settled before it."""
    account, into = merged.account, merged.into
    pairs = await driver.fetch(_MOVED_LOTS, into.id, merged.merge)
    _add_lots(loaded, await driver.fetch(_SOME_LOTS, account.id, [was for was, _ in pairs]))
    _add_lots(loaded, await driver.fetch(_SOME_LOTS, into.id, [is_now for _, is_now in pairs]))
    merged.lots = [MovedLot(account.lots[was], into.lots[is_now]) for was, is_now in pairs]

    came = (into.id, await family_ids(driver, account), account.key.shop)
    holds = {row[0] for row in await driver.fetch(_came("t.hold", "hold"), *came)}
    merged.holds = [hold for hold in into.holds.values() if hold.hold in holds]
    short = {tuple(row) for row in await driver.fetch(_came("t.source, t.key", "shortfall"), *came)}
    merged.shortfalls = [row for row in into.shortfalls if (row.source, row.key) in short]
    spends = await driver.fetch(_came(rows.SPEND_COLUMNS.replace("s.", "t."), "spend"), *came)
    _add_spends(loaded, spends)
    merged.spends = [loaded.state.spends[SpendId(account.key.shop, row[1], row[2])] for row in spends]
    used = {use.lot for spend in merged.spends for use in spend.uses}
    _add_lots(loaded, await driver.fetch(_SOME_LOTS, into.id, list(used - into.lots.keys())))
    numbers = [is_now.number for _, is_now in merged.lots]
    merged.expired = await driver.fetchval(_EXPIRED, into.id, merged.number, numbers)


def _came(columns: str, table: str) -> str:
    """Rows of an account whose postings were settled on some other accounts."""
    return (
        f"SELECT {columns} FROM {table} AS t JOIN posting AS p ON p.shop = $3 AND p.source = t.source"  # noqa: S608
        " AND p.key = t.key WHERE t.account_id = $1 AND p.account_id = ANY($2::uuid[])"
    )


def _add_lots(loaded: Loaded, found: Iterable[Any]) -> None:
    for row in found:
        account = loaded.by_id[row[0]]
        if row[1] not in account.lots:
            loaded.state.add_lot(rows.lot_of(row, account))


def _add_spends(loaded: Loaded, found: Sequence[Any]) -> None:
    for row in found:
        spend = rows.spend_of(row, loaded.by_id[row[0]])
        if spend.id not in loaded.state.spends:
            loaded.state.add_spend(spend)


async def family_ids(driver: asyncpg.Connection, account: Account) -> list[UUID]:
    """The accounts of a member and of all that were merged into it, of one asset."""
    return [row[0] for row in await driver.fetch(_FAMILY_IDS, *account.key)]
