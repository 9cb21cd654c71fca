"""Lanes: a use case that finds that it needs another one begins anew with both, and nothing of the first try stays."""

from collections.abc import Sequence

from chassis import Database, Outcome, Transaction
from chassis.database import LanesMissing, require_lanes, with_lanes
from chassis.lanes import lane_of
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


def _two_keys(count: int) -> tuple[str, str]:
    """Of two lanes."""
    near = "shop/near"
    return near, next(key for n in range(99) if lane_of(key := f"shop/far-{n}", count) != lane_of(near, count))
