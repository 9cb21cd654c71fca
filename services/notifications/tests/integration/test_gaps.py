"""Entries that are missing on the topic are fetched from the ledger, and told before those that came."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from contracts.ledger import PointsChanged
from notifications import ledger_client, measures, usecases
from notifications.catching_up import CatchingUp
from notifications.consumers import tell
from notifications.ledger_client import LedgerClient
from notifications.usecases import EntriesMissing
from testkit import wait_until

from .conftest import RECEIVED as NOT_TRACED


async def test_what_is_missing_is_fetched_and_told_in_its_place(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1")
        entries = [world.entry("m-1", change=n) for n in range(1, 7)]
        world.ledger.entries += entries
        await world.publish(entries[0])
        await world.consumed(1)
        await world.publish(entries[4], entries[5])
        await wait_until(lambda: len(world.mail.mails) == 6)
        await world.publish(entries[2], entries[3])  # they come after all
        await world.consumed(5)
    assert world.mail.subjects() == [f"You earned {n} points" for n in range(1, 7)]
    assert world.ledger.asked == [("m-1", 1)]
    assert await world.query("SELECT seq, hash FROM account") == [(6, "1-6")]


@asynccontextmanager
async def catching_up(desk: Any) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Tell a batch of entries as the consumer does: again and again until none is missing."""
    async with desk.running("api"):
        await desk.open_shop_directly("m-1", "m-2")
    gaps = CatchingUp(LedgerClient(desk.settings.ledger_url, desk.settings.service_token_file))
    database = desk.database()
    gaps.start(database)

    async def batch(*entries: PointsChanged) -> None:
        await database.execute(gaps.tell, [tell(entry, NOT_TRACED) for entry in entries], retry_seconds=10)

    yield batch
    await gaps.stop()
    await database.close()


async def changes(desk: Any, member: str = "m-1") -> list[int]:
    """What the member's messages tell of, in the order in which they go out."""
    return await desk.query(  # type: ignore[no-any-return]
        "SELECT (facts->>'change')::int FROM delivery JOIN message USING (message) WHERE member = $1 ORDER BY number",
        member,
    )


async def test_a_long_gap_is_filled_page_by_page(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_client, "PAGE", 2)
    async with catching_up(desk) as batch:
        ours = desk.ledger.entries = [desk.entry("m-1", change=n) for n in range(1, 8)]
        await batch(ours[0])
        await batch(ours[6], desk.entry("m-2", change=9))
    assert await changes(desk) == [1, 2, 3, 4, 5, 6, 7]
    assert await changes(desk, "m-2") == [9]
    assert desk.ledger.asked == [("m-1", 1), ("m-1", 3), ("m-1", 5)]


async def test_what_comes_before_a_gap_in_the_same_batch_is_told_before_what_fills_it(desk: Any) -> None:
    """Were the gap filled first, what was fetched would be the first sight of the account."""
    async with catching_up(desk) as batch:
        ours = desk.ledger.entries = [desk.entry("m-1", change=n) for n in range(1, 9)]
        await batch(ours[0], ours[1], ours[4], ours[7])
    assert await changes(desk) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert desk.ledger.asked == [("m-1", 2), ("m-1", 5)]


async def test_entries_that_come_in_the_wrong_order_are_told_in_the_right_one(desk: Any) -> None:
    async with catching_up(desk) as batch:
        ours = desk.ledger.entries = [desk.entry("m-1", change=n) for n in range(1, 5)]
        await batch(ours[0], ours[2], ours[1], ours[3])
    assert await changes(desk) == [1, 2, 3, 4]


async def test_while_the_ledger_gives_no_answer_the_batch_waits_and_nothing_is_passed_over(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1")
        entries = [world.entry("m-1", change=n) for n in (1, 2, 3)]
        world.ledger.entries += entries
        world.ledger.stop()
        await world.publish(entries[0])
        await wait_until(lambda: len(world.mail.mails) == 1)
        failed = measures.UNANSWERED._value.get()
        await world.publish(entries[2])
        await wait_until(lambda: measures.UNANSWERED._value.get() > failed, what="a call that failed")
        assert await world.query("SELECT seq FROM account") == [1]
        assert await world.query(
            "SELECT coalesce(sum(next), 0)::int FROM consumer_offset WHERE consumer = 'ledger'"
        ) == [1]
        world.ledger.status = 503
        world.ledger.start()
        await wait_until(lambda: world.ledger.asked, what="a call")
        assert await world.query("SELECT seq FROM account") == [1]
        world.ledger.status = 200
        await wait_until(lambda: len(world.mail.mails) == 3)
        await world.consumed(2)
    assert world.mail.subjects() == [f"You earned {n} points" for n in (1, 2, 3)]


async def test_what_the_ledger_does_not_have_either_holds_nothing_up(desk: Any) -> None:
    async with catching_up(desk) as batch:
        ours = [desk.entry("m-1", change=n) for n in range(1, 6)]
        desk.ledger.entries = [ours[0], ours[1], ours[4]]
        await batch(ours[0], ours[4])
    assert await changes(desk) == [1, 2, 5]
    assert await desk.query("SELECT seq, hash FROM account") == [(5, "1-5")]


async def test_an_entry_that_nobody_could_read_holds_nothing_up(desk: Any) -> None:
    async with catching_up(desk) as batch:
        ours = desk.ledger.entries = [desk.entry("m-1", change=n) for n in range(1, 7)]
        desk.ledger.odd = {3: {"changes": "many"}, 4: {"after": None}}
        await batch(ours[0], ours[5])
    assert await changes(desk) == [1, 2, 5, 6]
    assert await desk.query("SELECT seq, hash FROM account") == [(6, "1-6")]


async def test_a_first_sight_of_an_account_or_of_its_epoch_may_have_any_number(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly("m-1")
    await desk.tell(desk.entry("m-1", seq=500))
    await desk.tell(desk.entry("m-1", seq=300, epoch=2), desk.entry("m-1", seq=301, epoch=2))
    assert await desk.query("SELECT epoch, seq FROM account") == [(2, 301)]
    assert await desk.query("SELECT count(*) FROM message") == [3]
    assert desk.ledger.asked == []


async def test_a_batch_with_a_gap_tells_nothing_of_itself(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly("m-1", "m-2")
    await desk.tell(desk.entry("m-1", seq=1), desk.entry("m-2", seq=1))
    late = [desk.entry("m-2", seq=2), desk.entry("m-1", seq=4), desk.entry("m-1", seq=9)]
    database = desk.database()
    with pytest.raises(EntriesMissing) as missing:
        await database.execute(usecases.tell, [tell(each, NOT_TRACED) for each in late], retry_seconds=0)
    await database.close()
    (gap,) = missing.value.gaps
    assert (gap.account, gap.after, gap.before) == ("corner.m-1", 1, 4)
    assert await desk.query("SELECT account, seq FROM account ORDER BY account") == [
        ("corner.m-1", 1),
        ("corner.m-2", 1),
    ]
