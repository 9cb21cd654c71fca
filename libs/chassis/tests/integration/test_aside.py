"""A bug that one shop's messages meet: that shop waits, in order, and the others go on."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from chassis import Outcome, Transaction, fence, queues
from chassis.batch import Applier
from chassis.consumer import Stopped, Worker
from chassis.database import Database
from chassis.messages import EVERY_SHOP, Consumer, Message, Raw, read
from contracts import encode, topics
from contracts.activities import ActivityRecorded
from testkit import wait_until
from testkit.probe import Probe, Record, activity, record

PARTITION = ("activities", 0)
NAME = "probe.activities"


def _consumer(usecase: Any = record, known: Any = None) -> Consumer:
    return Consumer("activities", topics.ACTIVITIES, {ActivityRecorded: Record.of}, usecase, known=known)


def _messages(consumer: Consumer, *told: tuple[str, str]) -> list[Message]:
    """One message each, by shop and kind, at offsets from 0."""
    headers = (("ce_type", b"activity-recorded"),)
    messages = []
    for offset, (shop, kind) in enumerate(told):
        named = "pier" if shop == EVERY_SHOP else shop  # an activity is of one shop
        body = encode(activity(offset, kind=kind, shop=named))
        message = read(consumer, Raw("activities", 0, offset, f"{named}/m-1".encode(), headers, body), None)
        message.shop = shop
        messages.append(message)
    return messages


async def _apply(database: Database, consumer: Consumer, *told: tuple[str, str]) -> Applier:
    async with database.begin() as tx:
        await fence.begin_at(tx.driver, consumer.name, {PARTITION: fence.Position(0, uuid.UUID(int=1))})
    applier = Applier(NAME, consumer, database)
    applier.next[PARTITION] = 0
    await applier.apply(_messages(consumer, *told), {PARTITION: len(told)}, asyncio.Event())
    return applier


async def _set_aside(offline: Probe) -> list[tuple[str, str]]:
    shops = await offline.query("SELECT shop FROM quarantine ORDER BY shop")
    return list(zip(shops, await offline.query("SELECT reason FROM quarantine ORDER BY shop"), strict=True))


async def test_a_shop_whose_messages_meet_a_bug_waits_and_the_others_go_on(offline: Probe) -> None:
    database, consumer = Database(offline.settings), _consumer()
    told = [("corner", "check-in"), ("mill", "check-in"), ("corner", "bug"), ("mill", "check-in"), ("pier", "bad-data")]
    applier = await _apply(database, consumer, *told)
    assert await _set_aside(offline) == [("corner", "a bug: ZeroDivisionError")]
    assert applier.aside == ["corner"]
    assert await offline.effects() == ["mill/a-1", "mill/a-3"]
    assert await offline.query('SELECT "offset" FROM waiting ORDER BY place') == [0, 2]
    assert await offline.query('SELECT "offset" FROM dead_letter') == [4]
    assert await offline.query("SELECT next FROM consumer_offset") == [5]
    assert await offline.query("SELECT count(*) FROM outbox") == [2]
    await database.close()


async def test_it_is_known_from_before_that_other_shops_messages_meet_no_bug(offline: Probe) -> None:
    database, consumer = Database(offline.settings), _consumer()
    applier = await _apply(database, consumer, ("corner", "check-in"), ("mill", "check-in"))
    await _meet(applier, consumer, 2)
    assert await _set_aside(offline) == [("corner", "a bug: ZeroDivisionError")]
    assert await offline.query('SELECT "offset" FROM waiting') == [2]
    assert await offline.effects() == ["corner/a-0", "mill/a-1"]
    await database.close()


async def test_it_is_known_from_their_queues_too(offline: Probe) -> None:
    known = {"corner"}

    async def some(tx: Transaction, shops: set[str]) -> set[str]:
        return shops & known

    database, consumer = Database(offline.settings), _consumer(known=some)
    await _apply(database, consumer, ("corner", "check-in"), ("mill", "check-in"))
    worker = Worker("probe", consumer, database, offline.settings)
    worker._applier.next[PARTITION] = 2
    known.add("mill")
    stop = asyncio.Event()
    emptying = asyncio.create_task(worker._empty_queues(stop))

    async def mill_was_emptied() -> bool:
        return "mill/a-1" in await offline.effects()

    await wait_until(mill_was_emptied)
    stop.set()
    await emptying
    await _meet(worker._applier, consumer, 2)
    assert await _set_aside(offline) == [("corner", "a bug: ZeroDivisionError")]
    await database.close()


async def _meet(applier: Applier, consumer: Consumer, offset: int) -> None:
    (bug,) = _messages(consumer, ("corner", "bug"))
    bug.raw = bug.raw._replace(offset=offset)
    await applier.apply([bug], {PARTITION: offset + 1}, asyncio.Event())


async def test_shops_that_wait_anyway_are_not_tried(offline: Probe) -> None:
    async def known(tx: Transaction, shops: set[str]) -> set[str]:
        return shops - {"new"}

    async def needs_to_know(tx: Transaction, commands: Sequence[Record]) -> Outcome:
        assert all(command.shop != "new" for command in commands)
        return await record(tx, commands)

    database, consumer = Database(offline.settings), _consumer(needs_to_know, known)
    await _apply(database, consumer, ("corner", "bug"), ("mill", "check-in"), ("new", "check-in"))
    assert await _set_aside(offline) == [("corner", "a bug: ZeroDivisionError")]
    assert await offline.query('SELECT "offset" FROM waiting ORDER BY "offset"') == [0, 2]
    assert await offline.effects() == ["mill/a-1"]
    await database.close()


async def test_once_mended_and_let_go_it_goes_on_in_order_and_meeting_the_bug_again_it_waits_again(
    offline: Probe,
) -> None:
    database, consumer = Database(offline.settings), _consumer()
    await _apply(database, consumer, ("corner", "check-in"), ("mill", "check-in"), ("corner", "bug"))
    await offline.query("DELETE FROM quarantine")
    stop = asyncio.Event()
    assert await queues.empty_all(database, NAME, consumer, 100, stop) == ([], ["corner"])
    assert await _set_aside(offline) == [("corner", "a bug: ZeroDivisionError")]
    assert await offline.effects() == ["mill/a-1"]
    assert await queues.empty_all(database, NAME, consumer, 100, stop) == ([], [])

    async def mended(tx: Transaction, commands: Sequence[Record]) -> Outcome:
        return await record(tx, [Record(c.shop, c.member, c.activity, "check-in", c.trace) for c in commands])

    await offline.query("DELETE FROM quarantine")
    assert await queues.empty_all(database, NAME, _consumer(mended), 100, stop) == (["corner"], [])
    assert await offline.effects() == ["mill/a-1", "corner/a-0", "corner/a-2"]
    assert await offline.query("SELECT count(*) FROM waiting") == [0]
    await database.close()


@pytest.mark.parametrize(
    "told",
    [
        [("corner", "bug"), ("corner", "check-in")],
        [("corner", "bug"), ("mill", "bug")],
        [("corner", "check-in"), ("mill", "check-in"), (EVERY_SHOP, "bug")],
    ],
    ids=["of the only shop", "of all shops", "of an event about all shops"],
)
async def test_a_bug_that_may_be_anyones_stops_the_consumer_and_sets_nobody_aside(
    offline: Probe, told: list[tuple[str, str]]
) -> None:
    database = Database(offline.settings)
    with pytest.raises(ZeroDivisionError):
        await _apply(database, _consumer(), *told)
    assert await _set_aside(offline) == []
    assert await offline.effects() == []
    assert await offline.query("SELECT next FROM consumer_offset") == [0]
    await database.close()


async def test_many_shops_set_aside_within_a_minute_stop_the_consumer(offline: Probe) -> None:
    worker = Worker("probe", _consumer(), Database(offline.settings), offline.settings)
    shops = [f"s-{number}" for number in range(offline.settings.dead_letter_shops)]
    worker._applier.aside += shops[1:]
    await worker._stem([])
    worker._applier.aside += shops[:1]
    with pytest.raises(Stopped):
        await worker._stem([])


async def test_a_fault_that_passes_while_it_is_tried_whose_it_is_costs_a_try_and_no_more(offline: Probe) -> None:
    database, tries = Database(offline.settings), []

    async def once_down(tx: Transaction, commands: Sequence[Record]) -> Outcome:
        tries.append(len(commands))
        if len(tries) == 2:
            raise asyncpg.AdminShutdownError("…")
        return await record(tx, commands)

    await _apply(database, _consumer(once_down), ("corner", "bug"), ("mill", "check-in"))
    assert tries == [2, 1, 1, 1, 1]
    assert await _set_aside(offline) == [("corner", "a bug: ZeroDivisionError")]
    assert await offline.effects() == ["mill/a-1"]
    await database.close()
