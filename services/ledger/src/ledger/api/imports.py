"""Imports: files of credits, debits or opening balances, sent once and worked off beside everything else."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Query
from pydantic import TypeAdapter
from starlette.requests import ClientDisconnect, Request

from chassis import Problem
from chassis.hot import HotRouter, JsonAnswer, part_of, query_of, required_of
from chassis.ids import new_uuid
from contracts.event import OpaqueId
from ledger import importing, schemas
from ledger.api import sheets
from ledger.api.desk import FLAG, OF_SHOP, OPAQUE, PREFIX, TAG, Desk, answer, at_desk, idempotency_key, source_of
from ledger.importing import Accept
from ledger.lines import MOST_LINES, HeaderInvalid, Incoming, LineInvalid, TooManyLines, fields_of
from ledger.store import imports
from ledger.store.imports import Counts, Import, LineError

MOST_BYTES: Final = 256 * 1024 * 1024
"""Of one file: a million lines of 256 bytes."""

DEFAULT_PAGE: Final = 50
LONGEST_PAGE: Final = 200

ERRORS_TOGETHER: Final = 500
"""Errors read at once, with the chunks that their lines stand in."""

Kind = Literal["credit", "debit", "opening"]

_KIND: Final[TypeAdapter[str]] = TypeAdapter(Kind)
_ID: Final[TypeAdapter[UUID]] = TypeAdapter(UUID)
_LIMIT: Final[TypeAdapter[int]] = TypeAdapter(Annotated[int, Query(ge=1, le=LONGEST_PAGE)])

OF_IMPORT: Final = {"shop": OpaqueId, "import_id": UUID}

router = HotRouter(prefix=PREFIX, tag=TAG)


@router.hot(
    "POST",
    "/imports",
    scopes=["ledger:write"],
    names=OF_SHOP,
    asks={
        "kind": Annotated[Kind, Query(description="What a line asks for.")],
        "dry_run": Annotated[bool, Query(description="Check every line and post none.")],
        "operator": Annotated[OpaqueId | None, Query(description="Who answers for it; absent: the token's client.")],
    },
    needs=["kind"],
    takes=sheets.MEDIA_TYPE,
    gives=schemas.AcceptedImport,
    status=202,
    keyed=True,
    body_bytes=MOST_BYTES,
)
async def send_import(request: Request) -> JsonAnswer:
    """Send a CSV file of up to 1,000,000 credits, debits or opening balances. It is stored whole and then worked off.

    The first line names the columns (`docs/imports.md`); lines that cannot be posted are told apart and stop no other.
    The same file again, under whatever key and by whomever, posts nothing twice.
    """
    desk, shop = await at_desk(request)
    kind: str = required_of(request, "kind", _KIND)
    dry_run: bool = query_of(request, "dry_run", FLAG, default=False)
    client, key = source_of(request), idempotency_key(request)
    operator: str = query_of(request, "operator", OPAQUE) or client
    incoming, import_id = Incoming(kind), new_uuid()
    try:
        await _receive(desk, request, incoming, import_id, shop=shop, dry_run=dry_run, client=client, operator=operator)
        command = Accept(
            import_id=import_id,
            shop=shop,
            client=client,
            key=key,
            kind=kind,
            dry_run=dry_run,
            operator=operator,
            sha256=incoming.sha256,
            size=incoming.bytes,
            lines=incoming.lines,
            chunks=incoming.chunks,
        )
        (accepted,) = await desk.database.execute(importing.accept, [command])
    except BaseException as error:
        if incoming.chunks:
            await _forget(desk, import_id)
        refusal = _refusal(error)
        if refusal is None:
            raise
        raise refusal from error
    if accepted.id != import_id:
        await _forget(desk, import_id)  # it came in before, under the same key
    return answer(_accepted(accepted), status=202)


async def _receive(
    desk: Desk, request: Request, incoming: Incoming, import_id: UUID, *, shop: str, dry_run: bool, client: str,
    operator: str,
) -> None:  # fmt: skip
    """Store a file chunk by chunk as it comes; unseen until it is accepted."""
    async for chunk in _chunks(request, incoming):
        async with desk.database.begin() as tx:
            if chunk.number == 0:
                assert incoming.columns is not None, "lines come after the header"
                await imports.begin(
                    tx.driver,
                    import_id,
                    shop=shop,
                    kind=incoming.kind,
                    dry_run=dry_run,
                    client=client,
                    operator=operator,
                    columns=incoming.columns,
                    at=tx.now,
                )
            await imports.add_chunk(
                tx.driver,
                import_id,
                number=chunk.number,
                first_line=chunk.first_line,
                lines=chunk.lines,
                content=chunk.content,
            )


async def _chunks(request: Request, incoming: Incoming) -> AsyncIterator[Any]:
    async for data in request.stream():
        for chunk in incoming.feed(data):
            yield chunk
    for chunk in incoming.end():
        yield chunk
    if not incoming.lines:
        raise Problem(422, "import_empty", "the file has a header and no lines")


async def _forget(desk: Desk, import_id: UUID) -> None:
    """Drop what was stored of a file that is not taken in; what is left over when this fails, a job drops."""
    async with desk.database.begin() as tx:
        await imports.discard(tx.driver, import_id)


def _refusal(error: BaseException) -> Problem | None:
    """What the sender is told."""
    match error:
        case HeaderInvalid():
            return Problem(422, "import_header_invalid", str(error), **error.facts)
        case TooManyLines():
            return Problem(413, "import_too_long", f"at most {MOST_LINES} lines", limit_lines=MOST_LINES)
        case ClientDisconnect() | importing.GivenUp():
            return Problem(400, "import_cut_off", "the file did not come in whole; send it again")
        case importing.KeyUsed():
            return Problem(409, "idempotency_conflict", "the key was used before for another file")
        case _:
            return None


def _accepted(one: Import) -> dict[str, Any]:
    """What was taken in; the same whenever it is asked."""
    return {
        "id": one.id,
        "kind": one.kind,
        "dry_run": one.dry_run,
        "operator": one.operator,
        "sha256": one.sha256.hex(),
        "bytes": one.bytes,
        "lines": one.lines,
        "received_at": one.received_at,
    }


@router.hot(
    "GET",
    "/imports",
    scopes=["ledger:read"],
    names=OF_SHOP,
    asks={
        "limit": Annotated[int, Query(ge=1, le=LONGEST_PAGE)],
        "after": Annotated[UUID | None, Query(description="`next` of the page before.")],
    },
    gives=schemas.Imports,
)
async def list_imports(request: Request) -> JsonAnswer:
    """A shop's imports, newest first."""
    desk, shop = await at_desk(request)
    limit: int = query_of(request, "limit", _LIMIT, DEFAULT_PAGE)
    before: UUID | None = query_of(request, "after", _ID)
    async with desk.reads.acquire() as driver:
        found = await imports.newest(driver, shop, before=before, limit=limit + 1)
    page = found[:limit]
    following = page[-1][0].id if len(found) > limit else None
    return answer({"imports": [_told(one, counts) for one, counts in page], "next": following})


