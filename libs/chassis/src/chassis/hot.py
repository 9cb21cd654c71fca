"""Routes that FastAPI documents and the edge runs: the framework's layers cost more than a read of a balance."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Path
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chassis.auth import requires

Handler = Callable[[Request], Awaitable[ASGIApp]]
"""Parses what it needs of a request and gives the answer. The edge has let the caller in: `request.scope["caller"]`."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class HotRoute:
    """A route as the edge runs it."""

    method: str
    path: str
    scopes: Sequence[str]
    handler: Handler
    keyed: bool
    """Whether it needs an `Idempotency-Key`."""
    body_bytes: int | None = None
    """The largest body, where that is not the service's own limit: a handler that reads it as a stream."""


class HotRouter(APIRouter):
    """Adds routes to the document and, past the framework, to the edge.

    The edge looks at them before all others, those of operations too: a hot path must fit no other route.
    """

    def __init__(self, *, prefix: str, tag: str) -> None:
        super().__init__(prefix=prefix, tags=[tag])
        self._tag = tag
        self.hot_routes: list[HotRoute] = []

    def hot(
        self,
        method: str,
        path: str,
        *,
        scopes: Sequence[str],
        gives: type[BaseModel] | None,
        takes: type[BaseModel] | str | None = None,
        names: Mapping[str, Any] | None = None,
        asks: Mapping[str, Any] | None = None,
        needs: Collection[str] = (),
        keyed: bool = False,
        status: int = 200,
        also: Mapping[int, str] | None = None,
        media_type: str | None = None,
        body_bytes: int | None = None,
    ) -> Callable[[Handler], Handler]:
        """Add a route. `names` are the types of the path's parts, `asks` the query's and headers' parameters, of which
        only those that it `needs` must be there. It takes a model, or a text of a media type such as `text/csv`; an
        answer that is not JSON has a `media_type`. `also`: other statuses; one of success has the same body."""

        def add(handler: Handler) -> Handler:
            async def documented() -> None:
                """Never called: the edge calls the handler."""

            parameters = {
                **{name: Annotated[kind, Path()] for name, kind in (names or {}).items()},
                **(asks or {}),
                "caller": Annotated[Any, requires(*scopes)],
            }
            if takes is not None and not isinstance(takes, str):
                parameters["body"] = Annotated[takes, Body()]
            may = set(asks or ()) - set(needs)
            documented.__signature__ = Signature(  # type: ignore[attr-defined]  # what FastAPI reads
                [
                    Parameter(
                        name, Parameter.KEYWORD_ONLY, annotation=kind, default=None if name in may else Parameter.empty
                    )
                    for name, kind in parameters.items()
                ]
            )
            documented.__doc__ = handler.__doc__
            documented.__name__ = handler.__name__
            self.add_api_route(
                path,
                documented,
                methods=[method],
                operation_id=f"{self._tag}_{handler.__name__}",
                response_model=gives,
                status_code=status,
                responses={
                    code: {"description": text, "model": gives if code < 300 else None}
                    for code, text in (also or {}).items()
                },
                openapi_extra=_text(takes) if isinstance(takes, str) else None,
                response_class=JSONResponse if media_type is None else _answering(media_type),
            )
            self.hot_routes.append(HotRoute(method, f"{self.prefix}{path}", scopes, handler, keyed, body_bytes))
            return handler

        return add


def _answering(media_type: str) -> type[Response]:
    """A kind of answer that the document names; nothing ever makes one."""
    return type("Answer", (Response,), {"media_type": media_type})


def _text(media_type: str) -> dict[str, Any]:
    """A body of that kind, as the document has it."""
    return {"requestBody": {"required": True, "content": {media_type: {"schema": {"type": "string"}}}}}


class HotTable:
    """Finds the hot route of a request, and the parts of its path that have names."""

    def __init__(self, routes: Iterable[HotRoute]) -> None:
        self._by_shape: dict[tuple[str, int], list[tuple[HotRoute, _Template]]] = {}
        for route in routes:
            template = _Template.of(route.path)
            self._by_shape.setdefault((route.method, template.length), []).append((route, template))

    def find(self, method: str, path: str) -> tuple[HotRoute, dict[str, str]] | None:
        """The first that fits; None leaves the request to the framework."""
        parts = path.split("/")
        for route, template in self._by_shape.get((method, len(parts)), ()):
            for place, text in template.fixed:
                if parts[place] != text:
                    break
            else:
                named = {name: parts[place] for name, place in template.named}
                return (route, named) if all(named.values()) else None
        return None


@dataclass(frozen=True, slots=True)
class _Template:
    """A path such as `/v1/shops/{shop}`, part by part."""

    length: int
    fixed: Sequence[tuple[int, str]]
    named: Sequence[tuple[str, int]]

    @classmethod
    def of(cls, path: str) -> "_Template":
        parts = path.split("/")
        # From the end: there the routes of one service differ.
        fixed = [(place, part) for place, part in enumerate(parts) if not part.startswith("{")][::-1]
        return cls(len(parts), fixed, [(p[1:-1], place) for place, p in enumerate(parts) if p.startswith("{")])


class JsonAnswer:
    """A body that is JSON already; Starlette's response spends as long on its headers as a read on its SQL."""

    __slots__ = ("_headers", "body", "status")

    def __init__(self, body: bytes, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.body = body
        self.status = status
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's own
        """Send it."""
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body)), *self._headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


async def body_of(request: Request, model: type[Model]) -> Model:
    """The body as JSON has it: strict about numbers and instants alike, which parsing it first would lose."""
    body = await request.body()
    if not body:
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
    try:
        return model.model_validate_json(body)
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
    given = request.query_params.get(name) if request.scope["query_string"] else None
    return default if given is None else _checked(kind, given, ("query", name))


def required_of(request: Request, name: str, kind: TypeAdapter[Any]) -> Any:
    """A parameter of the query that must be there."""
    found = query_of(request, name, kind)
    if found is None:
        raise RequestValidationError([{"type": "missing", "loc": ("query", name), "msg": "Field required"}])
    return found


def _checked(kind: TypeAdapter[Any], given: str, place: tuple[str, str]) -> Any:
    try:
        return kind.validate_python(given)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        raise RequestValidationError([{**fault, "loc": place} for fault in faults]) from error
