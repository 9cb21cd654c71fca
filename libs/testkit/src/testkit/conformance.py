"""Whatever a test is about: each answer that it gets is one that the API's document tells of."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import cache
from typing import Any, Final

import httpx

from local.paths import ROOT

_JSON: Final = ("application/json", "application/problem+json")

Hooks = dict[str, list[Callable[[httpx.Response], Awaitable[None]]]]


def conforming() -> Hooks:
    """Hooks of an httpx client: an answer with a status, a type or a body that the document does not have is a failure
    of whoever asked. Paths that the document does not have are nobody's business."""
    return {"response": [_conforms]}


async def _conforms(answer: httpx.Response) -> None:
    request = answer.request
    operation = _schema().find_operation_by_path(request.method, request.url.path)
    if operation is None:
        return
    said = f"{request.method} {request.url.path} was answered {answer.status_code}"
    responses = operation.definition.raw["responses"]
    told = responses.get(str(answer.status_code), responses.get("default") if answer.is_error else None)
    assert told is not None, f"{said}; the document has {[*responses]}"
    kind = answer.headers.get("content-type", "").partition(";")[0]
    kinds = told.get("content", {})
    assert kind in kinds or not (kind or kinds), f"{said} with {kind or 'no type'}; the document has {[*kinds]}"
    if kind in _JSON:
        # A copy, since a request that streamed its body cannot tell what it was.
        copy = httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())
        copy.request, copy.elapsed = httpx.Request(request.method, request.url), timedelta()
        operation.validate_response(copy)


@cache
def _schema() -> Any:
    # Imported here: few tests ask anything over HTTP, and this takes a second.
    import schemathesis

    return schemathesis.openapi.from_dict(json.loads((ROOT / "docs" / "openapi.json").read_text()))
