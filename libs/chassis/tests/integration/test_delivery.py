"""Delivery: nothing lost, nothing twice. One test per guarantee."""

import asyncio
import contextlib
import dataclasses
import json
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError

from chassis import Transaction, fence, lease, waiting
from chassis.database import Database, Superseded
from chassis.kafka import hold_fetches, topic_ids
from chassis.outbox import OUTBOX, Outbox, append
from chassis.relay import HOUSEKEEPING_SECONDS, LostLead, Relay
from contracts import encode, topics
from contracts.event import MAX_BODY_BYTES
from contracts.postings import PostingRequested
from local.child import free_port
from local.topics import recreate
from testkit import wait_until
from testkit.plans import plan_of
from testkit.probe import HELD, Probe, activity


async def test_each_message_takes_effect_once_and_its_events_follow(probe: Probe) -> None:
    await probe.publish(*(activity(n) for n in range(5)))
    async with probe.running():
        records = await probe.postings(5)
    assert await probe.effects() == [f"corner/a-{n}" for n in range(5)]
    assert [json.loads(record.value)["posting"] for record in records] == [f"a-{n}" for n in range(5)]
    assert [int(dict(record.headers)["ce_position"]) for record in records] == [1, 2, 3, 4, 5]


async def test_a_repeated_event_changes_nothing(probe: Probe) -> None:
    await probe.publish(*[activity(1)] * 5, activity(2))
    async with probe.running():
        records = await probe.postings(2)
        await wait_until(lambda: _applied(probe, 6))
    assert await probe.effects() == ["corner/a-1", "corner/a-2"]
    assert [json.loads(record.value)["posting"] for record in records] == ["a-1", "a-2"]


async def test_a_batch_and_its_position_commit_together_or_not_at_all(probe: Probe) -> None:
    """The fence: a second owner of the same partition finds the position moved and rolls everything back."""
    database = Database(probe.settings)
    partition = ("activities", 0)
    async with database.begin() as tx:
        await fence.begin_at(tx.driver, "activities", {partition: fence.Position(0, uuid.UUID(int=1))})
    async with database.begin() as tx:
        await fence.advance(tx.driver, "activities", {partition: (0, 3)})
    with pytest.raises(Superseded):
        async with database.begin() as tx:
            await tx.driver.execute("INSERT INTO effect (activity, member) VALUES ('late', 'm-1')")
            await fence.advance(tx.driver, "activities", {partition: (0, 2)})
    assert await probe.effects() == []
    assert await probe.query("SELECT next FROM consumer_offset") == [3]
    await database.close()


async def test_positions_become_visible_in_order_and_without_gaps(probe: Probe) -> None:
    """Lanes: whatever commits or rolls back while we read, what we see of a lane has no hole below its highest."""
    database = Database(probe.settings)

    async def write(number: int) -> None:
        for step in range(20):
            event = PostingRequested.example().model_copy(update={"posting": f"{number}-{step}"})
            with contextlib.suppress(ZeroDivisionError):
                async with database.begin() as tx:
                    await append(tx.driver, [event] * 3, lanes=tx.lane_count)
                    if step % 5 == 4:
                        raise ZeroDivisionError

    writers = asyncio.gather(*(write(number) for number in range(6)))
    while not writers.done():
        for highest, count in await probe.query("SELECT max(position), count(*) FROM outbox"):
            assert (highest or 0) == count
        await asyncio.sleep(0)
    await writers
    assert await probe.query("SELECT max(position), count(*) FROM outbox") == [(288, 288)]
    await database.close()


async def test_positions_go_on_after_sent_rows_were_dropped(probe: Probe) -> None:
    database = Database(probe.settings)
    async with database.begin() as tx:
        await append(tx.driver, [PostingRequested.example()] * 2, lanes=tx.lane_count)
        await tx.driver.execute("UPDATE relay_cursor SET position = 2")
        await OUTBOX.drop(tx.driver, dict.fromkeys(range(8), 2), 0, 100)
    async with database.begin() as tx:
        await append(tx.driver, [PostingRequested.example()], lanes=tx.lane_count)
    assert await probe.query("SELECT position FROM outbox") == [3]
    await database.close()


