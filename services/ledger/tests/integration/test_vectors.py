"""The vectors of the exact semantics that the ledger decides, through HTTP and the real database."""

import asyncio
from itertools import permutations
from typing import Any

import pytest

from .conftest import Ledger, iso

M = "m-1"


async def revoke(ledger: Ledger, award: str, total: int) -> dict[str, Any]:
    return await ledger.done(M, {"kind": "revoke", "award": award, "total": total})


async def spend(
    ledger: Ledger, checkout: str, amount: int, *, order: str | None = None, hold: str | None = None
) -> None:
    effect = {"kind": "spend", "checkout": checkout, "generation": 1, "amount": amount, "hold": hold}
    await ledger.done(M, effect, order=order)


async def give_back(ledger: Ledger, checkout: str, total: int) -> None:
    await ledger.done(M, {"kind": "give_back", "checkout": checkout, "generation": 1, "total": total})


async def drain(ledger: Ledger) -> None:
    """The member uses all that is available elsewhere."""
    amount = (await ledger.buckets(M))[0]
    if amount:
        await spend(ledger, ledger.key().replace("/", "-"), amount)


async def test_double_spend(ledger: Ledger) -> None:
    """20 parallel spends of the whole balance: exactly one succeeds."""
    await ledger.award(M, 100)
    holds = await asyncio.gather(*(ledger.hold(M, 100, hold=f"h-{n}") for n in range(20)))
    assert sorted(response.status_code for response in holds) == [201] + [409] * 19
    assert await ledger.buckets(M) == (0, 0, 100, 0)
    (placed,) = [response.json()["hold"] for response in holds if response.status_code == 201]
    assert (await ledger.end(placed, "release")).status_code == 200
    debits = await asyncio.gather(
        *(
            ledger.post(M, {"kind": "debit", "amount": 100}, cause={"operator": "ana", "reason": "correction"})
            for _ in range(20)
        )
    )
    assert sorted(response.status_code for response in debits) == [200] + [409] * 19
    assert {response.json()["code"] for response in debits if response.status_code == 409} == {"insufficient_points"}
    assert await ledger.buckets(M) == (0, 0, 0, 0)
    await ledger.check()


async def test_due_without_job(ledger: Ledger) -> None:
    """At the instant of expiry the points are gone, although no job has run."""
    await ledger.award(M, 100, expires_at=iso(hours=1))
    await ledger.age(hours=1)
    assert await ledger.buckets(M) == (0, 0, 0, 0)
    refused = await ledger.hold(M, 1, hold="h-1")
    assert (refused.status_code, refused.json()["code"], refused.json()["available"]) == (409, "insufficient_points", 0)
    assert [entry["kind"] for entry in await ledger.entries(M) if entry["type"] == "entry"] == ["expire", "award"]
    await ledger.check()


async def test_redelivery(ledger: Ledger) -> None:
    """The same posting five times: one award, and each time the first answer."""
    answers = [await ledger.post(M, {"kind": "award", "amount": 50}, key="o-1/1/rule/paid") for _ in range(5)]
    first, *others = [answer.json()["outcomes"][0] for answer in answers]
    assert first["repeated"] is False
    assert all(other == {**first, "repeated": True} for other in others)
    assert await ledger.buckets(M) == (50, 0, 0, 0)
    assert len(await ledger.entries(M)) == 1


async def test_fifo(ledger: Ledger) -> None:
    await ledger.award(M, 100, expires_at=iso(days=60))
    await ledger.award(M, 100, expires_at=iso(days=1))
    await spend(ledger, "c-1", 120)
    await ledger.age(days=2)
    assert await ledger.buckets(M) == (80, 0, 0, 0)
    assert [lot["change"] for lot in (await ledger.entries(M))[0]["lots"]] == [-100, -20]
    await ledger.check()


async def test_refund_forgive(ledger: Ledger) -> None:
    award = await ledger.award(M, 70, order="o-1")
    await spend(ledger, "c-1", 20)
    outcome = await revoke(ledger, award, 70)
    (entry,) = outcome["entries"]
    assert (entry["changes"]["available"], entry["shortfall"]) == (-50, 20)
    assert entry["system"] == {"revoked": 70, "written_off": -20}
    assert await ledger.buckets(M) == (0, 0, 0, 0)
    await ledger.check()


async def test_refund_debt(ledger: Ledger) -> None:
    await ledger.learn(shortfall="debt", revision=2)
    award = await ledger.award(M, 70, order="o-1")
    await spend(ledger, "c-1", 20)
    await revoke(ledger, award, 70)
    assert await ledger.buckets(M) == (0, 0, 0, -20)
    await ledger.award(M, 30)
    assert await ledger.buckets(M) == (10, 0, 0, 0)
    await ledger.check()


async def test_return_to_expired_lot(ledger: Ledger) -> None:
    await ledger.award(M, 50, expires_at=iso(days=1))
    await spend(ledger, "c-1", 50, order="o-2")
    await ledger.age(days=4)
    await give_back(ledger, "c-1", 50)
    assert await ledger.buckets(M) == (0, 0, 0, 0)
    assert [entry["kind"] for entry in await ledger.entries(M)][:2] == ["expire", "give_back"]
    await ledger.check()


