"""Merging members and the way back, on a real database: every late event finds its place, whenever it comes."""

import asyncio
from typing import Any

import httpx
import pytest

from chassis.database import LanesMissing
from chassis.lanes import lane_of
from contracts.postings import Award, GiveBack, Revoke, Spend
from ledger import jobs, schemas, usecases
from ledger.asking import asked_of
from ledger.domain import Result

from .conftest import SHOP, Ledger, iso

OLD, NEW = "old", "new"
OPERATOR = {"operator": "ana", "reason": "duplicate"}


async def merge(ledger: Ledger, member: str = OLD, into: str = NEW, *, key: str | None = None) -> httpx.Response:
    return await ledger.http.post(
        f"/v1/shops/{SHOP}/members/{member}/merge",
        json={"into": into, **OPERATOR},
        headers={"idempotency-key": key or ledger.key()},
    )


async def merged(ledger: Ledger, member: str = OLD, into: str = NEW) -> str:
    response = await merge(ledger, member, into)
    assert response.status_code == 200, response.text
    return schemas.MergedMembers.model_validate_json(response.content).merge


async def undo(ledger: Ledger, name: str, *, key: str | None = None) -> httpx.Response:
    return await ledger.http.post(
        f"/v1/shops/{SHOP}/merges/{name}/undo", json=OPERATOR, headers={"idempotency-key": key or ledger.key()}
    )


def asked(member: str, effect: Any, key: str, **shared: Any) -> usecases.Asked:
    return asked_of(effect, shop=SHOP, member=member, source="rules", key=key, **shared)


@pytest.mark.parametrize("undone", [False, True])
async def test_a_hold_that_ends_with_the_merge_or_its_undoing_has_ended_for_good(ledger: Ledger, undone: bool) -> None:
    """Nothing has been asked of the member since its time limit, and no job has run."""
    await ledger.award(OLD, 30)
    await ledger.hold(OLD, 10, hold="h-1")
    name = await merged(ledger) if undone else ""
    await ledger.age(hours=1)
    if undone:
        assert (await undo(ledger, name)).status_code == 200
    else:
        await merged(ledger)
    whose = OLD if undone else NEW
    (hold,) = await ledger.sql(
        "SELECT h.state, h.released, a.member FROM hold AS h JOIN account AS a ON a.id = account_id"
    )
    assert tuple(hold) == ("expired", 10, whose)
    assert await ledger.buckets(whose) == (30, 0, 0, 0)
    assert (await ledger.hold(whose, 30, hold="h-2")).status_code == 201
    assert (await ledger.end("h-1", "release")).json()["state"] == "expired"
    await ledger.check()


async def test_all_that_a_member_has_moves_and_moves_back(ledger: Ledger) -> None:
    await ledger.award(OLD, 30, expires_at=iso(days=3), order="o-1", key="a-1")
    await ledger.award(OLD, 20, activates_at=iso(days=1))
    await ledger.hold(OLD, 10, hold="h-1")
    await ledger.award(NEW, 5)
    response = await merge(ledger, key="m-1")
    told = schemas.MergedMembers.model_validate_json(response.content)
    assert (response.status_code, told.member, told.into, told.repeated) == (200, OLD, NEW, False)
    assert told.moved == [schemas.MovedPoints(asset="points", available=20, pending=20, held=10, debt=0)]
    assert [await ledger.buckets(member) for member in (OLD, NEW)] == [(0, 0, 0, 0), (25, 20, 10, 0)]
    balance = await ledger.balance(NEW)
    assert ([due["amount"] for due in balance["next_expiries"]], balance["lifetime_earned"]) == ([30], 55)
    (out, *_), (came, *_) = await ledger.entries(OLD), await ledger.entries(NEW)
    assert (out["kind"], out["cause"]) == ("merge_out", {**OPERATOR, "merge": told.merge, "member": NEW})
    assert (came["kind"], came["cause"]) == ("merge_in", {**OPERATOR, "merge": told.merge, "member": OLD})
    assert (await merge(ledger, key="m-1")).json() == response.json() | {"repeated": True}
    for path in ("balances", "entries"):
        answer = await ledger.http.get(f"/v1/shops/{SHOP}/members/{OLD}/{path}")
        assert answer.json()["merged_into"] == NEW
    assert (await ledger.check())["system"] == {"issued": -55}

    answer = await undo(ledger, told.merge, key="u-1")
    back = schemas.UndoneMerge.model_validate_json(answer.content)
    assert (back.member, back.into, back.repeated) == (OLD, NEW, False)
    assert back.returned == [
        schemas.ReturnedPoints(asset="points", available=20, pending=20, held=10, debt=0, missing=0, expired=0)
    ]
    assert [await ledger.buckets(member) for member in (OLD, NEW)] == [(20, 20, 10, 0), (5, 0, 0, 0)]
    assert (await undo(ledger, told.merge, key="u-1")).json() == answer.json() | {"repeated": True}
    assert (await undo(ledger, told.merge)).json()["code"] == "merge_undone"
    assert (await ledger.http.get(f"/v1/shops/{SHOP}/members/{OLD}/balances")).json()["merged_into"] is None
    await ledger.done(OLD, {"kind": "revoke", "award": "a-1", "total": 30})
    assert (await ledger.end("h-1", "capture")).json()["member"] == OLD
    await ledger.check()


