"""Balances of the past: exact at any instant, whether or not a job has run since, and the same ever after."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis.lanes import lane_of
from ledger import jobs, usecases
from ledger.app import READ_CONNECTIONS
from ledger.domain import Award, Capture, Credit, Debit, GiveBack, Hold, Posting, Release, Revoke, Spend
from ledger.store import past
from ledger.usecases import Asked
from testkit import wait_until

from .conftest import SHOP, Ledger, iso

M = "m-1"
LANE = lane_of(f"{SHOP}/{M}", 8)
START = datetime(2026, 2, 1, tzinfo=UTC)
FIGURES = ("available", "pending", "held", "debt", "lifetime_earned", "lifetime_spent", "seq")
NOTHING = dict.fromkeys(FIGURES, 0)


async def post_at(ledger: Ledger, now: datetime, *postings: Posting) -> None:
    """Settle postings as if it were then."""
    async with ledger.runtime.database.begin([LANE]) as tx:
        tx.now = now
        await usecases.post(tx, [Asked(posting) for posting in postings])


async def told(ledger: Ledger, as_of: datetime, member: str = M) -> dict[str, int]:
    balance = await ledger.balance(member, as_of=as_of.isoformat())
    return {name: balance[name] for name in FIGURES}


async def written(ledger: Ledger) -> list[Any]:
    """The history, once nothing is due any more."""
    await jobs.apply_due(ledger.runtime.database, asyncio.Event(), 500)
    return await ledger.sql(
        "SELECT e.at, e.available_after, e.pending_after, e.held_after, e.debt_after, e.earned_after, e.spent_after,"
        " e.seq FROM entry AS e JOIN account AS a ON a.id = e.account_id WHERE a.member = $1 ORDER BY e.seq",
        M,
    )


def replayed(history: Sequence[Any], as_of: datetime) -> dict[str, int]:
    """The slow way: every entry in its order, up to the instant."""
    standing = NOTHING
    for entry in history:
        if entry["at"] <= as_of:
            standing = dict(zip(FIGURES, tuple(entry)[1:], strict=True))
    return standing


async def test_what_was_due_between_entries_took_effect_at_its_instant(ledger: Ledger) -> None:
    """No job has run: what the books hold is of the last posting."""
    shared: dict[str, Any] = {"shop": SHOP, "member": M, "source": "s"}
    await post_at(
        ledger,
        START,
        Award(**shared, key="a", amount=100, expires_at=START + timedelta(days=10)),
        Award(**shared, key="p", amount=40, activates_at=START + timedelta(days=5)),
        Hold(**shared, key="h", hold="h", amount=30, expires_at=START + timedelta(days=7)),
    )
    tick = timedelta(microseconds=1)
    for as_of, wanted in (
        (START - tick, (0, 0, 0)),
        (START, (70, 40, 30)),
        (START + timedelta(days=5) - tick, (70, 40, 30)),
        (START + timedelta(days=5), (110, 0, 30)),
        (START + timedelta(days=7) - tick, (110, 0, 30)),
        (START + timedelta(days=7), (140, 0, 0)),
        (START + timedelta(days=10) - tick, (140, 0, 0)),
        (START + timedelta(days=10), (40, 0, 0)),
    ):
        found = await told(ledger, as_of)
        assert (found["available"], found["pending"], found["held"]) == wanted, as_of
    assert len(await ledger.sql("SELECT FROM entry")) == 3, "a read writes nothing"


@pytest.mark.parametrize("seed", range(4))
async def test_any_past_instant_is_as_a_replay_of_the_history_has_it(ledger: Ledger, seed: int) -> None:
    """Random stories of all kinds of posting; asked before the job has brought the account up to date, and after."""
    await ledger.learn(shortfall="debt", revision=2)
    chance = random.Random(seed)
    now = START
    for number in range(120):
        now += timedelta(seconds=chance.choice((0, 1, 3_600, 90_000)))
        await post_at(
            ledger, now, *(_anything(chance, now, f"{number}/{part}") for part in range(chance.randint(1, 3)))
        )
    recorded = [row["at"] for row in await ledger.sql("SELECT at FROM entry")]
    ends = [row["at"] for row in await ledger.sql("SELECT expires_at AS at FROM lot WHERE expires_at IS NOT NULL")]
    instants = {
        START - timedelta(days=1),
        now + timedelta(days=200),
        *(at + timedelta(microseconds=by) for at in chance.sample([*recorded, *ends], 40) for by in (-1, 0, 1)),
        *(START + timedelta(seconds=chance.randrange(60 * 86_400)) for _ in range(40)),
    }
    first = {at: await told(ledger, at) for at in sorted(instants)}
    history = await written(ledger)
    assert len(history) > 120
    assert first == {at: replayed(history, at) for at in instants}
    assert {at: await told(ledger, at) for at in instants} == first, "what was told of the past stays so"
    await ledger.check()


def _anything(chance: random.Random, now: datetime, key: str) -> Posting:
    shared: dict[str, Any] = {"shop": SHOP, "member": M, "source": "s", "key": key}
    named = f"n-{chance.randrange(6)}"
    soon = now + timedelta(hours=chance.randint(1, 200))
    later = soon + timedelta(hours=chance.randint(1, 200))
    amount = chance.randint(1, 60)
    match chance.randrange(12):
        case 0 | 1 | 2:
            return Award(**shared, amount=amount, expires_at=chance.choice((None, soon, later)))
        case 3:
            return Award(**shared, amount=amount, activates_at=soon, expires_at=chance.choice((None, later)))
        case 4:
            return Credit(**shared, amount=amount, expires_at=later)
        case 5:
            return Debit(**shared, amount=amount)
        case 6:
            return Hold(**shared, hold=named, amount=amount, at_most=True, expires_at=soon)
        case 7:
            return Capture(**shared, hold=named)
        case 8:
            return Release(**shared, hold=named)
        case 9:
            return Spend(**shared, checkout=named, generation=1, amount=amount, order=named)
        case 10:
            return GiveBack(**shared, checkout=named, generation=1, total=chance.randint(1, 60))
        case _:
            return Revoke(**shared, award=f"{chance.randrange(40)}/0", total=chance.randint(1, 30))


async def test_a_member_that_was_never_seen_had_nothing(ledger: Ledger) -> None:
    assert await told(ledger, datetime(2000, 1, 1, tzinfo=UTC), "nobody") == NOTHING
    assert await told(ledger, datetime.now(UTC), "nobody") == NOTHING


@pytest.mark.parametrize(
    ("as_of", "code"),
    [
        pytest.param(iso(days=5), "as_of_in_the_future", id="in five days"),
        ("9999-12-31T23:59:59Z", "as_of_in_the_future"),
        ("0001-01-01T00:00:00+14:00", "instant_out_of_range"),
        ("9999-12-31T23:59:59-12:00", "instant_out_of_range"),
        ("2026-02-01", "invalid_request"),
        ("2026-02-01T00:00:00", "invalid_request"),
        ("yesterday", "invalid_request"),
        ("", "invalid_request"),
    ],
)
@pytest.mark.parametrize("member", [M, "nobody"])
async def test_what_is_no_past_instant_is_refused(ledger: Ledger, as_of: str, code: str, member: str) -> None:
    await ledger.award(M, 10)
    answer = await ledger.http.get(f"/v1/shops/{SHOP}/members/{member}/balances", params={"as_of": as_of})
    assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_what_was_on_its_way_to_its_commit_is_waited_for(ledger: Ledger) -> None:
    """An entry's instant is read before its commit: a balance told in between would be another one afterwards."""
    await ledger.award(M, 10)
    asked = Asked(Award(shop=SHOP, member=M, source="s", key="late", amount=5))
    async with ledger.runtime.database.begin([LANE]) as tx:
        await usecases.post(tx, [asked])
        reading = asyncio.create_task(told(ledger, tx.now))
        done, _ = await asyncio.wait([reading], timeout=0.3)
        assert not done
        as_of = tx.now
    assert (await reading)["available"] == 15
    assert await told(ledger, as_of) == await reading
    before = (await ledger.sql("SELECT at FROM entry WHERE seq = 1"))[0]["at"]
    assert (await told(ledger, before))["available"] == 10


