"""Inside a batch: what is dropped, what waits, what a second try may change."""

import asyncio
import uuid
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition

from chassis import Outcome, Poison, Transaction, deadletters, fence, queues, waiting
from chassis.batch import Applier
from chassis.consumer import Worker
from chassis.database import Database, Superseded, require_lanes
from chassis.faults import is_transient
from chassis.gathering import Batch, Gathering
from chassis.messages import Consumer, Message, Raw, read
from contracts import encode, topics
from contracts.activities import ActivityRecorded
from testkit import wait_until
from testkit.probe import Probe, Record, activity, record

PARTITION = ("activities", 0)


def _raw(offset: int, kind: str = "check-in") -> Raw:
    headers = (("ce_type", b"activity-recorded"),)
    return Raw("activities", 0, offset, b"corner/m-1", headers, encode(activity(offset, kind=kind)))


def _consumer(usecase: Any = record, known: Any = None) -> Consumer:
    return Consumer("activities", topics.ACTIVITIES, {ActivityRecorded: Record.of}, usecase, known=known)


async def _standing_at(database: Database, offset: int) -> None:
    async with database.begin() as tx:
        await fence.begin_at(tx.driver, "activities", {PARTITION: fence.Position(offset, uuid.UUID(int=1))})


async def _wait_in_queue(database: Database, consumer: Consumer, *raws: Raw) -> None:
    async with database.begin() as tx:
        await waiting.join(tx.driver, consumer.name, [read(consumer, raw, None) for raw in raws])


def _worker(offline: Probe, *, at: int) -> Worker:
    """A consumer's worker that stands at an offset, without its loop."""
    worker = Worker("probe", _consumer(), Database(offline.settings), offline.settings)
    _stand(worker, at)
    return worker


def _stand(worker: Worker, at: int) -> None:
    """As after a position was read."""
    worker._applier.next[PARTITION] = at
    worker._gathering.start_at({PARTITION: at})


def _fetched(partition: int, *offsets: int) -> dict[TopicPartition, list[Any]]:
    return {
        TopicPartition("activities", partition): [
            SimpleNamespace(**_raw(n)._asdict(), timestamp=1_000 + n) for n in offsets
        ]
    }


async def test_records_below_the_position_and_of_partitions_without_one_are_dropped(offline: Probe) -> None:
    worker, batch = _worker(offline, at=5), Batch()
    await _standing_at(worker._database, 5)
    worker._gathering.read(_fetched(0, 3, 4, 5, 8) | _fetched(1, 9), batch)
    await worker._apply(None, batch, asyncio.Event())
    assert await offline.effects() == ["corner/a-5", "corner/a-8"]
    assert await offline.query("SELECT partition, next FROM consumer_offset") == [(0, 9)]
    await worker._database.close()