async def test_late_events_of_the_old_id_are_the_others_until_that_is_undone(ledger: Ledger) -> None:
    await ledger.award(OLD, 30)
    name = await merged(ledger)
    late = [
        asked(OLD, Award(amount=10), "late"),
        asked("other", Award(amount=1), "o"),
        asked(OLD, Spend(checkout="c", generation=1, amount=15), "spend", order="o-1"),
        asked(NEW, GiveBack(checkout="c", generation=1, total=5), "back"),
        asked(OLD, Revoke(award="late", total=10), "revoke"),
    ]
    settled = await ledger.settle(late)
    assert [one.outcome.result for one in settled] == [Result.POSTED] * 5
    assert {one.account.key.member for one in settled} == {NEW, "other"}
    assert (await ledger.hold(OLD, 5, hold="h-1")).json()["member"] == NEW
    assert (await ledger.end("h-1", "capture")).status_code == 200
    assert await ledger.buckets(OLD) == (0, 0, 0, 0)
    assert await ledger.buckets(NEW) == (30 + 10 - 15 + 5 - 10 - 5, 0, 0, 0)
    assert [line["kind"] for line in await ledger.entries(OLD)] == ["merge_out", "award"]
    again = await ledger.settle(late)
    assert all(one.outcome.repeated for one in again)
    await undo(ledger, name)
    assert [(one.outcome.repeated, len(one.entries)) for one in await ledger.settle(late)] == [(True, 1)] * 5
    await ledger.award(OLD, 7)
    assert await ledger.buckets(OLD) == (15 + 7, 0, 0, 0)
    await ledger.check()


async def test_spends_awards_and_debts_of_before_are_found_by_either_name(ledger: Ledger) -> None:
    await ledger.learn(shortfall="debt", revision=2)
    for number in range(3):
        await ledger.award(OLD, 10, key=f"a-{number}", order=f"o-{number}", expires_at=iso(days=number + 1))
    spend = {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 25}
    await ledger.done(OLD, spend, order="o-9")
    await ledger.done(OLD, {"kind": "spend", "checkout": "c-2", "generation": 1, "amount": 15})
    assert await ledger.buckets(OLD) == (0, 0, 0, -10)
    await ledger.award(NEW, 12)
    name = await merged(ledger)
    assert await ledger.buckets(NEW) == (2, 0, 0, 0)
    await ledger.done(OLD, {"kind": "revoke", "award": "a-0", "total": 10})
    assert await ledger.buckets(NEW) == (0, 0, 0, -8)
    await ledger.done(NEW, {"kind": "give_back", "checkout": "c-1", "generation": 1, "total": 25})
    assert await ledger.buckets(NEW) == (17, 0, 0, 0)
    refused = await ledger.post(OLD, {"kind": "revoke", "award": "a-1", "total": 11})
    assert refused.json()["code"] == "total_exceeds_award"
    again = await ledger.post(OLD, {**spend, "amount": 26})
    assert again.json()["code"] == "already_spent"
    assert await ledger.buckets(NEW) == (17, 0, 0, 0)
    await ledger.check()
    await undo(ledger, name)
    await ledger.check()
    await ledger.done(OLD, {"kind": "revoke", "award": "a-1", "total": 10})
    await ledger.done(OLD, {"kind": "give_back", "checkout": "c-2", "generation": 1, "total": 15})
    await ledger.check()
    total = [sum(await ledger.buckets(member)) for member in (OLD, NEW)]
    assert sum(total) == 30 + 12 - 40 + 40 - 20


