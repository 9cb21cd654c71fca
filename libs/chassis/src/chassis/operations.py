"""What operators do with any service: see what is dead or waits, replay a dead letter, lift a quarantine.

A token for all shops may ask of all at once, as shop `*`: only there are dead letters that name no shop.
"""

import base64
from datetime import datetime
from functools import partial
from typing import Annotated, NoReturn
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from chassis import deadletters, waiting
from chassis.auth import OPERATIONS, requires
from chassis.database import Database, with_lanes
from chassis.faults import is_bad_data
from chassis.messages import Consumer, Message, raw_from_row, read
from chassis.outcome import Poison
from chassis.problems import Problem
from chassis.processing import lanes_of, process

VALUE_BYTES = 16 * 1024
"""Of each message in a list; the whole of it is there one by one."""


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True)


class DeadLetter(_Shown):
    """A message that could not be applied."""

    id: UUID
    shop: str
    """Empty when the message told none."""
    consumer: str
    topic: str
    partition: int
    offset: int
    code: str
    detail: str
    received_at: datetime
    replayed_at: datetime | None
    size_bytes: int | None
    """Of the message's value; null when it had none."""
    value: str | None
    """The value, base64; in a list only its first 16 KiB."""


class DeadLetters(_Shown):
    """A page of them, newest first."""

    dead_letters: list[DeadLetter]
    next: UUID | None
    """Give it as `after` for the next page; null on the last."""


class Replayed(_Shown):
    """A dead letter that has been applied now, or had been before."""

    id: UUID
    replayed_at: datetime


class WaitingMessage(_Shown):
    """A message that is applied once its shop is known and not quarantined."""

    place: int
    consumer: str
    topic: str
    partition: int
    offset: int
    received_at: datetime


class Quarantine(_Shown):
    """Why all messages of the shop wait."""

    consumer: str
    reason: str
    since: datetime


class Waiting(_Shown):
    """What waits of a shop, in order of arrival."""

    quarantines: list[Quarantine]
    waiting: list[WaitingMessage]
    next: int | None
    """Give it as `after` for the next page; null on the last."""


class Lifted(_Shown):
    """How many quarantines ended."""

    lifted: int


def router(service: str) -> APIRouter:
    """The operations routes of one service."""
    routes = APIRouter(prefix=f"/v1/shops/{{shop}}/{service}", tags=["operations"], dependencies=[requires(OPERATIONS)])

    @routes.get("/dead-letters", operation_id=f"{service}_list_dead_letters")
    async def list_dead_letters(
        request: Request, shop: str, after: UUID | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
    ) -> DeadLetters:
        """Messages that could not be applied, newest first."""
        database: Database = request.app.state.database
        async with database.begin() as tx:
            rows = await deadletters.page(
                tx.driver, shop, after=str(after) if after else None, limit=limit + 1, value_bytes=VALUE_BYTES
            )
        page = [DeadLetter(**row) for row in rows[:limit]]
        return DeadLetters(dead_letters=page, next=page[-1].id if len(rows) > limit else None)

    @routes.get("/dead-letters/{letter}", operation_id=f"{service}_get_dead_letter")
    async def get_dead_letter(request: Request, shop: str, letter: UUID) -> DeadLetter:
        """One of them, with all of its bytes."""
        database: Database = request.app.state.database
        async with database.begin() as tx:
            row = dict(await deadletters.take(tx.driver, shop, str(letter)) or _not_found())
        value = row["value"]
        row["value"] = None if value is None else base64.b64encode(value).decode()
        return DeadLetter(**row, size_bytes=None if value is None else len(value))

    @routes.post("/dead-letters/{letter}/replay", operation_id=f"{service}_replay_dead_letter")
    async def replay(request: Request, shop: str, letter: UUID) -> Replayed:
        """Apply a dead letter now, with its original ids. Repeating it changes nothing."""
        return await replay_letter(request, shop, letter)

    @routes.get("/waiting", operation_id=f"{service}_list_waiting")
    async def list_waiting(
        request: Request,
        shop: str,
        after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> Waiting:
        """Messages that wait for the shop to be known, or for its quarantine to end."""
        database: Database = request.app.state.database
        async with database.begin() as tx:
            quarantines = await waiting.quarantines(tx.driver, shop)
            rows = await waiting.page(tx.driver, shop, after=after, limit=limit + 1)
        return Waiting(
            quarantines=[Quarantine(**row) for row in quarantines],
            waiting=[WaitingMessage(**row) for row in rows[:limit]],
            next=rows[limit - 1]["place"] if len(rows) > limit else None,
        )

    @routes.delete("/quarantine", operation_id=f"{service}_lift_quarantine")
    async def lift(request: Request, shop: str) -> Lifted:
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
        row = await deadletters.take(tx.driver, shop, str(letter)) or _not_found()
    consumer = consumers.get(row["consumer"])
    if consumer is None:
        raise Problem(409, "consumer_gone", "nothing listens to this any more")
    raw = raw_from_row(row)
    message = read(consumer, raw, raw.traceparent)
    try:
        lanes = await lanes_of(database, consumer, [message])
        return await with_lanes(lanes, partial(_replay_once, database, consumer, shop, letter, message))
    except Poison as poison:
        raise Problem(409, "still_dead", f"it still cannot be applied: {poison}", reason=poison.code) from poison
    except Exception as error:
        if is_bad_data(error):
            raise Problem(409, "still_dead", "the database still refuses it", reason="refused_by_database") from error
        raise


async def _replay_once(
    database: Database, consumer: Consumer, shop: str, letter: UUID, message: Message, lanes: set[int]
) -> Replayed:
    async with database.begin(lanes) as tx:
        row = await deadletters.take(tx.driver, shop, str(letter)) or _not_found()
        if row["replayed_at"] is not None:
            return Replayed(id=letter, replayed_at=row["replayed_at"])
        await waiting.lock(tx.driver, consumer.name, [message.shop])
        blocked = await waiting.blocked(tx.driver, consumer.name, [message.shop])
        unknown = consumer.known is not None and message.shop not in await consumer.known(tx, {message.shop})
        if message.command is not None and (blocked or unknown):
            await waiting.join(tx.driver, consumer.name, [message])
        elif message.dead is None:
            await process(database, tx, consumer, [message])
        if message.dead is not None:
            raise message.dead
        await deadletters.mark_replayed(tx.driver, str(letter), tx.now)
        return Replayed(id=letter, replayed_at=tx.now)


def _not_found() -> NoReturn:
    raise Problem(404, "dead_letter_not_found", "there is no such dead letter")
