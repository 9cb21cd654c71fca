"""Lanes: a use case that finds that it needs another one begins anew with both, and nothing of the first try stays."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from chassis import Database, Outcome, Transaction
from chassis.database import LanesMissing, require_lanes, with_lanes
from chassis.lanes import lane_of, wait_until_settled
from testkit import wait_until
from testkit.probe import Probe


async def test_what_lacks_a_lane_is_rolled_back_and_comes_again_with_it(offline: Probe) -> None:
    database = Database(offline.settings)
    count = await database.lane_count()
    near, far = _two_keys(count)
    tries: list[tuple[int, ...]] = []

    async def usecase(tx: Transaction, commands: Sequence[str]) -> Outcome:
        tries.append(tx.lanes)
        await tx.driver.execute("INSERT INTO effect (activity, member) VALUES ($1, 'm')", commands[0])
        require_lanes(tx.lanes, [near], tx.lane_count)
        require_lanes(tx.lanes, [near, far], tx.lane_count)
        return Outcome(answers=["done"])

    assert await database.execute(usecase, ["once"], lane_key=lambda _: near) == ["done"]
    first, both = {lane_of(near, count)}, {lane_of(near, count), lane_of(far, count)}
    assert [set(lanes) for lanes in tries] == [first, both]
    assert await offline.effects() == ["once"]
    await database.close()


async def test_a_command_may_name_several_keys(offline: Probe) -> None:
    database = Database(offline.settings)
    count = await database.lane_count()
    near, far = _two_keys(count)
    assert await database.lanes_of([near]) == {lane_of(near, count)}
    assert await database.lanes_of([near, (near, far)]) == {lane_of(near, count), lane_of(far, count)}
    await database.close()


async def test_it_goes_on_until_nothing_is_missing() -> None:
    seen: list[set[int]] = []

    async def work(lanes: set[int]) -> str:
        seen.append(lanes)
        if len(lanes) < 3:
            raise LanesMissing({len(lanes) + 1})
        return "done"

    assert await with_lanes({1}, work) == "done"
    assert seen == [{1}, {1, 2}, {1, 2, 3}]


async def test_who_looks_waits_for_who_writes_on_those_lanes_and_for_nobody_else(offline: Probe) -> None:
    """The moment that it is told is behind the writer's end, and a later writer's clock is behind the moment."""
    database = Database(offline.settings)
    one, two = [await asyncpg.connect(offline.url) for _ in range(2)]
    try:
        async with database.begin([3]) as tx:
            waiting = asyncio.create_task(wait_until_settled(one, [3, 1]))
            assert await asyncio.wait_for(wait_until_settled(two, [1, 2]), 5) > tx.now
            done, _ = await asyncio.wait([waiting], timeout=0.2)
            assert not done
            ending = await tx.driver.fetchval("SELECT clock_timestamp()")
        moment = await waiting
        assert moment > ending
        assert await wait_until_settled(two, [3]) > moment, "nobody holds it any more, nor is it kept"
        async with database.begin([3]) as tx:
            assert tx.now > moment
    finally:
        await asyncio.gather(one.close(), two.close())
        await database.close()


@pytest.mark.parametrize("preferred", ["repeatable read", "serializable"])
async def test_who_has_a_lane_sees_what_was_written_on_it_whatever_the_server_prefers(
    offline: Probe, preferred: str
) -> None:
    """A snapshot of the begin would be older than the wait for the lane, and its next position one that is taken."""
    owner = await asyncpg.connect(offline.url.replace("//chassis:", "//chassis_owner:"))
    name = await owner.fetchval("SELECT current_database()")
    await owner.execute(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = '{preferred}'")
    database = Database(offline.settings)

    async def seen() -> int:
        async with database.begin([1]) as tx:
            return int(await tx.driver.fetchval("SELECT count(*) FROM effect"))

    async def waits() -> bool:
        return bool(
            await owner.fetchval(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )

    async with database.begin([1]) as tx:
        waiting = asyncio.create_task(seen())
        await wait_until(waits)
        await tx.driver.execute("INSERT INTO effect (activity, member) VALUES ('corner/a-1', 'm-1')")
    assert await waiting == 1
    await database.close()
    await owner.close()


def _two_keys(count: int) -> tuple[str, str]:
    """Of two lanes."""
    near = "shop/near"
    return near, next(key for n in range(99) if lane_of(key := f"shop/far-{n}", count) != lane_of(near, count))
