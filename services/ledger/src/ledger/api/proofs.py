"""Proofs: that a member's movement is in the history that was sealed on that day."""

from typing import Annotated, Final

from fastapi import Query
from pydantic import TypeAdapter
from starlette.requests import Request

from chassis import Problem
from chassis.hot import HotRouter, JsonAnswer, part_of, query_of
from contracts.postings import Asset
from ledger import schemas
from ledger.api.desk import ASSET, MEMBER, OF_MEMBER, PREFIX, TAG, answer, at_desk
from ledger.api.statement import entry_told
from ledger.domain import AccountKey
from ledger.store import proving, reading, seals

_SEQ: Final[TypeAdapter[int]] = TypeAdapter(Annotated[int, Query(ge=1, le=2**62)])

router = HotRouter(prefix=PREFIX, tag=TAG)


@router.hot(
    "GET",
    "/members/{member}/proof",
    scopes=["ledger:read"],
    names=OF_MEMBER,
    asks={
        "asset": Annotated[Asset, Query()],
        "seq": Annotated[
            int | None, Query(ge=1, le=2**62, description="The entry's number; absent: the last that is sealed.")
        ],
    },
    gives=schemas.Proof,
)
async def prove_entry(request: Request) -> JsonAnswer:
    """That a movement, as it is told here, is in the sealed history: its bytes, the way up to the seal, the signature.

    `accrual-verify proof FILE` follows it offline; docs/tamper-evidence.md says how. What was just posted is sealed
    within seconds.
    """
    desk, shop = await at_desk(request)
    key = AccountKey(shop, part_of(request, "member", MEMBER), query_of(request, "asset", ASSET, "points"))
    seq: int | None = query_of(request, "seq", _SEQ)
    async with desk.reads.acquire() as driver:
        account = await reading.account_by_key(driver, key)
        if account is None:
            raise Problem(404, "entry_not_found", "the member has no such entry")
        if seq is None:
            seq = await proving.last_sealed(driver, account)
            if seq is None:
                raise Problem(404, "entry_not_sealed", "none of the member's entries is sealed yet")
        found = await proving.placed(driver, account, seq)
        if found is None:
            raise Problem(404, "entry_not_found", "the member has no such entry")
        sealed = await seals.that_holds(driver, found.lane, found.position)
        if sealed is None:
            raise Problem(404, "entry_not_sealed", "the entry is not sealed yet; it will be within seconds")
        way = await proving.proof(driver, found, sealed)
    if way is None:
        raise Problem(409, "seal_broken", "the stored history is not the one that was sealed", seal=sealed.seal.number)
    return answer({**way, "entry": entry_told(found.entry)})
