"""Idempotency keys of HTTP writes: the same key and content, the same answer; kept for ever.

The answer is stored in the transaction that made it. A refusal changes nothing and leaves its key unused. The ledger's
postings do not use this: they have keys of their own, and there refusals are outcomes too.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from chassis.auth import Caller
from chassis.database import Database, Transaction, UseCase
from chassis.outcome import Outcome, answer_or_raise
from chassis.problems import Problem

KEY_CHARACTERS = 255
"""Longest key; longer than any that clients generate."""


def key_of(request: Request) -> str:
    """The request's `Idempotency-Key`, or a 400."""
    key = request.headers.get("idempotency-key", "")
    if not key:
        raise Problem(400, "idempotency_key_missing", "a write needs the header Idempotency-Key")
    if len(key) > KEY_CHARACTERS or not key.isprintable():
        raise Problem(400, "idempotency_key_invalid", f"at most {KEY_CHARACTERS} printable characters")
    return key


async def idempotent(
    request: Request,
    caller: Caller,
    usecase: UseCase,
    command: Any,
    *,
    respond: Callable[[Any], BaseModel],
    status: int = 200,
    lane_key: Callable[[Any], str] | None = None,
) -> Response:
    """Run a use case for one command under the request's key; answer as the first time when the key is known."""
    database: Database = request.app.state.database
    shop, key = request.path_params["shop"], key_of(request)
    content = await content_hash(request)

    async def once(tx: Transaction, commands: Sequence[Any]) -> Outcome:
        claimed = await tx.driver.fetchval(
            "INSERT INTO idempotency (shop, client, key, content_hash, created_at) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT DO NOTHING RETURNING TRUE",
            shop, caller.client, key, content, tx.now,
        )  # fmt: skip
        if not claimed:
            row = await tx.driver.fetchrow(
                "SELECT content_hash, answer FROM idempotency WHERE shop = $1 AND client = $2 AND key = $3",
                shop, caller.client, key,
            )  # fmt: skip
            if row["content_hash"] != content:
                raise Problem(409, "idempotency_conflict", "the key was used before with another content")
            return Outcome(answers=[row["answer"].encode()])
        outcome = await usecase(tx, commands)
        body = respond(answer_or_raise(outcome.answers[0])).model_dump_json()
        await tx.driver.execute(
            "UPDATE idempotency SET answer = $4 WHERE shop = $1 AND client = $2 AND key = $3",
            shop, caller.client, key, body,
        )  # fmt: skip
        return Outcome(answers=[body.encode()], events=outcome.events, traces=outcome.traces)

    (body,) = await database.execute(once, [command], lane_key=lane_key)
    return Response(body, status, media_type="application/json")


async def content_hash(request: Request) -> bytes:
    """Of method, path, query and body; JSON is compared by content, not by its spaces."""
    body = await request.body()
    with contextlib.suppress(ValueError, RecursionError):  # not JSON, or absurdly deep: compared byte by byte
        body = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")).encode() if body else b""
    return hashlib.sha256(
        b"\n".join([request.method.encode(), str(request.url.path).encode(), request.url.query.encode(), body])
    ).digest()