async def test_sent_rows_are_dropped_the_oldest_first_and_no_row_that_is_young_or_not_sent(probe: Probe) -> None:
    database = Database(probe.settings)
    sent = dict.fromkeys(range(8), 9)
    async with database.begin() as tx:
        await append(tx.driver, [PostingRequested.example()] * 12, lanes=tx.lane_count)
    async with database.look() as driver:
        assert await OUTBOX.drop(driver, sent, 600, 4) == 0
        assert [await OUTBOX.drop(driver, sent, 0, 4) for _ in range(4)] == [4, 4, 1, 0]
    assert await probe.query("SELECT position FROM outbox ORDER BY position") == [10, 11, 12]
    await database.close()


async def test_looking_for_old_rows_reads_the_oldest_of_each_lane_only(probe: Probe) -> None:
    database = Database(probe.settings)
    async with database.begin() as tx:
        await append(tx.driver, [PostingRequested.example()] * 50, lanes=tx.lane_count)
    (lane,) = await probe.query("SELECT DISTINCT lane FROM outbox")
    async with database.look() as driver:
        plan = await plan_of(driver, lambda asked: OUTBOX.drop(asked, {lane: 50}, 600, 4), doing=True)
    assert [int(rows) for rows in re.findall(r"Rows Removed by Filter: (\d+)", plan)] == [4]
    await database.close()


