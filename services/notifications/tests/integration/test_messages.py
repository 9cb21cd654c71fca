"""Messages: who is told what, once each, nothing lost."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.ledger import Buckets
from notifications import measures, usecases
from notifications.consumers import tell
from testkit import wait_until


async def test_a_member_is_told_of_points_earned(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1")
        await world.publish(world.entry("m-1", change=11))
        await wait_until(lambda: world.mail.mails)
    (mail,) = world.mail.mails
    assert mail["Subject"] == "You earned 11 points"
    assert mail["To"] == "M-1 <m-1@example.com>"
    assert mail["From"] == "points@shop.example"
    text = mail.get_body(("plain",)).get_content()
    assert "Hello M-1," in text
    assert "with order o-1" in text
    assert "Your balance with corner: 101 points." in text
    assert "Hello M-1" in mail.get_body(("html",)).get_content()
    ((delivery, state, attempts),) = await world.query("SELECT delivery, state, attempts FROM delivery")
    assert (state, attempts) == ("sent", 1)
    assert mail["Message-ID"] == f"<{delivery}@shop.example>"


async def test_what_the_rules_give_for_one_order_is_one_mail_and_a_webhook_each(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly("m-1")
        await desk.put("/webhooks/shop-system", {"url": "http://127.0.0.1:9/hook"})
    await desk.tell(
        *(desk.entry("m-1", change=points, order="o-1") for points in (10, 20, 30)),
        desk.entry("m-2", change=1, order="o-1"),
        desk.entry("m-1", change=4, order="o-2"),
        desk.entry("m-1", "revoke", change=-10, order="o-1"),
        desk.entry("m-1", "revoke", change=-20, order="o-1"),
        desk.entry("m-1", "credit", change=7, order=None),
        desk.entry("m-1", "credit", change=8, order=None),
    )
    asked = (
        "SELECT json_build_array(m.scenario, m.facts->'change', m.facts->'available', m.facts->'order')"
        " FROM delivery AS d JOIN message AS m USING (message) WHERE m.member = 'm-1' AND d.channel = '{}'"
        " ORDER BY d.number"
    )
    assert [json.loads(row) for row in await desk.query(asked.format("email"))] == [
        ["points_earned", 60, 103, "o-1"],
        ["points_earned", 4, 104, "o-2"],
        ["points_revoked", -30, 106, "o-1"],
        ["points_adjusted", 7, 107, None],
        ["points_adjusted", 8, 108, None],
    ]
    each = [json.loads(row)[1] for row in await desk.query(asked.format("webhook"))]
    assert each == [10, 20, 30, 4, -10, -20, 7, 8]
    assert await desk.query("SELECT count(*) FROM message AS m WHERE member = 'm-1'") == [5 + 5]


async def test_other_assets_are_not_mistaken_for_points(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1")
        for seq, asset in enumerate(("stored_value", "growth", "passes", "something-new"), start=1):
            await world.publish(
                world.entry(
                    "m-1",
                    change=500,
                    seq=seq,
                    asset=asset,
                    account=f"a-{asset}",
                    lot=str(seq),
                    expires_at=datetime.now(UTC) + timedelta(days=60),
                )
            )
        await world.publish(world.entry("m-1", change=11))
        await world.consumed(5)
        await wait_until(lambda: world.mail.mails)
    assert world.mail.subjects() == ["You earned 11 points"]
    assert await world.query("SELECT count(*) FROM message") == [1]
    assert await world.query("SELECT count(*) FROM lot") == [0]
    assert await world.query("SELECT count(*) FROM account") == [1]


async def test_a_database_that_was_put_back_tells_again_under_the_same_ids(desk: Any, put_back: Any) -> None:
    """Its positions are of then, too, so it tells what came since once more; a mailbox or a shop knows it by its id."""
    now = datetime.now(UTC)
    lot = {"lot": "l-1", "activates_at": now - timedelta(days=300), "expires_at": now + timedelta(days=20)}
    entries = [desk.entry("m-1", change=11), desk.entry("m-1", kind="release", change=5, **lot)]
    told = []
    for world in (desk, put_back):
        async with world.running("api"):
            await world.open_shop_directly("m-1")
            await world.put("/webhooks/shop-system", {"url": "http://127.0.0.1:9/hook"})
        await world.tell(*entries)
        await world.execute(usecases.announce_ends, usecases.AnnounceEnds(10))
        told.append(await world.query("SELECT delivery FROM delivery ORDER BY number"))
    assert told[0] == told[1]
    assert len({*told[0]}) == 4, "two of an entry, by e-mail and to the shop, and two of an end"


async def test_redelivery_the_same_event_five_times_is_one_message(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1")
        first, second = world.entry("m-1", change=1), world.entry("m-1", change=2)
        await world.publish(*[first] * 5, second, *[first] * 3, second)
        await world.consumed(10)
        await wait_until(lambda: len(world.mail.mails) == 2)
    assert world.mail.subjects() == ["You earned 1 points", "You earned 2 points"]
    assert await world.query("SELECT count(*) FROM message") == [2]
    assert await world.query("SELECT count(*) FROM delivery") == [2]


async def test_the_natural_key_alone_keeps_a_message_from_being_told_twice(world: Any) -> None:
    """The second defence: even when how far an account was told has been forgotten."""
    async with world.running():
        await world.open_shop("m-1")
        await world.publish(world.entry("m-1", change=1))
        await wait_until(lambda: world.mail.mails)
        database = world.database()
        async with database.begin() as tx:
            await tx.driver.execute("UPDATE account SET seq = 0")
        await database.close()
        await world.publish(world.entry("m-1", change=1, seq=1))
        await world.consumed(2)
    assert await world.query("SELECT seq FROM account") == [1]
    assert await world.query("SELECT count(*) FROM delivery") == [1]
    assert len(world.mail.mails) == 1


async def test_a_members_messages_arrive_in_order(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1", "m-2", "m-3")
        members = ["m-1", "m-2", "m-3"]
        await world.publish(*(world.entry(member, change=n) for n in range(1, 21) for member in members))
        await wait_until(lambda: len(world.mail.mails) == 60)
    expected = [f"You earned {n} points" for n in range(1, 21)]
    for member in members:
        assert world.mail.subjects(f"{member}@example.com") == expected


async def test_a_member_without_an_address_is_told_nothing_and_costs_no_row(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1")
        await world.publish(world.entry("m-9"), world.entry("m-1"))
        await wait_until(lambda: world.mail.mails)
        await world.put("/members/m-9/contact", {"email": "m-9@example.com"})
        await world.publish(world.entry("m-9", change=7))
        await wait_until(lambda: len(world.mail.mails) == 2)
    assert world.mail.subjects("m-9@example.com") == ["You earned 7 points"]
    assert await world.query("SELECT count(*) FROM message") == [2]


async def test_entries_of_a_shop_that_is_not_known_yet_wait_and_are_told_in_order(world: Any) -> None:
    async with world.running():
        await world.publish(*(world.entry("m-1", change=n) for n in (1, 2, 3)))
        await world.consumed(3)
        assert await world.query("SELECT count(*) FROM message") == [0]
        database = world.database()
        async with database.begin() as tx:
            await tx.driver.execute(
                "INSERT INTO contact (shop, member, email, updated_at) VALUES ('corner', 'm-1', 'a@x.example', now())"
            )
        await database.close()
        await world.publish(world.programme())
        await wait_until(lambda: len(world.mail.mails) == 3)
    assert world.mail.subjects() == [f"You earned {n} points" for n in (1, 2, 3)]


async def test_repeats_and_a_fork_beside_news_in_one_batch_are_told_apart(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly("m-1", "m-2")
    ours = [desk.entry("m-1", change=n) for n in range(1, 6)]
    theirs = [desk.entry("m-2", change=n) for n in range(1, 4)]
    await desk.tell(*ours[:2], *theirs[:2])
    forks, repeats = measures.FORKS._value.get(), measures.REPEATS._value.get()
    forged = theirs[1].model_copy(update={"hash": "forged"})
    await desk.tell(ours[1], theirs[2], ours[2], forged, ours[2], ours[3], ours[0], ours[4])
    assert measures.FORKS._value.get() - forks == 0  # its number is behind the last one told by then
    assert measures.REPEATS._value.get() - repeats == 4
    await desk.tell(ours[4].model_copy(update={"hash": "forged"}))
    assert measures.FORKS._value.get() - forks == 1
    told = "SELECT (facts->>'change')::int FROM delivery JOIN message USING (message) WHERE member = $1 ORDER BY number"
    assert await desk.query(told, "m-1") == [1, 2, 3, 4, 5]
    assert await desk.query(told, "m-2") == [1, 2, 3]
    assert await desk.query("SELECT member, seq, hash FROM account ORDER BY member") == [
        ("m-1", 5, "1-5"),
        ("m-2", 3, "1-3"),
    ]


async def test_a_malformed_event_is_a_dead_letter_and_the_stream_goes_on(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1")
        await world.publish_raw(b'{"shop": "corner"}')
        await world.publish(world.entry("m-1"))
        await wait_until(lambda: world.mail.mails)
        response = await world.ask("GET", "/notifications/dead-letters")
    ((code, value),) = await world.query("SELECT code, value FROM dead_letter")
    assert (code, bytes(value)) == ("malformed", b'{"shop": "corner"}')
    assert len(response.json()["dead_letters"]) == 1


async def test_old_news_is_recorded_as_seen_and_not_told(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1")
        await world.put("/notifications/settings", {"stale_after_hours": 1})
        late = datetime.now(UTC) - timedelta(hours=2)
        await world.publish(world.entry("m-1", at=late), world.entry("m-1", change=2))
        await wait_until(lambda: world.mail.mails)
    assert world.mail.subjects() == ["You earned 2 points"]
    assert await world.query("SELECT seq FROM account") == [2]


async def test_each_scenario_is_told_in_its_own_words(world: Any) -> None:
    now = datetime.now(UTC)
    async with world.running():
        await world.open_shop("m-1", points_name="stars")
        await world.publish(
            world.entry(kind="award", change=10),
            world.entry(
                kind="award",
                change=20,
                changes=Buckets(pending=20),
                lot="l-1",
                activates_at=now + timedelta(days=3),
                expires_at=now + timedelta(days=60),
            ),
            world.entry(kind="activate", changes=Buckets(pending=-20, available=20)),
            world.entry(kind="hold", changes=Buckets(available=-5, held=5)),
            world.entry(kind="capture", changes=Buckets(held=-5)),
            world.entry(kind="give_back", change=3),
            world.entry(kind="credit", change=4),
            world.entry(kind="debit", change=-2),
            world.entry(kind="revoke", change=-6, order=None),
            world.entry(kind="expire", change=-7),
        )
        await wait_until(lambda: len(world.mail.mails) == 9)
    assert world.mail.subjects() == [
        "You earned 10 stars",
        "20 stars are on their way",
        "20 stars are now yours to use",
        "You used 5 stars",
        "3 stars are back",
        "Your stars have been adjusted",
        "Your stars have been adjusted",
        "6 stars have been taken back",
        "7 stars have expired",
    ]


async def test_a_programme_that_is_off_is_silent_and_the_newest_revision_holds(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1")
        await world.publish(world.programme(revision=3, on=False), world.programme(revision=2))
        await world.consumed(3, "programmes")
        await world.publish(world.entry("m-1", change=1))
        await world.consumed(1)
        await world.publish(world.programme(revision=4))
        await world.consumed(4, "programmes")
        await world.publish(world.entry("m-1", change=2))
        await wait_until(lambda: world.mail.mails)
    assert world.mail.subjects() == ["You earned 2 points"]


async def test_a_transaction_that_fails_tells_nothing(world: Any) -> None:
    """Projection, messages and deliveries are one transaction."""
    async with world.running():
        await world.open_shop("m-1")
    database = world.database()
    command = tell(world.entry("m-1"), _Received())

    async def breaks(tx: Any, commands: Any) -> Any:
        await usecases.tell(tx, commands)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.execute(breaks, [command])
    for table in ("account", "message", "delivery", "stream"):
        assert await world.query(f"SELECT count(*) FROM {table}") == [0]
    await database.execute(usecases.tell, [command])
    assert await world.query("SELECT count(*) FROM delivery") == [1]
    await database.close()


class _Received:
    traceparent = None


async def test_the_trace_goes_from_the_event_to_the_sending(world: Any) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with world.running():
        await world.open_shop("m-1")
        await world.put("/webhooks/till", {"url": world.receiver.url})
        await world.publish(world.entry("m-1"), headers={"traceparent": trace.encode()})
        await wait_until(lambda: world.receiver.calls)
    (stored,) = await world.query("SELECT traceparent FROM message")
    assert stored.split("-")[1] == trace.split("-")[1]
    assert world.receiver.calls[0].headers["traceparent"].split("-")[1] == trace.split("-")[1]
    assert json.loads(world.receiver.calls[0].body)["type"] == "points.earned"


async def test_a_burst_drains_over_few_connections(world: Any) -> None:
    members = [f"m-{n}" for n in range(1, 101)]
    async with world.running():
        await world.open_shop(*members)
        await world.publish(*(world.entry(member, change=n) for n in range(1, 6) for member in members))
        await wait_until(lambda: len(world.mail.mails) == 500, timeout_seconds=60)
    assert len(set(world.mail.ids())) == 500
    assert world.mail.connections <= 2 * world.settings.smtp_connections
    assert await world.query("SELECT DISTINCT state FROM delivery") == ["sent"]
    assert await world.query("SELECT count(*) FROM stream WHERE next_at IS NOT NULL OR lease IS NOT NULL") == [0]
