"""One OpenAPI document of everything behind the gateway, merged from the services' own."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from gateway.routes import services

_PUBLIC: Final = "/v1/"
_ADDRESSES: Final = {
    # Never connected to: a service needs them to be described, not to run.
    "DATABASE_URL": "postgresql://nobody:nothing@localhost:1/nothing",
    "KAFKA_BOOTSTRAP_SERVERS": "localhost:1",
    "HTTP_PORT": "1",
    "JWKS_FILE": "nothing.json",
    "LEDGER_URL": "http://localhost:1",
    "SERVICE_TOKEN_FILE": "nothing.token",
    "SMTP_HOST": "localhost",
    "SMTP_PORT": "1",
    "SMTP_SENDER": "nobody@example.com",
}

Document = dict[str, Any]


def merged_document() -> str:
    """The document as text, the same for the same code, so that a committed copy can be compared."""
    return json.dumps(merge({service: document_of(service) for service in services()}), indent=1, sort_keys=True) + "\n"


def document_of(service: str) -> Document:
    """A service's own document, without running it."""
    # Imported here: this module may be read where the services are not installed.
    from chassis.http import create_app
    from chassis.service import Runtime

    with _addresses(service):
        build = import_module(f"{service}.app").build
        document: Document = create_app(Runtime(build())).openapi()
    return document


def merge(documents: Mapping[str, Document]) -> Document:
    """All services' public paths and what they refer to; a name that two services use differently is told apart."""
    merged: Document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Accrual",
            "version": "1",
            "description": (
                "Loyalty points: an event-driven ledger, rules, redemption and notifications behind one gateway.\n\n"
                "Every call needs a bearer token; writes need an `Idempotency-Key` (same key and content: the first "
                "answer again; other content: 409). Refusals are problem+json with a stable `code`."
            ),
        },
        "servers": [{"url": "/"}],
        "tags": [],
        "paths": {},
        "components": {},
    }
    for service, document in documents.items():
        _rename_clashes(merged, document, service)
        merged["tags"].append({"name": service, "description": document["info"].get("description", "")})
        for path, item in document["paths"].items():
            if path.startswith(_PUBLIC):
                merged["paths"][path] = {
                    method: {**operation, "tags": [service], "operationId": f"{service}_{operation['operationId']}"}
                    for method, operation in item.items()
                }
        for kind, components in document.get("components", {}).items():
            merged["components"].setdefault(kind, {}).update(components)
    return merged


def _rename_clashes(merged: Document, document: Document, service: str) -> None:
    present = merged["components"].get("schemas", {})
    own = document.get("components", {}).get("schemas", {})
    clashing = {name for name, schema in own.items() if name in present and present[name] != schema}
    for name in clashing:
        own[service.capitalize() + name] = own.pop(name)
    if clashing:
        _point_elsewhere(document, {_reference(name): _reference(service.capitalize() + name) for name in clashing})


def _point_elsewhere(node: Any, moved: Mapping[str, str]) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, str):
                node[key] = moved.get(value, value)
            else:
                _point_elsewhere(value, moved)
    elif isinstance(node, list):
        for value in node:
            _point_elsewhere(value, moved)


def _reference(name: str) -> str:
    return f"#/components/schemas/{name}"


@contextmanager
def _addresses(service: str) -> Iterator[None]:
    told = {f"{service.upper()}_{name}": value for name, value in _ADDRESSES.items()}
    missing = {name: value for name, value in told.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]
