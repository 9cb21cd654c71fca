"""Balances as of a past instant, found in one statement however long an account's history is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from chassis.lanes import wait_until_settled
from ledger.domain import Account
from ledger.store import reading, rows
from ledger.store.reading import Standing

UNSETTLED: Final = timedelta(seconds=60)
"""No transaction is older, so what was recorded before then is there; the entries of a younger instant may be on their
way to their commit."""

_PAST: Final = (
    # An account's instants never fall, so its numbers can be halved over: some 17 rows of 100,000, each by its key.
    # An index on (account, at) would find them in one step, and cost every posting one more entry in it.
    "WITH RECURSIVE search (account_id, low, high) AS ("  # noqa: S608  # our own names
    "SELECT a.id, 0::bigint, a.seq FROM account AS a WHERE a.shop = $1 AND a.member = $2 AND a.last_at > $3"
    " UNION ALL"
    " SELECT s.account_id, CASE WHEN e.at <= $3 THEN e.seq ELSE s.low END,"
    " CASE WHEN e.at <= $3 THEN s.high ELSE e.seq - 1 END"
    " FROM search AS s JOIN entry AS e ON e.account_id = s.account_id AND e.seq = (s.low + s.high + 1) / 2"
    " WHERE s.low < s.high)"
    f" SELECT {rows.ACCOUNT_COLUMNS}, clock_timestamp(), s.low, e.available_after, e.pending_after, e.held_after,"
    " e.debt_after, e.earned_after, e.spent_after, e.at, e.hash"
    " FROM (VALUES (1)) AS one LEFT JOIN account AS a ON a.shop = $1 AND a.member = $2"
    " LEFT JOIN search AS s ON s.account_id = a.id AND s.low = s.high"
    " LEFT JOIN entry AS e ON e.account_id = a.id AND e.seq = s.low"
)


class NotPast(Exception):
    """The instant is still to come."""


@dataclass(slots=True)
class _Found:
    """What one statement saw."""

    now: datetime
    standings: list[Standing]
    due: list[UUID]
    """Accounts that have had no entry since the instant, and on which something was due by it."""


async def balances_as_of(
    driver: asyncpg.Connection, shop: str, member: str, as_of: datetime, *, lane: int
) -> Sequence[Standing]:
    """A member's accounts as they stood at an instant: all entries by then, and what was due by then. It stays so.

    `lane` is the member's. Raises `NotPast`.
    """
    found = await _find(driver, shop, member, as_of)
    if as_of > found.now:
        raise NotPast
    if as_of > found.now - UNSETTLED:
        await wait_until_settled(driver, [lane])
        found = await _find(driver, shop, member, as_of)
    if found.due:
        async with driver.transaction(isolation="repeatable_read", readonly=True):  # several statements, one moment
            found = await _find(driver, shop, member, as_of)
            if found.due:
                found.standings += await reading.settled(driver, found.due, as_of)
    for standing in found.standings:
        standing.next_expiries, standing.next_activations = [], []
    await reading.name_currencies(driver, found.standings)
    await reading.note_members(driver, found.standings)
    return sorted(found.standings, key=lambda standing: standing.account.key)


async def _find(driver: asyncpg.Connection, shop: str, member: str, as_of: datetime) -> _Found:
    stored = await driver.fetch(_PAST, shop, member, as_of)
    found = _Found(stored[0][-10], [], [])
    for row in stored:
        if row[0] is None:
            continue
        account = rows.account_of(row)
        if row[-9] is not None:
            found.standings.append(Standing(_as_it_was(account, row)))
        elif account.next_due_at is not None and account.next_due_at <= as_of:
            found.due.append(account.id)
        else:
            found.standings.append(Standing(account))
    return found


def _as_it_was(account: Account, row: Any) -> Account:
    """An account after the last entry by the instant; before its first, nothing."""
    past = Account(key=account.key, id=account.id, seq=row[-9], noted=account.noted)
    if past.seq:
        found = row[-8:]
        past.available, past.pending, past.held, past.debt, past.earned, past.spent, past.last_at, past.hash = found
    return past
