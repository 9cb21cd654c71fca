"""Proposals as stored: what waits for a second person, and what became of what did."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from ledger.domain import AccountKey, Credit, Debit, Outcome, Posting
from ledger.store import rows

OPEN: Final = "open"
APPROVED: Final = "approved"
REJECTED: Final = "rejected"
EXPIRED: Final = "expired"

STATES: Final = (OPEN, APPROVED, REJECTED, EXPIRED)


@dataclass(slots=True, kw_only=True)
class Proposed:
    """A proposal with what became of its posting."""

    id: UUID
    place: int
    """Grows with every proposal of the database."""
    posting: Credit | Debit
    """As it was asked: its source is who proposed it."""
    account: AccountKey
    """Whose account it moves."""
    memo: str | None
    proposed_at: datetime
    expires_at: datetime
    state: str
    """Open ones that nobody can approve any more are expired, whether or not a job has run."""
    decided_at: datetime | None
    decided_by: str | None
    reason: str | None
    outcome: Outcome


# An open one is expired from its instant on, and was decided then, by nobody.
_STATE: Final = "CASE WHEN q.state = 'open' AND q.expires_at <= clock_timestamp() THEN 'expired' ELSE q.state END"

_PROPOSALS: Final = (
    f"SELECT {rows.OUTCOME_COLUMNS}, q.id, q.place, q.posting::text AS posting, m.memo, q.proposed_at, q.expires_at,"  # noqa: S608
    f" {_STATE} AS state, q.decided_at, q.decided_by, q.reason"
    " FROM proposal AS q JOIN posting AS p ON p.shop = q.shop AND p.source = q.source AND p.key = q.key"
    " JOIN account AS a ON a.id = p.account_id"
    " LEFT JOIN memo AS m ON m.account_id = p.account_id AND m.source = p.source AND m.key = p.key"
    " WHERE q.shop = $1"
)


async def page(
    driver: asyncpg.Connection, shop: str, *, state: str | None, before: int, limit: int
) -> Sequence[Proposed]:
    """A shop's proposals before a place, newest first."""
    found = await driver.fetch(
        f"{_PROPOSALS} AND q.place < $2 AND ($3::text IS NULL OR {_STATE} = $3) ORDER BY q.place DESC LIMIT $4",
        shop,
        before,
        state,
        limit,
    )
    return [_proposed(row) for row in found]


async def one(driver: asyncpg.Connection, shop: str, proposal: UUID) -> Proposed | None:
    """A proposal; None if there is no such one in the shop."""
    row = await driver.fetchrow(f"{_PROPOSALS} AND q.id = $2", shop, proposal)
    return None if row is None else _proposed(row)


async def close(
    driver: asyncpg.Connection, proposal: UUID, state: str, *, at: datetime, by: str | None, reason: str | None
) -> None:
    """Keep what was decided, by whom and when. The lane of the account is held, so nobody else decides meanwhile."""
    await driver.execute(
        "UPDATE proposal SET state = $2, decided_at = $3, decided_by = $4, reason = $5"
        " WHERE id = $1 AND state = 'open'",
        proposal,
        state,
        at,
        by,
        reason,
    )


async def overdue(driver: asyncpg.Connection, limit: int) -> Sequence[tuple[str, UUID, str]]:
    """Open proposals that nobody can approve any more, longest first: shop, proposal, member."""
    found = await driver.fetch(
        "SELECT q.shop, q.id, a.member FROM proposal AS q JOIN account AS a ON a.id = q.account_id"
        " WHERE q.state = 'open' AND q.expires_at <= (SELECT clock_timestamp()) ORDER BY q.expires_at LIMIT $1",
        limit,
    )
    return [tuple(row) for row in found]


def _proposed(row: Any) -> Proposed:
    outcome = rows.outcome_of(row)
    posting: Posting = rows.posting_of(json.loads(row["posting"]))
    assert isinstance(posting, Credit | Debit), "only manual postings are proposed"
    return Proposed(
        id=row["id"],
        place=row["place"],
        posting=posting,
        account=outcome.account,
        memo=row["memo"],
        proposed_at=row["proposed_at"],
        expires_at=row["expires_at"],
        state=row["state"],
        decided_at=row["decided_at"],
        decided_by=row["decided_by"],
        reason=row["reason"],
        outcome=outcome,
    )
