"""Idempotency keys of HTTP writes: same key and content, the same answer; other content, a conflict."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from chassis import Outcome, Problem, Transaction
from chassis.auth import Caller, requires
from chassis.idempotency import idempotent
from contracts.postings import PostingRequested
from testkit.probe import Probe
from testkit.tokens import Tokens


class Note(BaseModel):
    text: str


class Noted(BaseModel):
    effects: int


async def write(tx: Transaction, commands: Sequence[Note]) -> Outcome:
    (note,) = commands
    if note.text == "refuse":
        return Outcome(answers=[Problem(409, "refused", "not today")])
    await tx.driver.execute("INSERT INTO effect (activity, member) VALUES (gen_random_uuid()::text, $1)", note.text)
    if note.text == "break":
        raise ZeroDivisionError
    count = await tx.driver.fetchval("SELECT count(*) FROM effect")
    return Outcome(answers=[Noted(effects=count)], events=[PostingRequested.example()])


router = APIRouter(prefix="/v1/shops/{shop}")


@router.post("/notes", status_code=201)
async def note(request: Request, body: Note, caller: Annotated[Caller, requires("rules:write")]) -> Response:
    return await idempotent(request, caller, write, body, respond=lambda answer: answer, status=201)


@pytest.fixture
async def client(offline: Probe, tokens: Tokens) -> AsyncIterator[httpx.AsyncClient]:
    async with offline.serving(routes=[router]) as client:
        client.headers.update(tokens.headers())
        yield client


async def _post(
    client: httpx.AsyncClient, key: str | None, text: str, shop: str = "corner", **more: Any
) -> httpx.Response:
    headers = {} if key is None else {"idempotency-key": key}
    return await client.post(f"/v1/shops/{shop}/notes", headers=headers, json={"text": text}, **more)


async def test_the_same_key_and_content_gives_the_first_answer_again(client: httpx.AsyncClient, offline: Probe) -> None:
    first = await _post(client, "k-1", "a")
    await _post(client, "k-2", "b")
    again = await _post(client, "k-1", "a")
    spaced = await client.post(
        "/v1/shops/corner/notes",
        headers={"idempotency-key": "k-1", "content-type": "application/json"},
        content=b' {  "text" : "a" } ',
    )
    assert [(r.status_code, r.json()) for r in (first, again, spaced)] == [(201, {"effects": 1})] * 3
    assert await offline.query("SELECT count(*) FROM effect") == [2]
    assert await offline.query("SELECT count(*) FROM outbox") == [2]


async def test_the_same_key_with_other_content_is_a_conflict_and_changes_nothing(
    client: httpx.AsyncClient, offline: Probe
) -> None:
    await _post(client, "k-1", "a")
    conflict = await _post(client, "k-1", "b")
    assert (conflict.status_code, conflict.json()["code"]) == (409, "idempotency_conflict")
    assert await offline.query("SELECT member FROM effect") == ["a"]


async def test_a_key_is_of_one_shop_and_one_client(client: httpx.AsyncClient, tokens: Tokens, offline: Probe) -> None:
    await _post(client, "k-1", "a")
    await _post(client, "k-1", "b", shop="other")
    client.headers.update(tokens.headers(sub="someone"))
    assert (await _post(client, "k-1", "c")).json() == {"effects": 3}
    assert await offline.query("SELECT shop || '/' || client FROM idempotency ORDER BY 1") == [
        "corner/someone", "corner/test", "other/test",
    ]  # fmt: skip


async def test_the_same_key_at_once_takes_effect_once(client: httpx.AsyncClient, offline: Probe) -> None:
    answers = await asyncio.gather(*(_post(client, "k-1", "a") for _ in range(12)))
    assert {(r.status_code, r.text) for r in answers} == {(201, '{"effects":1}')}
    assert await offline.query("SELECT count(*) FROM effect") == [1]
    assert await offline.query("SELECT count(*) FROM outbox") == [1]


async def test_a_refusal_or_a_fault_changes_nothing_and_leaves_the_key_unused(
    client: httpx.AsyncClient, offline: Probe
) -> None:
    for text, status in (("refuse", 409), ("break", 500)):
        assert (await _post(client, "k-1", text)).status_code == status
        assert await offline.query("SELECT count(*) FROM effect") == [0]
        assert await offline.query("SELECT count(*) FROM idempotency") == [0]
    assert (await _post(client, "k-1", "a")).json() == {"effects": 1}


async def test_a_write_without_a_usable_key_is_refused(client: httpx.AsyncClient, offline: Probe) -> None:
    for key, code in ((None, "idempotency_key_missing"), ("", "idempotency_key_missing")):
        assert (await _post(client, key, "a")).json()["code"] == code
    assert (await _post(client, "x" * 256, "a")).json()["code"] == "idempotency_key_invalid"
    assert await offline.query("SELECT count(*) FROM effect") == [0]
