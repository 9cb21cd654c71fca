"""Exports: a shop's whole history, with all that others need to verify it without us."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import Query
from starlette.requests import Request
from starlette.responses import StreamingResponse

from chassis import Overloaded
from chassis.hot import HotRouter, query_of
from ledger.api.desk import FLAG, OF_SHOP, PREFIX, TAG, Desk, at_desk
from ledger.connections import Snapshot
from ledger.store import exporting

MEDIA_TYPE: Final = "application/x-ndjson"

AT_ONCE: Final = 2
"""Exports of one process; each takes most of a processor and holds a snapshot."""

router = HotRouter(prefix=PREFIX, tag=TAG)


@router.hot(
    "GET",
    "/ledger/export",
    scopes=["operations"],
    names=OF_SHOP,
    asks={
        "complete": Annotated[
            bool, Query(description="With all that `python -m ledger import` needs besides: lots, holds, keys, …")
        ]
    },
    gives=None,
    media_type=MEDIA_TYPE,
)
async def export_ledger(request: Request) -> StreamingResponse:
    """A shop's whole history of one moment as JSON lines: entries, refusals, accounts, seals with their proofs.

    `accrual-verify export FILE` verifies it offline; docs/tamper-evidence.md says what each line is. An export without
    its last line, `end`, was cut off.
    """
    desk, shop = await at_desk(request)
    complete: bool = query_of(request, "complete", FLAG, default=False)
    if desk.exports >= AT_ONCE:
        raise Overloaded
    desk.exports += 1
    try:
        snapshot = await desk.snapshot()
    except BaseException:
        desk.exports -= 1
        raise
    return _Stream(desk, snapshot, exporting.export(snapshot.driver, shop, snapshot.at, complete=complete))


class _Stream(StreamingResponse):
    """Lets go of the snapshot however the answer ends."""

    def __init__(self, desk: Desk, snapshot: Snapshot, lines: AsyncIterator[bytes]) -> None:
        super().__init__(lines, media_type=MEDIA_TYPE)
        self._desk, self._snapshot = desk, snapshot

    async def __call__(self, *asgi: Any) -> None:
        """Send it."""
        try:
            await super().__call__(*asgi)
        finally:
            self._desk.exports -= 1
            self._snapshot.driver.terminate()
