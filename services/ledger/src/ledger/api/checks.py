"""Checks: proof of a shop's books, computed now."""

import re
import time
from typing import Annotated, Final

from fastapi import Query
from starlette.requests import Request

from chassis import Problem
from chassis.hot import HotRouter, JsonAnswer, query_of
from ledger import schemas
from ledger.api.desk import FLAG, OF_SHOP, PREFIX, TAG, answer, at_desk
from ledger.domain import POINTS
from ledger.store import checking

router = HotRouter(prefix=PREFIX, tag=TAG)

CHECK_SECONDS: Final = 5.0
"""A page of a check begins nothing more after this; well within the 15 s of the gateway."""

_CURSOR: Final = re.compile(r"([A-Za-z0-9._:\-]{1,64})/([a-z_]{1,64})/([0-9]{1,18})")
"""Member, asset, entries of its chain."""

CHECKED_TOGETHER: Final = 1_000
"""Accounts of one statement of the check, so that none runs long."""


@router.hot(
    "GET",
    "/ledger/check",
    scopes=["operations"],
    names=OF_SHOP,
    asks={
        "chains": Annotated[bool, Query(description="Compute every entry's hash again as well; takes longer.")],
        "after": Annotated[str | None, Query(description="`next` of the page before.")],
    },
    gives=schemas.CheckedLedger,
)
async def check_ledger(request: Request) -> JsonAnswer:
    """Prove a shop's books now: all accounts sum to zero, stored balances are the replayed ones, no entry lacks.

    A page looks at as many accounts as a few seconds allow, so a big shop takes several; add their counts up. The sum
    over all accounts, the system accounts and what is parked are the whole shop's on every page.
    """
    desk, shop = await at_desk(request)
    chains: bool = query_of(request, "chains", FLAG, default=False)
    after, links = _mark(shop, request.query_params.get("after"))
    ends_at = time.monotonic() + CHECK_SECONDS
    async with desk.reads.acquire() as driver:
        total, by_asset = await checking.sums(driver, shop)
        waiting = await checking.parking(driver, shop)
    found = checking.Findings()
    while True:
        async with desk.reads.acquire() as driver:  # anew each time: a long check must not keep others from reading
            some = await checking.replay(
                driver, shop, after=after, links=links, limit=CHECKED_TOGETHER, chains=chains, ends_at=ends_at
            )
        found.add(some)
        if some.last is None or time.monotonic() >= ends_at:
            break
        after, links = some.last, some.links
    return answer(
        {
            "sum_of_accounts": total,
            "system": by_asset[POINTS].system if POINTS in by_asset else {},
            "assets": {
                asset: {"members": sums.members, "system": sums.system} for asset, sums in sorted(by_asset.items())
            },
            "accounts": found.accounts,
            "entries": found.entries,
            "replay_mismatches": found.replay_mismatches,
            "seq_gaps": found.seq_gaps,
            "book_mismatches": found.book_mismatches,
            "chain_breaks": found.chain_breaks if chains else None,
            "parked": waiting.count,
            "oldest_parked_at": waiting.oldest_at,
            "mismatched_members": found.members,
            "next": None if found.last is None else f"{found.last[1]}/{found.last[2]}/{found.links}",
        }
    )


def _mark(shop: str, cursor: str | None) -> tuple[tuple[str, str, str], int]:
    """Behind which account a page begins, and behind which entry of that account's chain."""
    if cursor is None:
        return (shop, "", ""), 0
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise Problem(422, "cursor_invalid", "`after` is not a `next` of an earlier page")
    return (shop, found[1], found[2]), int(found[3])