@router.hot("GET", "/imports/{import_id}", scopes=["ledger:read"], names=OF_IMPORT, gives=schemas.Import)
async def get_import(request: Request) -> JsonAnswer:
    """How far an import is, and what became of its lines."""
    desk, shop = await at_desk(request)
    return answer(_told(*await _found(desk, shop, part_of(request, "import_id", _ID))))


@router.hot("POST", "/imports/{import_id}/run", scopes=["ledger:write"], names=OF_IMPORT, gives=schemas.Import)
async def run_import(request: Request) -> JsonAnswer:
    """Post the lines of a file that was only checked, or go on after a cancellation or a fault of ours.

    What was posted stays posted and is not posted again. Asked again, it changes nothing.
    """
    return await _change(request, to="running", of=("checked", "cancelled", "failed"), already=("running", "done"))


@router.hot("POST", "/imports/{import_id}/cancel", scopes=["ledger:write"], names=OF_IMPORT, gives=schemas.Import)
async def cancel_import(request: Request) -> JsonAnswer:
    """Stop an import: once this is answered no further line is posted. What was posted stays posted."""
    return await _change(
        request, to="cancelled", of=("checking", "checked", "running", "failed"), already=("cancelled",)
    )


async def _change(request: Request, *, to: str, of: tuple[str, ...], already: tuple[str, ...]) -> JsonAnswer:
    desk, shop = await at_desk(request)
    import_id: UUID = part_of(request, "import_id", _ID)
    async with desk.database.begin() as tx:
        changed = await imports.change(tx.driver, shop, import_id, to=to, of=of, at=tx.now)
    one, counts = await _found(desk, shop, import_id)
    if not changed and one.state not in already:
        if one.dropped_at is not None:
            raise Problem(409, "import_dropped", "its lines were dropped; send the file again")
        raise Problem(409, "import_not_possible", f"the import is {one.state}", state=one.state)
    return answer(_told(one, counts))


