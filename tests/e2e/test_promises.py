"""What README.md promises, one test per promise and named after it."""

import asyncio
import base64
import json
import subprocess
import sys
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import TopicAuthorizationFailedError

from contracts import encode, topics
from contracts.orders import OrderCancelled, OrderFulfilled, OrderPlaced, OrderRefunded
from contracts.postings import Award, PostingRequested
from testkit import wait_until

from .conftest import ONE_POINT_PER_DOLLAR, cancellation_of, refund_of

Shop = Any
Opener = Any


async def test_every_order_earns_exactly_once(shop: Shop) -> None:
    """However often, late or out of order its events come."""
    sold = await shop.sell(3_000, order="o-0", member="m-0")
    placed = OrderPlaced(**{**sold.__dict__, "revision": 0, "paid_at": None, "tenders": ()})
    done = OrderFulfilled(**{**sold.__dict__, "revision": 2, "fulfilled_at": datetime.now(UTC)})
    for number, arrival in enumerate(permutations((placed, sold, done)), start=1):
        for state in (*arrival, *arrival):
            fields = {**state.__dict__, "order": f"o-{number}", "member": f"m-{number}"}
            await shop.publish(type(state)(**fields))
    for number in range(7):
        await shop.until_balance(f"m-{number}", available=30)
        assert [entry["kind"] for entry in await shop.statement(f"m-{number}")] == ["award"]


async def test_returns_add_up(shop: Shop) -> None:
    """Any split of an order into returns takes back exactly what it gave."""
    for number, split in enumerate(((3_333, 3_333, 3_334), (1, 9_998, 1), (5_000, 5_000), (10_000,)), start=1):
        member = f"m-{number}"
        sold = await shop.sell(6_001, 3_999, member=member)
        await shop.until_balance(member, available=100)
        returns: tuple[Any, ...] = ()
        for place, amount in enumerate(split):
            returns = (*returns, refund_of(place, amount=amount))
            sold = await shop.change(sold, OrderRefunded, refunds=returns)
        await shop.until_balance(member)
        taken = [entry["changes"]["available"] for entry in await shop.statement(member) if entry["kind"] == "revoke"]
        assert sum(taken) == -100


async def test_points_are_never_spent_twice(shop: Shop) -> None:
    """20 checkouts and 20 debits at once, each for all there is: exactly one gets it."""
    await shop.sell(10_000)
    await shop.until_balance(available=100)

    async def hold(number: int) -> int:
        asked = {"checkout": f"c-{number}", "member": "anna", "cart": shop.cart(5_000), "points": 100}
        headers = {"idempotency-key": f"hold-{number}"}
        return (await shop.client.post(shop.path("checkouts"), json=asked, headers=headers)).status_code

    async def debit(number: int) -> int:
        posting = {
            "key": f"debit-{number}",
            "member": "anna",
            "cause": {"operator": "staff-1", "reason": "correction"},
            "effect": {"kind": "debit", "amount": 100},
        }
        headers = {"idempotency-key": f"debit-{number}"}
        answer = await shop.client.post(shop.path("postings"), json={"postings": [posting]}, headers=headers)
        return answer.status_code

    statuses = await asyncio.gather(*(call(number) for number in range(20) for call in (hold, debit)))
    assert sum(status in (200, 201) for status in statuses) == 1
    assert sum(status == 409 for status in statuses) == 39
    assert (await shop.balance())["available"] == 0


async def test_the_sum_of_all_accounts_is_zero(shop: Shop) -> None:
    """And balances are what a replay of the history gives."""
    sold = [await shop.sell(1_000 * number, member=f"m-{number}") for number in range(1, 6)]
    for number in range(1, 6):
        await shop.until_balance(f"m-{number}", available=10 * number)
    await shop.change(sold[0], OrderRefunded, refunds=(refund_of(1, amount=500),))
    await shop.change(sold[1], OrderCancelled, cancellations=(cancellation_of(sold[1]),))
    await shop.until_balance("m-1", available=5)
    await shop.until_balance("m-2")
    await shop.sums_are_right()
    checked = await shop.get("ledger/check")
    assert (checked["accounts"], checked["entries"]) == (5, 7)
    assert checked["system"]["issued"] == -150
    assert checked["system"]["revoked"] == 25


