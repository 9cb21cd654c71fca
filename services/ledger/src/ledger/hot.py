"""Routes that FastAPI documents and Starlette runs: its own parsing and dependencies cost more than the work itself."""

from collections.abc import Awaitable, Callable, Sequence
from inspect import Parameter, Signature
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Header, Path
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from chassis.auth import requires
from chassis.problems import Problem

Handler = Callable[[Request], Awaitable[Response]]
Model = TypeVar("Model", bound=BaseModel)

_PROBLEMS = {
    400: "the request cannot be read",
    401: "no valid token",
    403: "the token lacks a scope",
    404: "there is no such thing here",
    409: "refused; nothing changed",
    413: "the body is too large",
    422: "the request is not as documented",
    429: "too many requests at once",
    503: "try again shortly",
}
"""Every refusal is a problem document with a stable `code`."""


class _Problem(BaseModel):
    """RFC 9457, with a stable code; further members are the facts."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class _HotRoute(APIRoute):
    """Its endpoint's signature is documentation; `handler` answers."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handler: Callable[[Request], Any] = self.endpoint.handler  # type: ignore[attr-defined]  # set by `hot`
        return handler


def hot(
    router: APIRouter,
    method: str,
    path: str,
    *,
    scopes: Sequence[str],
    gives: type[BaseModel],
    takes: type[BaseModel] | None = None,
    names: dict[str, Any] | None = None,
    asks: dict[str, Any] | None = None,
    keyed: bool = False,
    status: int = 200,
    also: dict[int, str] | None = None,
) -> Callable[[Handler], Handler]:
    """Add a route. `names` are the types of the path's parts, `asks` the query's and headers' parameters."""

    def add(handler: Handler) -> Handler:
        async def documented() -> None:
            """Never called: `handler` is."""

        parameters = {
            **{name: Annotated[kind, Path()] for name, kind in (names or {}).items()},
            **(asks or {}),
            "caller": Annotated[Any, requires(*scopes)],
        }
        if takes is not None:
            parameters["body"] = Annotated[takes, Body()]
        if keyed:
            parameters["idempotency_key"] = Annotated[
                str, Header(description="Asking again under the same key gives the first answer.")
            ]
        documented.__signature__ = Signature(  # type: ignore[attr-defined]  # what FastAPI reads
            [Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in parameters.items()]
        )
        documented.__doc__ = handler.__doc__
        documented.__name__ = handler.__name__
        documented.handler = handler  # type: ignore[attr-defined]
        problem = {"application/problem+json": {"schema": _Problem.model_json_schema()}}
        router.add_api_route(
            path,
            documented,
            methods=[method],
            operation_id=f"ledger_{handler.__name__}",
            response_model=gives,
            status_code=status,
            route_class_override=_HotRoute,
            responses={
                **{code: {"description": text, "content": problem} for code, text in _PROBLEMS.items()},
                **{code: {"description": text} for code, text in (also or {}).items()},
            },
        )
        return handler

    return add


async def body_of(request: Request, model: type[Model]) -> Model:
    """The body as JSON has it: strict about numbers and instants alike, which parsing it first would lose."""
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestValidationError(
            [
                {**fault, "loc": ("body", *fault["loc"])}
                for fault in error.errors(include_url=False, include_context=False)
            ]
        ) from error


def part_of(request: Request, name: str, kind: TypeAdapter[Any]) -> Any:
    """A part of the path, of the type that is documented."""
    return _checked(kind, request.path_params[name], ("path", name))


def query_of(request: Request, name: str, kind: TypeAdapter[Any], default: Any = None) -> Any:
    """A parameter of the query; given twice, the last holds."""
    given = request.query_params.get(name)
    return default if given is None else _checked(kind, given, ("query", name))


def _checked(kind: TypeAdapter[Any], given: str, place: tuple[str, str]) -> Any:
    try:
        return kind.validate_python(given)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        raise RequestValidationError([{**fault, "loc": place} for fault in faults]) from error


def not_found(code: str, detail: str) -> Problem:
    """A 404."""
    return Problem(404, code, detail)
