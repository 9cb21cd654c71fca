"""The OpenAPI document as it is: every refusal is a problem, every `Idempotency-Key` that is needed is named."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from chassis.hot import HotRouter
from chassis.idempotency import KEY_CHARACTERS, idempotent, key_of
from chassis.problems import MEDIA_TYPE

PROBLEM: Final = {
    "title": "Problem",
    "description": "RFC 9457. Further members are the facts of the refusal.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "description": "`urn:accrual:problem:` and the code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "For people."},
        "code": {"type": "string", "description": "Stable; programs decide by it."},
    },
    "additionalProperties": True,
}

_REFUSED: Final = {
    "description": "Refused; `code` says why.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "Asking again under the same key gives the first answer; with other content: 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS},
}

_ASK_FOR_A_KEY: Final = frozenset({key_of.__name__, idempotent.__name__})


def document(app: FastAPI, routers: Sequence[APIRouter] = ()) -> dict[str, Any]:
    """The application's document, made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = PROBLEM
        for framework in ("HTTPValidationError", "ValidationError"):
            schemas.pop(framework, None)
        for operations in made.get("paths", {}).values():
            for operation in operations.values():
                responses = operation["responses"]
                if "HTTPValidationError" in str(responses.get("422", "")):
                    responses.pop("422")
                responses.setdefault("default", _REFUSED)
        for method, path in _keyed(routers):
            made["paths"][path][method.lower()].setdefault("parameters", []).append(KEY)
        app.openapi_schema = made
    return app.openapi_schema


def _keyed(routers: Sequence[APIRouter]) -> Iterator[tuple[str, str]]:
    """Methods and paths of routes that ask for an `Idempotency-Key`. A route does by calling one of the two functions
    that read it, so that the document follows from the code and cannot be forgotten."""
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute) and not _ASK_FOR_A_KEY.isdisjoint(_names_in(route)):
                yield from ((method, route.path) for method in route.methods or ())
        if isinstance(router, HotRouter):
            yield from ((route.method, route.path) for route in router.hot_routes if route.keyed)


def _names_in(route: APIRoute) -> set[str]:
    called = {getattr(dependency.call, "__name__", "") for dependency in route.dependant.dependencies}
    return called | set(route.endpoint.__code__.co_names)