async def _found(desk: Desk, shop: str, import_id: UUID) -> tuple[Import, Counts]:
    async with desk.reads.acquire() as driver:
        found = await imports.find(driver, shop, import_id)
    if found is None:
        raise Problem(404, "import_not_found", "the shop has no such import")
    return found


def _told(one: Import, counts: Counts) -> dict[str, Any]:
    return {
        **_accepted(one),
        "state": one.state,
        "tried": one.dry,
        "worked": counts.worked,
        "posted": counts.posted,
        "repeated": counts.repeated,
        "refused": counts.refused,
        "invalid": counts.invalid,
        "points_credited": 0 if one.kind == "debit" else counts.points,
        "points_debited": counts.points if one.kind == "debit" else 0,
        "started_at": one.started_at,
        "finished_at": one.finished_at,
        "dropped_at": one.dropped_at,
    }


# -- what was not posted


@router.hot(
    "GET",
    "/imports/{import_id}/errors",
    scopes=["ledger:read"],
    names=OF_IMPORT,
    gives=None,
    media_type=sheets.MEDIA_TYPE,
)
async def list_errors(request: Request) -> sheets.Sheet:
    """The lines that were not posted, as CSV: number, code and detail, and then the line's own fields."""
    desk, shop = await at_desk(request)
    one, _ = await _found(desk, shop, part_of(request, "import_id", _ID))
    if one.dropped_at is not None:
        raise Problem(409, "import_dropped", "its lines were dropped")
    name = f"import-{one.id}-errors.csv"
    return sheets.Sheet(("line", "code", "detail", *one.columns), _errors(desk, one), name=name)


async def _errors(desk: Desk, one: Import) -> AsyncIterator[list[sheets.Row]]:
    after_line = 0
    while True:
        async with desk.reads.acquire() as driver:
            found = await imports.errors(driver, one.id, dry=one.dry, after_line=after_line, limit=ERRORS_TOGETHER)
            lines: dict[int, bytes] = {}
            wanted = {error.line for error, _ in found}
            for number in sorted({number for _, number in found}):
                first_line, _, content = await imports.chunk(driver, one.id, number)
                split = enumerate(content.split(b"\n"), start=first_line)
                lines.update((place, line) for place, line in split if place in wanted)
        if not found:
            return
        yield [_error_row(error, lines[error.line]) for error, _ in found]
        after_line = found[-1][0].line


def _error_row(error: LineError, line: bytes) -> sheets.Row:
    try:
        fields = fields_of(line)
    except LineInvalid:
        fields = [line.decode(errors="replace").replace("\0", "\ufffd").rstrip("\r")]
    return (error.line, error.code, error.detail, *fields)
