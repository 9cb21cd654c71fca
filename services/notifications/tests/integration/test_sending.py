"""Sending: at least once with ids that stay, in order, over faults of either side."""

import asyncio
import base64
import dataclasses
import hashlib
import hmac
import json
import os
import sys
from typing import Any
from uuid import UUID

import pytest

from chassis import Database
from chassis.ids import new_uuid
from notifications import jobs, store, usecases
from notifications.domain import Channel
from testkit import wait_until
from testkit.plans import plan_for_any, plan_of


def crashing(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Let the recording of results die so many times, after the sending and before the commit."""
    real, crashes = usecases.finish, []

    async def finish(tx: Any, commands: Any) -> Any:
        if len(crashes) < times:
            crashes.append(len(commands))
            raise ConnectionError("lost between send and record")
        return await real(tx, commands)

    monkeypatch.setattr(usecases, "finish", finish)
    return crashes


async def test_a_crash_between_send_and_record_repeats_the_same_id(desk: Any) -> None:
    """The e-mail was taken, nothing was recorded: the next sender sends it again, recognisably."""
    async with desk.running("api"):
        await desk.open_shop_directly("m-1")
    await desk.tell(desk.entry("m-1", change=5))
    database = desk.database()
    claim = usecases.Claim(Channel.EMAIL, UUID(int=new_uuid().int), lease_seconds=0.2, limit=10, depth=10)
    ((work,),) = await database.execute(usecases.claim, [claim])
    mailer = jobs.mailer(desk.settings)
    from notifications.sending import email_attempt

    async with mailer:
        await email_attempt(mailer, sender=desk.settings.smtp_sender)(work)
    # Here the process dies: its lease runs out, and another takes over.
    await database.close()
    async with desk.running("jobs"):
        await wait_until(lambda: len(desk.mail.mails) == 2)
        await wait_until(lambda: desk.query("SELECT FROM delivery WHERE state = 'sent'"))
    assert desk.mail.ids() == [f"<{work.claimed.delivery}@shop.example>"] * 2


async def test_results_that_could_not_be_recorded_are_kept_and_not_sent_again(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes = crashing(monkeypatch, 3)
    async with world.running(retry_seconds=0):
        await world.open_shop("m-1")
        await world.publish(world.entry("m-1"))
        await wait_until(lambda: world.query("SELECT FROM delivery WHERE state = 'sent'"))
    assert len(crashes) == 3
    assert len(world.mail.mails) == 1


async def test_two_senders_never_make_the_same_delivery_at_the_same_time(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly(*(f"m-{n}" for n in range(30)))
    await desk.tell(*(desk.entry(f"m-{n}", change=5) for n in range(30)))
    database = desk.database()
    ids: list[str] = []
    for _ in range(10):
        claims = [
            usecases.Claim(Channel.EMAIL, UUID(int=new_uuid().int), lease_seconds=600, limit=6, depth=5)
            for _ in range(3)
        ]
        taken = await asyncio.gather(*(database.execute(usecases.claim, [each]) for each in claims))
        ids += [work.claimed.delivery for (answer,) in taken for work in answer]
    assert len(ids) == len(set(ids)) == 30
    await database.close()


async def test_a_lease_that_was_lost_releases_nothing(desk: Any) -> None:
    """A sender that wakes too late records what it sent, and leaves the stream to its new owner."""
    async with desk.running("api"):
        await desk.open_shop_directly("m-1")
    await desk.tell(desk.entry("m-1"), desk.entry("m-1"))
    database = desk.database()
    leases = [UUID(int=new_uuid().int) for _ in range(2)]
    ((first, _),) = await database.execute(usecases.claim, [usecases.Claim(Channel.EMAIL, leases[0], 0.001, 9, 9)])
    async with database.begin() as tx:
        await tx.driver.execute("SELECT pg_sleep(0.01)")
    await database.execute(usecases.claim, [usecases.Claim(Channel.EMAIL, leases[1], 60, 9, 9)])
    made = store.Made(first.claimed.delivery, "sent", counted=True, reason=None)
    await database.execute(usecases.finish, [usecases.Finish(first.claimed.stream, leases[0], (made,), None)])
    await database.close()
    ((lease,),) = [await desk.query("SELECT lease FROM stream")]
    assert str(lease) == str(leases[1])
    assert await desk.query("SELECT state FROM delivery ORDER BY number") == ["sent", "waiting"]


async def test_a_mail_server_that_is_down_loses_nothing_and_counts_no_attempt(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1", "m-2")
        world.mail.stop()
        await world.publish(world.entry("m-1", change=1), world.entry("m-2", change=2), world.entry("m-1", change=3))
        await wait_until(lambda: world.query("SELECT FROM delivery WHERE reason IS NOT NULL"))
        world.mail.start()
        await wait_until(lambda: len(world.mail.mails) == 3)
        await wait_until(lambda: world.query("SELECT FROM delivery HAVING count(*) FILTER (WHERE state = 'sent') = 3"))
    assert world.mail.subjects("m-1@example.com") == ["You earned 1 points", "You earned 3 points"]
    assert await world.query("SELECT DISTINCT attempts FROM delivery") == [1]


async def test_a_refusal_for_now_is_tried_again_in_order(world: Any) -> None:
    world.mail.answers["m-1@example.com"] = ["451 4.7.1 greylisted, come back"]
    async with world.running():
        await world.open_shop("m-1")
        await world.publish(world.entry("m-1", change=1), world.entry("m-1", change=2))
        await wait_until(lambda: len(world.mail.mails) == 2)
        await wait_until(lambda: world.query("SELECT FROM delivery HAVING count(*) FILTER (WHERE state = 'sent') = 2"))
    assert world.mail.subjects() == ["You earned 1 points", "You earned 2 points"]
    assert await world.query("SELECT attempts FROM delivery ORDER BY number") == [2, 1]


async def test_a_refusal_for_good_is_dead_and_visible_and_can_be_replayed(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1")
        await world.put("/members/m-1/contact", {"email": "nobody@example.com"})
        await world.publish(world.entry("m-1", change=1), world.entry("m-1", change=2))
        await wait_until(lambda: world.query("SELECT FROM delivery HAVING count(*) FILTER (WHERE state = 'dead') = 2"))
        dead = (await world.get("/notifications/deliveries?state=dead"))["deliveries"]
        assert [each["reason"] for each in dead] == ["address refused, 550: 5.1.1 <address>: no such user"] * 2
        await world.put("/members/m-1/contact", {"email": "m-1@example.com"})
        path = f"/notifications/deliveries/{dead[1]['delivery']}/replay"
        assert (await world.ask("POST", path, {}, key="k-1")).status_code == 200
        await wait_until(lambda: len(world.mail.mails) == 1)
        assert (await world.ask("POST", path, {}, key="k-1")).status_code == 200  # the same key changes nothing
        answer = await world.ask("POST", "/notifications/deliveries/replay-dead", {}, key="k-2")
        assert answer.json() == {"replayed": 1}
        await wait_until(lambda: len(world.mail.mails) == 2)
    assert world.mail.ids() == [f"<{each['delivery']}@shop.example>" for each in reversed(dead)]
    assert world.mail.subjects() == ["You earned 1 points", "You earned 2 points"]


async def test_a_contact_that_was_erased_and_a_member_who_opted_out_get_nothing_more(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly("m-1", "m-2", "m-3")
        await desk.tell(*(desk.entry(member, change=5) for member in ("m-1", "m-2", "m-3")))
        assert (await desk.ask("DELETE", "/members/m-1/contact")).status_code == 204
        await desk.put("/members/m-2/preferences", {"email": True, "muted": ["points_earned"]})
        assert (await desk.ask("GET", "/members/m-1/contact")).status_code == 404
    async with desk.running("jobs"):
        await wait_until(
            lambda: desk.query("SELECT FROM delivery HAVING count(*) FILTER (WHERE state = 'waiting') = 0")
        )
    rows = await desk.query(
        "SELECT m.member, d.state, d.reason FROM delivery d JOIN message m USING (message) ORDER BY 1"
    )
    assert rows == [("m-1", "dropped", "no_contact"), ("m-2", "dropped", "opted_out"), ("m-3", "sent", None)]
    assert desk.mail.recipients == ["m-3@example.com"]
    dump = await desk.query(
        "SELECT to_jsonb(message)::text || to_jsonb(delivery)::text FROM message JOIN delivery USING (message)"
    )
    assert not any("example.com" in row for row in dump)


def verified(call: Any, secret: str) -> bool:
    """A receiver's own check, by the specification's words."""
    content = f"{call.headers['webhook-id']}.{call.headers['webhook-timestamp']}.".encode() + call.body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return expected in call.headers["webhook-signature"].split(" ")


async def test_a_webhook_is_signed_and_stable_over_retries(world: Any) -> None:
    world.receiver.answers = [(500, {}), (302, {"location": "https://elsewhere.example/"}), (200, {})]
    async with world.running():
        await world.open_shop()
        await world.put("/webhooks/till", {"url": world.receiver.url, "scenarios": ["points_earned"]})
        secret = (await world.get("/webhooks/till/secret"))["secret"]
        await world.publish(world.entry("m-1", change=11), world.entry("m-1", kind="debit", change=-1))
        await wait_until(lambda: world.query("SELECT FROM delivery WHERE state = 'sent'"))
    calls = world.receiver.calls
    assert len(calls) == 3
    assert len({call.headers["webhook-id"] for call in calls}) == 1
    assert len({call.body for call in calls}) == 1
    assert all(verified(call, secret) for call in calls)
    assert int(calls[2].headers["webhook-timestamp"]) > int(calls[0].headers["webhook-timestamp"])
    body = json.loads(calls[0].body)
    assert (body["type"], body["data"]["member"], body["data"]["points"]) == ("points.earned", "m-1", 11)
    assert await world.query("SELECT delivery::text, attempts FROM delivery") == [(calls[0].headers["webhook-id"], 3)]


async def test_webhooks_are_ordered_per_member_and_members_do_not_wait_for_each_other(world: Any) -> None:
    world.receiver.answers = [(503, {"retry-after": "1"})]
    async with world.running():
        await world.open_shop()
        await world.put("/webhooks/till", {"url": world.receiver.url})
        await world.publish(*(world.entry(member, change=n) for n in (1, 2, 3) for member in ("m-1", "m-2")))
        await wait_until(lambda: world.query("SELECT FROM delivery HAVING count(*) FILTER (WHERE state = 'sent') = 6"))
    bodies = [json.loads(call.body)["data"] for call in world.receiver.calls[1:]]
    refused = json.loads(world.receiver.calls[0].body)["data"]["member"]
    for member in ("m-1", "m-2"):
        assert [each["points"] for each in bodies if each["member"] == member] == [1, 2, 3]
    assert bodies[-1]["member"] == refused  # the other one's three did not wait for it


async def test_a_rotated_secret_signs_beside_the_old_one(world: Any) -> None:
    async with world.running():
        await world.open_shop()
        await world.put("/webhooks/till", {"url": world.receiver.url})
        old = (await world.get("/webhooks/till/secret"))["secret"]
        answers = [
            await world.ask("POST", "/webhooks/till/rotate-secret", {"keep_hours": 1}, key="k") for _ in range(2)
        ]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert "whsec_" not in answers[0].text
        new = (await world.get("/webhooks/till/secret"))["secret"]
        await world.publish(world.entry("m-1"))
        await wait_until(lambda: world.receiver.calls)
    assert old != new
    assert verified(world.receiver.calls[0], old)
    assert verified(world.receiver.calls[0], new)


async def test_an_endpoint_that_is_gone_is_disabled_and_its_deliveries_wait_for_a_person(world: Any) -> None:
    world.receiver.answers = [(410, {})]
    async with world.running():
        await world.open_shop()
        await world.put("/webhooks/till", {"url": world.receiver.url})
        await world.publish(world.entry("m-1", change=1))
        await wait_until(lambda: world.query("SELECT FROM endpoint WHERE NOT enabled"))
        await world.publish(world.entry("m-1", change=2))
        await world.consumed(2)
        endpoint = await world.get("/webhooks/till")
        assert (endpoint["enabled"], endpoint["disabled_reason"]) == (False, "answered 410 Gone")
        assert await world.query("SELECT state FROM delivery") == ["dead"]
        await world.put("/webhooks/till", {"url": world.receiver.url})
        await world.ask("POST", "/notifications/deliveries/replay-dead", {"endpoint": "till"}, key="k")
        await wait_until(lambda: world.query("SELECT FROM delivery WHERE state = 'sent'"))
    assert len({call.headers["webhook-id"] for call in world.receiver.calls}) == 1


async def test_a_failing_endpoint_is_left_alone_and_holds_up_no_other(world: Any) -> None:
    async with world.running(webhook_failures=3):
        await world.open_shop()
        await world.put("/webhooks/bad", {"url": "http://127.0.0.1:1/"})
        await world.put("/webhooks/good", {"url": world.receiver.url})
        await world.publish(*(world.entry(f"m-{n}", change=1) for n in range(60)))
        await wait_until(lambda: len(world.receiver.calls) == 60)
        await wait_until(lambda: world.query("SELECT FROM endpoint WHERE endpoint = 'bad' AND held_until > now()"))
    (attempts,) = await world.query("SELECT sum(attempts)::int FROM delivery WHERE endpoint = 'bad'")
    assert attempts < 60
    assert await world.query("SELECT count(*) FROM delivery WHERE endpoint = 'bad' AND state = 'waiting'") == [60]


async def test_a_name_that_leads_into_our_network_is_not_called(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that is connected to is the one that was checked, whatever the name says at another time."""
    port = desk.receiver.url.rsplit(":", 1)[1].split("/")[0]

    async def resolve(_loop: Any, host: str, *_: Any, **__: Any) -> Any:
        return [(2, 1, 6, "", ("127.0.0.1", int(port)))]

    async with desk.running("api"):
        await desk.open_shop_directly()
        await desk.put("/webhooks/till", {"url": f"http://shop.example:{port}/"})
        await desk.tell(desk.entry("m-1"))
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve, raising=False)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(type(loop), "getaddrinfo", resolve, raising=False)
    sender = jobs.send_webhooks(desk.settings.model_copy(update={"webhook_private_targets": False}))
    stop, database = asyncio.Event(), _local(desk)
    task = asyncio.create_task(sender(database, stop))
    await wait_until(lambda: desk.query("SELECT FROM delivery WHERE state = 'dead'"))
    stop.set()
    await task
    await database.close()
    assert desk.receiver.calls == []
    assert await desk.query("SELECT reason FROM delivery") == ["its name leads to an address of a private network"]


