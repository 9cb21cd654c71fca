"""What whoever owns the database can do to the history, and how it is found: by entry where the chain tells, else by
sealed range. Each attack ends in an export that `accrual-verify` holds against the published seals."""

import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from accrual_verify.findings import Report
from chassis.lanes import lane_of

from .conftest import SHOP, Ledger
from .owner import M1, OF_M1, Owner
from .sealed import Seals, key_file
from .test_export import exported, verified

LANE = lane_of(f"{SHOP}/m-1", 8)
PER_SEAL = 4


@pytest.fixture
async def seals(ledger: Ledger, tmp_path: Path) -> Seals:
    """Ten entries of m-1, other members' and other shops' among them in the same lane, a refusal, all sealed."""
    found = Seals(ledger, tmp_path / "outside", key_file(tmp_path), {"seal_batch_size": PER_SEAL})
    await found.other_shops(40)
    for number in range(1, 11):
        await ledger.award("m-1", number, cause={"rule": "everything", "rule_version": 7})
        await ledger.award(f"m-{number + 1}", 5)
        await ledger.award(_neighbour(), 1)
    await ledger.post("m-1", {"kind": "debit", "amount": 9_999}, cause={"operator": "op", "reason": "test"})
    await found.run()
    report = verified(found, await exported(found))
    assert (report.good, report.facts["unsealed"]) == (True, 0), report.findings
    return found


def _neighbour() -> str:
    """Another member of m-1's lane."""
    return next(name for n in range(100, 200) if lane_of(f"{SHOP}/{(name := f'm-{n}')}", 8) == LANE)


async def owned(seals: Seals, attack: Callable[[Owner], Awaitable[None]]) -> Report:
    """What the verifier says after an attack."""
    driver = await asyncpg.connect(seals.ledger.database.migration_url)
    try:
        await attack(Owner(driver))
    finally:
        await driver.close()
    return verified(seals, await exported(seals))


async def place(seals: Seals, seq: int, member: str = "m-1", shop: str = SHOP) -> tuple[int, int, int]:
    """Lane, position and seal of an entry."""
    (row,) = await seals.ledger.sql(
        "SELECT e.lane, e.position, (SELECT min(number) FROM seal AS s WHERE s.lane = e.lane AND last_position >="
        " e.position) FROM entry AS e JOIN account AS a ON a.id = e.account_id"
        " WHERE a.shop = $1 AND a.member = $2 AND e.seq = $3",
        shop,
        member,
        seq,
    )
    return tuple(row)


def entries(report: Report) -> list[tuple[str, str, int]]:
    """Findings that name an entry: what, whose, which."""
    return [(f.code, f.facts["member"], f.facts["seq"]) for f in report.findings if "seq" in f.facts]


def ranges(report: Report) -> list[tuple[str, int, int]]:
    """Findings that name a sealed range: what, lane, seal."""
    return [(f.code, f.facts["lane"], f.facts["seal"]) for f in report.findings if "seal" in f.facts]


# -- single entries


FIELDS = {
    "kind": "kind = 'credit'",
    "at": "at = at + interval '1 microsecond'",
    "recorded_at": "recorded_at = recorded_at - interval '1 day'",
    "source": "source = 'somebody'",
    "key": "key = 'another'",
    "order": "\"order\" = 'o-9'",
    "hold": "hold = 'h-9'",
    "checkout": "checkout = 'c-9'",
    "generation": "generation = 3",
    "cause": 'cause = \'{"rule":"everything","rule_version":8}\'',
    "memo": "memo_commitment = sha256('x')",
    "earned": "earned_after = earned_after + 1",
    "spent": "spent_after = spent_after + 1",
    "shortfall": "shortfall = 1",
    "difference": "difference = 1",
    "hash": "hash = sha256(hash)",
}