@pytest.mark.parametrize("totals", [(33, 66, 100), (1, 100), (100,), (50, 50, 99, 100, 100)])
async def test_partial_refunds(ledger: Ledger, totals: tuple[int, ...]) -> None:
    """However a refund is split, what is taken back sums to the award; a total that came before changes nothing."""
    award = await ledger.award(M, 100, order="o-1")
    for total in totals:
        response = await ledger.post(M, {"kind": "revoke", "award": award, "total": total})
        assert response.status_code == 200
    assert await ledger.buckets(M) == (0, 0, 0, 0)
    assert (await ledger.check())["system"] == {"issued": -100, "revoked": 100}


@pytest.mark.parametrize("order", list(permutations((20, 60, 40))))
async def test_refunds_any_order(ledger: Ledger, order: tuple[int, ...]) -> None:
    """Cumulative totals in any order, also before the award, take back the highest of them."""
    for number, total in enumerate(order):
        response = await ledger.post(M, {"kind": "revoke", "award": "a-1", "total": total}, key=f"r-{number}")
        assert (response.status_code, response.json()["outcomes"][0]["outcome"]) == (202, "parked")
    await ledger.award(M, 100, key="a-1", order="o-1")
    assert await ledger.buckets(M) == (40, 0, 0, 0)
    assert (await ledger.check())["parked"] == 0
    again = await ledger.post(M, {"kind": "revoke", "award": "a-1", "total": order[0]}, key="r-0")
    assert (again.status_code, again.json()["outcomes"][0]["repeated"]) == (200, True)
    assert await ledger.buckets(M) == (40, 0, 0, 0)


async def test_hold_timeout(ledger: Ledger) -> None:
    await ledger.award(M, 100, expires_at=iso(days=30))
    before = (await ledger.balance(M))["next_expiries"]
    assert (await ledger.hold(M, 100, hold="h-1", expires_at=iso(minutes=30))).status_code == 201
    assert await ledger.buckets(M) == (0, 0, 100, 0)
    await ledger.age(minutes=31)
    assert await ledger.buckets(M) == (100, 0, 0, 0)
    after = (await ledger.balance(M))["next_expiries"]
    assert [dated["amount"] for dated in after] == [dated["amount"] for dated in before] == [100]
    late = await ledger.end("h-1", "capture")
    assert (late.status_code, late.json()["code"], late.json()["state"]) == (409, "hold_not_open", "expired")
    assert await ledger.buckets(M) == (100, 0, 0, 0)
    await ledger.check()


@pytest.mark.parametrize(("how", "left"), [("capture", 0), ("release", 0)])
async def test_hold_over_expiry(ledger: Ledger, how: str, left: int) -> None:
    await ledger.award(M, 100, expires_at=iso(days=1))
    await ledger.hold(M, 60, hold="h-1", expires_at=iso(days=5))
    await ledger.age(days=2)
    assert await ledger.buckets(M) == (0, 0, 60, 0)
    ended = (await ledger.end("h-1", how)).json()
    assert (ended["captured"], ended["released"], ended["expiring"]) == (
        (60, 0, 0) if how == "capture" else (0, 60, 60)
    )
    assert await ledger.buckets(M) == (left, 0, 0, 0)
    system = (await ledger.check())["system"]
    assert system["expired"] == (40 if how == "capture" else 100)


async def test_hold_spans_lots(ledger: Ledger) -> None:
    await ledger.award(M, 100, expires_at=iso(days=1))
    await ledger.award(M, 100, expires_at=iso(days=60))
    await ledger.hold(M, 100, hold="h-1", expires_at=iso(days=5))
    await ledger.age(days=2)
    assert (await ledger.end("h-1", "capture")).status_code == 200
    assert await ledger.buckets(M) == (100, 0, 0, 0)
    await ledger.check()


async def test_hold_after_expiry(ledger: Ledger) -> None:
    await ledger.award(M, 100, expires_at=iso(days=1))
    await ledger.award(M, 100, expires_at=iso(days=60))
    await ledger.age(days=2)
    await ledger.hold(M, 100, hold="h-1")
    assert (await ledger.end("h-1", "capture")).status_code == 200
    assert await ledger.buckets(M) == (0, 0, 0, 0)
    assert (await ledger.check())["system"] == {"issued": -200, "expired": 100, "redeemed": 100}


@pytest.mark.parametrize(("spent_late", "expected"), [(0, (0, 0, 0, 0)), (30, (0, 0, 0, -30))])
async def test_late_paid(ledger: Ledger, spent_late: int, expected: tuple[int, ...]) -> None:
    await ledger.learn(shortfall="debt", revision=2)
    await ledger.award(M, 100)
    await ledger.hold(M, 100, hold="h-1", expires_at=iso(minutes=30))
    await ledger.age(minutes=40)
    if spent_late:
        await spend(ledger, "elsewhere", spent_late)
    await spend(ledger, "c-1", 100, order="o-1", hold="h-1")
    assert await ledger.buckets(M) == expected
    assert (await ledger.check())["system"]["redeemed"] == 100 + spent_late


