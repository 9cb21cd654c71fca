"""Statements as CSV: every movement, with its cause and what it changed, in the memory of a page."""

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis.http import create_app
from ledger import usecases
from ledger.api import movements as routes
from ledger.domain import Award
from ledger.store import movements
from ledger.usecases import Asked

from .conftest import SHOP, Ledger, iso

M = "m-1"
OPERATOR = {"operator": "ana", "reason": "goodwill"}
CHANGES = ("available", "pending", "held", "debt")


async def sheet(ledger: Ledger, path: str = f"members/{M}/entries.csv", **query: Any) -> list[dict[str, str]]:
    answer = await ledger.http.get(f"/v1/shops/{SHOP}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"].startswith('attachment; filename="')
    found = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert answer.text.splitlines()[0].split(",") == list(routes.COLUMNS)
    return found


async def test_a_members_movements_with_cause_and_balance_before_and_after(ledger: Ledger) -> None:
    await ledger.award(
        M, 30, key="a-1", order="o-1", cause={"rule": "double", "rule_version": 3}, expires_at=iso(days=5)
    )
    await ledger.hold(M, 10, hold="h-1")
    await ledger.end("h-1", "capture")
    await ledger.done(M, {"kind": "credit", "amount": 5, "memo": "late parcel"}, cause=OPERATOR)
    await ledger.post(M, {"kind": "debit", "amount": 1_000}, cause=OPERATOR)  # refused: no movement
    award, hold, capture, credit = await sheet(ledger)
    assert [row["kind"] for row in (award, hold, capture, credit)] == ["award", "hold", "capture", "credit"]
    assert (award["member"], award["asset"], award["seq"], award["posting"], award["order"]) == (
        M,
        "points",
        "1",
        "a-1",
        "o-1",
    )
    assert (award["rule"], award["rule_version"], award["operator"]) == ("double", "3", "")
    assert award["cause"] == '{"rule":"double","rule_version":3}'
    assert (credit["operator"], credit["reason"], credit["memo"]) == ("ana", "goodwill", "late parcel")
    assert (hold["available"], hold["held"], hold["hold"]) == ("-10", "10", "h-1")
    assert (hold["available_before"], hold["available_after"], hold["held_before"], hold["held_after"]) == (
        "30",
        "20",
        "0",
        "10",
    )
    assert (capture["held"], capture["system"], capture["checkout"]) == ("-10", '{"redeemed":10}', "h-1")
    told = await ledger.entries(M)
    assert [row["hash"] for row in (credit, capture, hold, award)] == [line["hash"] for line in told[1:]]
    assert datetime.fromisoformat(award["at"]) == datetime.fromisoformat(told[-1]["at"])


async def test_changes_add_up_from_line_to_line(ledger: Ledger) -> None:
    await ledger.learn(shortfall="debt", revision=2)
    for number in range(5):
        await ledger.award(M, 10, key=f"a-{number}", activates_at=iso(hours=number % 2))
    await ledger.done(M, {"kind": "spend", "checkout": "c", "generation": 1, "amount": 60})
    before = dict.fromkeys(CHANGES, 0)
    for row in await sheet(ledger):
        assert {name: int(row[f"{name}_before"]) for name in CHANGES} == before
        before = {name: before[name] + int(row[name]) for name in CHANGES}
        assert {name: int(row[f"{name}_after"]) for name in CHANGES} == before
    assert before["debt"] < 0
    assert tuple(before.values()) == await ledger.buckets(M)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "=cmd|' /C calc'!A0"])
async def test_no_text_is_a_formula(ledger: Ledger, text: str) -> None:
    await ledger.done(M, {"kind": "credit", "amount": 5, "memo": text}, cause=OPERATOR, key="-2")
    (row,) = await sheet(ledger)
    assert (row["memo"], row["posting"], row["available"]) == (f"'{text}", "'-2", "5")
    await ledger.done(M, {"kind": "debit", "amount": 5, "memo": 'said "no", yes'}, cause=OPERATOR)
    assert ((await sheet(ledger))[1]["memo"], (await sheet(ledger))[1]["available"]) == ('said "no", yes', "-5")


