"""Group commit: many callers, one transaction, and nobody pays for another's fault."""

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest

from chassis import Outcome, Overloaded, Problem, Transaction, grouping
from chassis.database import Database
from chassis.grouping import Group
from testkit import wait_until
from testkit.probe import HELD, Probe


class Notes:
    """A use case that remembers its transactions."""

    def __init__(self) -> None:
        self.transactions: list[Sequence[str]] = []

    async def write(self, tx: Transaction, commands: Sequence[str]) -> Outcome:
        self.transactions.append(commands)
        if "first" in commands:
            await tx.driver.execute("SELECT pg_advisory_xact_lock_shared($1)", HELD)
        await tx.driver.execute(
            "INSERT INTO effect (activity, member) SELECT c, 'm' FROM unnest($1::text[]) AS c", list(commands)
        )
        if "bad" in commands:
            await tx.driver.execute("SELECT 1 / 0")
        if "bug" in commands:
            raise KeyError("bug")
        answers: list[object] = [Problem(409, "refused", "no") if c == "refused" else f"{c}!" for c in commands]
        return Outcome(answers=answers[:-1] if "forgetful" in commands else answers)


async def test_calls_that_wait_while_one_is_in_flight_share_a_transaction(offline: Probe) -> None:
    notes, database = Notes(), Database(offline.settings)
    group = Group(partial(database.execute, notes.write))
    async with database.begin() as tx:
        await tx.driver.execute("SELECT pg_advisory_xact_lock($1)", HELD)
        first = asyncio.create_task(group.submit("first"))
        await wait_until(lambda: notes.transactions)
        others = [asyncio.create_task(group.submit(f"n-{number}")) for number in range(50)]
        await wait_until(lambda: len(group._waiting) == 50)
    assert await first == "first!"
    assert await asyncio.gather(*others) == [f"n-{number}!" for number in range(50)]
    assert [len(commands) for commands in notes.transactions] == [1, 50]
    assert await offline.query("SELECT count(*) FROM effect") == [51]
    await database.close()


@pytest.mark.parametrize("fault", ["bad", "bug"])
async def test_a_member_that_breaks_the_group_is_bisected_out_and_alone_gets_its_error(
    offline: Probe, fault: str
) -> None:
    notes, database = Notes(), Database(offline.settings)
    group = Group(partial(database.execute, notes.write))
    commands = [f"n-{number}" for number in range(15)]
    commands.insert(11, fault)
    answers = await asyncio.gather(*(group.submit(command) for command in commands), return_exceptions=True)
    assert isinstance(answers.pop(11), Exception)
    assert answers == [f"n-{number}!" for number in range(15)]
    assert fault not in await offline.effects()
    assert await offline.query("SELECT count(*) FROM effect") == [15]
    await database.close()


async def test_a_refusal_is_its_callers_alone(offline: Probe) -> None:
    notes, database = Notes(), Database(offline.settings)
    group = Group(partial(database.execute, notes.write))
    answers = await asyncio.gather(*(group.submit(c) for c in ("a", "refused", "b")), return_exceptions=True)
    assert [answers[0], answers[2]] == ["a!", "b!"]
    assert isinstance(answers[1], Problem)
    assert len(notes.transactions) == 1
    await database.close()


async def test_a_caller_that_goes_away_hurts_nobody(offline: Probe) -> None:
    notes, database = Notes(), Database(offline.settings)
    group = Group(partial(database.execute, notes.write))
    async with database.begin() as tx:
        await tx.driver.execute("SELECT pg_advisory_xact_lock($1)", HELD)
        first = asyncio.create_task(group.submit("first"))
        await wait_until(lambda: notes.transactions)
        gone, stays = asyncio.create_task(group.submit("gone")), asyncio.create_task(group.submit("stays"))
        await wait_until(lambda: len(group._waiting) == 2)
        first.cancel()
        gone.cancel()
    assert await stays == "stays!"
    assert sorted(await offline.effects()) == ["first", "gone", "stays"]
    await database.close()


async def test_an_answer_too_few_is_a_fault_and_leaves_nobody_waiting(offline: Probe) -> None:
    database = Database(offline.settings)
    group = Group(partial(database.execute, Notes().write))
    with pytest.raises(ValueError, match="zip"):
        await asyncio.wait_for(group.submit("forgetful"), 10)
    assert await asyncio.wait_for(group.submit("a"), 10) == "a!"
    await database.close()


async def test_more_callers_than_can_wait_are_told_to_come_back(
    offline: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouping, "QUEUE_SIZE", 3)
    notes, database = Notes(), Database(offline.settings)
    group = Group(partial(database.execute, notes.write))
    async with database.begin() as tx:
        await tx.driver.execute("SELECT pg_advisory_xact_lock($1)", HELD)
        first = asyncio.create_task(group.submit("first"))
        await wait_until(lambda: notes.transactions)
        waiting = [asyncio.create_task(group.submit(f"n-{number}")) for number in range(3)]
        await wait_until(lambda: len(group._waiting) == 3)
        with pytest.raises(Overloaded):
            await group.submit("one too many")
    assert await asyncio.gather(first, *waiting) == ["first!", "n-0!", "n-1!", "n-2!"]
    await database.close()


async def test_a_key_that_is_always_taken_is_told_soon_and_not_tried_for_ever(offline: Probe) -> None:
    notes, database = Notes(), Database(offline.settings)
    group = Group(partial(database.execute, notes.write))
    assert await group.submit("a") == "a!"
    answers = await asyncio.gather(*(group.submit(c) for c in ("b", "a", "c")), return_exceptions=True)
    assert [answers[0], answers[2]] == ["b!", "c!"]
    assert isinstance(answers[1], Exception)
    assert len(notes.transactions) <= 20
    await database.close()


class Slow:
    """Something done together that takes as long as the test wants."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.going = asyncio.Event()

    async def together(self, commands: Sequence[str]) -> Sequence[str]:
        self.groups.append(list(commands))
        await self.going.wait()
        return commands


async def test_a_call_never_joins_a_group_that_began_before_it() -> None:
    slow = Slow()
    group = Group(slow.together)
    first = asyncio.create_task(group.submit("first"))
    await wait_until(lambda: slow.groups)
    later = [asyncio.create_task(group.submit(name)) for name in ("second", "third")]
    await wait_until(lambda: len(group._waiting) == 2)
    slow.going.set()
    assert await asyncio.gather(first, *later) == ["first", "second", "third"]
    assert slow.groups == [["first"], ["second", "third"]]


async def test_a_small_group_waits_for_more_only_after_one_that_had_company(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, pauses, sleep = Slow(), [], asyncio.sleep

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    slow.going.set()
    group = Group(slow.together, gather_seconds=60)
    monkeypatch.setattr(grouping.asyncio, "sleep", pause)
    for name in ("alone", "and alone again"):
        await group.submit(name)
    assert pauses == []
    await asyncio.gather(*(group.submit(name) for name in ("one", "two")))
    assert pauses == []
    await group.submit("after company")
    assert [59 < seconds <= 60 for seconds in pauses] == [True]
    await asyncio.gather(*(group.submit(str(number)) for number in range(grouping.GATHERED)))
    assert len(pauses) == 1, "so many are cheap already"
