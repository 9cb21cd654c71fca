"""What is done on time: safe to run twice, resumed after a crash, and never needed for a right balance."""

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY

from chassis.lanes import LANES, lane_of
from contracts.event import MAX_BODY_BYTES
from contracts.ledger import PointsChanged
from ledger import jobs, usecases
from ledger.domain import Award
from ledger.domain.journal import BrokenBooks
from ledger.store import proposals, upkeep
from ledger.store.log import LedgerLog
from testkit.plans import plan_of

from .conftest import SHOP, Ledger, iso


async def run_due(ledger: Ledger, batch_size: int = 500) -> None:
    await jobs.apply_due(ledger.runtime.database, asyncio.Event(), batch_size)


async def test_untouched_accounts_are_brought_up_to_date_and_a_second_run_finds_nothing(ledger: Ledger) -> None:
    for number in range(12):
        await ledger.award(f"m-{number}", 10, expires_at=iso(hours=1))
        await ledger.award(f"m-{number}", 5, activates_at=iso(hours=2), expires_at=iso(days=9))
    await ledger.hold("m-0", 10, hold="h-1", expires_at=iso(minutes=30))
    await ledger.age(hours=3)
    before = [await ledger.buckets(f"m-{number}") for number in range(12)]
    await run_due(ledger, batch_size=5)
    written = await ledger.sql("SELECT kind, count(*) FROM entry GROUP BY kind")
    assert {row["kind"]: row["count"] for row in written} == {
        "award": 24,
        "hold": 1,
        "time_out": 1,
        "expire": 12,
        "activate": 12,
    }
    assert [await ledger.buckets(f"m-{number}") for number in range(12)] == before == [(5, 0, 0, 0)] * 12
    await run_due(ledger)
    assert (await ledger.check())["entries"] == 50


async def test_an_account_that_cannot_be_brought_up_to_date_holds_up_no_other(ledger: Ledger) -> None:
    for number in range(20):
        await ledger.award(f"m-{number}", 10, expires_at=iso(hours=1))
    await ledger.age(hours=2)
    await ledger.sql("UPDATE account SET available = 3 WHERE member = 'm-7'")  # less than its lot: it cannot end
    before = await ledger.sql("SELECT * FROM account WHERE member = 'm-7'")
    for batch_size in (500, 1):
        with pytest.raises(BrokenBooks):
            await run_due(ledger, batch_size)
        ended = await ledger.sql(
            "SELECT a.member FROM entry AS e JOIN account AS a ON a.id = e.account_id WHERE e.kind = 'expire'"
        )
        assert {row["member"] for row in ended} == {f"m-{number}" for number in range(20)} - {"m-7"}
        assert await ledger.sql("SELECT * FROM account WHERE member = 'm-7'") == before


async def test_more_broken_accounts_than_a_look_finds_hold_up_no_other(ledger: Ledger) -> None:
    """A look finds as many as there are lanes, with batches of one; the broken ones are the longest overdue."""
    broken = [f"b-{number}" for number in range(3 * LANES)]
    for member in broken:
        await ledger.award(member, 10, expires_at=iso(hours=1))
    await ledger.award("m-1", 10, expires_at=iso(hours=2))
    await ledger.age(hours=3)
    await ledger.sql("UPDATE account SET available = 3 WHERE member LIKE 'b-%'")
    with pytest.raises(BrokenBooks):
        await run_due(ledger, 1)
    assert await ledger.buckets("m-1") == (0, 0, 0, 0)
    assert [row["member"] for row in await ledger.sql(STILL_DUE)] == sorted(broken)


STILL_DUE = "SELECT member FROM account WHERE next_due_at <= clock_timestamp() ORDER BY member"