@pytest.mark.parametrize("field", FIELDS)
async def test_a_changed_field_is_named_by_its_entry(seals: Seals, field: str) -> None:
    report = await owned(seals, lambda owner: owner.do(f"UPDATE entry SET {FIELDS[field]} WHERE {OF_M1} AND seq = 3"))
    lane, _, seal = await place(seals, 3)
    if field == "hash":  # the entry's own, and the one that was made over it
        assert entries(report) == [("entry_changed", "m-1", 3), ("entry_changed", "m-1", 4)]
        assert ranges(report) == [("range_differs", lane, seal)]
    else:
        assert (entries(report), ranges(report)) == ([("entry_changed", "m-1", 3)], [])


async def test_changed_points_are_named_by_their_entry(seals: Seals) -> None:
    report = await owned(seals, lambda owner: owner.do(f"UPDATE entry SET available = 99 WHERE {OF_M1} AND seq = 3"))
    assert entries(report) == [
        ("entry_changed", "m-1", 3),
        ("sum_not_zero", "m-1", 3),
        ("balance_wrong", "m-1", 3),
    ]


async def test_a_changed_lot_is_named_by_its_entry(seals: Seals) -> None:
    change = f"UPDATE entry SET lots = replace(lots::text, ':3,', ':4,')::json WHERE {OF_M1} AND seq = 3"
    assert entries(await owned(seals, lambda owner: owner.do(change))) == [("entry_changed", "m-1", 3)]


async def test_a_changed_entry_with_its_hash_is_named_by_the_entry_behind_it(seals: Seals) -> None:
    async def attack(owner: Owner) -> None:
        await owner.enrich(3)
        await owner.rehash(first=3, last=3)

    report = await owned(seals, attack)
    lane, _, seal = await place(seals, 3)
    assert entries(report)[0] == ("entry_changed", "m-1", 4)
    assert "seq 3 before it" in next(f.what for f in report.findings if f.code == "entry_changed")
    assert ("range_differs", lane, seal) in ranges(report)


async def test_a_changed_last_entry_with_its_hash_and_head_is_named_by_its_range(seals: Seals) -> None:
    async def attack(owner: Owner) -> None:
        await owner.enrich(10)
        await owner.rehash(first=10)

    report = await owned(seals, attack)
    lane, _, seal = await place(seals, 10)
    assert (entries(report), ranges(report)) == ([], [("range_differs", lane, seal)])


@pytest.mark.parametrize("seq", [1, 5, 10])
async def test_a_deleted_entry_is_named(seals: Seals, seq: int) -> None:
    lane, _, seal = await place(seals, seq)
    report = await owned(seals, lambda owner: owner.do(f"DELETE FROM entry WHERE {OF_M1} AND seq = {seq}"))
    assert ranges(report) == [("range_differs", lane, seal)]
    (missing,) = [f for f in report.findings if f.code != "range_differs"]
    assert missing.code == "entry_missing"
    assert missing.facts["member"] == "m-1"
    assert (f"seq {seq} is missing" if seq < 10 else "at seq 10, its last entry here is 9") in missing.what


async def test_an_inserted_entry_is_found_by_its_range(seals: Seals) -> None:
    """All behind it moves on by one, numbers, positions and hashes too."""
    lane, position, seal = await place(seals, 5)

    async def attack(owner: Owner) -> None:
        await owner.do(
            f"UPDATE entry SET position = -position WHERE lane = {lane} AND position > {position}",
            f"UPDATE entry SET position = 1 - position WHERE lane = {lane} AND position < 0",
            f"UPDATE refusal SET position = 1 + position WHERE lane = {lane} AND position > {position}",
            f"UPDATE entry SET seq = seq + 1000 WHERE {OF_M1} AND seq > 5",
            f"UPDATE entry SET seq = seq - 999 WHERE {OF_M1} AND seq > 1000",
            f"CREATE TEMP TABLE forged AS SELECT * FROM entry WHERE {OF_M1} AND seq = 5",
            f"UPDATE forged SET seq = 6, position = {position + 1}, key = 'forged'",
            "INSERT INTO entry SELECT * FROM forged",
            f"UPDATE entry SET available_after = available_after + 5 WHERE {OF_M1} AND seq > 5",
            f"UPDATE account SET available = available + 5 WHERE {M1}",
        )
        await owner.rehash(first=6)

    report = await owned(seals, attack)
    assert entries(report) == []
    assert ranges(report)[0][:2] == ("range_differs", lane)
    assert seal <= ranges(report)[0][2] <= seal + 1
    assert report.facts["unsealed"] == 1


