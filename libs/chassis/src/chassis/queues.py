"""Emptying the queues of waiting shops: a shop whose cause has come goes live again, in order of arrival."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from chassis import waiting
from chassis.aside import set_aside
from chassis.database import KEY_VIOLATION_TRIES, Database, with_lanes
from chassis.faults import is_bad_data, is_key_violation, is_transient
from chassis.messages import Consumer, Message, read
from chassis.outcome import Poison
from chassis.processing import lanes_of, process


class Emptied(NamedTuple):
    """What became of shops that waited."""

    applied: list[str]
    """Some or all of their messages were."""
    aside: list[str]
    """Their messages met a bug (again: they waited because they had), and wait on."""


async def empty_all(database: Database, name: str, consumer: Consumer, limit: int, stop: asyncio.Event) -> Emptied:
    """Apply what waits of every shop that is known by now and not quarantined; `name` is the consumer's for the log."""
    async with database.look() as driver:
        shops = await waiting.shops_with_queue(driver, consumer.name)
    done = Emptied([], [])
    for shop in shops:
        try:
            while not stop.is_set() and await empty_some(database, consumer, shop, limit):
                done.applied.append(shop)
        except Exception as error:
            if is_transient(error):
                raise
            await set_aside(database, name, consumer, [shop], error)
            done.aside.append(shop)
    return done


async def empty_some(database: Database, consumer: Consumer, shop: str, limit: int) -> bool:
    """Apply the head of a shop's queue in one transaction; false when there is nothing (more) to apply."""
    key_violations = 0
    while True:
        async with database.look() as driver:
            head = await waiting.first(driver, consumer.name, shop, limit)
        if not head:
            return False
        messages = [read(consumer, raw, raw.traceparent) for _, raw in head]
        places = [place for place, _ in head]
        try:
            return await _apply_head(database, consumer, shop, places, messages)
        except Exception as error:
            if not is_bad_data(error):
                raise
            key_violations += is_key_violation(error)
            if 0 < key_violations < KEY_VIOLATION_TRIES:
                continue  # a race for a key: the next try finds the row
            live = [message for message in messages if message.command is not None]
            if not live:
                raise  # nothing was asked of the use case, so no message is at fault
            if len(messages) == 1:
                live[0].kill(Poison("refused_by_database", type(error).__name__))
                return await _apply_head(database, consumer, shop, places, messages)
            limit = max(1, len(messages) // 2)


async def _apply_head(
    database: Database, consumer: Consumer, shop: str, places: Sequence[int], messages: Sequence[Message]
) -> bool:
    async def once(lanes: set[int]) -> bool:
        async with database.begin(lanes) as tx:
            await waiting.lock(tx.driver, consumer.name, [shop])
            if consumer.known is not None and shop not in await consumer.known(tx, {shop}):
                return False
            if not await waiting.leave(tx.driver, consumer.name, shop, places):
                raise asyncpg.SerializationError("another process empties this queue")  # transient: look again
            await process(database, tx, consumer, messages)
        return True

    return await with_lanes(await lanes_of(database, consumer, messages), once)
