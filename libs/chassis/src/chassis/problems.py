"""Problems: every refusal over HTTP is an RFC 9457 document with a stable code."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from chassis.faults import is_transient, is_unstorable
from contracts.faults import causes

MEDIA_TYPE: Final = "application/problem+json"

RETRY_AFTER_SECONDS = 1
"""What an overloaded or briefly unable service asks its callers to wait."""


TOLD_FAULTS: Final = 100
"""Of one request, in its refusal; how many more there are is told as `more`. Nobody mends a thousand at a time."""

_CODES: Final = {400: "malformed_request", 404: "not_found", 405: "method_not_allowed"}
"""Of what the framework itself refuses."""


class Problem(Exception):
    """A refusal that HTTP itself is the reason for; business refusals are the domain's own exceptions."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **facts: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.facts = facts


class Overloaded(Exception):
    """More is asked than can be answered in time."""


def problem_response(
    status: int,
    code: str,
    detail: str,
    facts: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The document. `facts` become members of their own."""
    body = {
        "type": f"urn:accrual:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        **(facts or {}),
    }
    return Response(json.dumps(body, default=str), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def facts_of(error: BaseException) -> dict[str, Any]:
    """A domain error's facts: the fields of its dataclass, or its public attributes."""
    fields = getattr(error, "__dataclass_fields__", None)
    if fields is not None:
        return {name: getattr(error, name) for name in fields}
    return {name: value for name, value in vars(error).items() if not name.startswith("_")}


def answer_to(error: BaseException) -> Response:
    """The answer to an exception that no table names: it tells nothing of what is inside."""
    if isinstance(error, Overloaded):
        return problem_response(429, "overloaded", "too many requests at once", headers=_retry_after())
    if is_unstorable(error):
        return problem_response(422, "invalid_request", "a value cannot be stored: too large, or not text")
    if is_transient(error):
        return problem_response(503, "unavailable", "try again shortly", headers=_retry_after())
    return problem_response(500, "internal_error", "a fault of ours; it has been recorded")


class Problems:
    """What every exception is to a caller. `statuses` are those of a service's domain errors."""

    def __init__(self, statuses: Mapping[type[Exception], int]) -> None:
        self._statuses = statuses

    def install(self, app: FastAPI) -> None:
        """Have the framework answer with problems too."""

        async def answered(_: Request, error: Exception) -> Response:
            return self.refusal_of(error) or answer_to(error)

        for kind in (*self._statuses, Problem, RequestValidationError, HTTPException, Overloaded, Exception):
            app.add_exception_handler(kind, answered)

    def refusal_of(self, error: Exception) -> Response | None:
        """The answer to an exception that is meant for the caller; None for a fault, which should be logged."""
        if isinstance(error, Problem):
            return problem_response(error.status, error.code, error.detail, error.facts, error.headers)
        if isinstance(error, RequestValidationError):
            return _invalid(error)
        if isinstance(error, HTTPException):
            code = _CODES.get(error.status_code, "http_error")
            return problem_response(error.status_code, code, str(error.detail), headers=error.headers)
        if isinstance(error, Overloaded):
            return answer_to(error)
        status = next((self._statuses[kind] for kind in type(error).__mro__ if kind in self._statuses), None)
        if status is None:
            return None
        code = getattr(error, "code", _snake_case(type(error).__name__))
        facts = {name: value for name, value in facts_of(error).items() if name not in ("code", "detail")}
        return problem_response(status, code, str(error) or _snake_case(type(error).__name__), facts)


def _invalid(error: RequestValidationError) -> Response:
    """What is wrong with the request, and where."""
    found = causes(error.errors())
    faults = [
        {"at": ".".join(str(part) for part in fault["loc"]), "reason": str(fault["msg"])}
        for fault in found[:TOLD_FAULTS]
    ]
    more = {"more": len(found) - len(faults)} if len(found) > len(faults) else {}
    if any(fault["type"] == "json_invalid" for fault in found):
        return problem_response(400, "malformed_json", "the body is not JSON")
    return problem_response(
        422, "invalid_request", "; ".join(f"{f['at']}: {f['reason']}" for f in faults[:5]), {"errors": faults, **more}
    )


def _retry_after() -> dict[str, str]:
    return {"Retry-After": str(RETRY_AFTER_SECONDS)}


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