async def test_a_key_of_the_old_id_keeps_its_first_answer(ledger: Ledger) -> None:
    await ledger.award(OLD, 50, key="a")
    ends = iso(minutes=30)
    placed = await ledger.hold(OLD, 20, hold="h-1", key="k-1", expires_at=ends)
    captured = await ledger.end("h-1", "capture", key="k-2")
    await ledger.hold(OLD, 10, hold="h-2")
    await merged(ledger)
    again = await ledger.hold(OLD, 20, hold="h-1", key="k-1", expires_at=ends)
    assert again.json() == placed.json() | {"repeated": True}
    assert (await ledger.end("h-1", "capture", key="k-2")).json() == captured.json() | {"repeated": True}
    other = await ledger.end("h-1", "capture")
    assert (other.status_code, other.json()["code"]) == (409, "hold_not_open")
    released = await ledger.end("h-2", "release", key="k-3")
    assert (released.json()["member"], released.json()["released"]) == (NEW, 10)
    assert (await ledger.end("h-2", "release", key="k-3")).json() == released.json() | {"repeated": True}
    assert (await ledger.post(OLD, {"kind": "award", "amount": 50}, key="a")).json()["outcomes"][0]["repeated"]
    conflict = await ledger.post(NEW, {"kind": "award", "amount": 50}, key="a")
    assert conflict.json()["code"] == "idempotency_conflict"
    assert await ledger.buckets(NEW) == (30, 0, 0, 0)
    await ledger.check()


async def test_what_waits_moves_is_offered_again_and_goes_back(ledger: Ledger) -> None:
    await ledger.settle([asked(OLD, Revoke(award="late", total=30), "r-1")])
    await ledger.settle([asked(OLD, GiveBack(checkout="c", generation=1, total=5), "b-1")])
    name = await merged(ledger)
    await jobs.Parked(0).run(ledger.runtime.database, asyncio.Event())  # nothing is known of their causes yet
    assert len(await ledger.sql("SELECT FROM parked")) == 2
    await ledger.settle([asked(NEW, Award(amount=100), "late")])
    assert await ledger.buckets(NEW) == (70, 0, 0, 0)
    (again,) = await ledger.settle([asked(OLD, Revoke(award="late", total=30), "r-1")])
    assert (again.outcome.repeated, again.outcome.result, [e.kind for e in again.entries]) == (
        True, Result.POSTED, ["revoke"],
    )  # fmt: skip
    await undo(ledger, name)
    await ledger.award(OLD, 10)
    await ledger.settle([asked(OLD, Spend(checkout="c", generation=1, amount=10), "s-1")])
    assert await ledger.buckets(OLD) == (5, 0, 0, 0)
    assert await ledger.sql("SELECT FROM parked") == []
    await ledger.check()


async def test_chains_are_followed_and_undone_from_the_end(ledger: Ledger) -> None:
    await ledger.award("a", 10, key="a-1")
    await ledger.done("a", {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 4})
    await ledger.hold("a", 2, hold="h-1")
    first = await merged(ledger, "a", "b")
    await ledger.award("b", 20)
    second = await merged(ledger, "b", "c")
    await ledger.award("a", 1)
    assert await ledger.buckets("c") == (25, 0, 2, 0)
    assert (await undo(ledger, first)).json()["code"] == "member_merged"
    await ledger.done("a", {"kind": "revoke", "award": "a-1", "total": 3})
    await ledger.done("c", {"kind": "give_back", "checkout": "c-1", "generation": 1, "total": 1})
    assert await ledger.buckets("c") == (23, 0, 2, 0)
    await undo(ledger, second)
    assert [await ledger.buckets(member) for member in "abc"] == [(0, 0, 0, 0), (22, 0, 2, 0), (1, 0, 0, 0)]
    await undo(ledger, first)
    assert [await ledger.buckets(member) for member in "ab"] == [(2, 0, 2, 0), (20, 0, 0, 0)]
    await ledger.end("h-1", "capture")
    await ledger.done("a", {"kind": "give_back", "checkout": "c-1", "generation": 1, "total": 4})
    assert await ledger.buckets("a") == (5, 0, 0, 0)
    await ledger.check()


