"""The end of points is announced: at the right instants, once per lot and lead time, on the real database."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from notifications import jobs, usecases
from notifications.store.lots import COPY_FROM
from testkit import wait_until


async def look(world: Any, at: datetime | None = None) -> None:
    """Run the job, at another time where one is given."""
    if at is None:
        database = world.database()
        await jobs.announce_ends(database, asyncio.Event())
        await database.close()
        return

    async def again(tx: Any, commands: Any) -> Any:
        tx.now = at
        return await usecases.look_again(tx, commands)

    async def later(tx: Any, commands: Any) -> Any:
        tx.now = at
        return await usecases.announce_ends(tx, commands)

    while (await world.execute(again, usecases.LookAgain(100)))[0]:
        pass
    await world.execute(later, usecases.AnnounceEnds(100))


async def announced(world: Any) -> list[tuple[str, int, int]]:
    return await world.query(  # type: ignore[no-any-return]
        "SELECT member, (facts->>'points')::int, (facts->>'lead_days')::int FROM message"
        " WHERE scenario = 'points_expiring' ORDER BY message"
    )


def midnight(days: int) -> datetime:
    """Midnight in Madrid, so many days from today on."""
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("Europe/Madrid")
    today = datetime.now(zone).date() + timedelta(days=days)
    return datetime(today.year, today.month, today.day, tzinfo=zone).astimezone(UTC)


async def test_each_lead_time_of_a_lot_is_announced_once(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly("m-1", "m-2")
    ends = midnight(61)
    await desk.tell(
        desk.entry("m-1", change=10, lot="l-1", expires_at=ends),
        desk.entry("m-1", change=5, lot="l-2", expires_at=ends),
        desk.entry("m-1", change=7, lot="l-3", expires_at=None),
        desk.entry("m-2", change=4, lot="l-4", expires_at=ends),
        desk.entry("m-3", change=4, lot="l-5", expires_at=ends),
    )
    await look(desk)
    assert await announced(desk) == []
    nine = timedelta(hours=9)
    for days in (30, 7, 1):
        early = midnight(60 - days) + nine - timedelta(minutes=1)
        await look(desk, early)
        before = len(await announced(desk))
        for _ in range(3):
            await look(desk, midnight(60 - days) + nine)
        assert (await announced(desk))[before:] == [("m-1", 15, days), ("m-2", 4, days)]
    await look(desk, ends + timedelta(days=1))
    assert len(await announced(desk)) == 6


async def test_a_lot_that_came_within_a_lead_time_is_announced_from_the_next_one_on(desk: Any) -> None:
    """A gift keeps its dates, an opening balance too, and what tells of them has told their end."""
    async with desk.running("api"):
        await desk.open_shop_directly("m-1", "m-2", "m-3", "m-4")
    ends, long_ago = midnight(21), datetime.now(UTC) - timedelta(days=300)
    lot = {"change": 10, "expires_at": ends, "activates_at": long_ago}
    await desk.tell(
        desk.entry("m-1", kind="gift_in", lot="l-1", **lot),
        desk.entry("m-1", kind="spend", **{**lot, "change": -4}, lot="l-1", remaining=6),
        desk.entry("m-2", kind="credit", source="import", posting="opening/8f3a/2", lot="l-2", **lot),
        desk.entry("m-3", kind="merge_in", lot="l-3", **lot),
        desk.entry("m-4", kind="activate", lot="l-4", **lot),  # it has been here all the time
    )
    await look(desk)
    assert await announced(desk) == [("m-4", 10, 30)]
    await desk.tell(desk.entry("m-2", kind="spend", **{**lot, "change": -1}, lot="l-2", remaining=9))
    await look(desk)
    assert len(await announced(desk)) == 1
    await look(desk, midnight(20 - 7) + timedelta(hours=9))
    assert sorted((await announced(desk))[1:]) == [("m-1", 6, 7), ("m-2", 9, 7), ("m-3", 10, 7), ("m-4", 10, 7)]


async def test_what_was_used_meanwhile_is_not_announced(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly("m-1")
    ends = midnight(61)
    await desk.tell(
        desk.entry("m-1", change=10, lot="l-1", expires_at=ends),
        desk.entry("m-1", kind="spend", change=-6, lot="l-1", expires_at=ends, remaining=4),
    )
    await look(desk, midnight(30) + timedelta(hours=9))
    await desk.tell(desk.entry("m-1", kind="spend", change=-4, lot="l-1", expires_at=ends, remaining=0))
    await look(desk, midnight(53) + timedelta(hours=9))
    await desk.tell(desk.entry("m-1", kind="give_back", change=3, lot="l-1", expires_at=ends, remaining=3))
    await look(desk, midnight(59) + timedelta(hours=9))
    assert await announced(desk) == [("m-1", 4, 30), ("m-1", 3, 1)]


async def test_an_older_entry_does_not_bring_a_lot_back(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly("m-1")
    ends = midnight(61)
    first = desk.entry("m-1", change=10, lot="l-1", expires_at=ends)
    spent = desk.entry("m-1", kind="spend", change=-10, lot="l-1", expires_at=ends, remaining=0)
    await desk.tell(first, spent)
    await desk.tell(first)
    assert await desk.query("SELECT remaining, look_at FROM lot") == [(0, ends)]


async def test_a_lot_that_is_over_is_forgotten(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly("m-1")
    await desk.tell(
        desk.entry("m-1", change=10, lot="l-1", expires_at=midnight(61)),
        desk.entry("m-1", change=5, lot="l-2", expires_at=midnight(62)),
        desk.entry("m-1", kind="spend", change=-5, lot="l-2", expires_at=midnight(62), remaining=0),
    )
    await look(desk, midnight(61) - timedelta(microseconds=1))
    assert await desk.query("SELECT lot FROM lot ORDER BY lot") == ["l-1", "l-2"]
    await look(desk, midnight(61))
    assert await desk.query("SELECT lot FROM lot") == ["l-2"]
    await look(desk, midnight(62))
    assert await desk.query("SELECT lot FROM lot") == []


async def test_a_lot_that_is_opened_and_used_in_one_batch_of_many_is_kept_as_it_was_left(desk: Any) -> None:
    """More than go by a statement; and all of them once more, with how far they were told forgotten."""
    async with desk.running("api"):
        await desk.open_shop_directly()
    ends, members = midnight(61), [f"m-{n}" for n in range(COPY_FROM)]
    entries = [desk.entry(member, change=10, lot="1", expires_at=ends) for member in members]
    entries += [
        desk.entry(member, kind="spend", change=-4, lot="1", expires_at=ends, remaining=6) for member in members
    ]
    for _ in range(2):
        await desk.tell(*entries)
        assert await desk.query("SELECT DISTINCT remaining, look_at > now() FROM lot") == [(6, True)]
        assert await desk.query("SELECT count(*) FROM lot") == [COPY_FROM]
        database = desk.database()
        async with database.begin() as tx:
            await tx.driver.execute("UPDATE account SET seq = 0")
        await database.close()


async def test_lots_are_looked_at_again_in_batches_and_a_kill_between_them_loses_none(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly("m-1", "m-2")
        ends = midnight(61)
        for member in ("m-1", "m-2", "m-3"):
            await desk.tell(desk.entry(member, change=10, lot="1", expires_at=ends))
            await desk.tell(desk.entry(member, change=5, lot="2", expires_at=ends))
        settings = {"reminders": {"lead_days": [90], "local_time": "00:00"}}
        await desk.put("/notifications/settings", settings)
        due = "SELECT account, lot FROM lot WHERE look_at <= clock_timestamp() ORDER BY account, lot"
        assert await desk.query(due) == []
        assert await desk.execute(usecases.look_again, usecases.LookAgain(4)) == [True]
        some = [("corner.m-1", "1"), ("corner.m-1", "2"), ("corner.m-2", "1"), ("corner.m-2", "2")]
        assert await desk.query(due) == some
        assert await desk.execute(usecases.look_again, usecases.LookAgain(4)) == [True]
        assert await desk.query(due) == [*some, ("corner.m-3", "1"), ("corner.m-3", "2")]
        assert await desk.execute(usecases.look_again, usecases.LookAgain(4)) == [True]
        assert await desk.execute(usecases.look_again, usecases.LookAgain(4)) == [False]
        assert await desk.query("SELECT shop FROM look_again") == []


async def test_settings_that_change_while_lots_are_looked_at_again_begin_anew(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly("m-1")
        await desk.tell(desk.entry("m-1", change=10, lot="1", expires_at=midnight(61)))
        for lead in (90, 80):
            await desk.put("/notifications/settings", {"reminders": {"lead_days": [lead], "local_time": "00:00"}})
            await desk.execute(usecases.look_again, usecases.LookAgain(1))
            assert await desk.query("SELECT lot FROM look_again") == ["1"]
        await desk.put("/notifications/settings", {"reminders": {"lead_days": [70], "local_time": "00:00"}})
        assert await desk.query("SELECT lot FROM look_again") == [""]


async def test_other_lead_times_hold_for_lots_that_are_there_and_what_was_announced_is_not_again(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly("m-1")
        await desk.tell(desk.entry("m-1", change=10, lot="l-1", expires_at=midnight(61)))
        await look(desk, midnight(30) + timedelta(hours=9))
        settings = {"reminders": {"lead_days": [30, 10, 3], "local_time": "18:30"}}
        assert (await desk.put("/notifications/settings", settings))["reminders"] == settings["reminders"]
        for days in (30, 10, 7, 3, 1):
            await look(desk, midnight(60 - days) + timedelta(hours=18, minutes=30))
    assert await announced(desk) == [("m-1", 10, 30), ("m-1", 10, 10), ("m-1", 10, 3)]


async def test_the_shops_zone_decides_the_instant(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly("m-1")
    await desk.tell(desk.entry("m-1", change=10, lot="l-1", expires_at=midnight(61)))
    (before,) = await desk.query("SELECT look_at FROM lot")
    from notifications.consumers import learn

    moved = desk.programme(revision=2, zone="Asia/Tokyo")
    await desk.execute(usecases.learn_programmes, learn(moved, None))
    await look(desk)
    (after,) = await desk.query("SELECT look_at FROM lot")
    assert before - after in (timedelta(hours=7), timedelta(hours=8), timedelta(hours=-16), timedelta(hours=-17))


async def test_the_announcement_reaches_the_member(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1", language="es", points_name="puntos")
        await world.put("/notifications/settings", {"reminders": {"lead_days": [20], "local_time": "00:00"}})
        yesterday = datetime.now(UTC) - timedelta(days=9)
        entry = world.entry(
            "m-1", change=1200, lot="l-1", expires_at=midnight(15), activates_at=yesterday, at=yesterday
        )
        await world.publish(entry)  # too old to be told itself
        await wait_until(lambda: world.mail.mails)
    (mail,) = world.mail.mails
    assert mail["Subject"].startswith("1.200 puntos caducan el ")
    assert mail["Content-Language"] == "es"
