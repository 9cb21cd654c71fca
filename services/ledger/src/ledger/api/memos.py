"""Memos: an operator's words beside a posting, the only part of the books that can be erased."""

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from chassis import Problem
from chassis.hot import HotRouter, query_of, required_of
from contracts.event import OpaqueId, PostingKey
from ledger import usecases
from ledger.api.desk import KEY, OF_SHOP, OPAQUE, PREFIX, TAG, at_desk, source_of
from ledger.usecases import EraseMemo

router = HotRouter(prefix=PREFIX, tag=TAG)


@router.hot(
    "DELETE",
    "/postings/memo",
    scopes=["ledger:write"],
    names=OF_SHOP,
    asks={
        "posting": Annotated[PostingKey, Query(description="The posting's key.")],
        "source": Annotated[OpaqueId | None, Query(description="Who asked for the posting; absent: who asks now.")],
    },
    needs=["posting"],
    gives=None,
    status=204,
)
async def erase_memo(request: Request) -> Response:
    """Erase what an operator wrote beside a posting, for ever; the books stay as provable as before.

    Repeating it changes nothing: a posting without a memo is answered alike.
    """
    desk, shop = await at_desk(request)
    posting: str = required_of(request, "posting", KEY)
    source: str = query_of(request, "source", OPAQUE) or source_of(request)
    (known,) = await desk.database.execute(usecases.erase_memos, [EraseMemo(shop, source, posting)])
    if not known:
        raise Problem(404, "posting_not_found", "there is no such posting of that source")
    return Response(status_code=204)
