"""The HTTP face: what it keeps, what it refuses, and that a refusal changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from testkit import wait_until

NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
async def face(desk: Any) -> AsyncIterator[Any]:
    """The API alone, with one open shop."""
    async with desk.running("api"):
        await desk.open_shop_directly()
        yield desk


async def code(face: Any, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
    response = await face.ask(method, path, body, **more)
    assert response.headers["content-type"] == "application/problem+json", response.text
    return response.status_code, response.json()["code"]


async def test_a_contact_is_kept_changed_and_erased(face: Any) -> None:
    path = "/members/m-1/contact"
    assert await code(face, "GET", path) == (404, "contact_not_found")
    first = {"email": "ana@example.com", "name": "Ana", "language": "es"}
    assert await face.put(path, first) == first
    second = {"email": "ana@other.example"}
    assert await face.put(path, second) == {"email": "ana@other.example", "name": None, "language": None}
    assert (await face.get(path))["email"] == "ana@other.example"
    for _ in range(2):
        assert (await face.ask("DELETE", path)).status_code == 204
    assert await face.query("SELECT count(*) FROM contact") == [0]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "ana"},
        {"email": "ana@example.com\r\nBcc: x@example.com"},
        {"email": "ana@example.com", "name": "Ana\nBcc: x"},
        {"email": "ana@example.com", "name": ""},
        {"email": "ana@example.com", "language": "Spanish"},
        {"email": "ana@example.com", "phone": "1"},
        {"email": ["ana@example.com"]},
        [],
        None,
    ],
)
async def test_a_contact_that_makes_no_sense_is_refused(face: Any, body: Any) -> None:
    status, reason = await code(face, "PUT", "/members/m-1/contact", body)
    assert (status, reason) == (422, "invalid_request")
    assert await face.query("SELECT count(*) FROM contact") == [0]


async def test_a_members_id_is_opaque(face: Any) -> None:
    for member in ("ana@example.com", "600 123 456", "+34600123456", "600123456", "x" * 65, "%00"):
        response = await face.ask("PUT", f"/members/{member}/contact", {"email": "ana@example.com"})
        assert response.status_code in (404, 422), member
    assert await face.query("SELECT count(*) FROM contact") == [0]


async def test_a_shop_that_is_not_known_is_not_found(face: Any) -> None:
    for method, path, body in (
        ("PUT", "/members/m-1/contact", {"email": "ana@example.com"}),
        ("PUT", "/members/m-1/preferences", {}),
        ("GET", "/notifications/settings", None),
        ("PUT", "/notifications/settings", {}),
        ("PUT", "/notifications/templates/points_earned/en", {"subject": "s", "text": "t"}),
        ("PUT", "/webhooks/till", {"url": "http://127.0.0.1:1/"}),
    ):
        assert await code(face, method, path, body, shop="nowhere") == (404, "shop_not_found")


async def test_who_may_do_what(face: Any) -> None:
    path, body = "/members/m-1/contact", {"email": "ana@example.com"}
    assert await code(face, "PUT", path, body, scope="messages:read") == (403, "scope_missing")
    assert await code(face, "GET", path, scope="messages:write") == (403, "scope_missing")
    assert await code(face, "GET", "/webhooks/till/secret", scope="messages:read") == (403, "scope_missing")
    response = await face.ask("PUT", path, body, as_shop="other")
    assert (response.status_code, response.json()["code"]) == (404, "shop_not_found")
    assert await face.query("SELECT count(*) FROM contact") == [0]


async def test_preferences_are_on_until_said_otherwise(face: Any) -> None:
    path = "/members/m-1/preferences"
    assert await face.get(path) == {"email": True, "muted": []}
    wanted = {"email": True, "muted": ["points_used", "points_earned"]}
    assert await face.put(path, wanted) == {"email": True, "muted": ["points_earned", "points_used"]}
    assert await code(face, "PUT", path, {"muted": ["nonsense"]}) == (422, "invalid_request")
    assert (await face.get(path))["muted"] == ["points_earned", "points_used"]


async def test_settings_are_replaced_as_a_whole(face: Any) -> None:
    path = "/notifications/settings"
    standard = await face.get(path)
    assert standard["reminders"] == {"lead_days": [30, 7, 1], "local_time": "09:00"}
    assert standard["scenarios"]["points_earned"] == {"email": True, "webhook": True}
    changed = {"scenarios": {"points_earned": {"email": False}}, "sender_name": "Corner", "stale_after_hours": 5}
    kept = await face.put(path, changed)
    assert kept["scenarios"]["points_earned"] == {"email": False, "webhook": True}
    assert (kept["sender_name"], kept["stale_after_hours"]) == ("Corner", 5)
    assert await face.put(path, standard) == standard
    for wrong in (
        {"reminders": {"lead_days": [-1]}},
        {"reminders": {"lead_days": list(range(11))}},
        {"reminders": {"local_time": "24:00"}},
        {"stale_after_hours": 0},
        {"reply_to": "nobody"},
        {"scenarios": {"nonsense": {}}},
        {"nonsense": 1},
    ):
        assert await code(face, "PUT", path, wrong) == (422, "invalid_request")
    assert await face.get(path) == standard


async def test_a_scenario_that_is_switched_off_is_not_told(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1")
        await world.put("/notifications/settings", {"scenarios": {"points_earned": {"email": False}}})
        await world.publish(world.entry("m-1", change=1), world.entry("m-1", kind="debit", change=-1))
        await wait_until(lambda: world.mail.mails)
    assert world.mail.subjects() == ["Your points have been adjusted"]


async def test_a_template_is_kept_used_and_taken_back(world: Any) -> None:
    path = "/notifications/templates/points_earned/en"
    words = {"subject": "{{ points }} for you", "text": "Dear {{ name }}", "html": "<b>{{ name }}</b>"}
    async with world.running():
        await world.open_shop("m-1")
        assert (await world.get(path))["own"] is False
        kept = await world.put(path, words)
        assert (kept["own"], kept["subject"]) == (True, "{{ points }} for you")
        await world.publish(world.entry("m-1", change=1))
        await wait_until(lambda: world.mail.mails)
        found = (await world.get("/notifications/templates"))["templates"]
        assert [each["language"] for each in found if each["own"]] == ["en"]
        assert len(found) == 22
        assert (await world.ask("DELETE", path)).status_code == 204
        await world.publish(world.entry("m-1", change=2))
        await wait_until(lambda: len(world.mail.mails) == 2)
    assert world.mail.subjects() == ["1 for you", "You earned 2 points"]
    assert world.mail.mails[0].get_body(("html",)).get_content().strip() == "<b>M-1</b>"


async def test_a_template_that_cannot_work_is_refused_and_the_one_before_stays(face: Any) -> None:
    path = "/notifications/templates/points_earned/en"
    good = {"subject": "s", "text": "t", "html": ""}
    await face.put(path, good)
    for text in ("{% for x in shop %}{% endfor %}", "{{ ''.__class__ }}", "{{ email }}", "{{"):
        response = await face.ask("PUT", path, good | {"text": text})
        assert (response.status_code, response.json()["code"]) == (422, "template_invalid")
        assert (response.json()["part"], response.json()["line"]) == ("text", 1)
    assert await code(face, "PUT", path, good | {"text": "x" * 20_000}) == (422, "invalid_request")
    assert await code(face, "PUT", "/notifications/templates/nonsense/en", good) == (422, "invalid_request")
    assert (await face.get(path))["text"] == "t"
    assert await code(face, "GET", "/notifications/templates/points_earned/fi") == (404, "template_not_found")


async def test_a_preview_shows_real_facts_and_sends_nothing(world: Any) -> None:
    path = "/notifications/templates/points_earned/en/preview"
    async with world.running():
        await world.open_shop("m-1")
        made_up = await world.ask("POST", path, {})
        assert made_up.json()["subject"] == "You earned 120 points"
        assert made_up.json()["message"] is None
        await world.publish(world.entry("m-1", change=77))
        await wait_until(lambda: world.mail.mails)
        words = {"subject": "{{ name }}: {{ points }}", "text": "t"}
        real = (await world.ask("POST", path, {"member": "m-1", "template": words})).json()
        assert real["subject"] == "M-1: 77"
        (message,) = await world.query("SELECT message::text FROM message")
        assert real["message"] == message
        assert await code(world, "POST", path, {"member": "m-1", "message": NOBODY}) == (404, "message_not_found")
        bad = {"template": words | {"text": "{{ 1 / 0 }}"}}
        assert await code(world, "POST", path, bad) == (422, "template_invalid")
    assert len(world.mail.mails) == 1
    assert await world.query("SELECT count(*) FROM template") == [0]


async def test_a_test_send_reaches_an_address_that_is_not_kept(face: Any) -> None:
    path = "/notifications/templates/points_earned/es/test-send"
    body = {"to": "editor@example.com"}
    assert await code(face, "POST", path, body) == (400, "idempotency_key_missing")
    first = (await face.ask("POST", path, body, key="k-1")).json()
    again = (await face.ask("POST", path, body, key="k-1")).json()
    assert (first["sent"], first["reason"]) == (True, None)
    assert first["message_id"] == again["message_id"] == face.mail.ids()[0]
    assert face.mail.recipients[0] == "editor@example.com"
    assert face.mail.subjects()[0] == "Has ganado 120 points"
    refused = (await face.ask("POST", path, {"to": "nobody@example.com"}, key="k-2")).json()
    assert refused["sent"] is False
    for table in ("message", "delivery", "contact", "idempotency"):
        assert await face.query(f"SELECT count(*) FROM {table}") == [0]


async def test_endpoints_are_kept_without_telling_their_secret(face: Any) -> None:
    body = {"url": "http://127.0.0.1:9/hook", "scenarios": ["points_used"]}
    made = await face.put("/webhooks/till", body)
    assert (made["endpoint"], made["url"], made["scenarios"], made["enabled"]) == (
        "till",
        body["url"],
        ["points_used"],
        True,
    )
    response = await face.ask("GET", "/webhooks")
    assert "whsec_" not in response.text
    secret = await face.get("/webhooks/till/secret")
    await face.put("/webhooks/till", {"url": "http://127.0.0.1:9/other", "enabled": False})
    assert await face.get("/webhooks/till/secret") == secret
    changed = await face.get("/webhooks/till")
    assert (changed["scenarios"], changed["enabled"], changed["disabled_reason"]) == (None, False, "switched off")
    for _ in range(2):
        assert (await face.ask("DELETE", "/webhooks/till")).status_code == 204
    assert await code(face, "GET", "/webhooks/till") == (404, "endpoint_not_found")
    assert await code(face, "GET", "/webhooks/till/secret") == (404, "endpoint_not_found")
    assert await code(face, "POST", "/webhooks/till/rotate-secret", {}, key="k") == (404, "endpoint_not_found")


async def test_an_address_inside_our_network_is_refused(desk: Any) -> None:
    async with desk.running("api", webhook_private_targets=False):
        await desk.open_shop_directly()
        for url in (
            "https://127.0.0.1/",
            "http://shop.example/",
            "https://169.254.169.254/",
            "https://localhost/",
            "x",
        ):
            assert await code(desk, "PUT", "/webhooks/till", {"url": url}) == (422, "target_refused")
        await desk.put("/webhooks/till", {"url": "https://shop.example/hook"})
    assert await desk.query("SELECT url FROM endpoint") == ["https://shop.example/hook"]


async def test_a_shop_has_so_many_endpoints_and_no_more(desk: Any) -> None:
    async with desk.running("api", webhook_endpoints=2):
        await desk.open_shop_directly()
        body = {"url": "http://127.0.0.1:9/"}
        for name in ("a", "b", "a"):
            await desk.put(f"/webhooks/{name}", body)
        assert await code(desk, "PUT", "/webhooks/c", body) == (409, "too_many_endpoints")
    assert await desk.query("SELECT count(*) FROM endpoint") == [2]


async def test_messages_and_deliveries_are_paged_newest_first(face: Any) -> None:
    await face.put("/members/m-1/contact", {"email": "m-1@example.com", "name": "Ana"})
    await face.tell(*(face.entry("m-1", change=n) for n in range(1, 6)))
    subjects, after = [], ""
    while True:
        page = await face.get(f"/members/m-1/messages?limit=2{after}")
        subjects += [each["subject"] for each in page["messages"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert subjects == [f"You earned {n} points" for n in (5, 4, 3, 2, 1)]
    message = page["messages"][0]
    assert "Hello Ana" in message["text"]
    assert message["facts"]["points"] == 1
    assert [each["state"] for each in message["deliveries"]] == ["waiting"]
    first = await face.get("/notifications/deliveries?limit=3&member=m-1&channel=email&state=waiting")
    rest = await face.get(f"/notifications/deliveries?limit=3&after={first['next']}")
    ids = [each["delivery"] for each in first["deliveries"] + rest["deliveries"]]
    assert (len(set(ids)), rest["next"]) == (5, None)
    assert (await face.get(f"/notifications/deliveries/{ids[0]}"))["attempts"] == 0
    assert (await face.get("/members/m-2/messages")) == {"messages": [], "next": None}


async def test_a_delivery_of_another_shop_is_not_found(face: Any) -> None:
    await face.put("/members/m-1/contact", {"email": "m-1@example.com"})
    await face.tell(face.entry("m-1"))
    (delivery,) = await face.query("SELECT delivery::text FROM delivery")
    for method, path in (("GET", ""), ("POST", "/replay")):
        for each, shop in ((delivery, "other"), (NOBODY, "corner")):
            asked = await code(face, method, f"/notifications/deliveries/{each}{path}", {}, shop=shop, key="k")
            assert asked == (404, "delivery_not_found")
    replay = f"/notifications/deliveries/{UUID(delivery)}/replay"
    assert await code(face, "POST", replay, {}, key="k") == (409, "delivery_not_replayable")


async def test_what_waits_and_what_is_dead_can_be_seen_in_the_metrics(world: Any) -> None:
    import httpx

    async def metrics() -> str:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"http://127.0.0.1:{world.settings.http_port}/metrics")).text

    async with world.running():
        await world.open_shop("m-1")
        await world.put("/members/m-1/contact", {"email": "nobody@example.com"})
        await world.publish(world.entry("m-1"), world.entry("m-7"))
        await wait_until(lambda: world.query("SELECT FROM delivery WHERE state = 'dead'"))
        from notifications import jobs

        database = world.database()
        await jobs.measure(database, asyncio.Event())
        await database.close()
        text = await metrics()
    assert 'accrual_notifications_dead{channel="email"} 1.0' in text
    assert 'accrual_notifications_waiting{channel="email"} 0.0' in text
    assert 'accrual_notifications_silences_total{reason="no_contact"}' in text