async def test_many_accounts_of_many_lanes_are_brought_up_to_date_in_batches_of_one_lane(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        for _ in range(3):
            await ledger.award(f"m-{number}", 10, expires_at=iso(hours=1))
    await ledger.age(hours=2)
    real, batches = usecases.bring_up_to_date, []

    async def seen(tx: Any, account_ids: Any) -> Any:
        batches.append((tx.lanes, len(account_ids)))
        return await real(tx, account_ids)

    monkeypatch.setattr(usecases, "bring_up_to_date", seen)
    # Lots of an account were made at different instants, so each ends by itself.
    await asyncio.gather(run_due(ledger, batch_size=4), *(ledger.award(f"m-{number}", 1) for number in range(10)))
    assert {len(lanes) for lanes, _ in batches} == {1}
    assert max(size for _, size in batches) <= 4
    assert len(await ledger.sql("SELECT FROM entry WHERE kind = 'expire'")) == 180
    assert (await ledger.check())["system"] == {"issued": -1810, "expired": 1800}


async def test_a_crash_between_batches_loses_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        await ledger.award(f"m-{number}", 10, expires_at=iso(hours=1))
    await ledger.age(hours=2)
    real, calls = usecases.bring_up_to_date, 0

    async def crashing(tx: object, account_ids: object) -> object:
        nonlocal calls
        calls += 1
        mine = calls  # two batches are under way at once
        result = await real(tx, account_ids)  # type: ignore[arg-type]
        if mine == 2:
            raise ConnectionError("gone before the commit")
        return result

    monkeypatch.setattr(usecases, "bring_up_to_date", crashing)
    with pytest.raises(ConnectionError):
        await run_due(ledger)
    monkeypatch.undo()
    assert 0 < len(await ledger.sql("SELECT FROM entry WHERE kind = 'expire'")) < 20
    await run_due(ledger)
    assert len(await ledger.sql("SELECT FROM entry WHERE kind = 'expire'")) == 20
    await ledger.check()


async def test_the_job_and_a_posting_at_the_same_time_expire_once(ledger: Ledger) -> None:
    await ledger.award("m-1", 10, expires_at=iso(hours=1))
    await ledger.age(hours=2)
    await asyncio.gather(
        *(run_due(ledger) for _ in range(3)), *(ledger.award("m-1", 1, key=f"k-{number}") for number in range(5))
    )
    assert await ledger.buckets("m-1") == (5, 0, 0, 0)
    assert len(await ledger.sql("SELECT FROM entry WHERE kind = 'expire'")) == 1
    await ledger.check()


async def test_a_batch_that_is_rolled_back_leaves_no_trace_and_its_postings_can_come_again(ledger: Ledger) -> None:
    """As when a worker is killed before its commit: no entry, no key, no position is used."""
    asked = same_award()
    lane = lane_of(f"{SHOP}/m-1", 8)
    with pytest.raises(RuntimeError):
        async with ledger.runtime.database.begin([lane]) as tx:
            await usecases.post(tx, [asked])
            raise RuntimeError("killed")
    for table in ("account", "entry", "posting", "lot", "system_sum"):
        assert await ledger.sql(f"SELECT FROM {table}") == []
    (settled,) = await ledger.settle([asked])
    assert (settled.outcome.repeated, settled.account.available) == (False, 10)
    assert [row["position"] for row in await ledger.sql("SELECT position FROM entry")] == [1]


async def test_a_commit_whose_answer_was_lost_is_settled_by_its_key(ledger: Ledger) -> None:
    asked = same_award()
    await ledger.settle([asked])
    (again,) = await ledger.settle([same_award()])
    assert (again.outcome.repeated, [entry.seq for entry in again.entries]) == (True, [1])
    assert await ledger.buckets("m-1") == (10, 0, 0, 0)


async def test_the_sums_of_system_accounts_are_folded_and_stay_the_same(ledger: Ledger) -> None:
    for number in range(6):
        await ledger.award("m-1", 10 + number)
    before = (await ledger.check())["system"]
    assert len(await ledger.sql("SELECT FROM system_sum")) == 6
    await jobs.fold_sums(ledger.runtime.database, asyncio.Event())
    assert len(await ledger.sql("SELECT FROM system_sum")) == 1
    await jobs.fold_sums(ledger.runtime.database, asyncio.Event())
    assert (await ledger.check())["system"] == before == {"issued": -75}


async def test_what_waits_for_another_members_award_is_refused_when_offered_again(ledger: Ledger) -> None:
    """A posting waits on its own account; the sweep tells it what became of its cause."""
    revoke = {"kind": "revoke", "award": "a-1", "total": 5}
    assert (await ledger.post("m-2", revoke, key="r-1")).status_code == 202
    await ledger.award("m-1", 10, key="a-1")
    assert (await ledger.check())["parked"] == 1
    await jobs.Parked(alarm_seconds=0).run(ledger.runtime.database, asyncio.Event())
    assert (await ledger.check())["parked"] == 0
    answer = await ledger.post("m-2", revoke, key="r-1")
    assert (answer.status_code, answer.json()["code"]) == (409, "of_another_member")
    assert await ledger.buckets("m-1") == (10, 0, 0, 0)


async def test_what_still_has_no_cause_goes_on_waiting(ledger: Ledger) -> None:
    asked = {"kind": "give_back", "checkout": "c-1", "generation": 1, "total": 5}
    assert (await ledger.post("m-1", asked, key="g-1")).status_code == 202
    await jobs.Parked(alarm_seconds=0).run(ledger.runtime.database, asyncio.Event())
    assert (await ledger.check())["parked"] == 1
    await ledger.award("m-1", 20)
    await ledger.done("m-1", {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 15})
    assert await ledger.buckets("m-1") == (10, 0, 0, 0)
    assert (await ledger.check())["parked"] == 0


async def test_what_has_no_cause_keeps_nobody_from_being_looked_at(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much of it there is: each round goes on where the last one ended."""
    monkeypatch.setattr(jobs, "REPORTED", 2)
    for number in range(4):
        asked = {"kind": "give_back", "checkout": f"never-{number}", "generation": 1, "total": 5}
        assert (await ledger.post("m-1", asked)).status_code == 202
    assert (await ledger.post("m-2", {"kind": "revoke", "award": "a-1", "total": 10})).status_code == 202
    await ledger.award("m-1", 10, key="a-1")
    parked = jobs.Parked(alarm_seconds=0)
    left = []
    for _ in range(6):
        await parked.run(ledger.runtime.database, asyncio.Event())
        left.append((await ledger.check())["parked"])
    assert left == [5, 5, 4, 4, 4, 4]
    await ledger.award("m-1", 20)
    await ledger.done("m-1", {"kind": "spend", "checkout": "never-0", "generation": 1, "amount": 15})
    assert (await ledger.check())["parked"] == 3


async def test_the_check_goes_round_all_accounts_and_tells_its_figures(ledger: Ledger) -> None:
    for number in range(5):
        await ledger.award(f"m-{number}", 10)
    checker = jobs.Checker(batch_size=2)
    for _ in range(3):
        await checker.run(ledger.runtime.database, asyncio.Event())
    for name in ("sum_of_accounts", "replay_mismatches", "seq_gaps", "book_mismatches", "chain_breaks"):
        assert REGISTRY.get_sample_value(f"accrual_ledger_{name}") == 0
    assert REGISTRY.get_sample_value("accrual_ledger_system_points", {"account": "issued"}) == -50


@pytest.mark.parametrize(("rest", "seen"), [(0, 7), (1_000_000, 0)])
async def test_all_accounts_are_added_up_again_once_it_is_small_beside_the_time_since(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, rest: int, seen: int
) -> None:
    monkeypatch.setattr(jobs, "SUMS_REST", rest)
    await ledger.award("m-1", 10)
    checker = jobs.Checker(batch_size=10)
    await checker.run(ledger.runtime.database, asyncio.Event())
    await ledger.sql("UPDATE account SET available = 17")
    await checker.run(ledger.runtime.database, asyncio.Event())
    assert REGISTRY.get_sample_value("accrual_ledger_sum_of_accounts") == seen
    assert REGISTRY.get_sample_value("accrual_ledger_replay_mismatches") == 1


async def test_due_accounts_are_found_longest_overdue_first(ledger: Ledger) -> None:
    await ledger.award("m-1", 10, expires_at=iso(hours=2))
    await ledger.award("m-2", 10, expires_at=iso(hours=1))
    await ledger.award("m-3", 10, expires_at=iso(days=1))
    await ledger.age(hours=3)
    async with ledger.runtime.database.begin() as tx:
        assert [member for _, _, member in await upkeep.due_accounts(tx.driver, 10)] == ["m-2", "m-1"]


def same_award() -> usecases.Asked:
    """The same award each time."""

    return usecases.Asked(Award(shop=SHOP, member="m-1", source="rules", key="a-1", amount=10))


async def test_an_entry_of_very_many_lots_still_fits_its_event(ledger: Ledger) -> None:
    asked = [
        usecases.Asked(Award(shop=SHOP, member="m-1", source="rules", key=f"a-{number}", amount=1))
        for number in range(2_500)
    ]
    await ledger.settle(asked)
    await ledger.done("m-1", {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 2_500})
    (lane,) = [row["lane"] for row in await ledger.sql("SELECT DISTINCT lane FROM entry")]
    async with ledger.runtime.database.begin() as tx:
        (event,) = await LedgerLog().read(tx.driver, {lane: 2_500}, 10)
    assert len(event.body) < MAX_BODY_BYTES
    told = PointsChanged.model_validate_json(event.body)
    assert (told.kind, told.changes.available, event.subject) == ("spend", -2_500, "spend")
    assert 1_000 < len(told.lots) < 2_500
    (line,) = await ledger.entries("m-1", limit=1)
    assert len(line["lots"]) == 2_500
    await ledger.check()


async def test_looking_for_what_is_over_reads_nothing_that_is_not(ledger: Ledger) -> None:
    async with ledger.runtime.database.look() as driver:
        accounts = await plan_of(driver, lambda asked: upkeep.due_accounts(asked, 10))
        proposed = await plan_of(driver, lambda asked: proposals.overdue(asked, 10))
    assert "Index Cond: (next_due_at <=" in accounts
    assert "Index Cond: (expires_at <=" in proposed
