"""Files through the gateway: sent as they are read, worked off through kills, and got back as a statement."""

import asyncio
import csv
import io
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx

from testkit import wait_until

Shop = Any

LINES = 30_000
MEMBERS = 400


async def send(shop: Shop, content: AsyncIterator[bytes] | bytes, **query: Any) -> httpx.Response:
    headers = {"idempotency-key": uuid.uuid4().hex, "content-type": "text/csv"}
    answer: httpx.Response = await shop.client.post(
        shop.path("imports"), params={"kind": "credit", **query}, content=content, headers=headers, timeout=60
    )
    return answer


async def until_over(shop: Shop, import_id: str, state: str = "done") -> dict[str, Any]:
    async def over() -> dict[str, Any] | None:
        try:
            one: dict[str, Any] = await shop.get(f"imports/{import_id}")
        except (AssertionError, httpx.TransportError):
            return None  # it is just being killed
        assert one["state"] in ("checking", "running", state), one
        return one if one["state"] == state else None

    return dict(await wait_until(over, timeout_seconds=120, what=f"the import to be {state}"))


def a_file(chance: random.Random) -> tuple[bytes, dict[str, int]]:
    """Credits of many members, one line in a hundred bad; and what each member must have in the end."""
    wanted: dict[str, int] = {}
    lines = ["member,amount,reason,expires_on"]
    for number in range(LINES):
        if number % 100 == 50:
            lines.append("somebody@example.com,1,gift,")
            continue
        member, amount = f"i-{chance.randrange(MEMBERS)}", chance.randint(1, 9)
        wanted[member] = wanted.get(member, 0) + amount
        lines.append(f"{member},{amount},gift,2030-01-31")
    return "\n".join(lines).encode(), wanted


async def test_a_file_is_posted_once_through_kills_and_when_it_is_sent_again(shop: Shop) -> None:
    file, wanted = a_file(random.Random(1))
    assert len(file) < 1_048_576 * 2

    async def piece_by_piece() -> AsyncIterator[bytes]:
        for start in range(0, len(file), 10_000):
            yield file[start : start + 10_000]

    tried = await send(shop, piece_by_piece(), dry_run=True)
    assert tried.status_code == 202, tried.text
    checked = await until_over(shop, tried.json()["id"], "checked")
    assert (checked["posted"], checked["invalid"], checked["refused"]) == (LINES - 300, 300, 0)
    assert await shop.balance("i-1") == {"available": 0, "pending": 0, "held": 0, "debt": 0}

    sent = await send(shop, piece_by_piece())
    import_id = sent.json()["id"]
    for _ in range(3):
        await asyncio.sleep(0.4)
        shop.system.kill("ledger")
        await shop.system.until_ready()
    one = await until_over(shop, import_id)
    assert (one["posted"], one["repeated"], one["invalid"]) == (LINES - 300, 0, 300)
    assert one["points_credited"] == sum(wanted.values())
    again = await until_over(shop, (await send(shop, file)).json()["id"])
    assert (again["posted"], again["repeated"], again["points_credited"]) == (0, LINES - 300, 0)

    for member in ("i-0", "i-7", "i-399"):
        assert (await shop.balance(member))["available"] == wanted[member]
    check = await shop.get("ledger/check", chains=True)
    assert (check["sum_of_accounts"], check["replay_mismatches"], check["chain_breaks"]) == (0, 0, 0)

    statement = await shop.client.get(shop.path("entries.csv"), timeout=60)
    assert statement.headers["content-type"].startswith("text/csv")
    found: dict[str, int] = {}
    for row in csv.DictReader(io.StringIO(statement.text, newline="")):
        found[row["member"]] = found.get(row["member"], 0) + int(row["available"])
        assert (row["kind"], row["reason"], row["source"]) == ("credit", "gift", "import")
    assert found == wanted
    errors = await shop.client.get(shop.path(f"imports/{import_id}/errors"), timeout=60)
    refused = list(csv.DictReader(io.StringIO(errors.text, newline="")))
    assert len(refused) == 300
    assert {row["code"] for row in refused} == {"member_invalid"}


async def test_a_file_larger_than_any_other_body_passes_and_one_that_is_cut_off_does_nothing(shop: Shop) -> None:
    wide = b"member,amount,reason\n" + b"".join(b"w-%d,1,%s\n" % (number % 9, b"r" * 64) for number in range(40_000))
    assert len(wide) > 2 * 1_048_576

    async def broken() -> AsyncIterator[bytes]:
        yield wide[: len(wide) // 2]
        await asyncio.sleep(0.5)
        raise ConnectionError("the sender is gone")

    try:
        await send(shop, broken())
    except ConnectionError:
        pass
    else:
        raise AssertionError("it should have broken off")
    assert (await shop.get("imports"))["imports"] == []
    one = await until_over(shop, (await send(shop, wide)).json()["id"])
    assert (one["posted"], one["repeated"]) == (40_000, 0)
    assert len((await shop.get("imports"))["imports"]) == 1


async def test_bad_files_are_refused_and_other_routes_keep_their_limit(shop: Shop) -> None:
    answer = await send(shop, b"member;amount;reason\nm-1;5;gift\n")
    assert (answer.status_code, answer.json()["code"]) == (422, "import_header_invalid")
    answer = await send(shop, b"member,amount,reason\nm-1,5,gift\n", kind="gift")
    assert answer.status_code == 422
    big = {
        "postings": [{"key": "k", "member": "m-1", "effect": {"kind": "award", "amount": 1}, "order": "x" * 2_000_000}]
    }
    answer = await shop.client.post(shop.path("postings"), json=big)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert (await shop.get("imports"))["imports"] == []
