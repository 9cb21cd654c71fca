"""The ledger was restored from a backup: accounts that were told beyond it are read again, and are right."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis.lanes import lane_of
from contracts.ledger import EpochStarted, PointsChanged
from notifications import catching_up as module
from notifications.catching_up import CatchingUp
from notifications.consumers import begin_epoch, tell
from notifications.ledger_client import LedgerClient
from testkit import wait_until

from .conftest import RECEIVED as NOT_TRACED
from .conftest import SHOP

LANES = 8
ENDS = datetime.now(UTC).replace(microsecond=0) + timedelta(days=90)


def started(member: str, *, position: int, epoch: int = 2) -> EpochStarted:
    """The lane of a member goes on behind a position."""
    lane = lane_of(f"{SHOP}/{member}", LANES)
    return EpochStarted.example().model_copy(
        update={"epoch": epoch, "lane": lane, "lanes": LANES, "position": position, "told": position + 9}
    )


@asynccontextmanager
async def reading(desk: Any) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """Tell batches as the consumer does: again and again until nothing is missing."""
    async with desk.running("api"):
        await desk.open_shop_directly("m-1", "m-2")
    gaps = CatchingUp(LedgerClient(desk.settings.ledger_url, desk.settings.service_token_file))
    database = desk.database()
    gaps.start(database)

    async def batch(*events: PointsChanged | EpochStarted) -> None:
        commands = [
            begin_epoch(each, NOT_TRACED) if isinstance(each, EpochStarted) else tell(each, NOT_TRACED)
            for each in events
        ]
        await database.execute(gaps.tell, commands, retry_seconds=20)

    yield batch
    await gaps.stop()
    await database.close()


async def places(desk: Any) -> dict[str, tuple[int, int, str, int]]:
    return {row[0]: row[1:] for row in await desk.query("SELECT member, epoch, seq, hash, available FROM account")}


async def test_accounts_beyond_the_restored_position_are_read_again(desk: Any) -> None:
    lot = {"expires_at": ENDS}
    async with reading(desk) as batch:
        kept = [
            desk.entry("m-1", change=100, lot="1", **lot),
            desk.entry("m-1", change=50, lot="2", **lot),
        ]
        lost = [
            desk.entry("m-1", kind="spend", change=-100, lot="1", remaining=0, **lot),
            desk.entry("m-1", change=7, lot="4", **lot),
        ]
        other = desk.entry("m-2", change=5)
        desk.ledger.entries = [*kept, other]
        await batch(*kept, *lost, other)
        assert (await places(desk))["m-1"] == (1, 4, "1-4", 104)
        before = await desk.query("SELECT count(*) FROM message")
        await batch(started("m-1", position=2))
        assert (await places(desk))["m-1"] == (2, 2, "1-2", 102)
        assert await desk.query("SELECT lot, remaining FROM lot ORDER BY lot") == [("1", 100), ("2", 50)]
        assert await desk.query("SELECT count(*) FROM message") == before
        # What is told in the new epoch follows, and a gap in it is noticed.
        new = [desk.entry("m-1", seq=seq, epoch=2, change=seq) for seq in (3, 4)]
        desk.ledger.entries += new
        await batch(new[1])
        assert (await places(desk))["m-1"] == (2, 4, "2-4", 104)
        told = await desk.query("SELECT (facts->>'change')::int FROM message ORDER BY message DESC LIMIT 2")
        assert set(told) == {3, 4}
        await batch(*lost, started("m-1", position=2))  # late repeats
    assert (await places(desk))["m-1"] == (2, 4, "2-4", 104)


async def test_an_account_that_the_ledger_has_as_it_was_told_only_enters_the_epoch(desk: Any) -> None:
    async with reading(desk) as batch:
        entries = desk.ledger.entries = [desk.entry("m-1", change=n, lot=str(n), expires_at=ENDS) for n in (1, 2)]
        await batch(*entries, started("m-1", position=2))
    assert (await places(desk))["m-1"] == (2, 2, "1-2", 102)
    assert desk.ledger.asked == [("m-1", 1)]
    assert await desk.query("SELECT count(*) FROM lot") == [2]


async def test_the_same_number_with_another_entry_is_read_again(desk: Any) -> None:
    """The ledger has gone on already when its epoch is heard of."""
    async with reading(desk) as batch:
        kept, lost = desk.entry("m-1", change=1), desk.entry("m-1", change=2)
        gone_on = desk.entry("m-1", seq=2, epoch=2, change=9)
        desk.ledger.entries = [kept, gone_on]
        await batch(kept, lost)
        await batch(started("m-1", position=1), gone_on)
    assert (await places(desk))["m-1"] == (2, 2, "2-2", 102)
    assert await desk.query("SELECT count(*) FROM message") == [3]


async def test_an_account_that_the_ledger_has_lost_has_nothing(desk: Any) -> None:
    async with reading(desk) as batch:
        await batch(desk.entry("m-1", change=100, lot="1", expires_at=ENDS))
        await batch(started("m-1", position=0))
    assert (await places(desk))["m-1"] == (2, 0, "", 0)
    assert await desk.query("SELECT count(*) FROM lot") == [0]


async def test_other_lanes_are_left_alone(desk: Any) -> None:
    other = next(f"x-{n}" for n in range(99) if lane_of(f"{SHOP}/x-{n}", LANES) != lane_of(f"{SHOP}/m-1", LANES))
    async with reading(desk) as batch:
        await batch(desk.entry(other, change=1), started("m-1", position=0))
    assert (await places(desk))[other][:2] == (1, 1)
    assert desk.ledger.asked == []


async def test_many_accounts_are_read_page_by_page_and_after_a_kill_only_the_rest(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ACCOUNTS_TOGETHER", 3)
    monkeypatch.setattr(module, "CALLS_AT_ONCE", 2)
    lane = lane_of(f"{SHOP}/m-1", LANES)
    members = [f"y-{n}" for n in range(200) if lane_of(f"{SHOP}/y-{n}", LANES) == lane][:11]
    async with reading(desk) as batch:
        lost = [desk.entry(member, seq=2, change=1) for member in members]
        desk.ledger.entries = [desk.entry(member, seq=1, change=1) for member in members]
        await batch(*lost)
        await batch(started("m-1", position=1))
    assert set((await places(desk)).values()) == {(2, 1, "1-1", 101)}
    asked = len(desk.ledger.asked)
    async with reading(desk) as batch:
        await batch(started("m-1", position=1))
    assert len(desk.ledger.asked) == asked


async def test_the_topic_waits_while_the_ledger_gives_no_answer(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1")
        first = world.entry("m-1", change=1)
        world.ledger.entries = [first]
        await world.publish(first, world.entry("m-1", change=2))
        await wait_until(lambda: len(world.mail.mails) == 2)
        world.ledger.status = 503
        await world.publish(started("m-1", position=1))
        await wait_until(lambda: world.ledger.asked, what="a call")
        assert await world.query("SELECT epoch, seq FROM account") == [(1, 2)]
        world.ledger.status = 200

        async def read() -> bool:
            return bool(await world.query("SELECT epoch, seq FROM account") == [(2, 1)])

        await wait_until(read, what="the account to be read again")
