"""Seals: all that is in the log, once, in one chain a lane, and outside the database whatever is killed when."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from prometheus_client import REGISTRY

from chassis import CannotStart, Runtime
from chassis.lanes import lane_of
from ledger import sealing, start
from ledger.app import build
from ledger.outside import SealFolder
from ledger.seal_check import SealChecker
from ledger.sealing import LogBroken, seal_next
from ledger.signing import Keyring, SealKeyUnknown, SealKeyUnusable
from ledger.start import LogBehind, LogDiffers
from ledger.store import seals as stored_seals
from ledger.store.log import EPOCH_LANES, SEAL_LANES, LedgerLog

from .conftest import SHOP, Ledger
from .sealed import Seals, key_file

LANES = 8


@pytest.fixture
def seals(ledger: Ledger, tmp_path: Path) -> Seals:
    return Seals(ledger, tmp_path / "outside", key_file(tmp_path))


async def fill(ledger: Ledger, members: int = 12) -> None:
    """Entries in every lane, and a refusal."""
    for number in range(members):
        await ledger.award(f"m-{number}", 10 + number)
    await ledger.post("m-0", {"kind": "debit", "amount": 999}, cause={"operator": "op", "reason": "test"})


async def checked(seals: Seals) -> int:
    async with seals.ledger.runtime.database.look() as driver:
        return await start.check(driver, seals.folder)


async def test_every_row_is_in_exactly_one_seal_of_its_lane_and_seals_are_a_signed_chain(seals: Seals) -> None:
    await fill(seals.ledger)
    await seals.run(seal_batch_size=2)
    await fill(seals.ledger, 5)
    await seals.run(seal_batch_size=2)
    public = Keyring.read(seals.key, None).current.public
    (rows,) = await seals.ledger.sql("SELECT (SELECT count(*) FROM entry) + (SELECT count(*) FROM refusal) AS count")
    sealed = 0
    async with seals.ledger.runtime.database.look() as driver:
        for lane in range(LANES):
            previous, last = bytes(32), 0
            number = 0
            for found in await stored_seals.numbered_behind(driver, {lane: 0}, 1000):
                seal, number = found.seal, number + 1
                assert (seal.lane, seal.number, seal.first, seal.previous) == (lane, number, last + 1, previous)
                assert seal.last - seal.first < 2
                Ed25519PublicKey.from_public_bytes(seal.key).verify(found.signature, seal.encoded())
                assert seal.key == public
                assert await start.holds(driver, found)
                previous, last = seal.hash, seal.last
            assert await stored_seals.highest(driver, lane) == last
            sealed += last
    assert sealed == rows["count"] == 12 + 1 + 5 + 1
    assert REGISTRY.get_sample_value("accrual_ledger_unsealed_rows") == 0
    assert REGISTRY.get_sample_value("accrual_ledger_seal_lag_seconds") == 0
    assert REGISTRY.get_sample_value("accrual_ledger_untold_seals") == 0


async def test_nothing_new_is_no_new_seal(seals: Seals) -> None:
    await fill(seals.ledger)
    await seals.run()
    before = await seals.stored()
    await seals.run()
    assert await seals.stored() == before


async def test_a_shop_s_rows_so_far_stand_in_each_of_its_parts(seals: Seals) -> None:
    await seals.ledger.learn("other")
    for number in range(3):
        await seals.ledger.award("m-1", 10)
        await seals.run()
        assert number >= 0
    parts = await seals.ledger.sql("SELECT shop, count, total FROM seal_shop ORDER BY number")
    assert [tuple(part) for part in parts] == [(SHOP, 1, 1), (SHOP, 1, 2), (SHOP, 1, 3)]


async def test_two_sealers_at_once_make_no_fork(seals: Seals) -> None:
    await fill(seals.ledger, 40)
    database, keys = seals.ledger.runtime.database, Keyring.read(seals.key, None)

    async def seal(lane: int) -> bool:
        try:
            async with database.begin() as tx:
                return await seal_next(tx, lane, keys, 2) is not None
        except asyncpg.UniqueViolationError:
            return False

    for lane in range(LANES):
        while any(await asyncio.gather(*(seal(lane) for _ in range(4)))):
            pass
    last: dict[int, Any] = {}
    for row in await seals.stored():
        before = last.get(row["lane"])
        assert row["number"] == (1 if before is None else before["number"] + 1)
        assert row["first_position"] == (1 if before is None else before["last_position"] + 1)
        last[row["lane"]] = row
    assert sum(row["last_position"] for row in last.values()) == 41


async def test_what_was_removed_before_it_was_sealed_stops_the_sealer(seals: Seals) -> None:
    for _ in range(3):
        await seals.ledger.award("m-1", 10)
    await seals.as_owner("DELETE FROM entry WHERE seq = 2")
    with pytest.raises(LogBroken):
        await seals.run()
    assert await seals.stored() == []


async def test_without_a_key_nothing_is_sealed_and_the_lag_says_so(seals: Seals) -> None:
    await fill(seals.ledger, 3)
    await seals.as_owner("UPDATE entry SET recorded_at = recorded_at - interval '1 hour'")
    await seals.run(seal_key_file=None)
    assert await seals.stored() == []
    assert REGISTRY.get_sample_value("accrual_ledger_unsealed_rows") == 4
    assert (REGISTRY.get_sample_value("accrual_ledger_seal_lag_seconds") or 0) > 3600


async def test_a_file_that_is_no_key_is_said_to_be_none(seals: Seals, tmp_path: Path) -> None:
    (tmp_path / "nonsense.pem").write_text("nonsense")
    for file in ("nonsense.pem", "missing.pem"):
        with pytest.raises(SealKeyUnusable, match=file):
            await seals.run(seal_key_file=tmp_path / file)


async def checked_again(seals: Seals, rows_per_run: int) -> float:
    """The figure of a whole round, in as many runs as it takes; a round ends with the run after the last lane."""
    checker = SealChecker(rows_per_run)
    for _ in range(100):
        await checker.run(seals.ledger.runtime.database, asyncio.Event())
    return REGISTRY.get_sample_value("accrual_ledger_seal_mismatches") or 0


@pytest.mark.parametrize("rows_per_run", [1, 7, 10_000])
async def test_seals_are_held_against_the_log_again_and_again(seals: Seals, rows_per_run: int) -> None:
    await fill(seals.ledger)
    await seals.run(seal_batch_size=2)
    assert await checked_again(seals, rows_per_run) == 0
    await seals.as_owner("UPDATE entry SET hash = sha256(hash) WHERE lane = 3 AND position = 1")
    assert await checked_again(seals, rows_per_run) == 1
    await seals.as_owner("UPDATE seal SET signature = sha256('') || sha256('') WHERE lane = 5 AND number = 1")
    assert await checked_again(seals, rows_per_run) == 2


# -- another key


async def test_a_new_key_is_announced_by_the_old_one_in_every_lane(seals: Seals, tmp_path: Path) -> None:
    await fill(seals.ledger)
    await seals.run()
    new = key_file(tmp_path, "new")
    before = {row["lane"]: row["number"] for row in await seals.stored()}
    await fill(seals.ledger, 4)
    with pytest.raises(SealKeyUnknown):
        await seals.run(seal_key_file=new)
    assert {row["lane"]: row["number"] for row in await seals.stored()} == before
    await seals.run(seal_key_file=new, seal_previous_key_file=seals.key)
    await seals.run(seal_key_file=new, seal_previous_key_file=seals.key)
    await seals.run(seal_key_file=new)
    old_public, new_public = (Keyring.read(file, None).current.public for file in (seals.key, new))
    for lane in before:
        signed = [(r["key"], r["next_key"], r["shops"]) for r in await seals.stored() if r["lane"] == lane]
        signed = signed[before[lane] - 1 :]
        assert signed[0] == (old_public, bytes(32), 1)
        assert signed[1] == (old_public, new_public, 0)
        assert signed[2:] in ([], [(new_public, bytes(32), 1)])
    assert await checked(seals) == len(before)


# -- outside the database


async def test_the_files_hold_every_seal_as_it_is(seals: Seals) -> None:
    await fill(seals.ledger)
    await seals.run(seal_batch_size=3)
    told = seals.told()
    stored = await seals.stored()
    assert [(t["lane"], t["number"], t["root"]) for t in told] == [
        (row["lane"], row["number"], row["root"].hex()) for row in stored
    ]


async def test_a_sealer_killed_between_commit_and_telling_tells_later(
    seals: Seals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise RuntimeError("killed")

    await fill(seals.ledger)
    with monkeypatch.context() as patched:
        patched.setattr(SealFolder, "append", killed)
        with pytest.raises(RuntimeError):
            await seals.run()
    assert len(await seals.stored()) > 0
    assert seals.told() == []
    await seals.run()
    assert len(seals.told()) == len(await seals.stored())


async def test_a_line_that_was_cut_off_is_followed_by_the_whole_one(seals: Seals) -> None:
    await fill(seals.ledger)
    await seals.run()
    file = max(seals.folder.glob("*.jsonl"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    await seals.run()
    assert file.read_bytes() == whole[:-20] + b"\n" + whole.splitlines(keepends=True)[-1]
    assert await checked(seals) == len({row["lane"] for row in await seals.stored()})


async def test_an_empty_folder_gets_all_seals(seals: Seals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sealing, "TOLD_TOGETHER", 2)
    await fill(seals.ledger, 30)
    await seals.run(seal_batch_size=1)
    await seals.run(seal_folder=tmp_path / "another")
    files = {file.name: file.read_bytes() for file in seals.folder.iterdir()}
    assert {file.name: file.read_bytes() for file in (tmp_path / "another").iterdir()} == files


async def test_the_relay_gets_every_seal_after_its_cursor(seals: Seals) -> None:
    await fill(seals.ledger)
    await seals.run(seal_batch_size=1)
    stored = await seals.stored()
    async with seals.ledger.runtime.database.look() as driver:
        after = dict(await driver.fetch("SELECT lane, 0::bigint FROM relay_cursor"))
        assert sorted(after) == [
            *range(LANES),
            *(base + lane for base in (SEAL_LANES, EPOCH_LANES) for lane in range(LANES)),
        ]
        log = LedgerLog()
        events = [event for event in await log.read(driver, after, 1000) if event.lane >= SEAL_LANES]
        highest = await log.highest(driver, sorted(after))
    assert [(event.lane - SEAL_LANES, event.position) for event in events] == [
        (row["lane"], row["number"]) for row in stored
    ]
    assert {event.topic for event in events} == {"seals"}
    assert [{**told, "shop": "*"} for told in seals.told()] == [json.loads(event.body) for event in events]
    numbers = {SEAL_LANES + row["lane"]: row["number"] for row in stored}
    found = {lane: number for lane, number in highest.items() if SEAL_LANES <= lane < EPOCH_LANES and number}
    assert found == numbers


# -- at start


async def test_a_start_is_held_against_the_last_seals_outside(seals: Seals) -> None:
    assert await checked(seals) == 0
    await fill(seals.ledger)
    await seals.run()
    await fill(seals.ledger, 3)
    assert await checked(seals) == len({row["lane"] for row in await seals.stored()})


CUTS: dict[str, list[str]] = {
    "the log's tail": ["DELETE FROM entry WHERE seq = 3"],
    "the log's tail and its seal": [
        "DELETE FROM entry WHERE seq = 3",
        "DELETE FROM seal WHERE number = 2",
        "DELETE FROM seal_shop WHERE number = 2",
    ],
    "the seal alone": ["DELETE FROM seal WHERE number = 2"],
    "everything": ["DELETE FROM entry", "DELETE FROM seal", "DELETE FROM seal_shop", "DELETE FROM ledger"],
}


@pytest.mark.parametrize("cut", CUTS)
async def test_a_log_that_is_behind_its_seals_does_not_start(seals: Seals, cut: str) -> None:
    for upto in (2, 3):
        while (await seals.ledger.balance("m-1"))["seq"] < upto:
            await seals.ledger.award("m-1", 10)
        await seals.run()
    for statement in CUTS[cut]:
        await seals.as_owner(statement)
    with pytest.raises(LogBehind, match=f"lane {lane_of(f'{SHOP}/m-1', LANES)}"):
        await checked(seals)


CHANGES: dict[str, str] = {
    "a hash": "UPDATE entry SET hash = sha256(hash) WHERE seq = 2",
    "an entry in the middle is missing": "DELETE FROM entry WHERE seq = 2",
    "another seal": "UPDATE seal SET at = at + interval '1 second'",
    "another ledger": "UPDATE ledger SET id = gen_random_uuid()",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_log_that_differs_from_its_seals_does_not_start(seals: Seals, change: str) -> None:
    for _ in range(3):
        await seals.ledger.award("m-1", 10)
    await seals.run()
    await seals.as_owner(CHANGES[change])
    with pytest.raises(LogDiffers):
        await checked(seals)


async def test_a_start_outlives_a_database_that_comes_back(seals: Seals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres ends in the midst of the check: it is made again, and the service starts."""
    await fill(seals.ledger)
    await seals.run()
    check, tries = start.check, []

    async def cut_once(driver: asyncpg.Connection, folder: Path) -> int:
        tries.append(folder)
        if len(tries) == 1:
            await driver.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return await check(driver, folder)

    monkeypatch.setattr(start, "check", cut_once)
    runtime = Runtime(build(seals.settings()))
    assert runtime.service.startup is not None
    assert runtime.service.shutdown is not None
    await runtime.service.startup(runtime)
    await runtime.service.shutdown(runtime)
    await runtime.database.close()
    assert tries == [seals.folder] * 2