async def test_reads_and_writes_at_the_same_time_agree_ever_after(ledger: Ledger) -> None:
    """While an account is written to and things fall due on it, each answer is one that the history confirms."""
    answers: dict[datetime, dict[str, int]] = {}
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            at = datetime.now(UTC)
            answers[at] = await told(ledger, at)

    readers = [asyncio.create_task(read()) for _ in range(4)]
    for number in range(60):
        await ledger.award(M, 10, expires_at=iso(milliseconds=5 * number % 40 + 20))
        await ledger.award(M, 3, activates_at=iso(milliseconds=15))
    await asyncio.sleep(0.1)
    done.set()
    await asyncio.gather(*readers)
    history = await written(ledger)
    assert len(answers) > 50
    wrong = {at: (found, replayed(history, at)) for at, found in answers.items() if found != replayed(history, at)}
    assert wrong == {}


async def test_one_statement_finds_it_however_long_the_history_is(ledger: Ledger) -> None:
    """Each step reads one row by its key: never more than the numbers can be halved."""
    postings = [
        Asked(Award(shop=SHOP, member=M, source="s", key=f"a-{number}", amount=1, expires_at=None))
        for number in range(1_000)
    ]
    for first in range(0, 1_000, 100):
        async with ledger.runtime.database.begin([LANE]) as tx:
            tx.now = START + timedelta(minutes=first)
            await usecases.obey(tx, postings[first : first + 100])
    async with ledger.runtime.extras["desk"].reads.acquire() as driver:
        (plan,) = await driver.fetch(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {past._PAST}", SHOP, M, START + timedelta(minutes=450)
        )
    assert "Seq Scan" not in plan[0]
    assert (await told(ledger, START + timedelta(minutes=450)))["available"] == 500


