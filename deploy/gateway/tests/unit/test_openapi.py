"""The merged document and the routes know the same paths, and each path reaches the service that describes it."""

import json
import re
from copy import deepcopy
from typing import Any

import pytest

from gateway.openapi import document_of, merge, merged_document
from gateway.routes import routes, service_of, services
from local.paths import ROOT


def _filled(path: str) -> str:
    return re.sub(r"\{\w+\}", "some-id", path)


@pytest.mark.parametrize("service", services())
def test_every_path_of_a_service_is_routed_to_it(service: str) -> None:
    paths = document_of(service)["paths"]
    assert any(path.startswith("/v1/") for path in paths)
    for path in paths:
        assert service_of(_filled(path)) == service, f"{path} of {service} goes to {service_of(_filled(path))}"


def test_every_route_is_answered_by_a_path() -> None:
    for route in routes():
        paths = document_of(route.service)["paths"]
        assert any(re.fullmatch(route.pattern, _filled(path)) for path in paths), f"nobody answers {route.path}"


def test_operators_reach_every_service_s_dead_letters() -> None:
    for service in services():
        assert service_of(f"/v1/shops/demo/{service}/dead-letters") == service
        assert service_of(f"/v1/shops/demo/{service}/dead-letters/7/replay") == service


def test_what_the_gateway_serves_is_current_and_whole() -> None:
    committed = (ROOT / "docs" / "openapi.json").read_text()
    assert committed == merged_document(), "run `make docs`"
    document = json.loads(committed)
    for reference in re.findall(r'"#/([^"]+)"', committed):
        node: Any = document
        for part in reference.split("/"):
            node = node[part]
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_one_name_with_two_meanings_is_told_apart_and_one_meaning_is_shared() -> None:
    def document(kind: str) -> dict[str, Any]:
        return {
            "info": {"description": "one"},
            "paths": {"/v1/x" + kind: {"get": {"operationId": "x", "schema": {"$ref": "#/components/schemas/Answer"}}}},
            "components": {"schemas": {"Answer": {"type": kind}, "Same": {"type": "null"}}},
        }

    first, second = document("string"), document("integer")
    merged = merge({"ledger": deepcopy(first), "rules": deepcopy(second)})
    schemas = merged["components"]["schemas"]
    assert schemas == {"Answer": {"type": "string"}, "RulesAnswer": {"type": "integer"}, "Same": {"type": "null"}}
    assert merged["paths"]["/v1/xstring"]["get"]["schema"] == {"$ref": "#/components/schemas/Answer"}
    assert merged["paths"]["/v1/xinteger"]["get"]["schema"] == {"$ref": "#/components/schemas/RulesAnswer"}
    assert merged["paths"]["/v1/xinteger"]["get"]["operationId"] == "rules_x"
