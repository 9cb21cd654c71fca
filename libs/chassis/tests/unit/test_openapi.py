"""The document names the `Idempotency-Key` of every route that asks for one, and of no other."""

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request

from chassis import openapi
from chassis.hot import HotRouter, JsonAnswer
from chassis.idempotency import idempotent, key_of

router = APIRouter()
hot_router = HotRouter(prefix="", tag="probe")


@router.post("/reads")
async def reads(request: Request) -> str:
    return key_of(request)


@router.post("/depends")
async def depends(key: Annotated[str, Depends(key_of)]) -> str:
    return key


@router.put("/repeats")
async def repeats(request: Request) -> None:
    await idempotent(request, None, None, None, respond=None)  # type: ignore[arg-type]


@router.post("/without")
async def without() -> None: ...


@hot_router.hot("POST", "/hot", scopes=[], gives=None, keyed=True)
async def hot(request: Request) -> JsonAnswer:
    return JsonAnswer(b"")


@hot_router.hot("POST", "/hot-without", scopes=[], gives=None)
async def hot_without(request: Request) -> JsonAnswer:
    return JsonAnswer(b"")


def test_the_key_is_documented_where_it_is_needed() -> None:
    app = FastAPI()
    app.include_router(router)
    app.include_router(hot_router)
    document = openapi.document(app, [router, hot_router])
    keyed = {
        path
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if openapi.KEY in operation.get("parameters", [])
    }
    assert keyed == {"/reads", "/depends", "/repeats", "/hot"}