async def test_what_cannot_be_merged_or_undone_changes_nothing(ledger: Ledger) -> None:
    await ledger.award(OLD, 10)
    await merged(ledger)
    before = await ledger.sql("SELECT count(*) FROM entry")
    cases = [
        (await merge(ledger, OLD, OLD), 422, "merge_with_itself"),
        (await merge(ledger, OLD, "x"), 409, "member_merged"),
        (await merge(ledger, NEW, OLD), 409, "member_merged"),
        (await merge(ledger, "x", OLD), 409, "member_merged"),
        (await undo(ledger, "no-such-merge"), 404, "merge_not_found"),
    ]
    assert [(response.status_code, response.json()["code"]) for response, _, _ in cases] == [
        (status, code) for _, status, code in cases
    ]
    assert (await merge(ledger, "x", OLD)).json()["into"] == NEW
    assert await ledger.sql("SELECT count(*) FROM entry") == before
    assert await ledger.buckets(NEW) == (10, 0, 0, 0)
    headers = {"idempotency-key": "k", **ledger.tokens.headers(shop="elsewhere")}
    await ledger.learn("elsewhere")
    (found,) = await ledger.sql("SELECT merge FROM merge")
    elsewhere = await ledger.http.post(
        f"/v1/shops/elsewhere/merges/{found['merge']}/undo", json=OPERATOR, headers=headers
    )
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "merge_not_found")
    assert await ledger.sql("SELECT count(*) FROM entry") == before
    assert (await ledger.sql("SELECT undone FROM merge"))[0]["undone"] is False


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"into": NEW},
        {**OPERATOR},
        {"into": "new@example.com", **OPERATOR},
        {"into": "600123456", **OPERATOR},
        {"into": NEW, "operator": "ana", "reason": "they are the same"},
        {"into": NEW, "undo": True, **OPERATOR},
        {"into": [NEW], **OPERATOR},
    ],
)
async def test_bad_bodies_merge_nobody(ledger: Ledger, body: dict[str, Any]) -> None:
    url = f"/v1/shops/{SHOP}/members/{OLD}/merge"
    response = await ledger.http.post(url, json=body, headers={"idempotency-key": "k"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert (await ledger.http.post(url, json={"into": NEW, **OPERATOR})).json()["code"] == "idempotency_key_missing"
    assert await ledger.sql("SELECT FROM member") == await ledger.sql("SELECT FROM account") == []


async def test_events_of_both_ids_while_they_are_merged_and_parted(ledger: Ledger) -> None:
    """Whatever comes between, nothing is lost: each award is on one of the two accounts, and the books are whole."""

    async def awards(member: str) -> None:
        for number in range(25):
            await ledger.award(member, 1, key=f"{member}/{number}", expires_at=iso(hours=1 + number % 3))
            if number % 5 == 0:
                await ledger.hold(member, 1, hold=f"{member}-{number}")

    async def merges() -> None:
        for _ in range(6):
            name = await merged(ledger)
            await asyncio.gather(ledger.balance(OLD), ledger.balance(NEW))
            assert (await undo(ledger, name)).status_code == 200

    await asyncio.gather(
        awards(OLD), awards(NEW), merges(), jobs.apply_due(ledger.runtime.database, asyncio.Event(), 5)
    )
    totals = [await ledger.buckets(member) for member in (OLD, NEW)]
    assert sum(available + held for available, _, held, _ in totals) == 50
    await ledger.check()


async def test_merges_in_a_circle_at_the_same_time_are_one(ledger: Ledger) -> None:
    members = ["a", "b", "c"]
    for member in members:
        await ledger.award(member, 10)
    answers = await asyncio.gather(
        *(merge(ledger, one, other) for one in members for other in members if one != other for _ in range(2))
    )
    assert {answer.status_code for answer in answers} == {200, 409}
    assert sum(answer.status_code == 200 for answer in answers) in (1, 2)
    assert sum([(await ledger.buckets(member))[0] for member in members]) == 30
    same = await asyncio.gather(*(merge(ledger, "x", "y", key="same") for _ in range(5)))
    assert len({answer.json()["merge"] for answer in same}) == 1
    await ledger.check()


async def test_a_batch_that_meets_a_redirect_takes_the_other_lane_too(ledger: Ledger) -> None:
    """Redirects are looked up under the lanes: what lacks one is rolled back whole, and comes again with both."""
    count = await ledger.runtime.database.lane_count()
    new = next(f"new-{n}" for n in range(99) if lane_of(f"{SHOP}/new-{n}", count) != lane_of(f"{SHOP}/{OLD}", count))
    await merged(ledger, OLD, new)
    postings = [asked(OLD, Award(amount=5), "k")]
    lanes = await ledger.runtime.database.lanes_of(map(usecases.lane_key, postings))
    with pytest.raises(LanesMissing) as missing:
        async with ledger.runtime.database.begin(lanes) as tx:
            await usecases.post(tx, postings)
    assert missing.value.lanes == {lane_of(f"{SHOP}/{new}", count)}
    assert await ledger.buckets(new) == (0, 0, 0, 0)
    await ledger.settle(postings)
    assert await ledger.buckets(new) == (5, 0, 0, 0)


async def test_a_merge_that_is_rolled_back_leaves_no_trace(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the process is killed before its commit."""
    await ledger.award(OLD, 10)
    await ledger.hold(OLD, 4, hold="h-1")
    real = usecases.save

    async def killed(*arguments: Any, **named: Any) -> None:
        await real(*arguments, **named)
        raise RuntimeError("killed before the commit")

    monkeypatch.setattr(usecases, "save", killed)
    assert (await merge(ledger, key="m")).status_code == 500
    monkeypatch.undo()
    assert [await ledger.buckets(member) for member in (OLD, NEW)] == [(6, 0, 4, 0), (0, 0, 0, 0)]
    assert await ledger.sql("SELECT FROM member") == await ledger.sql("SELECT FROM merge") == []
    response = await merge(ledger, key="m")
    assert (response.status_code, response.json()["repeated"]) == (200, False)
    assert await ledger.buckets(NEW) == (6, 0, 4, 0)
    await ledger.check()


async def test_what_was_spent_or_has_expired_meanwhile_is_missing(ledger: Ledger) -> None:
    await ledger.award(OLD, 30, expires_at=iso(hours=1))
    await ledger.award(OLD, 40, expires_at=iso(days=9))
    name = await merged(ledger)
    await ledger.done(NEW, {"kind": "debit", "amount": 10}, cause=OPERATOR)
    await ledger.age(hours=2)
    await ledger.done(NEW, {"kind": "debit", "amount": 15}, cause=OPERATOR)
    (points,) = (await undo(ledger, name)).json()["returned"]
    assert (points["available"], points["missing"], points["expired"]) == (25, 45, 20)
    assert (await ledger.entries(OLD))[0]["cause"]["missing"] == 45
    assert [await ledger.buckets(member) for member in (OLD, NEW)] == [(25, 0, 0, 0), (0, 0, 0, 0)]
    await ledger.check()


async def test_a_member_of_many_lots_is_merged_and_parted(ledger: Ledger) -> None:
    """More than what goes in one statement."""
    postings = [asked(OLD, Award(amount=2, expires_at=None), f"a/{number}") for number in range(400)]
    await ledger.settle(postings)
    await ledger.settle([asked(OLD, Spend(checkout="c", generation=1, amount=301), "s")])
    name = await merged(ledger)
    assert await ledger.buckets(NEW) == (499, 0, 0, 0)
    await ledger.settle([asked(OLD, GiveBack(checkout="c", generation=1, total=100), "b")])
    await ledger.settle([asked(OLD, Revoke(award="a/0", total=2), "r")])
    await ledger.check()
    await undo(ledger, name)
    assert [await ledger.buckets(member) for member in (OLD, NEW)] == [(597, 0, 0, 0), (0, 0, 0, 0)]
    await ledger.check()


async def test_what_waits_for_an_event_moves_and_moves_back_with_the_dates_that_it_got(ledger: Ledger) -> None:
    for key in ("a-1", "a-2", "a-3"):
        await ledger.award(OLD, 10, key=key, activates_on="fulfilled")
    name = await merged(ledger)
    assert await ledger.buckets(NEW) == (0, 30, 0, 0)
    await ledger.done(OLD, {"kind": "activate", "award": "a-1", "expires_at": iso(days=1)})
    await ledger.done(NEW, {"kind": "activate", "award": "a-2"})
    assert await ledger.buckets(NEW) == (20, 10, 0, 0)
    await undo(ledger, name)
    assert await ledger.buckets(OLD) == (20, 10, 0, 0)
    await ledger.done(OLD, {"kind": "activate", "award": "a-3"})
    assert (await ledger.post(OLD, {"kind": "activate", "award": "a-1"})).json()["outcomes"][0][
        "outcome"
    ] == "unchanged"
    await ledger.check()
    await ledger.age(days=2)
    assert await ledger.buckets(OLD) == (20, 0, 0, 0)
    await ledger.check()


async def test_what_waits_for_a_second_person_is_decided_where_the_member_is_by_then(ledger: Ledger) -> None:
    await ledger.learn(revision=2, approval_above={"points": 10})
    proposals = []
    for number in range(3):
        asked_for = {"kind": "credit", "amount": 50 + number, "memo": f"words {number}"}
        outcome = (await ledger.post(OLD, asked_for, cause=OPERATOR, key=f"p-{number}")).json()["outcomes"][0]
        assert outcome["outcome"] == "pending_approval"
        proposals.append(outcome["proposal"])
    approver = ledger.tokens.headers("ledger:approve", shop=SHOP, sub="bob")

    async def approve(number: int) -> dict[str, Any]:
        response = await ledger.http.post(
            f"/v1/shops/{SHOP}/ledger/proposals/{proposals[number]}/approve",
            json={},
            headers={**approver, "idempotency-key": ledger.key()},
        )
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    await approve(0)
    name = await merged(ledger)
    await approve(1)
    assert [await ledger.buckets(member) for member in (OLD, NEW)] == [(0, 0, 0, 0), (101, 0, 0, 0)]
    newest = (await ledger.entries(NEW))[0]
    assert (newest["kind"], newest["memo"]) == ("credit", "words 1")
    again = (await ledger.post(OLD, {"kind": "credit", "amount": 51}, cause=OPERATOR, key="p-1")).json()["outcomes"][0]
    assert (again["repeated"], again["outcome"], again["entries"][0]["hash"]) == (True, "posted", newest["hash"])
    await undo(ledger, name)
    await approve(2)
    assert [await ledger.buckets(member) for member in (OLD, NEW)] == [(102, 0, 0, 0), (51, 0, 0, 0)]
    await ledger.check()


async def test_all_assets_move(ledger: Ledger) -> None:
    await ledger.award(OLD, 10)
    await ledger.done(OLD, {"kind": "award", "amount": 20}, asset="growth")
    await ledger.done(OLD, {"kind": "top_up", "amount": 500, "currency": "EUR"}, asset="stored_value")
    await ledger.done(NEW, {"kind": "award", "amount": 3}, asset="passes")
    response = await merge(ledger)
    assert {moved["asset"]: moved["available"] for moved in response.json()["moved"]} == {
        "points": 10, "growth": 20, "stored_value": 500, "passes": 0,
    }  # fmt: skip
    await ledger.done(OLD, {"kind": "award", "amount": 4}, asset="passes")
    await ledger.done(OLD, {"kind": "award", "amount": 5}, asset="growth")

    async def available(member: str) -> dict[str, int]:
        answer = await ledger.http.get(f"/v1/shops/{SHOP}/members/{member}/balances")
        return {balance["asset"]: balance["available"] for balance in answer.json()["balances"]}

    assert await available(NEW) == {"points": 10, "stored_value": 500, "growth": 25, "passes": 7}
    await ledger.check()
    await undo(ledger, response.json()["merge"])
    assert await available(OLD) == {"points": 10, "stored_value": 500, "growth": 20, "passes": 0}
    assert await available(NEW) == {"points": 0, "stored_value": 0, "growth": 5, "passes": 7}
    await ledger.check()