async def test_all_old_rows_are_dropped_in_one_housekeeping(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chassis.relay.DROP_ROWS", 3)
    monkeypatch.setattr("chassis.relay.HOUSEKEEPING_SECONDS", 0.2)
    monkeypatch.setattr("chassis.acknowledged.LOST_SECONDS", 0.5)
    monkeypatch.setattr(probe, "settings", probe.settings.model_copy(update={"outbox_keep_seconds": 0}))
    async with probe.running():
        await probe.publish(*(activity(n) for n in range(20)))
        await probe.postings(20)
        await wait_until(lambda: _is_empty(probe), what="a housekeeping")
    assert await probe.query("SELECT sum(settled) FROM relay_cursor") == [20]


async def test_what_a_broker_may_still_lose_is_kept(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chassis.relay.HOUSEKEEPING_SECONDS", 0.1)
    monkeypatch.setattr(probe, "settings", probe.settings.model_copy(update={"outbox_keep_seconds": 0}))
    looks = 0

    async def counted(self: Outbox, driver: Any, upto: Mapping[int, int], keep_seconds: float, limit: int) -> int:
        nonlocal looks
        looks += 1
        return await drop(self, driver, upto, keep_seconds, limit)

    drop = Outbox.drop
    monkeypatch.setattr(Outbox, "drop", counted)
    async with probe.running():
        await probe.publish(*(activity(n) for n in range(20)))
        await probe.postings(20)
        seen = looks
        await wait_until(lambda: looks > seen + 2, what="three more looks for old rows")
    assert await probe.query("SELECT sum(position), sum(settled) FROM relay_cursor") == [(20, 0)]
    assert await probe.query("SELECT count(*) FROM outbox") == [20]


async def _is_empty(probe: Probe) -> bool:
    return await probe.query("SELECT count(*) FROM outbox") == [0]


async def test_a_relay_that_lost_the_lead_moves_nothing(probe: Probe) -> None:
    database = Database(probe.settings)
    relay = Relay("probe", database, OUTBOX, probe.settings, "old")
    async with database.begin() as tx:
        await append(tx.driver, [PostingRequested.example()], lanes=tx.lane_count)
        lane, *_ = await tx.driver.fetchrow("SELECT lane FROM outbox")
    async with database.begin() as tx:
        rows = await OUTBOX.read(tx.driver, {lane: 0}, 10)
        await tx.driver.execute("UPDATE relay_cursor SET position = 1 WHERE lane = $1", lane)
    with pytest.raises(LostLead):
        await relay._move({lane: 0}, rows, {})
    assert await probe.query("SELECT position FROM relay_cursor WHERE lane = $1", lane) == [1]
    await database.close()


async def test_only_one_relay_leads_and_the_next_goes_on_after_it(probe: Probe) -> None:
    database = Database(probe.settings)
    async with database.begin() as tx:
        assert await lease.take(tx.driver, "relay", "one", 60)
        assert not await lease.take(tx.driver, "relay", "two", 60)
        assert await lease.take(tx.driver, "relay", "one", 0)
    async with database.begin() as tx:
        assert await lease.take(tx.driver, "relay", "two", 60)
    await database.close()


async def test_housekeeping_ends_when_it_is_cancelled_though_its_connection_is_gone(probe: Probe) -> None:
    """Or a relay whose connections are all cut in one moment would wait for it for ever."""
    gone = asyncio.Event()

    class CutOff(Outbox):
        async def highest(self, driver: asyncpg.Connection, lanes: Sequence[int]) -> Mapping[int, int]:
            await probe.query("SELECT pg_terminate_backend($1, 5000)", await driver.fetchval("SELECT pg_backend_pid()"))
            with contextlib.suppress(asyncpg.InterfaceError):  # the pool has taken it back
                await wait_until(driver.is_closed)
            gone.set()
            await asyncio.Event().wait()
            return dict.fromkeys(lanes, 0)

    database = Database(probe.settings)
    relay = Relay("probe", database, CutOff(), probe.settings, "one")
    housekeeping = asyncio.create_task(relay._housekeep({0: 0}, asyncio.Event()))
    await gone.wait()
    housekeeping.cancel()
    done, _ = await asyncio.wait([housekeeping], timeout=HOUSEKEEPING_SECONDS / 2)  # before its next round
    assert done
    assert housekeeping.cancelled()
    await database.close()


async def test_a_relays_client_that_hangs_is_given_up_for_another(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung: list[Any] = []
    send_batch = AIOKafkaProducer.send_batch

    async def hangs_once(producer: AIOKafkaProducer, *batch: Any, **to: Any) -> Any:
        if not hung:
            hung.append(producer)
            await asyncio.Event().wait()
        assert producer not in hung
        return await send_batch(producer, *batch, **to)

    monkeypatch.setattr(AIOKafkaProducer, "send_batch", hangs_once)
    monkeypatch.setattr("chassis.relay.STALLED_SECONDS", 1.0)
    await probe.publish(*(activity(n) for n in range(3)))
    async with probe.running():
        records = await probe.postings(3)
    assert hung
    assert [json.loads(record.value)["posting"] for record in records] == ["a-0", "a-1", "a-2"]


async def test_what_can_never_work_goes_to_the_dead_letters_with_its_bytes_and_the_stream_goes_on(probe: Probe) -> None:
    async with probe.producer() as producer:
        await probe.send(producer, b"{not json", kind="activity-recorded")
        await probe.send(producer, encode(activity(1)), kind=None)
        await probe.send(producer, encode(activity(2)), kind="activity-recorded.v9")
        await probe.send(producer, encode(activity(3)), key="other/m-1")
        await probe.send(producer, None)
        await probe.send(producer, b'{"shop": "corner"}')
        await probe.send(producer, encode(activity(4, kind="unmappable")))
        await probe.send(producer, encode(activity(5, kind="poison")))
        await probe.send(producer, b"x" * (MAX_BODY_BYTES + 1))
        await probe.send(producer, encode(activity(6)), headers={"broken": b"\xff\x00"})
    async with probe.running():
        await wait_until(lambda: _applied(probe, 10))
    letters = await probe.query('SELECT code, value FROM dead_letter ORDER BY "offset", topic')
    assert sorted(code for code, _ in letters) == [
        "malformed", "malformed", "malformed", "malformed", "type_missing", "type_unknown", "unmappable", "unusable",
        "wrong_shop",
    ]  # fmt: skip
    assert (b"{not json") in [value for _, value in letters]
    assert "corner/a-6" in await probe.effects()


async def test_a_message_that_the_database_refuses_is_bisected_out(probe: Probe) -> None:
    bad = [activity(n, kind="bad-data" if n in (3, 7) else "check-in") for n in range(10)]
    await probe.publish(*bad)
    async with probe.running():
        await wait_until(lambda: _applied(probe, 10))
    assert await probe.effects() == [f"corner/a-{n}" for n in range(10) if n not in (3, 7)]
    assert await probe.query('SELECT code, "offset" FROM dead_letter ORDER BY "offset"') == [
        ("refused_by_database", 3),
        ("refused_by_database", 7),
    ]


async def test_a_bug_stops_the_consumer_says_so_and_applies_nothing(probe: Probe) -> None:
    await probe.publish(activity(1), activity(2, kind="bug"))
    async with probe.running() as runtime:
        await wait_until(lambda: runtime.workers and runtime.workers[0].problem)
        assert await runtime.faults() == ["probe.activities: ZeroDivisionError('a bug')"]
    assert await probe.effects() == []
    assert await probe.query("SELECT * FROM dead_letter") == []


async def test_messages_of_an_unknown_shop_wait_and_are_applied_in_order_when_it_is_known(probe: Probe) -> None:
    shops = {"corner"}

    async def known(tx: Transaction, asked: set[str]) -> set[str]:
        return asked & shops

    probe.known = known
    await probe.publish(activity(1, shop="new"), activity(2), activity(3, shop="new"))
    async with probe.running():
        await wait_until(lambda: _applied(probe, 3))
        assert await probe.effects() == ["corner/a-2"]
        shops.add("new")
        await wait_until(lambda: _effects_are(probe, ["corner/a-2", "new/a-1", "new/a-3"]))
    assert await probe.query("SELECT * FROM waiting") == []


async def test_a_shop_that_floods_the_dead_letters_is_quarantined_and_goes_on_when_lifted(probe: Probe) -> None:
    probe.settings = probe.settings.model_copy(update={"dead_letters_per_shop": 3, "batch_size": 3})
    await probe.publish(*(activity(n, shop="bad", kind="poison") for n in range(3)))
    async with probe.running():
        await wait_until(lambda: probe.query("SELECT shop FROM quarantine"))
        assert await probe.query("SELECT shop FROM quarantine") == ["bad"]
        await probe.publish(activity(9), activity(10, shop="bad"))
        await wait_until(lambda: _applied(probe, 5))
        assert await probe.query("SELECT shop FROM waiting") == ["bad"]
        database = Database(probe.settings)
        async with database.begin() as tx:
            assert await waiting.lift(tx.driver, "bad") == 1
        await database.close()
        await wait_until(lambda: _has_effect(probe, "bad/a-10"))
    assert await probe.query("SELECT * FROM waiting") == []


async def test_one_shop_alone_never_stops_the_consumer_however_much_it_floods(probe: Probe) -> None:
    limits = {"dead_letters_per_shop": 1, "dead_letter_shops": 2, "batch_size": 2}
    probe.settings = probe.settings.model_copy(update=limits)
    async with probe.producer() as producer:
        for _ in range(8):
            await probe.send(producer, b"{", key="bad/m-1")
    await probe.publish(activity(1))
    async with probe.running() as runtime:
        await wait_until(lambda: _applied(probe, 9))
        assert runtime.workers[0].problem is None
    assert await probe.query("SELECT count(*) FROM dead_letter") == [8]
    assert await probe.effects() == ["corner/a-1"]


async def test_dead_letters_of_many_shops_stop_the_consumer(probe: Probe) -> None:
    probe.settings = probe.settings.model_copy(update={"dead_letters_per_shop": 1, "dead_letter_shops": 3})
    await probe.publish(*(activity(n, shop=f"shop-{n}", kind="poison") for n in range(4)))
    async with probe.running() as runtime:
        await wait_until(lambda: runtime.workers and runtime.workers[0].problem)
        assert "shops quarantined within a minute" in str(runtime.workers[0].problem)


async def test_a_position_outside_the_log_stops_the_consumer(probe: Probe) -> None:
    database = Database(probe.settings)
    async with database.begin() as tx:
        ids = await _topic_ids(probe)
        await fence.begin_at(tx.driver, "activities", {("activities", 0): fence.Position(1_000, ids["activities"])})
    await database.close()
    async with probe.running() as runtime:
        await wait_until(lambda: runtime.workers and runtime.workers[0].problem)
        assert "is outside the log" in str(runtime.workers[0].problem)


async def test_a_topic_made_anew_under_its_name_stops_the_consumer(probe: Probe) -> None:
    """Its offsets would fit, and its messages would be passed over."""
    await probe.publish(activity(1), activity(2))
    async with probe.running():
        await wait_until(lambda: _applied(probe, 2))
    await recreate(probe.bootstrap_servers, [topics.ACTIVITIES])
    await probe.publish(*(activity(n) for n in range(3, 9)))
    async with probe.running() as runtime:
        await wait_until(lambda: runtime.workers and runtime.workers[0].problem)
        assert "is of topic" in str(runtime.workers[0].problem)
    assert await probe.effects() == ["corner/a-1", "corner/a-2"]


async def test_a_relay_that_lost_the_lead_moves_no_lane_that_another_has_moved(probe: Probe) -> None:
    database = Database(probe.settings)
    relay = Relay("probe", database, OUTBOX, probe.settings, "old")
    events = [PostingRequested.example().model_copy(update={"member": f"m-{number}"}) for number in range(20)]
    async with database.begin() as tx:
        await append(tx.driver, events, lanes=tx.lane_count)
        cursors = dict.fromkeys(range(tx.lane_count), 0)
        rows = await OUTBOX.read(tx.driver, cursors, 10)
        moved, *_ = {row.lane for row in rows}
        await tx.driver.execute("UPDATE relay_cursor SET position = 1 WHERE lane = $1", moved)
    sent = {row.lane: row.position for row in rows}
    assert len(sent) > 1
    with pytest.raises(LostLead):
        await relay._move(cursors, rows, {})
    for lane, position in sent.items():
        assert await probe.query("SELECT position FROM relay_cursor WHERE lane = $1", lane) == [
            1 if lane == moved else position
        ]
    await database.close()


async def test_a_backlog_does_not_wait_for_partitions_that_have_nothing(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first batch is being applied the client has time to ask for the other partitions alone. At rest that
    is held for longer here than the test waits, and what is left of the backlog would be held up with it."""
    monkeypatch.setattr("chassis.gathering.FETCH_WAIT_MS", 30_000)
    monkeypatch.setattr("chassis.consumer.FETCH_MAX_BYTES", 4_000)
    monkeypatch.setattr(probe, "settings", probe.settings.model_copy(update={"batch_size": 10}))
    holder = await asyncpg.connect(probe.url)
    await holder.execute("SELECT pg_advisory_lock($1)", HELD)
    await probe.publish(activity(0, kind="held"), *(activity(number) for number in range(1, 200)))
    async with probe.running():
        await wait_until(probe.is_held, what="the first batch")
        since = time.monotonic()
        await wait_until(lambda: time.monotonic() - since > 1, what="the client to have asked for more")
        await holder.close()
        await wait_until(lambda: _applied(probe, 200), timeout_seconds=15, what="the whole backlog")


async def test_two_workers_share_the_partitions_and_each_message_takes_effect_once(probe: Probe) -> None:
    other = dataclasses.replace(probe, settings=probe.settings.model_copy(update={"http_port": free_port()}))
    async with probe.running():
        await probe.publish(*(activity(n, member=f"m-{n}") for n in range(100)))
        async with other.running():
            await probe.publish(*(activity(n, member=f"m-{n}") for n in range(100, 200)))
            await wait_until(lambda: _applied(probe, 200), timeout_seconds=30)
    assert sorted(await probe.effects()) == sorted(f"corner/a-{n}" for n in range(200))


async def test_the_trace_of_a_message_goes_on_with_the_events_that_follow_from_it(probe: Probe) -> None:
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    await probe.publish(activity(1), headers={"traceparent": trace})
    async with probe.running():
        (record,) = await probe.postings(1)
    assert dict(record.headers)["traceparent"] == trace


async def test_kafka_holds_the_next_fetch_as_long_as_it_is_told(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    await probe.publish(activity(1))
    kafka = AIOKafkaConsumer("activities", bootstrap_servers=probe.bootstrap_servers, auto_offset_reset="earliest")
    await kafka.start()
    fetches: list[Any] = []
    send = kafka._client.send

    async def noted(node: int, request: Any, **more: Any) -> Any:
        fetches.append(request)
        return await send(node, request, **more)

    monkeypatch.setattr(kafka._client, "send", noted)
    try:
        await wait_until(lambda: _came(kafka), what="the record")
        hold_fetches(kafka, wait_ms=17, min_bytes=4_711)
        await wait_until(lambda: _is_held(fetches[-1:]), what="a fetch that is held as told")
    finally:
        await kafka.stop()


async def _came(kafka: AIOKafkaConsumer) -> bool:
    return bool(await kafka.getmany(timeout_ms=100))


async def _is_held(fetches: list[Any]) -> bool:
    return [(getattr(one, "_max_wait_ms", 0), getattr(one, "_min_bytes", 0)) for one in fetches] == [(17, 4_711)]


async def _topic_ids(probe: Probe) -> dict[str, uuid.UUID]:
    kafka = AIOKafkaConsumer(bootstrap_servers=probe.bootstrap_servers)
    await kafka.start()
    try:
        return await wait_until(lambda: _told(kafka), what="the broker to know the topic that was just made")
    finally:
        await kafka.stop()


async def _told(kafka: AIOKafkaConsumer) -> dict[str, uuid.UUID]:
    try:
        return await topic_ids(kafka, ["activities"])
    except UnknownTopicOrPartitionError:
        return {}


async def _applied(probe: Probe, count: int) -> bool:
    return sum(await probe.query("SELECT next FROM consumer_offset")) == count


async def _effects_are(probe: Probe, effects: list[str]) -> bool:
    return await probe.effects() == effects


async def _has_effect(probe: Probe, effect: str) -> bool:
    return effect in await probe.effects()