def _local(desk: Any) -> Database:
    return desk.database()  # type: ignore[no-any-return]


async def test_a_deleted_endpoint_is_called_no_more(desk: Any) -> None:
    async with desk.running("api"):
        await desk.open_shop_directly()
        await desk.put("/webhooks/till", {"url": desk.receiver.url})
        await desk.tell(desk.entry("m-1"))
        assert (await desk.ask("DELETE", "/webhooks/till")).status_code == 204
    async with desk.running("jobs"):
        await wait_until(lambda: desk.query("SELECT FROM delivery WHERE state = 'dropped'"))
    assert desk.receiver.calls == []


async def test_a_sender_killed_in_the_midst_loses_nothing_and_makes_no_second_id(desk: Any) -> None:
    members = [f"m-{n}" for n in range(60)]
    async with desk.running("api"):
        await desk.open_shop_directly(*members)
    await desk.tell(*(desk.entry(member, change=n) for n in (1, 2, 3) for member in members))
    environment = {
        **os.environ,
        "NOTIFICATIONS_DATABASE_URL": desk.settings.database_url.get_secret_value(),
        "NOTIFICATIONS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "NOTIFICATIONS_JWKS_FILE": str(desk.settings.jwks_file),
        "NOTIFICATIONS_HTTP_PORT": str(desk.settings.http_port),
        "NOTIFICATIONS_LEDGER_URL": desk.settings.ledger_url,
        "NOTIFICATIONS_SERVICE_TOKEN_FILE": str(desk.settings.service_token_file),
        "NOTIFICATIONS_SMTP_PORT": str(desk.mail.port),
        "NOTIFICATIONS_SMTP_SENDER": "points@shop.example",
        "NOTIFICATIONS_SMTP_TIMEOUT_SECONDS": "1",
        "NOTIFICATIONS_LEASE_SECONDS": "1",
    }
    sender = await asyncio.create_subprocess_exec(sys.executable, "-m", "notifications", "jobs", env=environment)
    await wait_until(lambda: len(desk.mail.mails) > 25, timeout_seconds=60)
    sender.kill()
    await sender.wait()
    assert await desk.query("SELECT DISTINCT state FROM delivery ORDER BY 1") in (["sent", "waiting"], ["waiting"])
    # Another process takes over; its job need not wait for the dead one's.
    stop, database = asyncio.Event(), desk.database()
    run = jobs.send_emails(desk.settings)
    task = asyncio.ensure_future(run(database, stop))
    await wait_until(
        lambda: desk.query("SELECT FROM delivery HAVING count(*) FILTER (WHERE state = 'sent') = 180"),
        timeout_seconds=60,
    )
    stop.set()
    await task
    await database.close()
    due = [f"<{each}@shop.example>" for each in await desk.query("SELECT delivery::text FROM delivery")]
    assert set(desk.mail.ids()) == set(due)
    for member in members:
        subjects = list(dict.fromkeys(desk.mail.subjects(f"{member}@example.com")))
        assert subjects == [f"You earned {n} points" for n in (1, 2, 3)]


async def test_looking_for_what_is_due_reads_nothing_that_is_not(desk: Any) -> None:
    database = desk.database()
    async with database.look() as driver:
        plan = await plan_of(driver, lambda asked: store.anything_due(asked, Channel.EMAIL))
    await database.close()
    assert "(next_at <=" in next(line for line in plan.splitlines() if "Index Cond" in line and "channel" in line)


@pytest.mark.parametrize(
    ("asked", "reads_by"),
    [
        ({}, "Index Cond: ((shop = $1) AND (number < $2))"),
        ({"before": 7, "channel": Channel.EMAIL}, "Index Cond: ((shop = $1) AND (number < $2))"),
        ({"state": "dead"}, "Index Scan Backward using delivery_dead on delivery d"),
    ],
)
async def test_a_page_of_deliveries_reads_no_others(desk: Any, asked: dict[str, Any], reads_by: str) -> None:
    database = desk.database()
    async with database.begin() as tx:
        plan = await plan_for_any(
            tx.driver,
            lambda driver: store.deliveries(dataclasses.replace(tx, driver=driver), "corner", limit=50, **asked),
        )
    await database.close()
    assert reads_by in plan
