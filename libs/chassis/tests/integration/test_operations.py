"""What operators see and do: dead letters, what waits, quarantines."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest

from chassis import Runtime, Transaction
from chassis.database import Database
from chassis.deadletters import expire, store
from chassis.messages import Message, Raw
from chassis.outcome import Poison
from chassis.waiting import join, quarantine
from contracts import encode
from testkit.plans import plan_of
from testkit.probe import Probe, activity
from testkit.tokens import Tokens

LETTERS = "/v1/shops/corner/probe/dead-letters"
KNOWN = {"corner"}


async def known(tx: Transaction, shops: set[str]) -> set[str]:
    return shops & KNOWN


@pytest.fixture
async def client(offline: Probe, tokens: Tokens) -> AsyncIterator[httpx.AsyncClient]:
    KNOWN.add("corner")
    offline.known = known
    async with offline.serving() as client:
        client.headers.update(tokens.headers("operations", "corner"))
        yield client


def _message(number: int, value: bytes | None, *, shop: str = "corner", key: bytes | None = b"corner/m-1") -> Message:
    raw = Raw("activities", 0, number, key, (("ce_type", b"activity-recorded"),), value)
    return Message(raw, shop, dead=Poison("unheard_of", "no such thing"))


async def _keep(probe: Probe, *messages: Message) -> None:
    database = Database(probe.settings)
    async with database.begin() as tx:
        await store(tx.driver, "activities", messages)
    await database.close()


async def _listed(client: httpx.AsyncClient, **parameters: Any) -> list[dict[str, Any]]:
    letters: list[dict[str, Any]] = (await client.get(LETTERS, params=parameters)).json()["dead_letters"]
    return letters


async def test_dead_letters_are_listed_with_bytes_and_reason_newest_first_page_by_page(
    client: httpx.AsyncClient, offline: Probe
) -> None:
    await _keep(offline, *(_message(number, b"\x00%d" % number) for number in range(5)))
    first = (await client.get(LETTERS, params={"limit": 2})).json()
    second = (await client.get(LETTERS, params={"limit": 2, "after": first["next"]})).json()
    third = (await client.get(LETTERS, params={"limit": 2, "after": second["next"]})).json()
    pages = [first, second, third]
    assert [[letter["offset"] for letter in page["dead_letters"]] for page in pages] == [[4, 3], [2, 1], [0]]
    assert third["next"] is None
    letter = first["dead_letters"][0]
    assert (letter["code"], letter["detail"], letter["size_bytes"]) == ("unheard_of", "no such thing", 2)
    assert base64.b64decode(letter["value"]) == b"\x004"


async def test_a_list_shows_the_beginning_of_a_large_message_and_one_letter_all_of_it(
    client: httpx.AsyncClient, offline: Probe
) -> None:
    await _keep(offline, _message(1, b"x" * 100_000), _message(2, None))
    nothing, large = await _listed(client)
    assert (nothing["value"], nothing["size_bytes"]) == (None, None)
    assert (len(base64.b64decode(large["value"])), large["size_bytes"]) == (16 * 1024, 100_000)
    whole = (await client.get(f"{LETTERS}/{large['id']}")).json()
    assert base64.b64decode(whole["value"]) == b"x" * 100_000


async def test_a_replay_applies_a_letter_once_however_often_it_is_asked_for(
    client: httpx.AsyncClient, offline: Probe
) -> None:
    await _keep(offline, _message(7, encode(activity(7))))
    (letter,) = await _listed(client)
    first = await client.post(f"{LETTERS}/{letter['id']}/replay")
    again = await client.post(f"{LETTERS}/{letter['id']}/replay")
    assert (first.status_code, first.json()) == (200, again.json())
    assert await offline.effects() == ["corner/a-7"]
    assert await offline.query("SELECT count(*) FROM outbox") == [1]
    assert (await _listed(client))[0]["replayed_at"] == first.json()["replayed_at"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", "malformed"),
        (encode(activity(7, kind="poison")), "unusable"),
        (encode(activity(7, kind="unmappable")), "unmappable"),
        (encode(activity(7, kind="bad-data")), "refused_by_database"),
    ],
)
async def test_a_letter_that_still_cannot_be_applied_stays_and_changes_nothing(
    client: httpx.AsyncClient, offline: Probe, value: bytes, reason: str
) -> None:
    await _keep(offline, _message(7, value))
    (letter,) = await _listed(client)
    answer = await client.post(f"{LETTERS}/{letter['id']}/replay")
    assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (409, "still_dead", reason)
    assert await offline.effects() == []
    assert await offline.query("SELECT count(*) FROM outbox") == [0]
    assert await _listed(client) == [letter]


async def test_a_letter_of_another_shop_is_not_there(client: httpx.AsyncClient, offline: Probe, tokens: Tokens) -> None:
    await _keep(offline, _message(7, encode(activity(7, shop="other")), shop="other", key=b"other/m-1"))
    (letter,) = await offline.query("SELECT id::text FROM dead_letter")
    assert await _listed(client) == []
    for method, path in (("GET", f"{LETTERS}/{letter}"), ("POST", f"{LETTERS}/{letter}/replay")):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "dead_letter_not_found")
        elsewhere = await client.request(method, path.replace("corner", "other"))
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "shop_not_found")
    assert await offline.effects() == []


async def test_letters_that_name_no_shop_are_seen_by_who_may_see_all(
    client: httpx.AsyncClient, offline: Probe, tokens: Tokens
) -> None:
    await _keep(offline, _message(1, encode(activity(1)), shop="", key=None), _message(2, b"{"))
    assert [letter["offset"] for letter in await _listed(client)] == [2]
    client.headers.update(tokens.headers("operations", "*"))
    everything = (await client.get("/v1/shops/*/probe/dead-letters")).json()["dead_letters"]
    assert [(letter["shop"], letter["offset"]) for letter in everything] == [("corner", 2), ("", 1)]
    answer = await client.post(f"/v1/shops/*/probe/dead-letters/{everything[1]['id']}/replay")
    assert answer.status_code == 200
    assert await offline.effects() == ["corner/a-1"]


async def test_a_replay_for_a_shop_that_is_not_known_yet_waits_with_the_others(
    client: httpx.AsyncClient, offline: Probe
) -> None:
    await _keep(offline, _message(7, encode(activity(7))))
    (letter,) = await _listed(client)
    KNOWN.clear()
    assert (await client.post(f"{LETTERS}/{letter['id']}/replay")).status_code == 200
    assert await offline.effects() == []
    assert await offline.query('SELECT "offset" FROM waiting') == [7]


async def test_what_waits_is_listed_with_its_quarantine_which_can_be_lifted(
    client: httpx.AsyncClient, offline: Probe
) -> None:
    database = Database(offline.settings)
    async with database.begin() as tx:
        await join(tx.driver, "activities", [_message(number, b"{}") for number in (5, 6, 7)])
        await quarantine(tx.driver, "activities", "corner", "too many")
    await database.close()
    first = (await client.get("/v1/shops/corner/probe/waiting", params={"limit": 2})).json()
    assert [message["offset"] for message in first["waiting"]] == [5, 6]
    assert [(q["consumer"], q["reason"]) for q in first["quarantines"]] == [("activities", "too many")]
    rest = (await client.get("/v1/shops/corner/probe/waiting", params={"after": first["next"]})).json()
    assert ([message["offset"] for message in rest["waiting"]], rest["next"]) == ([7], None)
    assert (await client.delete("/v1/shops/corner/probe/quarantine")).json() == {"lifted": 1}
    assert await offline.query("SELECT count(*) FROM quarantine") == [0]


async def test_what_needs_a_person_is_counted_for_the_alarms(offline: Probe) -> None:
    runtime = Runtime(offline.service())
    async with runtime.database.begin() as tx:
        await join(tx.driver, "activities", [_message(number, b"{}") for number in (5, 6, 7)])
        await quarantine(tx.driver, "activities", "corner", "too many")
        await store(tx.driver, "activities", [_message(8, b"{}")])
    await runtime._housekeep(runtime.database, asyncio.Event())
    told = generate_latest().decode().splitlines()
    for line in (
        'accrual_waiting_messages{consumer="activities"} 3.0',
        'accrual_shops_quarantined{consumer="activities"} 1.0',
        'accrual_dead_letters_waiting{consumer="activities"} 1.0',
    ):
        assert line in told
    await runtime.database.close()


async def test_operations_need_their_scope(client: httpx.AsyncClient, tokens: Tokens) -> None:
    client.headers.update(tokens.headers("ledger:read ledger:write rules:write", "corner"))
    for method, path in (
        ("GET", LETTERS),
        ("POST", f"{LETTERS}/00000000-0000-0000-0000-000000000000/replay"),
        ("GET", "/v1/shops/corner/probe/waiting"),
        ("DELETE", "/v1/shops/corner/probe/quarantine"),
    ):
        assert (await client.request(method, path)).json()["code"] == "scope_missing"


async def test_looking_for_old_letters_reads_no_young_ones(offline: Probe) -> None:
    database = Database(offline.settings)
    async with database.look() as driver:
        plan = await plan_of(driver, lambda asked: expire(asked, 30, 100))
    await database.close()
    assert "Index Cond: (received_at <" in plan