async def test_what_nobody_wants_is_behind_the_position_without_a_transaction(
    offline: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, stop = Database(offline.settings), asyncio.Event()
    await _standing_at(database, 5)
    late, applier = (Applier("probe.activities", _consumer(), database) for _ in range(2))
    late.next[PARTITION] = applier.next[PARTITION] = 5
    monkeypatch.setattr(database, "begin", None)
    await applier.apply([], {PARTITION: 9}, stop)
    assert applier.next == {PARTITION: 9}
    with pytest.raises(Superseded):  # another owner was faster
        await late.apply([], {PARTITION: 7}, stop)
    assert late.next == {PARTITION: 5}
    assert await offline.query("SELECT partition, next FROM consumer_offset") == [(0, 9)]
    await database.close()


async def test_a_partition_that_comes_back_amid_a_batch_is_applied_once(offline: Probe) -> None:
    worker, batch = _worker(offline, at=5), Batch()
    await _standing_at(worker._database, 5)
    worker._gathering.read(_fetched(0, 5, 6), batch)
    _stand(worker, 5)  # as after a rebalance: the position is read anew
    worker._gathering.read(_fetched(0, 5, 6, 7), batch)
    await worker._apply(None, batch, asyncio.Event())
    assert await offline.effects() == ["corner/a-5", "corner/a-6", "corner/a-7"]
    assert await offline.query("SELECT partition, next FROM consumer_offset") == [(0, 8)]
    await worker._database.close()


@pytest.mark.parametrize("stands_at", [5, 7, 8, 10, None])
async def test_what_was_gathered_before_a_position_was_read_anew_is_dropped(
    offline: Probe, stands_at: int | None
) -> None:
    """Also where it begins or ends just there: reading has gone back, and what comes next goes on from the position."""
    worker, batch = _worker(offline, at=8), Batch()
    await _standing_at(worker._database, stands_at or 5)
    worker._gathering.read(_fetched(0, 8, 9), batch)
    worker.forget([PARTITION])
    if stands_at is not None:
        _stand(worker, stands_at)
    await worker._apply(None, batch, asyncio.Event())
    assert await offline.effects() == []
    assert await offline.query("SELECT partition, next FROM consumer_offset") == [(0, stands_at or 5)]
    if stands_at is not None:
        again = Batch()
        worker._gathering.read(_fetched(0, *range(stands_at, 13)), again)
        await worker._apply(None, again, asyncio.Event())
        assert await offline.effects() == [f"corner/a-{n}" for n in range(stands_at, 13)]
        assert await offline.query("SELECT partition, next FROM consumer_offset") == [(0, 13)]
    await worker._database.close()


async def test_an_old_part_in_a_batch_gives_way_to_what_is_read_from_the_new_position(offline: Probe) -> None:
    worker, batch = _worker(offline, at=8), Batch()
    await _standing_at(worker._database, 10)
    worker._gathering.read(_fetched(0, 8, 9), batch)
    _stand(worker, 10)  # another owner was faster, and came exactly as far
    worker._gathering.read(_fetched(0, 10, 11), batch)
    await worker._apply(None, batch, asyncio.Event())
    assert await offline.effects() == ["corner/a-10", "corner/a-11"]
    assert await offline.query("SELECT partition, next FROM consumer_offset") == [(0, 12)]
    await worker._database.close()


async def test_a_batch_that_does_not_begin_where_its_partition_stands_stops_the_consumer(offline: Probe) -> None:
    worker, batch = _worker(offline, at=8), Batch()
    worker._gathering.read(_fetched(0, 8, 9), batch)
    worker._applier.next[PARTITION] = 7
    with pytest.raises(RuntimeError, match="stands at 7, not at 8"):
        await worker._apply(None, batch, asyncio.Event())
    assert await offline.effects() == []
    await worker._database.close()


class _Kafka:
    """A consumer that gives one record at each poll."""

    def __init__(self) -> None:
        self.polls = 0
        self._fetcher = SimpleNamespace()

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0)
        self.polls += 1
        return _fetched(0, self.polls) if self.polls <= 40 else {}


async def test_a_batch_grows_while_the_last_one_is_applied_and_no_further_than_its_size(offline: Probe) -> None:
    worker, busy = _worker(offline, at=1), asyncio.Event()
    gathering = Gathering(_consumer(), 30)
    gathering.start_at({PARTITION: 1})
    batch = await gathering.batch(_Kafka(), busy)
    assert (batch.records, batch.ends) == (30, {PARTITION: 31})
    await worker._database.close()


async def test_a_batch_that_lacks_a_lane_is_applied_once_with_all_that_it_needs(offline: Probe) -> None:
    database = Database(offline.settings)
    tries: list[tuple[int, ...]] = []

    async def usecase(tx: Transaction, commands: Sequence[Record]) -> Outcome:
        tries.append(tx.lanes)
        outcome = await record(tx, commands)
        require_lanes(tx.lanes, ["corner/m", "corner/other", "corner/third"], tx.lane_count)
        return outcome

    await _standing_at(database, 0)
    consumer = _consumer(usecase)
    applier = Applier("probe.activities", consumer, database)
    applier.next[PARTITION] = 0
    await applier.apply([read(consumer, _raw(n), None) for n in range(3)], {PARTITION: 3}, asyncio.Event())
    assert await offline.effects() == ["corner/a-0", "corner/a-1", "corner/a-2"]
    wanted = await database.lanes_of(["corner/m", "corner/other", "corner/third"])
    assert [set(lanes) for lanes in tries] == [set(), wanted]
    await _wait_in_queue(database, consumer, _raw(3))
    await queues.empty_some(database, consumer, "corner", 10)
    assert await offline.effects() == [f"corner/a-{n}" for n in range(4)]
    await database.close()


async def test_a_shop_that_became_known_meanwhile_is_seen_under_the_lock_and_nothing_waits(offline: Probe) -> None:
    database, looks = Database(offline.settings), 0

    async def known(tx: Transaction, shops: set[str]) -> set[str]:
        nonlocal looks
        looks += 1
        return shops if looks > 1 else set()

    await _standing_at(database, 0)
    consumer = _consumer(known=known)
    applier = Applier("probe.activities", consumer, database)
    applier.next[PARTITION] = 0
    await applier.apply([read(consumer, _raw(0), None)], {PARTITION: 1}, asyncio.Event())
    assert await offline.effects() == ["corner/a-0"]
    assert await offline.query("SELECT count(*) FROM waiting") == [0]
    await database.close()


