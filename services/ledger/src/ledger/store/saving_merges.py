"""What a merge moves from one account to another, or back, before all else that was decided is saved."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import asyncpg

from ledger import tables
from ledger.domain import Account, HoldRecord, Lot, MergedAccount, Shortfall
from ledger.store import rows
from ledger.store.loading_merges import FAMILY, family_ids

_INSERT_MERGE: Final = rows.insert_from_arrays(tables.merge)
_INSERT_MOVED_LOT: Final = rows.insert_from_arrays(tables.moved_lot)
_KINDS: Final = rows.update_from_arrays(tables.lot, ("account_id", "number"), ("kind",))
_NUMBERS: Final = rows.update_from_arrays(tables.hold, ("account_id", "hold"), ("number",))
_SHORTFALLS: Final = (
    "UPDATE shortfall AS f SET account_id = $2, lot = k.lot, since_seq = k.since_seq"
    " FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[]) AS k (source, key, lot, since_seq)"
    " WHERE f.account_id = $1 AND f.source = k.source AND f.key = k.key"
)
_WAITING: Final = (
    "waiting AS (SELECT k.shop, k.source, k.key, k.posting->>'member' AS member FROM parked AS k"
    " WHERE k.account_id = $1"
    " UNION ALL SELECT q.shop, q.source, q.key, q.posting->>'member' FROM proposal AS q"
    " WHERE q.account_id = $1 AND q.state = 'open')"
)
"""What waits for its cause or for a second person: nothing has become of it yet, so it can become of it elsewhere."""

_GOES: Final = (
    " moved_posting AS (UPDATE posting AS p SET account_id = $2 FROM going AS g"
    " WHERE p.shop = g.shop AND p.source = g.source AND p.key = g.key),"
    " moved_memo AS (UPDATE memo AS m SET account_id = $2 FROM going AS g"
    " WHERE m.account_id = $1 AND m.source = g.source AND m.key = g.key),"
    " moved_proposal AS (UPDATE proposal AS q SET account_id = $2 FROM going AS g"
    " WHERE q.account_id = $1 AND q.shop = g.shop AND q.source = g.source AND q.key = g.key)"
    " UPDATE parked AS k SET account_id = $2 FROM going AS g"
    " WHERE k.account_id = $1 AND k.shop = g.shop AND k.source = g.source AND k.key = g.key"
)
_WAITING_GOES: Final = f"WITH {_WAITING}, going AS (SELECT * FROM waiting),{_GOES}"  # noqa: S608
_WAITING_GOES_BACK: Final = (
    f"{FAMILY.format(shop='$3', member='$4')}, {_WAITING},"  # noqa: S608
    f" going AS (SELECT w.* FROM waiting AS w JOIN family AS f USING (member)),{_GOES}"
)


async def save(driver: asyncpg.Connection, merged: Sequence[MergedAccount]) -> None:
    """Records change their account first, so that what has changed of them is found there."""
    for one in merged:
        if one.undone:
            await _move_back(driver, one)
        else:
            await _move(driver, one)


async def _move(driver: asyncpg.Connection, merged: MergedAccount) -> None:
    """All that the account has."""
    account, into = merged.account, merged.into
    shop, member, asset = account.key
    record = (
        shop, merged.merge, asset, member, into.key.member, account.id, into.id, merged.number, merged.points,
        merged.earned, merged.spent, merged.taken_back, merged.given_back, merged.undone,
    )  # fmt: skip
    await driver.execute(_INSERT_MERGE, *([value] for value in record))
    moved = [(into.id, is_now.number, merged.merge, account.id, was.number) for was, is_now in merged.lots]
    await _execute(driver, _INSERT_MOVED_LOT, moved)
    await _kinds(driver, (was for was, _ in merged.lots))
    for table in ("hold", "spend"):
        await driver.execute(f"UPDATE {table} SET account_id = $2 WHERE account_id = $1", account.id, into.id)  # noqa: S608
    await _numbers(driver, merged.holds)
    await _shortfalls(driver, account, into, merged.shortfalls)
    await driver.execute(_WAITING_GOES, account.id, into.id)


async def _move_back(driver: asyncpg.Connection, merged: MergedAccount) -> None:
    """Lots go on where they were; holds, spends and shortfalls go where their postings were settled."""
    account, into = merged.account, merged.into
    shop, member, asset = account.key
    await driver.execute(
        "UPDATE merge SET undone = true WHERE shop = $1 AND merge = $2 AND asset = $3", shop, merged.merge, asset
    )
    await driver.execute("DELETE FROM moved_lot WHERE account_id = $1 AND merge = $2", into.id, merged.merge)
    await _kinds(driver, (lot for pair in merged.lots for lot in pair))
    family = await family_ids(driver, account)
    for table in ("hold", "spend"):
        await driver.execute(
            f"UPDATE {table} AS t SET account_id = $2 FROM posting AS p WHERE t.account_id = $1"  # noqa: S608
            " AND p.shop = $4 AND p.source = t.source AND p.key = t.key AND p.account_id = ANY($3::uuid[])",
            into.id,
            account.id,
            family,
            shop,
        )
    await _numbers(driver, (hold for hold in merged.holds if hold.account is account))
    await _shortfalls(driver, into, account, [row for row in merged.shortfalls if row.account is account])
    await driver.execute(_WAITING_GOES_BACK, into.id, account.id, shop, member)


async def _kinds(driver: asyncpg.Connection, lots: Iterable[Lot]) -> None:
    """Which of two lots the bookkeeping of an award is with."""
    await _execute(driver, _KINDS, [(lot.account.id, lot.number, lot.kind) for lot in lots if not lot.fresh])


async def _numbers(driver: asyncpg.Connection, holds: Iterable[HoldRecord]) -> None:
    await _execute(driver, _NUMBERS, [(hold.account.id, hold.hold, hold.number) for hold in holds])


async def _shortfalls(driver: asyncpg.Connection, source: Account, target: Account, moved: Sequence[Shortfall]) -> None:
    keys = [(row.source, row.key, row.lot, row.since_seq) for row in moved]
    if keys:
        await driver.execute(_SHORTFALLS, source.id, target.id, *zip(*keys, strict=True))


async def _execute(driver: asyncpg.Connection, statement: str, records: Sequence[tuple[Any, ...]]) -> None:
    if records:
        await driver.execute(statement, *zip(*records, strict=True))