async def test_nobody_makes_points_past_the_rules(shop: Shop) -> None:
    """A shop platform asks the ledger for points, and tells others of some: Kafka takes neither. (`test_access` tries
    everybody on every topic.)"""
    await shop.sell(1_000)
    await shop.until_balance(available=10)
    asked = PostingRequested(
        shop=shop.id, member="anna", source="rules", posting="p-1", effect=Award(amount=1_000_000)
    )  # fmt: skip
    for topic in (topics.POSTINGS, topics.LEDGER):
        headers = [("ce_type", asked.type.encode()), ("ce_id", b"made-up"), ("ce_source", b"/accrual/rules")]
        with pytest.raises(TopicAuthorizationFailedError):
            await shop.publish_raw(f"{shop.id}/anna".encode(), encode(asked), headers, topic=topic.name)
    await shop.sell(500)
    await shop.until_balance(available=15)
    assert [entry["kind"] for entry in await shop.statement()] == ["award", "award"]


async def test_nobody_rewrites_the_history_unseen(shop: Shop, tmp_path: Path) -> None:
    """An export and a member's proof are verified by a program that shares nothing with the ledger; a changed byte is
    found."""
    for number in range(1, 6):
        await shop.sell(number * 1_000, member=f"m-{number}")
    for number in range(1, 6):
        await shop.until_balance(f"m-{number}", available=number * 10)
    settings = shop.system.settings
    held_against = ["--seals", str(settings.var / "seals"), "--key", str(settings.keys / "seal-key-public.pem")]
    file = tmp_path / "export.ndjson"

    async def sealed() -> Any:
        answer = await shop.client.get(shop.path("ledger/export"))
        assert answer.status_code == 200, answer.text
        file.write_bytes(answer.content)
        code, report = _verified("export", file, *held_against)
        assert report["unsealed"] == 0
        return code, report

    code, report = await wait_until(sealed, timeout_seconds=30, every_seconds=0.5, what="all entries to be sealed")
    assert (code, report["findings"], report["notes"], report["entries"]) == (0, [], [], 5)
    file.write_text(file.read_text().replace(b"m-3".hex(), b"m-4".hex(), 1))
    code, report = _verified("export", file, *held_against)
    assert code == 1
    assert "entry_changed" in report["counts"]
    file.write_text(json.dumps(await shop.get("members/m-3/proof")))
    code, report = _verified("proof", file, *held_against)
    assert (code, report["findings"], report["entry"]["available"]) == (0, [], 30)


def _verified(*arguments: Any) -> tuple[int, dict[str, Any]]:
    """Exit code and report of the program."""
    program = [sys.executable, "-m", "accrual_verify", *map(str, arguments), "--json"]
    done = subprocess.run(program, capture_output=True, check=False)
    assert done.stdout, done.stderr  # before the first seal there is no folder of seals
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("part", ["ledger", "rules"])
async def test_nothing_is_lost_when_a_part_is_killed(shop: Shop, part: str) -> None:
    """Services die at any moment, and nobody helps; the long runs are in tests/chaos."""
    for number in range(40):
        await shop.sell(1_000, order=f"o-{number}")
        if number == 20:
            shop.system.kill(part)
    await shop.system.until_ready()
    await shop.until_balance(available=400, within_seconds=60)
    entries = await shop.statement()
    assert sorted(entry["order"] for entry in entries) == sorted(f"o-{number}" for number in range(40))
    assert [entry["seq"] for entry in entries] == list(range(40, 0, -1))
    await shop.sums_are_right()


async def test_what_cannot_be_applied_is_kept_with_its_reason(opener: Opener) -> None:
    """And can be replayed once it is mended: a slip in a shop's rules gave more points than there can be."""
    shop = await opener(rules={"slip": {"earn": {"points": "9999999", "per": 1}}})
    sold = await shop.sell(100_000_000)
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"bad-1"), ("ce_source", b"/e2e"), ("ce_type", b"order-paid")]
    value = encode(sold).replace(b'"quantity":1', b'"quantity":"one"')
    await shop.publish_raw(f"{shop.id}/anna".encode(), value, headers)
    malformed, slip = await wait_until(lambda: _letters(shop, 2), timeout_seconds=20, what="two dead letters")
    assert (malformed["code"], slip["code"]) == ("malformed", "points_out_of_range")
    assert "lines.0.quantity" in malformed["detail"]
    assert base64.b64decode(malformed["value"]) == value
    replay = f"rules/dead-letters/{slip['id']}/replay"
    too_early = await shop.client.post(shop.path(replay), headers={"idempotency-key": "too-early"})
    assert 400 <= too_early.status_code < 500
    assert (await shop.balance())["available"] == 0
    await shop.make_rules(ONE_POINT_PER_DOLLAR, since=sold.placed_at)
    assert (await shop.post(replay))["replayed_at"] is not None
    await shop.until_balance(available=1_000_000)
    assert (await shop.post(replay))["replayed_at"] is not None
    await shop.publish(sold)
    await shop.sell(100)
    await shop.until_balance(available=1_000_001)


