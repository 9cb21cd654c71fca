"""A database restored from a backup: it does not run, and goes on in a new epoch only when it is told to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import REGISTRY

from accrual_verify import export as verifier
from accrual_verify.seals import Published
from chassis import Runtime
from chassis.lanes import lane_of
from contracts import decode
from contracts.ledger import EpochStarted
from ledger import start
from ledger.app import build
from ledger.settings import LedgerSettings
from ledger.signing import Keyring
from ledger.start import LogBehind, ToldCheck
from ledger.store import seals as stored_seals
from ledger.store.log import EPOCH_LANES, LedgerLog
from local.databases import ServiceDatabase
from testkit.tokens import Tokens

from .conftest import SHOP
from .kafka import told
from .sealed import key_file
from .site import Site


@pytest.fixture
async def site(
    postgres: str,
    service_database: Callable[[str], Awaitable[ServiceDatabase]],
    topics: str,
    tokens: Tokens,
    tmp_path: Path,
) -> AsyncIterator[Site]:
    database = await service_database("ledger")
    yield Site(postgres, topics, tokens, tmp_path / "seals", key_file(tmp_path), database, database.url)
    admin = await asyncpg.connect(postgres)
    for (name,) in await admin.fetch("SELECT datname FROM pg_database WHERE starts_with(datname, 'restored_')"):
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await admin.close()


async def startup(settings: LedgerSettings) -> None:
    runtime = Runtime(build(settings))
    assert runtime.service.startup is not None
    assert runtime.service.shutdown is not None
    try:
        await runtime.service.startup(runtime)
        await runtime.service.shutdown(runtime)
    finally:
        await runtime.database.close()


async def test_a_restored_backup_goes_on_in_a_new_epoch(site: Site) -> None:
    async with site.running() as ledger:
        await ledger.learn()
        for number in range(12):
            await ledger.award(f"m-{number}", 10)
    backup = await site.copy("restored_1")
    async with site.running() as ledger:
        for number in range(6):
            await ledger.award(f"m-{number}", 5)
        await ledger.award("m-late", 50)
        await ledger.post("m-0", {"kind": "debit", "amount": 999}, cause={"operator": "op", "reason": "test"})
        lost = {f"m-{number}": (await ledger.balance(f"m-{number}"))["available"] for number in range(12)}
    assert lost["m-0"] == 15
    before = len(await told(site.servers, 12 + 6 + 1 + 1))
    original, site.url = site.url, backup

    # It does not run, by its seals and by the topic alone.
    with pytest.raises(LogBehind, match="a seal outside the database"):
        await startup(site.settings())
    with pytest.raises(LogBehind, match="the topic was told of positions up to"):
        await startup(site.settings(seal_folder=None))
    assert REGISTRY.get_sample_value("accrual_ledger_log_behind") == 1
    refused = site.command("all")
    assert refused.returncode == 1
    assert "python -m ledger restore" in refused.stderr

    # Restoring needs the broker and the key, and changes nothing without them.
    assert "Kafka gives no answer" in site.command("restore", kafka_bootstrap_servers="127.0.0.1:1").stderr
    assert "LEDGER_SEAL_KEY_FILE" in site.command("restore", seal_key_file=None).stderr
    connection = await asyncpg.connect(site.url)
    assert await connection.fetchval("SELECT epoch FROM epoch") == 1
    done = site.command("restore")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 2, lane") == 8
    assert "are given up" in done.stdout
    again = site.command("restore")
    assert (again.returncode, "nothing to restore" in again.stderr) == (1, True)
    assert await connection.fetchval("SELECT epoch FROM epoch") == 2
    cursors = dict(await connection.fetch("SELECT lane, position FROM relay_cursor WHERE lane < 8"))
    highest = dict(await LedgerLog().highest(connection, range(8)))
    assert cursors == highest
    await connection.close()

    async with site.running() as ledger:
        assert (await ledger.balance("m-0"))["available"] == 10
        for number in range(12):
            await ledger.award(f"m-{number}", 7)
        await ledger.check()
        exported = await ledger.http.get(f"/v1/shops/{SHOP}/ledger/export")
        balances = {f"m-{number}": (await ledger.balance(f"m-{number}"))["available"] for number in range(12)}
    assert set(balances.values()) == {17}

    # The topic: per lane the start of the epoch, and behind it what is of it, at the positions that were given up.
    records = (await told(site.servers, before + 8 + 12))[before:]
    started: dict[int, EpochStarted] = {}
    for record in await told(site.servers, before + 8 + 12):
        lane, position = int(record.headers["ce_lane"]), int(record.headers["ce_position"])
        if record.type == "epoch-started":
            event = decode(EpochStarted, record.raw)
            assert (lane, position, event.epoch, record.key) == (EPOCH_LANES + event.lane, 2, 2, f"*/{event.lane}")
            started[event.lane] = event
        elif record.body["epoch"] == 2:
            assert position > started[lane].position
            assert record.body["balances"]["available"] == 17
    assert len(records) == 20
    assert {lane: event.position for lane, event in started.items()} == highest
    assert sum(event.told - event.position for event in started.values()) == 8

    # An auditor sees what was given up, and that the rest holds.
    report = verifier.verify(
        exported.content.splitlines(keepends=True),
        published=Published.read([site.folder]),
        trusted={Keyring.read(site.key, None).current.public},
    )
    assert report.good, report.findings
    assert sum("epoch 2 gave up positions" in note for note in report.notes) > 0
    assert any("were given up by a restore" in note for note in report.notes)

    # It starts again, and what it left behind does not.
    await startup(site.settings())
    site.url = original
    with pytest.raises(LogBehind, match="the topic was told of epoch 2"):
        await startup(site.settings(seal_folder=None))


async def test_an_older_backup_of_the_same_ledger_gets_an_epoch_of_its_own(site: Site) -> None:
    async with site.running() as ledger:
        await ledger.learn()
        await ledger.award("m-1", 10)
    backups = [await site.copy(f"restored_{number}") for number in (1, 2)]
    async with site.running() as ledger:
        await ledger.award("m-1", 10)
    for epoch, site.url in enumerate(backups, start=2):
        done = site.command("restore")
        assert f"epoch {epoch}, lane 0" in done.stdout, done.stderr
        async with site.running() as ledger:
            await ledger.award("m-1", epoch)
            assert (await ledger.balance("m-1"))["available"] == 10 + epoch


async def test_nothing_is_restored_while_a_worker_runs(site: Site) -> None:
    async with site.running() as ledger:
        await ledger.learn()
        await ledger.award("m-1", 10)
        refused = await asyncio.to_thread(site.command, "restore", "--anyway")
        assert (refused.returncode, "a worker of this ledger runs" in refused.stderr) == (1, True)
        assert (await ledger.sql("SELECT epoch FROM epoch"))[0][0] == 1
        assert await ledger.sql("SELECT FROM epoch_start") == []


async def test_rows_that_were_not_told_before_the_backup_are_told_in_the_new_epoch(site: Site) -> None:
    async with site.running() as ledger:
        await ledger.learn()
        await ledger.award("m-1", 10)
    backup = await site.copy("restored_1")
    async with site.running() as ledger:
        await ledger.award("m-1", 20)
        await ledger.award("m-1", 30)
    site.url = backup
    async with site.running("api", kafka_bootstrap_servers="127.0.0.1:1", seal_folder=None) as ledger:
        await ledger.award("m-1", 7)  # Kafka is away, so nobody can know that the log is behind
        log = ledger.runtime.service.log
        assert isinstance(log, LedgerLog)
        assert log.held_back
    lane = lane_of(f"{SHOP}/m-1", 8)
    done = site.command("restore")
    assert f"epoch 2, lane {lane}: goes on behind position 1, 2 to 3 are given up" in done.stdout, done.stderr
    async with site.running() as ledger:
        await ledger.award("m-1", 1)
    of_lane = [record for record in await told(site.servers, 3 + 8 + 2) if record.headers["ce_lane"] == str(lane)]
    assert [(r.body["epoch"], r.headers["ce_position"], r.body["changes"]["available"]) for r in of_lane] == [
        (1, "1", 10),
        (1, "2", 20),
        (1, "3", 30),
        (2, "2", 7),
        (2, "3", 1),
    ]


async def test_a_broker_that_is_away_holds_back_what_is_told_until_it_answers(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "AGAIN_SECONDS", 0.01)
    async with site.running() as ledger:
        await ledger.learn()
        await ledger.award("m-1", 10)
    backup = await site.copy("restored_1")
    async with site.running() as ledger:
        await ledger.award("m-1", 10)
    for url, behind in ((site.url, False), (backup, True)):
        runtime, log = Runtime(build(site.settings(database_url=url))), LedgerLog()
        check = ToldCheck(runtime.database, site.settings(kafka_bootstrap_servers="127.0.0.1:1"), log)
        assert not await check.first()
        assert REGISTRY.get_sample_value("accrual_ledger_start_unchecked") == 1
        async with runtime.database.look() as driver:
            assert await log.read(driver, dict.fromkeys(range(8), 0), 10) == []
        check._settings = site.settings()  # it has come back
        if behind:
            with pytest.raises(LogBehind):
                await check.later(asyncio.Event())
        else:
            await check.later(asyncio.Event())
            assert REGISTRY.get_sample_value("accrual_ledger_start_unchecked") == 0
            async with runtime.database.look() as driver:
                assert len(await log.read(driver, dict.fromkeys(range(8), 0), 10)) == 2
        await runtime.database.close()


async def test_a_database_that_goes_away_during_the_start_ends_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.running() as ledger:
        await ledger.learn()
        await ledger.award("m-1", 10)
    asked = 0
    epoch = stored_seals.epoch

    async def away_at_first(driver: asyncpg.Connection) -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return await epoch(driver)

    monkeypatch.setattr(stored_seals, "epoch", away_at_first)
    runtime = Runtime(build(site.settings(database_url=site.url)))
    assert await ToldCheck(runtime.database, site.settings(), LedgerLog()).first()
    assert asked == 2
    await runtime.database.close()
