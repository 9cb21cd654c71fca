"""The OpenAPI document as it is: every refusal of every operation is a problem."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

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


def document(app: FastAPI) -> dict[str, Any]:
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
        app.openapi_schema = made
    return app.openapi_schema