async def test_two_who_empty_a_queue_take_turns_and_the_second_finds_it_empty(offline: Probe) -> None:
    database, consumer = Database(offline.settings), _consumer()
    await _wait_in_queue(database, consumer, _raw(1, "poison"), _raw(2))
    async with database.begin() as tx:
        await waiting.lock(tx.driver, consumer.name, ["corner"])
        emptying = [asyncio.create_task(queues.empty_some(database, consumer, "corner", 10)) for _ in range(2)]
        await wait_until(lambda: _waiting_for_lock(offline, 2))
        assert await offline.effects() == []
    first, second = sorted(await asyncio.gather(*emptying, return_exceptions=True), key=repr)
    assert isinstance(first, asyncpg.SerializationError)
    assert is_transient(first)
    assert second is True
    assert await offline.effects() == ["corner/a-1", "corner/a-2"]
    assert await offline.query("SELECT count(*) FROM dead_letter") == [1]
    assert await offline.query("SELECT count(*) FROM waiting") == [0]
    await database.close()


async def test_a_waiting_message_that_the_database_refuses_is_taken_out_and_the_others_are_applied(
    offline: Probe,
) -> None:
    database, consumer = Database(offline.settings), _consumer()
    await _wait_in_queue(database, consumer, *(_raw(n, "bad-data" if n == 3 else "check-in") for n in range(6)))
    await queues.empty_all(database, "probe.activities", consumer, 100, asyncio.Event())
    assert await offline.effects() == [f"corner/a-{n}" for n in range(6) if n != 3]
    assert await offline.query('SELECT code, "offset" FROM dead_letter') == [("refused_by_database", 3)]
    assert await offline.query("SELECT count(*) FROM waiting") == [0]
    await database.close()


async def test_a_second_try_decides_anew_whether_a_message_is_dead(
    offline: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, tries = Database(offline.settings), 0

    async def undecided(tx: Transaction, commands: Sequence[Record]) -> Outcome:
        nonlocal tries
        tries += 1
        outcome = await record(tx, commands)
        return Outcome(answers=[Poison("early", "not yet") if tries == 1 else None], events=outcome.events)

    store = deadletters.store

    async def store_later(driver: Any, consumer: str, dead: Sequence[Message]) -> None:
        if tries == 1:
            raise asyncpg.SerializationError("again")
        await store(driver, consumer, dead)

    monkeypatch.setattr(deadletters, "store", store_later)
    await _standing_at(database, 0)
    consumer = _consumer(undecided)
    applier = Applier("probe.activities", consumer, database)
    applier.next[PARTITION] = 0
    await applier.apply([read(consumer, _raw(0), None)], {PARTITION: 1}, asyncio.Event())
    assert tries == 2
    assert await offline.effects() == ["corner/a-0"]
    assert await offline.query("SELECT count(*) FROM dead_letter") == [0]
    await database.close()


async def test_what_the_driver_itself_refuses_is_a_dead_letter_and_not_tried_for_ever(offline: Probe) -> None:
    database = Database(offline.settings)

    async def overflow(tx: Transaction, commands: Sequence[Record]) -> Outcome:
        if any(command.kind == "overflow" for command in commands):
            await tx.driver.fetchval("SELECT $1::int", 2**40)
        return await record(tx, commands)

    await _standing_at(database, 0)
    consumer = _consumer(overflow)
    applier = Applier("probe.activities", consumer, database)
    applier.next[PARTITION] = 0
    messages = [read(consumer, _raw(n, "overflow" if n == 2 else "check-in"), None) for n in range(5)]
    await asyncio.wait_for(applier.apply(messages, {PARTITION: 5}, asyncio.Event()), 10)
    assert await offline.effects() == [f"corner/a-{n}" for n in range(5) if n != 2]
    assert await offline.query('SELECT code, "offset" FROM dead_letter') == [("refused_by_database", 2)]
    await database.close()


async def test_a_fault_that_is_no_messages_stops_instead_of_being_taken_apart_for_ever(
    offline: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(offline.settings)

    async def refuse(driver: Any, consumer: str, dead: Sequence[Message]) -> None:
        raise asyncpg.CheckViolationError("ours")

    monkeypatch.setattr(deadletters, "store", refuse)
    await _standing_at(database, 0)
    consumer = _consumer()
    applier = Applier("probe.activities", consumer, database)
    applier.next[PARTITION] = 0
    with pytest.raises(asyncpg.CheckViolationError):
        await applier.apply([read(consumer, _raw(0), None)], {PARTITION: 1}, asyncio.Event())
    assert await offline.query("SELECT next FROM consumer_offset") == [0]
    await database.close()


async def _waiting_for_lock(probe: Probe, count: int) -> bool:
    rows = await probe.query(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        waiting.WAITING_LOCK,
    )
    return bool(rows[0] == count)
