"""Balances: what members have, now or at a past instant, with what is due applied."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Header, Query
from pydantic import AwareDatetime
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from chassis import Problem
from chassis.hot import HotRouter, JsonAnswer, body_of, part_of, query_of
from chassis.lanes import lane_of
from ledger import schemas
from ledger.api.desk import INSTANT, MEMBER, OF_MEMBER, OF_SHOP, PREFIX, TAG, Desk, answer, at_desk, utc
from ledger.domain import ASSETS, POINTS
from ledger.store import past, reading
from ledger.store.reading import Standing

router = HotRouter(prefix=PREFIX, tag=TAG)

_POLLED: Final = (b"cache-control", b"no-cache")
"""Ask again each time, with the ETag."""


@router.hot(
    "GET",
    "/members/{member}/balances",
    scopes=["ledger:read"],
    names=OF_MEMBER,
    asks={
        "as_of": Annotated[
            AwareDatetime | None,
            Query(description="A past instant: the balance after all that took effect by then; absent: now."),
        ],
        "if_none_match": Annotated[str | None, Header()],
    },
    gives=schemas.MemberBalances,
    also={304: "nothing has changed since the ETag that was given"},
)
async def get_balances(request: Request) -> ASGIApp:
    """What a member has of each asset, with what is due applied, whether or not a job has run.

    A member never seen has no points, and of other assets nothing to name.
    """
    desk, shop = await at_desk(request)
    member: str = part_of(request, "member", MEMBER)
    as_of: datetime | None = query_of(request, "as_of", INSTANT)
    if as_of is not None:
        return await _as_of(desk, shop, member, as_of)
    standings = await desk.balances_of((shop, member))
    tag = _etag(standings)
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"etag": tag})
    return answer(_balances(member, standings, datetime.now(UTC)), headers=[(b"etag", tag.encode()), _POLLED])


async def _as_of(desk: Desk, shop: str, member: str, as_of: datetime) -> JsonAnswer:
    as_of = utc(as_of)
    lane = lane_of(f"{shop}/{member}", await desk.database.lane_count())
    try:
        async with desk.reads.acquire() as driver:
            standings = await past.balances_as_of(driver, shop, member, as_of, lane=lane)
    except past.NotPast as error:
        raise Problem(422, "as_of_in_the_future", "balances are known up to now") from error
    return answer(_balances(member, standings, as_of))


def _etag(standings: Sequence[Standing]) -> str:
    """Weak: an account's number of entries says all but the moment of the answer."""
    accounts = sorted((standing.account for standing in standings), key=lambda account: account.key.asset)
    return 'W/"' + ".".join(f"{account.id.hex[-12:]}-{account.seq}" for account in accounts) + '"'


@router.hot(
    "POST",
    "/balances/lookup",
    scopes=["ledger:read"],
    names=OF_SHOP,
    takes=schemas.AskedMembers,
    gives=schemas.ManyBalances,
)
async def look_up_balances(request: Request) -> JsonAnswer:
    """The balances of up to 1,000 members, in the order asked."""
    desk, shop = await at_desk(request)
    body = await body_of(request, schemas.AskedMembers)
    async with desk.reads.acquire() as driver:
        found, due = await reading.balances(driver, {(shop, member) for member in body.members})
    if due:
        found.update(await desk.balances_when_due(due))
    now = datetime.now(UTC)
    return answer({"members": [_balances(member, found.get((shop, member), ()), now) for member in body.members]})


_NOTHING: Final[Mapping[str, Any]] = {
    "asset": POINTS,
    "currency": None,
    "available": 0,
    "pending": 0,
    "held": 0,
    "debt": 0,
    "lifetime_earned": 0,
    "lifetime_spent": 0,
    "next_expiries": [],
    "next_activations": [],
    "seq": 0,
}


def _balances(member: str, standings: Sequence[Standing], as_of: datetime) -> dict[str, Any]:
    """Points always, other assets where there are any."""
    told = [_balance(standing) for standing in standings]
    if not any(balance["asset"] == POINTS for balance in told):
        told.append(_NOTHING)
    if len(told) > 1:
        told.sort(key=_place)
    known = next((standing.member for standing in standings if standing.member is not None), None)
    return {
        "member": member,
        "as_of": as_of,
        "frozen": known is not None and known.frozen,
        "merged_into": None if known is None else known.merged_into,
        "balances": told,
    }


def _place(balance: Mapping[str, Any]) -> int:
    return ASSETS.index(balance["asset"])


def _balance(standing: Standing) -> Mapping[str, Any]:
    account = standing.account
    return {
        "asset": account.key.asset,
        "currency": standing.currency,
        "available": account.available,
        "pending": account.pending,
        "held": account.held,
        "debt": account.debt,
        "lifetime_earned": account.earned,
        "lifetime_spent": account.spent,
        "next_expiries": [{"at": dated.at, "amount": dated.amount} for dated in standing.next_expiries],
        "next_activations": [{"at": dated.at, "amount": dated.amount} for dated in standing.next_activations],
        "seq": account.seq,
    }