async def test_an_entry_that_is_inserted_where_no_export_looks_is_missed_by_its_account(seals: Seals) -> None:
    async def attack(owner: Owner) -> None:
        await owner.do(
            f"CREATE TEMP TABLE forged AS SELECT * FROM entry WHERE {OF_M1} AND seq = 10",
            "UPDATE forged SET seq = 11, position = -7, key = 'forged', available_after = available_after + 10",
            "INSERT INTO entry SELECT * FROM forged",
            f"UPDATE account SET available = available + 10 WHERE {M1}",
        )
        await owner.rehash(first=11)

    report = await owned(seals, attack)
    (finding,) = report.findings
    assert (finding.code, finding.facts["member"]) == ("entry_missing", "m-1")
    assert "at seq 11, its last entry here is 10" in finding.what


async def test_two_entries_with_their_numbers_exchanged_are_named(seals: Seals) -> None:
    report = await owned(
        seals,
        lambda owner: owner.do(
            f"UPDATE entry SET seq = 1000 WHERE {OF_M1} AND seq = 3",
            f"UPDATE entry SET seq = 3 WHERE {OF_M1} AND seq = 4",
            f"UPDATE entry SET seq = 4 WHERE {OF_M1} AND seq = 1000",
        ),
    )
    assert {("entry_missing", "m-1", 4), ("entry_out_of_order", "m-1", 3)} <= set(entries(report))


async def test_two_entries_of_an_account_with_their_places_exchanged_are_named(seals: Seals) -> None:
    (one, other) = [(await place(seals, seq))[:2] for seq in (3, 4)]
    report = await owned(seals, lambda owner: owner.swap_places(one, other))
    assert {("entry_missing", "m-1", 4), ("entry_out_of_order", "m-1", 3)} <= set(entries(report))
    assert {code for code, *_ in ranges(report)} == {"range_differs"}


async def test_entries_of_two_accounts_with_their_places_exchanged_are_found_by_their_range(seals: Seals) -> None:
    (lane, position, seal) = await place(seals, 3)
    (_, other, other_seal) = await place(seals, 3, _neighbour())
    report = await owned(seals, lambda owner: owner.swap_places((lane, position), (lane, other)))
    assert entries(report) == []
    assert ranges(report) == [("range_differs", lane, number) for number in sorted({seal, other_seal})]


async def test_entries_of_two_shops_with_their_places_exchanged_are_found_by_their_range(seals: Seals) -> None:
    found = await seals.ledger.sql(
        "SELECT e.lane, e.position, s.number, a.shop FROM entry AS e JOIN account AS a ON a.id = e.account_id"
        " JOIN seal AS s ON s.lane = e.lane AND e.position BETWEEN s.first_position AND s.last_position ORDER BY 1, 2"
    )
    one, other = next(
        (one, other)
        for one, other in pairwise(found)
        if one["number"] == other["number"] and one["lane"] == other["lane"] and SHOP == other["shop"] != one["shop"]
    )
    report = await owned(seals, lambda owner: owner.swap_places(tuple(one)[:2], tuple(other)[:2]))
    assert (entries(report), ranges(report)) == ([], [("range_differs", other["lane"], other["number"])])


@pytest.mark.parametrize("change", ["UPDATE refusal SET code = 'hold_not_found'", "DELETE FROM refusal"])
async def test_a_refusal_that_is_changed_or_gone_is_found_by_its_range(seals: Seals, change: str) -> None:
    report = await owned(seals, lambda owner: owner.do(change))
    (code, lane, _) = ranges(report)[-1]
    assert (len(report.findings), code, lane) == (1, "range_differs", LANE)