@pytest.mark.parametrize("take_back_first", [True, False])
async def test_refund_spent_and_drained(ledger: Ledger, take_back_first: bool) -> None:
    await ledger.award(M, 150)
    await spend(ledger, "c-1", 150, order="o-1")
    award = await ledger.award(M, 70, order="o-1")
    await drain(ledger)
    for take_back in (take_back_first, not take_back_first):
        if take_back:
            await revoke(ledger, award, 70)
        else:
            await give_back(ledger, "c-1", 150)
    assert await ledger.buckets(M) == (80, 0, 0, 0)
    await ledger.check()


@pytest.mark.parametrize("policy", ["forgive", "debt"])
@pytest.mark.parametrize("take_back_first", [True, False])
async def test_return_ended_either_order(ledger: Ledger, policy: str, take_back_first: bool) -> None:
    await ledger.learn(shortfall=policy, revision=2)
    await ledger.award(M, 150, expires_at=iso(days=1))
    await spend(ledger, "c-1", 150, order="o-1")
    award = await ledger.award(M, 70, order="o-1")
    await drain(ledger)
    await ledger.age(days=2)
    for take_back in (take_back_first, not take_back_first):
        if take_back:
            await revoke(ledger, award, 70)
        else:
            await give_back(ledger, "c-1", 150)
    assert await ledger.buckets(M) == (0, 0, 0, 0)
    assert (await ledger.check())["system"]["expired"] == 80


async def test_two_early_holds(ledger: Ledger) -> None:
    await ledger.award(M, 100, expires_at=iso(days=1))
    await ledger.hold(M, 60, hold="h-1", expires_at=iso(days=5))
    await ledger.hold(M, 40, hold="h-2", expires_at=iso(days=5))
    await ledger.age(days=2)
    ended = (await ledger.end("h-1", "release")).json()
    assert (ended["released"], ended["expiring"]) == (60, 60)
    assert await ledger.buckets(M) == (0, 0, 40, 0)
    await ledger.check()


async def test_ended_lot_kept(ledger: Ledger) -> None:
    await ledger.award(M, 60, expires_at=iso(days=1))
    await ledger.award(M, 100)
    await ledger.hold(M, 60, hold="h-1", expires_at=iso(days=5))
    await ledger.age(days=2)
    await spend(ledger, "c-1", 100)
    assert (await ledger.end("h-1", "release")).json()["expiring"] == 60
    assert await ledger.buckets(M) == (0, 0, 0, 0)
    assert (await ledger.check())["system"] == {"issued": -160, "redeemed": 100, "expired": 60}


@pytest.mark.parametrize("policy", ["forgive", "debt"])
async def test_held_take_back(ledger: Ledger, policy: str) -> None:
    await ledger.learn(shortfall=policy, revision=2)
    award = await ledger.award(M, 100, order="o-1")
    await ledger.hold(M, 100, hold="h-1", expires_at=iso(minutes=30))
    await ledger.post(M, {"kind": "revoke", "award": award, "total": 100})
    await ledger.age(minutes=31)
    assert await ledger.buckets(M) == (0, 0, 0, 0)
    await ledger.done(M, {"kind": "award", "amount": 5})
    assert await ledger.buckets(M) == (5, 0, 0, 0)
    assert (await ledger.check())["system"] == {"issued": -105, "revoked": 100}


async def test_cross_channel(ledger: Ledger) -> None:
    """Earned at the till, spent online: one balance."""
    await ledger.award(M, 80, cause={"rule": "till"})
    await ledger.hold(M, 50, hold="online")
    await spend(ledger, "c-1", 50, hold="online", order="o-9")
    assert await ledger.buckets(M) == (30, 0, 0, 0)


async def test_pending_points_become_available_at_their_instant_and_not_before(ledger: Ledger) -> None:
    await ledger.award(M, 40, activates_at=iso(days=14), expires_at=iso(days=60))
    assert await ledger.buckets(M) == (0, 40, 0, 0)
    assert (await ledger.hold(M, 1, hold="h-1")).status_code == 409
    assert [dated["amount"] for dated in (await ledger.balance(M))["next_activations"]] == [40]
    await ledger.age(days=14)
    assert await ledger.buckets(M) == (40, 0, 0, 0)
    assert (await ledger.hold(M, 40, hold="h-2")).status_code == 201
    await ledger.check()


async def test_pending_points_that_are_cancelled_leave_nothing(ledger: Ledger) -> None:
    award = await ledger.award(M, 40, activates_at=iso(days=14), order="o-1")
    await revoke(ledger, award, 40)
    await ledger.age(days=15)
    assert await ledger.buckets(M) == (0, 0, 0, 0)
    assert (await ledger.check())["system"] == {"issued": -40, "revoked": 40}
