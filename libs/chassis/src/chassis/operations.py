"""What operators do with any service: see its dead letters, replay one, lift a quarantine."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from chassis import deadletters, waiting
from chassis.auth import Caller, requires
from chassis.database import Database, is_bad_data
from chassis.messages import raw_from_row, read
from chassis.outcome import Poison
from chassis.problems import Problem
from chassis.processing import lanes_of, process

SCOPE = "operations"


class DeadLetter(BaseModel):
    """A message that could not be applied."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    consumer: str
    topic: str
    partition: int
    offset: int
    code: str
    detail: str
    received_at: datetime
    replayed_at: datetime | None
    value: str | None
    """The message's bytes, base64."""


class DeadLetters(BaseModel):
    """A page of them, newest first."""

    dead_letters: list[DeadLetter]
    next: UUID | None
    """Give it as `after` for the next page; null on the last."""


class Replayed(BaseModel):
    """A dead letter that has been applied now."""

    id: UUID
    replayed_at: datetime


class Lifted(BaseModel):
    """How many quarantines ended."""

    lifted: int


def router(service: str) -> APIRouter:
    """The operations routes of one service."""
    routes = APIRouter(prefix=f"/v1/shops/{{shop}}/{service}", tags=["operations"])

    @routes.get("/dead-letters", operation_id=f"{service}_list_dead_letters")
    async def list_dead_letters(
        request: Request,
        shop: str,
        caller: Annotated[Caller, requires(SCOPE)],
        after: UUID | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> DeadLetters:
        """Messages that could not be applied, newest first."""
        database: Database = request.app.state.database
        async with database.begin() as tx:
            rows = await deadletters.page(tx.driver, shop, after=str(after) if after else None, limit=limit + 1)
        page = [DeadLetter(**row) for row in rows[:limit]]
        return DeadLetters(dead_letters=page, next=page[-1].id if len(rows) > limit else None)

    @routes.post("/dead-letters/{letter}/replay", operation_id=f"{service}_replay_dead_letter")
    async def replay(request: Request, shop: str, letter: UUID, caller: Annotated[Caller, requires(SCOPE)]) -> Replayed:
        """Apply a dead letter now, with its original ids. Repeating it changes nothing."""
        return await replay_letter(request, shop, letter)

    @routes.delete("/quarantine", operation_id=f"{service}_lift_quarantine")
    async def lift(request: Request, shop: str, caller: Annotated[Caller, requires(SCOPE)]) -> Lifted:
        """Let the shop's waiting messages go on."""
        database: Database = request.app.state.database
        async with database.begin() as tx:
            return Lifted(lifted=await waiting.lift(tx.driver, shop))

    return routes


async def replay_letter(request: Request, shop: str, letter: UUID) -> Replayed:
    """The replay itself: the letter's lock, its effects and its mark in one transaction."""
    database: Database = request.app.state.database
    consumers = {consumer.name: consumer for consumer in request.app.state.runtime.service.consumers}
    async with database.begin() as tx:
        row = await deadletters.take(tx.driver, shop, str(letter))
    if row is None:
        raise Problem(404, "dead_letter_not_found", "there is no such dead letter")
    consumer = consumers.get(row["consumer"])
    if consumer is None:
        raise Problem(409, "consumer_gone", "nothing listens to this any more")
    raw = raw_from_row(row)
    message = read(consumer, raw, raw.header("traceparent"))
    try:
        async with database.begin(await lanes_of(database, consumer, [message])) as tx:
            row = await deadletters.take(tx.driver, shop, str(letter))
            if row is None:
                raise Problem(404, "dead_letter_not_found", "there is no such dead letter")
            if row["replayed_at"] is not None:
                return Replayed(id=letter, replayed_at=row["replayed_at"])
            await waiting.lock(tx.driver, consumer.name, [shop])
            blocked = await waiting.blocked(tx.driver, consumer.name, [message.shop])
            unknown = consumer.known is not None and message.shop not in await consumer.known(tx, {message.shop})
            if message.dead is None and (blocked or unknown):
                await waiting.join(tx.driver, consumer.name, [message])
            else:
                if message.dead is None:
                    await process(database, tx, consumer, [message])
                if message.dead is not None:
                    raise message.dead
            await deadletters.mark_replayed(tx.driver, shop, str(letter), tx.now)
            return Replayed(id=letter, replayed_at=tx.now)
    except Poison as poison:
        raise Problem(409, "still_dead", f"it still cannot be applied: {poison}", reason=poison.code) from poison
    except Exception as error:
        if is_bad_data(error):
            raise Problem(409, "still_dead", "the database still refuses it", reason="refused_by_database") from error
        raise