# -- tails, accounts, chains


async def test_a_cut_off_tail_is_missed_by_every_account(seals: Seals) -> None:
    lane, position, seal = await place(seals, 8)
    report = await owned(
        seals, lambda owner: owner.do(f"DELETE FROM entry WHERE lane = {lane} AND position > {position}")
    )
    missed = {f.facts["member"] for f in report.findings if f.code == "entry_missing"}
    assert {"m-1", _neighbour()} <= missed
    assert ("range_differs", lane, seal + 1) in ranges(report)


async def test_a_tail_that_is_cut_off_with_its_heads_and_seals_is_missed_by_the_published_ones(seals: Seals) -> None:
    lane, _, seal = await place(seals, 8)
    (row,) = await seals.ledger.sql("SELECT last_position FROM seal WHERE lane = $1 AND number = $2", lane, seal)
    last = max(row["number"] for row in await seals.stored() if row["lane"] == lane)
    report = await owned(seals, lambda owner: owner.cut(lane, row["last_position"]))
    assert [(f.code, f.facts["lane"], f.facts["seal"]) for f in report.findings] == [
        ("seal_missing", lane, number) for number in range(seal + 1, last + 1)
    ]
    alone = verified(seals, await exported(seals), published=False)
    assert alone.good
    assert any("--seals" in note for note in alone.notes)


async def test_a_whole_lane_that_is_cut_off_is_missed_by_the_published_seals(seals: Seals) -> None:
    last = max(row["number"] for row in await seals.stored() if row["lane"] == LANE)
    report = await owned(seals, lambda owner: owner.cut(LANE, 0))
    assert ranges(report) == [("seal_missing", LANE, number) for number in range(1, last + 1)]


async def test_an_account_removed_with_all_of_its_rows_is_found_by_every_range_that_held_it(
    seals: Seals,
) -> None:
    places = [await place(seals, seq) for seq in range(1, 11)]
    (refused,) = await seals.ledger.sql(
        "SELECT number FROM refusal AS r JOIN seal AS s ON s.lane = r.lane AND s.last_position >= r.position"
        " ORDER BY number LIMIT 1"
    )
    tables = ("entry", "refusal", "lot", "posting")
    report = await owned(
        seals,
        lambda owner: owner.do(
            *(f"DELETE FROM {table} WHERE {OF_M1}" for table in tables),
            f"DELETE FROM account WHERE {M1}",
        ),
    )
    held = sorted({seal for *_, seal in places} | {refused["number"]})
    assert (entries(report), ranges(report)) == ([], [("range_differs", LANE, seal) for seal in held])


async def test_a_chain_that_is_rewritten_with_its_head_is_found_by_every_range_that_held_it(seals: Seals) -> None:
    async def attack(owner: Owner) -> None:
        await owner.enrich(1)
        await owner.rehash(first=1)

    places = [await place(seals, seq) for seq in range(1, 11)]
    report = await owned(seals, attack)
    held = sorted({seal for *_, seal in places})
    assert (entries(report), ranges(report)) == ([], [("range_differs", LANE, seal) for seal in held])


async def test_a_history_that_is_rewritten_with_forged_seals_is_found(seals: Seals, tmp_path: Path) -> None:
    """By the key alone, and by the published seals alone."""

    async def attack(owner: Owner) -> None:
        await owner.enrich(1)
        await owner.rehash(first=1)
        await owner.do("DELETE FROM seal_shop", "DELETE FROM seal")

    before = await seals.stored()
    await owned(seals, attack)
    await seals.run(seal_key_file=key_file(tmp_path, "forger"), seal_folder=tmp_path / "elsewhere")
    content = await exported(seals)
    assert verified(seals, content, published=False, trusted=False).good
    lanes = sorted({row["lane"] for row in before})
    unknown = verified(seals, content, published=False)
    assert [(f.code, f.facts["lane"]) for f in unknown.findings] == [("key_unknown", lane) for lane in lanes]
    differs = verified(seals, content, trusted=False)
    assert ranges(differs) == [("seal_differs", row["lane"], row["number"]) for row in before]


