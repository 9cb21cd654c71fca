"""CSV that is sent as it is read: any number of rows, in the memory of a few."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final

from starlette.types import Receive, Scope, Send

MEDIA_TYPE: Final = "text/csv"

Row = Sequence[str | int | datetime | None]

_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a text begins that a spreadsheet would take for a formula and run."""


class Sheet:
    """An answer of rows under a header. Nothing is sent before the first rows are there, so that they may be refused;
    an answer that breaks off later is seen to, since it does not end as it should."""

    def __init__(self, header: Sequence[str], batches: AsyncIterator[list[Row]], *, name: str) -> None:
        """`name` is the file's, for whoever saves it."""
        self._header = header
        self._batches = batches
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's own
        """Send it."""
        nothing: list[Row] = []
        first = await anext(self._batches, nothing)
        headers = [
            (b"content-type", f"{MEDIA_TYPE}; charset=utf-8; header=present".encode()),
            (b"content-disposition", f'attachment; filename="{self._name}"'.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": _text([self._header, *first]), "more_body": True})
        gone = asyncio.create_task(_gone(receive))
        try:
            async for batch in self._batches:
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": _text(batch), "more_body": True})
        finally:
            gone.cancel()
        await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    """Until nobody reads any more."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _text(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue().encode()


def _cell(value: str | int | datetime | None) -> str | int:
    """Texts are texts: one that looks like a formula gets an apostrophe before it. Numbers may be below zero."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, str) and value.startswith(_FORMULAS):
        return f"'{value}"
    return value