async def test_filters_choose_lines(ledger: Ledger) -> None:
    for number in range(9):
        await ledger.award(M, number + 1, order=f"o-{number % 3}")
    await ledger.done(M, {"kind": "debit", "amount": 2}, cause=OPERATOR)
    every = await sheet(ledger)
    assert len(every) == 10
    assert [row["seq"] for row in await sheet(ledger, kind="debit")] == ["10"]
    assert [row["seq"] for row in await sheet(ledger, order="o-1")] == ["2", "5", "8"]
    at = [row["at"] for row in every]
    assert [row["seq"] for row in await sheet(ledger, since=at[3])] == [str(n) for n in range(4, 11)]
    assert [row["seq"] for row in await sheet(ledger, until=at[3])] == ["1", "2", "3"]
    assert [row["seq"] for row in await sheet(ledger, since=at[2], until=at[5], order="o-0")] == ["4"]
    assert await sheet(ledger, since=iso(days=1)) == await sheet(ledger, until=iso(days=-1)) == []
    assert await sheet(ledger, since=at[5], until=at[2]) == []
    assert await sheet(ledger, "members/nobody/entries.csv") == []


async def test_a_whole_shop_member_by_member(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movements, "ACCOUNTS_TOGETHER", 3)
    monkeypatch.setattr(movements, "ENTRIES_TOGETHER", 4)
    await ledger.learn("elsewhere")
    await ledger.http.post(
        "/v1/shops/elsewhere/postings",
        json={"postings": [{"key": "k", "member": "m-3", "effect": {"kind": "award", "amount": 1}}]},
    )
    for number in range(40):
        await ledger.award(f"m-{number % 7}", number + 1)
    await ledger.post("m-refused", {"kind": "debit", "amount": 1}, cause=OPERATOR)
    middle = (await sheet(ledger, "members/m-0/entries.csv"))[3]["at"]
    every = await sheet(ledger, "entries.csv")
    wanted = [(f"m-{member}", str(seq + 1)) for member in range(7) for seq in range(6 if member < 5 else 5)]
    assert [(row["member"], row["seq"]) for row in every] == wanted
    since = await sheet(ledger, "entries.csv", since=middle)
    until = await sheet(ledger, "entries.csv", until=middle)
    assert [row for row in every if row["at"] >= middle] == since
    assert [row for row in every if row["at"] < middle] == until
    assert [row["available"] for row in since if row["member"] == "m-0"] == ["22", "29", "36"]


@pytest.mark.parametrize("query", ["since=yesterday", "until=2026-01-01", "asset=gold", "kind=two words", "order=%00"])
async def test_odd_filters_are_refused_as_problems(ledger: Ledger, query: str) -> None:
    for path in (f"members/{M}/entries.csv", "entries.csv"):
        answer = await ledger.http.get(f"/v1/shops/{SHOP}/{path}?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    odd = await ledger.http.get(f"/v1/shops/{SHOP}/entries.csv", params={"since": "0001-01-01T00:00:00+14:00"})
    assert (odd.status_code, odd.json()["code"]) == (422, "instant_out_of_range")


async def test_a_reader_that_has_gone_is_sent_no_more(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movements, "ENTRIES_TOGETHER", 10)
    asked = [Asked(Award(shop=SHOP, member=M, source="s", key=f"a-{number}", amount=1)) for number in range(1_000)]
    await ledger.runtime.database.execute(usecases.obey, asked, lane_key=usecases.lane_key)
    sent: list[int] = []
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(len(message.get("body", b"")))
        if len(sent) == 5:
            gone.set()
        await asyncio.sleep(0)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": f"/v1/shops/{SHOP}/members/{M}/entries.csv", "raw_path": b"", "query_string": b"", "root_path": "",
        "headers": [(b"authorization", ledger.tokens.headers()["authorization"].encode())],
        "client": ("test", 1), "server": ("ledger", 80),
    }  # fmt: skip
    await create_app(ledger.runtime)(scope, receive, send)  # type: ignore[arg-type]
    assert 5 <= len(sent) < 20, "of a hundred pages"
    assert max(sent) < 10_000, "a page at a time"


async def test_a_long_history_is_read_by_its_numbers(ledger: Ledger) -> None:
    """A day of an account of thousands of entries is found without reading the others."""
    asked = [Asked(Award(shop=SHOP, member=M, source="s", key=f"a-{number}", amount=1)) for number in range(2_000)]
    start = datetime(2026, 2, 1, tzinfo=UTC)
    lanes = await ledger.runtime.database.lanes_of([f"{SHOP}/{M}"])
    for first in range(0, 2_000, 200):
        async with ledger.runtime.database.begin(lanes) as tx:
            tx.now = start + timedelta(days=first)
            await usecases.obey(tx, asked[first : first + 200])
    found = await sheet(
        ledger, since=(start + timedelta(days=400)).isoformat(), until=(start + timedelta(days=800)).isoformat()
    )
    assert [int(row["seq"]) for row in found] == list(range(401, 801))