async def test_stored_balances_that_are_not_those_of_the_history_are_named(seals: Seals) -> None:
    report = await owned(seals, lambda owner: owner.do("UPDATE account SET available = 1000 WHERE member = 'm-3'"))
    (finding,) = report.findings
    assert (finding.code, finding.facts["member"]) == ("account_differs", "m-3")


async def test_what_a_seal_holds_of_a_shop_cannot_be_changed(seals: Seals) -> None:
    report = await owned(
        seals, lambda owner: owner.do("UPDATE seal_shop SET total = total + 1 WHERE lane = 0 AND number = 1")
    )
    assert ("seal_proof", 0, 1) in ranges(report)


@pytest.mark.parametrize(
    "column", ["at = at - interval '1 day'", "root = sha256(root)", "last_position = last_position + 1"]
)
async def test_a_changed_seal_is_named(seals: Seals, column: str) -> None:
    report = await owned(seals, lambda owner: owner.do(f"UPDATE seal SET {column} WHERE lane = {LANE} AND number = 2"))
    assert {("seal_differs", LANE, 2), ("seal_chain_broken", LANE, 3), ("seal_signature", LANE, 2)} <= set(
        ranges(report)
    )


# -- the file alone


def without(content: bytes, unwanted: Callable[[Any], bool]) -> bytes:
    """An export less some of its lines, with its counts made right."""
    kept = [line for line in content.splitlines(keepends=True)[:-1] if not unwanted(json.loads(line))]
    told = [json.loads(line) for line in kept]
    kinds = {"entries": "e", "refusals": "r", "accounts": "a"}
    end = {name: sum(isinstance(t, list) and t[0] == kind for t in told) for name, kind in kinds.items()}
    end["seals"] = sum(isinstance(t, dict) and "seal" in t for t in told)
    return b"".join(kept) + json.dumps({"end": end}).encode() + b"\n"


async def test_entries_that_are_taken_out_of_an_export_are_found(seals: Seals) -> None:
    content = await exported(seals)
    assert verified(seals, without(content, lambda _: False)).good
    no_rows = verified(seals, without(content, lambda told: isinstance(told, list)))
    held = await seals.ledger.sql("SELECT DISTINCT lane, number FROM seal_shop WHERE shop = $1 ORDER BY 1, 2", SHOP)
    assert ranges(no_rows) == [("range_differs", row["lane"], row["number"]) for row in held]
    member = bytes.hex(b"m-1points")
    gone = without(content, lambda told: member in str(told) or (isinstance(told, list) and told[2] == "m-1"))
    assert {code for code, *_ in ranges(verified(seals, gone))} == {"range_differs"}


async def test_seals_that_are_taken_out_of_an_export_are_missed(seals: Seals) -> None:
    content = await exported(seals)

    def second(told: Any) -> bool:
        return isinstance(told, dict) and "seal" in told and (told["seal"]["lane"], told["seal"]["number"]) == (LANE, 2)

    assert ("seal_missing", LANE, 3) in ranges(verified(seals, without(content, second)))
    none = verified(seals, without(content, lambda told: isinstance(told, dict) and "seal" in told))
    assert len(ranges(none)) == len(await seals.stored())
    assert {code for code, *_ in ranges(none)} == {"seal_missing"}


async def test_a_file_that_ends_too_early_is_told_so_wherever_it_ends(seals: Seals) -> None:
    content = await exported(seals)
    lines = content.splitlines(keepends=True)
    for upto in range(1, len(lines), 7):
        assert "cut_off" in verified(seals, b"".join(lines[:upto])).counts
    report = verified(seals, content[: len(content) // 2])
    assert {"cut_off", "line_unreadable"} <= set(report.counts)
    twice = verified(seals, content + content)
    assert "line_behind_the_end" in twice.counts
