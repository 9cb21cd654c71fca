"""A shop moves: its complete export, taken over by a ledger that has nothing of it, is the same shop."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from accrual_verify import export as verifier
from ledger import moving
from ledger.moving import ExportDoesNotHold, RelayAtWork, RowsUntold, ShopNotEmpty, import_shop
from ledger.store.log import LedgerLog
from local.databases import ServiceDatabase
from testkit import wait_until

from .conftest import SHOP, Ledger, iso, ledger_of
from .sealed import Seals, key_file

OPERATOR = {"operator": "op-7", "reason": "goodwill"}


@pytest.fixture
def seals(ledger: Ledger, tmp_path: Path) -> Seals:
    return Seals(ledger, tmp_path / "outside", key_file(tmp_path))


@pytest.fixture
async def elsewhere(service_database: Callable[[str], Awaitable[ServiceDatabase]], ledger: Ledger) -> Any:
    """Another ledger, which knows no shop."""
    async with ledger_of(await service_database("ledger"), ledger.tokens) as other:
        yield other


async def live(ledger: Ledger) -> dict[str, Any]:
    """Everything that a shop can have, in all states; what is asked again later."""
    await ledger.learn(shortfall="debt", revision=7, approval_above={"points": 20_000})
    kept = {}
    for number in range(40):
        kept[f"of_{number}"] = await ledger.award(
            f"m-{number}", 10 + number, order=f"o-{number}", cause={"rule": "every", "rule_version": 7}
        )
    kept["award"] = await ledger.award("m-1", 100, expires_at=iso(days=3), order="o-1")
    await ledger.award("m-1", 40, activates_at=iso(days=1), expires_at=iso(days=9), priority=3)
    await ledger.hold("m-1", 30, hold="h-open")
    await ledger.hold("m-1", 20, hold="h-captured", order="o-7")
    await ledger.end("h-captured", "capture", amount=15)
    await ledger.hold("m-2", 5, hold="h-released")
    await ledger.end("h-released", "release")
    await ledger.hold("m-1", 9_999, hold="h-refused")
    await ledger.hold("m-3", 7, hold="h-late", expires_at=iso(seconds=2))
    spend = {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 25}
    await ledger.done("m-1", spend, order="o-3", key="spend-c-1")
    await ledger.done("m-1", {"kind": "give_back", "checkout": "c-1", "generation": 1, "total": 10}, order="o-3")
    await ledger.done("m-4", {"kind": "credit", "amount": 7, "memo": "sorry, Ana"}, cause=OPERATOR, key="memo")
    kept["refused"] = {"kind": "debit", "amount": 9_999}
    await ledger.post("m-4", kept["refused"], cause=OPERATOR, key="refused")
    await ledger.post("m-refused", kept["refused"], cause=OPERATOR)
    # Owed: an award that was spent is taken back.
    owed = await ledger.award("m-5", 50, order="o-50")
    await ledger.done("m-5", {"kind": "spend", "checkout": "c-5", "generation": 1, "amount": 60}, order="o-51")
    await ledger.done("m-5", {"kind": "revoke", "award": owed, "total": 50}, order="o-50")
    # Waiting: for an award and for a spend that have not come.
    await ledger.post("m-6", {"kind": "revoke", "award": "to-come", "total": 20}, key="waits-1")
    await ledger.post("m-new", {"kind": "give_back", "checkout": "c-later", "generation": 1, "total": 5}, key="waits-2")
    await ledger.post("m-10", {"kind": "credit", "amount": 25_000}, cause=OPERATOR, key="above")
    top_up = {"kind": "top_up", "amount": 5_000, "currency": "EUR"}
    await ledger.done("m-10", top_up, asset="stored_value")
    await ledger.award("m-10", 77, key="on-event", activates_on="fulfilled")
    # Given, frozen, merged, and merged and parted again.
    await ledger.act("members/m-20/gifts", {"to": "m-21", "amount": 6})
    await ledger.act("members/m-22/freeze", OPERATOR)
    kept["merge"] = (await ledger.act("members/m-23/merge", {"into": "m-24", **OPERATOR}))["merge"]
    parted = (await ledger.act("members/m-25/merge", {"into": "m-26", **OPERATOR}))["merge"]
    await ledger.done("m-26", {"kind": "spend", "checkout": "c-26", "generation": 1, "amount": 50}, order="o-26")
    await ledger.act(f"merges/{parted}/undo", OPERATOR)
    # Ended and kept for a hold; expired; activated; a hold that has timed out.
    await ledger.award("m-7", 60, expires_at=iso(seconds=2))
    await ledger.hold("m-7", 45, hold="h-kept", expires_at=iso(days=9))
    await ledger.award("m-8", 60, activates_at=iso(seconds=2))

    async def all_over() -> bool:
        pending, ended = (await ledger.balance("m-8"))["pending"], (await ledger.balance("m-7"))["available"]
        return (pending, ended, (await ledger.balance("m-3"))["held"]) == (0, 17, 0)

    await wait_until(all_over, what="lots and holds to end")
    for number in (3, 7, 8):
        await ledger.award(f"m-{number}", 1)
    return kept


async def exported(ledger: Ledger, *, complete: bool = True) -> bytes:
    response = await ledger.http.get(f"/v1/shops/{SHOP}/ledger/export", params={"complete": complete})
    assert response.status_code == 200, response.text
    return response.content


def living(content: bytes) -> list[bytes]:
    """What is true now: accounts and all records, as they are told."""
    return [line for line in content.splitlines()[1:-1] if line[:2] == b'["' and line[2:3] in b"alhsfgkwpnmv"]


def history(content: bytes) -> list[list[Any]]:
    """Entries and refusals without their places, lane by lane."""
    return [
        json.loads(line)[:2] + json.loads(line)[3:] for line in content.splitlines() if line[:4] in (b'["e"', b'["r"')
    ]


async def take(other: Ledger, content: bytes) -> moving.Imported:
    return await import_shop(other.database.url, content.splitlines(keepends=True))


async def nothing_of_it(other: Ledger) -> bool:
    counts = [
        (await other.sql(f"SELECT count(*) FROM {table}"))[0][0]
        for table in (
            "account",
            "entry",
            "refusal",
            "posting",
            "lot",
            "hold",
            "spend",
            "shortfall",
            "parked",
            "proposal",
            "member",
            "merge",
            "moved_lot",
            "gift_day",
            "system_sum",
        )
    ]
    (moved,) = await other.sql("SELECT sum(position) FROM relay_cursor WHERE lane < 1000")
    return not any(counts) and not moved[0]


async def test_a_shop_goes_on_living_where_it_was_imported(seals: Seals, elsewhere: Ledger, tmp_path: Path) -> None:
    old = seals.ledger
    kept = await live(old)
    await seals.other_shops(9)
    await seals.run(seal_batch_size=4)
    await old.award("m-9", 1)
    content = await exported(old)
    report = verifier.verify(content.splitlines(keepends=True))
    assert report.good, report.findings
    assert b"Ana" not in content

    imported = await take(elsewhere, content)
    assert imported.counts == json.loads(content.splitlines()[-1])["end"]
    assert imported.counts["records"] > 100

    again = await exported(elsewhere)
    assert living(again) == living(content)
    assert history(again) == history(content)
    assert json.loads(again.splitlines()[0])["programme"] == {
        "shortfall": "debt",
        "zone": "Europe/Madrid",
        "currency": "EUR",
        "approval_above": '{"points":20000}',
        "gifts_per_day": 10,
        "gift_points_per_day": 10_000,
    }
    checked = await elsewhere.check()
    assert checked == await old.check()
    for number in range(40):
        assert await elsewhere.balance(f"m-{number}") == await old.balance(f"m-{number}")
    assert await elsewhere.entries("m-1", limit=200) == await old.entries("m-1", limit=200)
    columns = "member, asset, next_due_at, last_at"
    rows = [
        await one.sql(f"SELECT {columns} FROM account WHERE shop = $1 ORDER BY {columns}", SHOP)
        for one in (old, elsewhere)
    ]
    for before, after in zip(*rows, strict=True):
        assert before["last_at"] == after["last_at"]  # `next_due_at` may be early, as where a hold has ended before
        assert after["next_due_at"] is None or before["next_due_at"] <= after["next_due_at"], after["member"]
    assert {row["member"] for row in rows[1] if row["next_due_at"]} == {"m-1", "m-7"}

    # A key that was used before gets its first answer, another content the conflict.
    spend = {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 25}
    answers = [
        [
            await one.post("m-1", spend, order="o-3", key="spend-c-1"),
            await one.post("m-4", kept["refused"], cause=OPERATOR, key="refused"),
            await one.post("m-4", {"kind": "debit", "amount": 1}, cause=OPERATOR, key="refused"),
            await one.post("m-6", {"kind": "revoke", "award": "to-come", "total": 20}, key="waits-1"),
        ]
        for one in (old, elsewhere)
    ]
    first, repeated = ([(answer.status_code, answer.json()) for answer in some] for some in answers)
    assert repeated == first
    assert [status for status, _ in first] == [200, 409, 409, 202]
    assert [answer["code"] for _, answer in first[1:3]] == ["insufficient_points", "idempotency_conflict"]
    assert await elsewhere.check() == checked

    # What comes late works: a take-back, a return, the cause of what waits, a capture of an old hold.
    for ledger in (old, elsewhere):
        await ledger.done("m-1", {"kind": "revoke", "award": kept["award"], "total": 100}, order="o-1", key="late-1")
        await ledger.done(
            "m-1", {"kind": "give_back", "checkout": "c-1", "generation": 1, "total": 25}, order="o-3", key="late-2"
        )
        await ledger.award("m-6", 20, key="to-come")
        assert (await ledger.end("h-open", "capture", key="late-3")).status_code == 200
        assert (await ledger.end("h-kept", "release", key="late-4")).status_code == 200
        await ledger.done("m-10", {"kind": "activate", "award": "on-event"}, key="late-7")
        await ledger.done("m-5", {"kind": "credit", "amount": 500}, cause=OPERATOR, key="late-5")
        await ledger.done(
            "m-new", {"kind": "spend", "checkout": "c-later", "generation": 1, "amount": 9}, order="o-9", key="late-6"
        )
        refused = await ledger.hold("m-22", 1, hold="h-frozen", key="late-10")
        assert refused.json()["code"] == "account_frozen"
        await ledger.award("m-23", 3, key="late-8")
        await ledger.done("m-23", {"kind": "revoke", "award": kept["of_23"], "total": 9}, order="o-23", key="late-9")
        await ledger.act(f"merges/{kept['merge']}/undo", OPERATOR, key="late-11")
        await ledger.act("members/m-20/gifts", {"to": "m-21", "amount": 1}, key="late-12")
    for member in ("m-1", "m-5", "m-6", "m-7", "m-new", "m-20", "m-21", "m-22", "m-23", "m-24", "m-25", "m-26"):
        assert await elsewhere.buckets(member) == await old.buckets(member), member
    for ledger in (old, elsewhere):
        (proposal,) = (await ledger.http.get(f"/v1/shops/{SHOP}/ledger/proposals?state=open")).json()["proposals"]
        approver = ledger.tokens.headers("ledger:approve", shop=SHOP, sub="second")
        path = f"/v1/shops/{SHOP}/ledger/proposals/{proposal['proposal']}/approve"
        answer = await ledger.http.post(path, json={}, headers={**approver, "idempotency-key": "yes"})
        assert answer.status_code == 200, answer.text
        balances = (await ledger.http.get(f"/v1/shops/{SHOP}/members/m-10/balances")).json()["balances"]
        assert [(b["asset"], b["available"]) for b in balances] == [("points", 25_097), ("stored_value", 5_000)]
    assert (await elsewhere.check())["parked"] == 0

    # Its own sealer seals what came, which is proved again.
    there = Seals(elsewhere, tmp_path / "there", key_file(tmp_path, "there"))
    await there.run()
    report = verifier.verify((await exported(elsewhere)).splitlines(keepends=True))
    assert report.good, report.findings
    assert report.facts["unsealed"] == 0


async def test_what_is_imported_is_not_told(seals: Seals, elsewhere: Ledger) -> None:
    await live(seals.ledger)
    await take(elsewhere, await exported(seals.ledger))
    await elsewhere.award("m-1", 5, key="new")
    async with elsewhere.runtime.database.look() as driver:
        after = dict(await driver.fetch("SELECT lane, position FROM relay_cursor WHERE lane < 1000"))
        told = await LedgerLog().read(driver, after, 1000)
    assert [json.loads(event.body)["posting"] for event in told] == ["new"]
    assert json.loads(told[0].body)["seq"] == (await elsewhere.balance("m-1"))["seq"]


async def test_a_shop_that_has_anything_is_refused(seals: Seals, elsewhere: Ledger) -> None:
    await live(seals.ledger)
    content = await exported(seals.ledger)
    await take(elsewhere, content)
    before = await exported(elsewhere)
    with pytest.raises(ShopNotEmpty, match=SHOP):
        await take(elsewhere, content)
    assert before.splitlines()[1:] == (await exported(elsewhere)).splitlines()[1:]


async def test_it_waits_for_no_relay_and_passes_nobody_over(seals: Seals, elsewhere: Ledger) -> None:
    await live(seals.ledger)
    content = await exported(seals.ledger)
    await elsewhere.sql("INSERT INTO lease (name, owner, expires_at) VALUES ('relay', 'w', now() + interval '9 s')")
    with pytest.raises(RelayAtWork):
        await take(elsewhere, content)
    await elsewhere.sql("DELETE FROM lease")
    await elsewhere.learn("other")
    posting = {"key": "k", "member": "m-1", "effect": {"kind": "award", "amount": 1}}
    await elsewhere.http.post("/v1/shops/other/postings", json={"postings": [posting]})
    with pytest.raises(RowsUntold):
        await take(elsewhere, content)
    assert (await elsewhere.sql("SELECT count(*) FROM account"))[0][0] == 1
    await elsewhere.sql("UPDATE relay_cursor SET position = 1 WHERE lane = (SELECT lane FROM entry)")
    await take(elsewhere, content)
    assert living(await exported(elsewhere)) == living(content)


def _without(letter: bytes, about: bytes = b"") -> Callable[[list[bytes]], list[bytes]]:
    """One line of a kind left out, and not counted."""

    def change(lines: list[bytes]) -> list[bytes]:
        place = next(n for n, line in enumerate(lines) if line.startswith(b'["' + letter + b'"') and about in line)
        end = json.loads(lines[-1])
        name = {b"e": "entries", b"r": "refusals", b"a": "accounts"}.get(letter, "records")
        end["end"][name] -= 1
        return [*lines[:place], *lines[place + 1 : -1], json.dumps(end).encode()]

    return change


def _with(letter: bytes, old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    def change(lines: list[bytes]) -> list[bytes]:
        place = next(n for n, line in enumerate(lines) if line.startswith(b'["' + letter + b'"') and old in line)
        return [*lines[:place], lines[place].replace(old, new, 1), *lines[place + 1 :]]

    return change


CHANGES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "cut off": (lambda lines: lines[:-1], "cut off"),
    "half a line": (lambda lines: [*lines[:30], lines[30][:20]], "line 31: cannot be read"),
    "nothing": (lambda lines: [b""], "not an export"),
    "not complete": (lambda lines: [lines[0].replace(b'"complete"', b'"other"'), *lines[1:]], "not a complete export"),
    "columns of a newer ledger": (
        lambda lines: [lines[0].replace(b'"taken_back"', b'"taken_away"'), *lines[1:]],
        "'taken_away', or names what this ledger does not know",
    ),
    "an entry": (_without(b"e"), "not those that were sealed|comes after seq"),
    "a refusal": (_without(b"r"), "not those that were sealed"),
    "an account": (_without(b"a"), "there is no account"),
    "a lot": (_without(b"l"), "the books do not add up"),
    "a key": (_without(b"k", b'"posted"'), "are not both there"),
    "an open hold": (_without(b"h", b'"h-open"'), "the books do not add up"),
    "a changed entry": (_with(b"e", b'00"]', b'01"]'), "its hash does not follow"),
    "a changed refusal": (_with(b"r", b"6d", b"6e"), "not those that were sealed|no refusal|not a refusal|belong to"),
    "a changed account": (_with(b"a", b",0]", b",9]"), "is not what its last entry says"),
    "a merge into nobody": (_with(b"v", b'"m-23"', b'"nobody"'), "there is no account of nobody"),
    "a lot of another priority": (_with(b"l", b'",null,0,', b'",null,9,'), "are not what the history says"),
    "a seal of other shops": (
        lambda lines: [line.replace(b'"shops":1', b'"shops":2') for line in lines],
        "is not signed by its key",
    ),
    "more behind the end": (lambda lines: [*lines, lines[-2]], "something follows the last line"),
    "lanes in another order": (lambda lines: [lines[0], *reversed(lines[1:-1]), lines[-1]], "there is no account"),
    "another shop": (lambda lines: [lines[0].replace(SHOP.encode(), b"corner-baker"), *lines[1:]], "of the shop"),
}


async def test_what_does_not_hold_changes_nothing(seals: Seals, elsewhere: Ledger) -> None:
    await live(seals.ledger)
    await seals.run()
    lines = (await exported(seals.ledger)).splitlines()
    for change, why in CHANGES.values():
        changed = change(lines)
        assert changed != lines
        with pytest.raises(ExportDoesNotHold, match=why):
            await import_shop(elsewhere.database.url, [line + b"\n" for line in changed])
        assert await nothing_of_it(elsewhere)


async def test_batches_of_any_size_are_the_same(
    seals: Seals, elsewhere: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(seals.ledger)
    content = await exported(seals.ledger)
    monkeypatch.setattr(moving, "ROWS_TOGETHER", 3)
    monkeypatch.setattr(moving, "CHECKED_TOGETHER", 2)
    await take(elsewhere, content)
    assert living(await exported(elsewhere)) == living(content)


async def test_the_command_imports_a_file_and_says_why_not(seals: Seals, elsewhere: Ledger, tmp_path: Path) -> None:
    await live(seals.ledger)
    content = await exported(seals.ledger)
    file = tmp_path / "export.ndjson.gz"
    file.write_bytes(gzip.compress(content))
    environment = {
        "LEDGER_DATABASE_URL": elsewhere.database.url,
        "LEDGER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "LEDGER_JWKS_FILE": str(elsewhere.tokens.jwks_file),
    }
    for status in (0, 1):
        done = subprocess.run(
            [sys.executable, "-m", "ledger", "import", str(file)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
    assert done.stderr == f"ledger: {ShopNotEmpty(SHOP)}\n"
    assert living(await exported(elsewhere)) == living(content)