async def test_the_service_refuses_to_start_on_it(seals: Seals) -> None:
    for _ in range(3):
        await seals.ledger.award("m-1", 10)
    await seals.run()
    await seals.as_owner("DELETE FROM entry WHERE seq = 3")
    runtime = Runtime(build(seals.settings()))
    assert runtime.service.startup is not None
    with pytest.raises(CannotStart, match="the log ends at position 2, but a seal outside the database"):
        await runtime.service.startup(runtime)
    assert "desk" not in runtime.extras
    await runtime.database.close()


async def test_after_a_restore_with_a_new_epoch_the_chain_goes_on_and_is_told(seals: Seals) -> None:
    for _ in range(2):
        await seals.ledger.award("m-1", 10)
        await seals.run()
    for table, column in (("entry", "seq"), ("lot", "number"), ("seal", "number"), ("seal_shop", "number")):
        await seals.as_owner(f"DELETE FROM {table} WHERE {column} = 2")
    await seals.as_owner(
        "UPDATE account SET seq = 1, available = 10, earned = 10, hash = (SELECT hash FROM entry WHERE seq = 1)"
    )
    with pytest.raises(LogBehind):
        await checked(seals)
    await seals.as_owner("UPDATE epoch SET epoch = 2")
    assert await checked(seals) == 0
    await seals.ledger.award("m-1", 7)
    await seals.as_owner("UPDATE entry SET position = position + 5 WHERE seq = 2")  # as a restore may let it go on
    await seals.run()
    assert [(told["epoch"], told["number"]) for told in seals.told()] == [(1, 1), (1, 2), (2, 2)]
    assert await checked(seals) == 1