async def test_a_refusal_changes_nothing(shop: Shop) -> None:
    """And says why, as problem+json with a stable code."""
    await shop.sell(1_000)
    await shop.until_balance(available=10)
    before = await shop.get("members/anna/balances")
    refusals = {
        "too_many_points": ("checkouts", {"member": "anna", "cart": shop.cart(1_000), "points": 9_999}),
        "insufficient_points": (
            "postings",
            {
                "postings": [
                    {
                        "key": "too-much",
                        "member": "anna",
                        "cause": {"operator": "staff-1", "reason": "correction"},
                        "effect": {"kind": "debit", "amount": 11},
                    }
                ]
            },
        ),
        "rule_set_not_found": ("rule-sets/99/activate", {}),
    }
    for number, (code, (path, body)) in enumerate(refusals.items()):
        headers = {"idempotency-key": f"refused-{number}"}
        answer = await shop.client.post(shop.path(path), json=body, headers=headers)
        assert answer.headers["content-type"].startswith("application/problem+json")
        problem = answer.json()
        assert (problem["code"], problem["status"]) == (code, answer.status_code)
        assert problem["detail"]
    after = await shop.get("members/anna/balances")
    assert after["balances"] == before["balances"]
    kinds = [(entry["type"], entry.get("kind")) for entry in await shop.statement()]
    assert kinds == [("refusal", "debit"), ("entry", "award")]


async def test_one_shop_never_sees_anothers(opener: Opener) -> None:
    one, other = await opener(), await opener()
    await one.sell(1_000)
    await one.until_balance(available=10)
    for path in ("members/anna/balances", "members/anna/entries", "members/anna/messages", "programme", "rules"):
        answer = await other.client.get(one.path(path))
        assert (answer.status_code, answer.json()["code"]) == (404, "shop_not_found")
    assert await other.balance() == {"available": 0, "pending": 0, "held": 0, "debt": 0}
    assert await other.statement() == []


async def test_no_event_carries_personal_data(shop: Shop) -> None:
    """A member's address lives in one table that can be erased; ids that look like one are refused."""
    address, name = f"anna.{shop.id}@mail.example", "Anna Nass-Ausdruck"
    await shop.put("members/anna/contact", {"email": address, "name": name, "language": "en"})
    await shop.sell(1_000)
    await shop.until_balance(available=10)
    told = await wait_until(lambda: _messages(shop), timeout_seconds=20, what="the message")
    assert told
    seen = 0
    async for record in _everything(shop.system.bootstrap_servers):
        text = (record.key or b"") + (record.value or b"") + repr(record.headers).encode()
        assert address.encode() not in text
        assert name.encode() not in text
        seen += shop.id.encode() in text
    assert seen >= 4  # the programme, the order, the posting and the entry
    bad = json.loads(encode(shop.orders[next(iter(shop.orders))])) | {"member": "+4915112345678"}
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"x"), ("ce_source", b"/e2e"), ("ce_type", b"order-paid")]
    await shop.publish_raw(f"{shop.id}/x".encode(), json.dumps(bad).encode(), headers)
    letters = await wait_until(lambda: _letters(shop), timeout_seconds=20, what="the refusal of such an id")
    assert letters[0]["code"] == "malformed"
    assert "4915112345678" not in letters[0]["detail"]
    assert (await shop.client.delete(shop.path("members/anna/contact"))).status_code == 204
    assert (await shop.client.get(shop.path("members/anna/contact"))).status_code == 404


async def _messages(shop: Shop) -> Any:
    return (await shop.get("members/anna/messages"))["messages"]


async def _letters(shop: Shop, count: int = 1) -> Any:
    """The newest dead letters of rules, once there are so many."""
    found = (await shop.get("rules/dead-letters"))["dead_letters"]
    return found if len(found) >= count else None


async def _everything(bootstrap_servers: str) -> Any:
    """Every record that is on any topic of ours now."""
    names = [topic.name for topic in topics.ALL]
    kafka = AIOKafkaConsumer(*names, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await kafka.start()
    try:
        partitions = await wait_until(kafka.assignment, what="partitions")
        ends = await kafka.end_offsets(partitions)
        while any([await kafka.position(partition) < end for partition, end in ends.items()]):
            for records in (await kafka.getmany(timeout_ms=200)).values():
                for record in records:
                    yield record
    finally:
        await kafka.stop()
