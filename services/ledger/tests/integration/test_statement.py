"""The statement over HTTP: what led to a balance, refusals and debts among it."""

from typing import Any

from ledger import schemas

from .conftest import SHOP, Ledger, iso

M = "m-1"
OPERATOR = {"operator": "ana", "reason": "goodwill"}


async def test_the_statement_pages_newest_first_with_refusals_among_the_entries(ledger: Ledger) -> None:
    for number in range(7):
        await ledger.award(M, number + 1, order=f"o-{number % 2}", cause={"rule": "r", "rule_version": 1})
        await ledger.post(M, {"kind": "debit", "amount": 1000}, cause=OPERATOR, key=f"too-much-{number}")
    lines: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        response = await ledger.http.get(f"/v1/shops/{SHOP}/members/{M}/entries", params=query)
        page = response.json()
        schemas.Statement.model_validate_json(response.content)
        lines += page["entries"]
        if page["next"] is None:
            break
        query["after"] = page["next"]
    assert [line["type"] for line in lines] == ["refusal", "entry"] * 7
    assert [line["seq"] for line in lines if line["type"] == "entry"] == [7, 6, 5, 4, 3, 2, 1]
    newest = lines[1]
    assert (newest["before"]["available"], newest["after"]["available"]) == (21, 28)
    assert (lines[0]["code"], lines[0]["facts"]) == ("insufficient_points", {"available": 28, "asked": 1000})
    assert {line["order"] for line in await ledger.entries(M, order="o-1")} == {"o-1"}
    assert {line["type"] for line in await ledger.entries(M, kind="debit")} == {"refusal"}
    assert await ledger.entries(M, until=iso(days=-1)) == []
    assert len(await ledger.entries(M, since=iso(days=-1))) == 14
    assert [line["seq"] for line in await ledger.entries(M, after_seq=4)] == [5, 6, 7]


async def test_write_offs_and_debts_are_visible_in_the_statement(ledger: Ledger) -> None:
    await ledger.learn(shortfall="debt", revision=2)
    award = await ledger.award(M, 70, order="o-1")
    await ledger.hold(M, 20, hold="h-1")
    await ledger.end("h-1", "capture")
    await ledger.done(M, {"kind": "revoke", "award": award, "total": 70})
    newest = (await ledger.entries(M))[0]
    assert (newest["kind"], newest["shortfall"], newest["after"]["debt"]) == ("revoke", 20, -20)


async def test_what_is_owed_for_a_payment_without_an_order_is_repaid_by_the_next_award(ledger: Ledger) -> None:
    await ledger.learn(shortfall="debt", revision=2)
    await ledger.done(M, {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 30})
    assert await ledger.buckets(M) == (0, 0, 0, -30)
    await ledger.award(M, 20)
    await ledger.award(M, 20)
    assert await ledger.buckets(M) == (10, 0, 0, 0)
    await ledger.done(M, {"kind": "give_back", "checkout": "c-1", "generation": 1, "total": 30})
    assert await ledger.buckets(M) == (40, 0, 0, 0)
    await ledger.check()