async def test_a_read_of_now_tells_no_end_before_what_was_begun_earlier(ledger: Ledger) -> None:
    """What holds a lane has read its clock already, and is dated by it: a read that would tell an end waits for it, and
    tells what the history will say. Nobody else waits."""
    await ledger.award(M, 10, expires_at=iso(seconds=0.5))
    await ledger.award("m-other", 3)
    async with ledger.runtime.database.begin([LANE]) as tx:
        assert await ledger.buckets(M) == (10, 0, 0, 0)

        async def over() -> bool:
            return bool((await ledger.sql("SELECT clock_timestamp() >= max(expires_at) FROM lot"))[0][0])

        await wait_until(over, what="the points to be over")
        reading = [asyncio.create_task(read) for read in (ledger.buckets(M), looked_up(ledger, M, "m-other"))]
        done, _ = await asyncio.wait(reading, timeout=0.3)
        assert not done
        assert await ledger.buckets("m-other") == (3, 0, 0, 0)
        assert await looked_up(ledger, "m-other") == [3]
        spend = Spend(shop=SHOP, member=M, source="s", key="s-1", checkout="c-1", generation=1, amount=4)
        await usecases.post(tx, [Asked(spend)])
    assert await asyncio.gather(*reading) == [(0, 0, 0, 0), [0, 3]]
    seen = (await ledger.balance(M))["seq"]
    assert [entry["available_after"] for entry in await written(ledger)] == [10, 6, 0]
    assert seen == 3
    assert (await told(ledger, tx.now))["available"] == 6


async def test_a_read_that_waits_for_what_does_not_end_is_to_be_tried_again(ledger: Ledger) -> None:
    """Behind one that stands still with the lane; it changes nothing, and others are told their balances."""
    await ledger.award(M, 10, expires_at=iso(seconds=0.2))
    await ledger.award("m-other", 3)
    reads = ledger.runtime.extras["desk"].reads
    kept = [await reads.acquire() for _ in range(READ_CONNECTIONS)]
    for driver in kept:
        await driver.execute("SET lock_timeout = '200ms'")
        await reads.release(driver)
    await ledger.age(seconds=1)
    async with ledger.runtime.database.begin([LANE]):
        answer = await ledger.http.get(f"/v1/shops/{SHOP}/members/{M}/balances")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert await ledger.buckets("m-other") == (3, 0, 0, 0)
    assert await ledger.buckets(M) == (0, 0, 0, 0)
    assert [line["kind"] for line in await ledger.entries(M)] == ["award"]


async def looked_up(ledger: Ledger, *members: str) -> list[int]:
    answer = await ledger.http.post(f"/v1/shops/{SHOP}/balances/lookup", json={"members": members})
    return [member["balances"][0]["available"] for member in answer.json()["members"]]
