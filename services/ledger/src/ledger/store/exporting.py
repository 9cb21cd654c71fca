"""A shop's whole history as it is exported: lane by lane, each seal before the rows that it holds, a line for each.

    {"format": "accrual-ledger-export", "version": 1, ledger, shop, epoch, at, lanes}
    {"seal": {…}, "shop": {…}}            what the seal holds of the shop: count, total, root, …; or that it is absent
    ["e", lane, position, hash, bytes]    an entry: its stored hash and its canonical bytes, in hex
    ["r", lane, position, bytes]          a refusal
    ["a", lane, member, asset, seq, hash, available, pending, held, debt, earned, spent]    accounts, as they are stored
    {"end": {entries, refusals, seals, accounts}}

A complete one also has what a shop needs to go on living elsewhere: its first line says so (`complete`: what such
lines hold; `programme`), behind each lane's accounts what belongs to them, and behind all lanes keys and what waits
(`state`).

Whoever verifies it needs the hashes of one seal and the last entry of each account of one lane at a time. docs/
tamper-evidence.md tells it to others.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from chassis.lanes import lane_of
from ledger.domain import GENESIS, Account, AccountKey
from ledger.domain.hashing import entry_bytes
from ledger.domain.seals import Presence, look_for
from ledger.store import epochs, programmes, records, rows, seals
from ledger.store.rows import encode_json
from ledger.store.seals import Sealed

FORMAT: Final = "accrual-ledger-export"
VERSION: Final = 1

POSITIONS_TOGETHER: Final = 500
"""Of a lane, looked at in one statement: 10 ms in which nothing else of the process goes on, a few hundred KiB."""

SEALS_TOGETHER: Final = 200
ACCOUNTS_TOGETHER: Final = 2_000


@dataclass(slots=True)
class _Counts:
    entries: int = 0
    refusals: int = 0
    seals: int = 0
    accounts: int = 0
    records: int | None = None
    """Lines of a complete export beside them; None in others."""

    def told(self) -> dict[str, int]:
        """As the last line has them."""
        counts = {name: getattr(self, name) for name in self.__slots__}
        return {name: count for name, count in counts.items() if count is not None}


@dataclass(slots=True)
class _Run:
    """Some seals of a lane one after the other, and whether the shop is in any of them."""

    first: int
    last: int
    present: bool = False
    lines: list[tuple[int, bytes]] = field(default_factory=list)
    """First position and line of each seal."""


async def export(
    driver: asyncpg.Connection, shop: str, at: datetime, *, complete: bool = False
) -> AsyncIterator[bytes]:
    """The lines, some at a time. The transaction must be a snapshot, which sees all seals that were made until `at`."""
    counts = _Counts(records=0 if complete else None)
    lanes = int(await driver.fetchval("SELECT lanes FROM lane_count"))
    ledger = await seals.ledger_id(driver)
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "ledger": None if ledger is None else str(ledger),
        "shop": shop,
        "epoch": await seals.epoch(driver),
        "at": at.astimezone(UTC),
        "lanes": lanes,
    }
    if started := await epochs.every(driver):
        header["epochs"] = [one.told() for one in started]
    if complete:
        header |= {"complete": records.layout(), "programme": await programmes.of_shop(driver, shop)}
    yield encode_json(header) + b"\n"
    for lane in range(lanes):
        async for chunk in _lane(driver, shop, lane, counts):
            yield chunk
        async for chunk in _accounts(driver, shop, lane, lanes, counts):
            yield chunk
    if complete:
        async for chunk in _counted(records.lines_of_shop(driver, shop), counts):
            yield chunk
    yield encode_json({"end": counts.told()}) + b"\n"


async def _counted(chunks: AsyncIterator[list[bytes]], counts: _Counts) -> AsyncIterator[bytes]:
    async for lines in chunks:
        assert counts.records is not None, "only a complete export has them"
        counts.records += len(lines)
        yield b"".join(lines)


async def _lane(driver: asyncpg.Connection, shop: str, lane: int, counts: _Counts) -> AsyncIterator[bytes]:
    number = sealed = 0
    while found := await seals.numbered_behind(driver, {lane: number}, SEALS_TOGETHER):
        for run in await _runs(driver, shop, lane, found):
            async for chunk in _sealed_rows(driver, shop, lane, run, counts):
                yield chunk
        number, sealed = found[-1].seal.number, found[-1].seal.last
        counts.seals += len(found)
    unsealed = _Run(sealed + 1, await seals.highest(driver, lane), present=True)
    async for chunk in _sealed_rows(driver, shop, lane, unsealed, counts):
        yield chunk


async def _runs(driver: asyncpg.Connection, shop: str, lane: int, found: Sequence[Sealed]) -> Iterable[_Run]:
    """Small seals are looked at together, since a statement for each would take most of the time."""
    parts = await seals.parts(driver, lane, found[0].seal.number, found[-1].seal.number)
    runs: list[_Run] = []
    for sealed in found:
        seal = sealed.seal
        of_shop = look_for(shop, parts[seal.number])
        line = encode_json({"seal": sealed.told(), "shop": seals.told_of_shop(of_shop)}) + b"\n"
        if not runs or seal.last - runs[-1].first >= POSITIONS_TOGETHER:
            runs.append(_Run(seal.first, seal.last))
        runs[-1].last = seal.last
        runs[-1].present |= isinstance(of_shop, Presence)
        runs[-1].lines.append((seal.first, line))
    return runs


async def _sealed_rows(
    driver: asyncpg.Connection, shop: str, lane: int, run: _Run, counts: _Counts
) -> AsyncIterator[bytes]:
    """The lines of seals with those of their rows behind each."""
    seal_lines = iter(run.lines)
    following = next(seal_lines, None)
    for first in range(run.first, run.last + 1, POSITIONS_TOGETHER) if run.present else ():
        last = min(run.last, first + POSITIONS_TOGETHER - 1)
        chunk = []
        for position, line in await _rows(driver, shop, lane, first, last, counts):
            while following is not None and following[0] <= position:
                chunk.append(following[1])
                following = next(seal_lines, None)
            chunk.append(line)
        if chunk:
            yield b"".join(chunk)
    if following is not None:
        yield b"".join((following[1], *(line for _, line in seal_lines)))


_ENTRIES: Final = (
    f"SELECT {rows.ENTRY_COLUMNS}, e.position, a.member, a.asset"  # noqa: S608
    " FROM entry AS e JOIN account AS a ON a.id = e.account_id"
    " WHERE e.lane = $1 AND e.position BETWEEN $2 AND $3 AND a.shop = $4 ORDER BY e.position"
)

_REFUSALS: Final = (
    f"SELECT {seals.REFUSAL_COLUMNS} FROM refusal AS r JOIN account AS a ON a.id = r.account_id"  # noqa: S608
    " WHERE r.lane = $1 AND r.position BETWEEN $2 AND $3 AND a.shop = $4 ORDER BY r.position"
)


async def _rows(
    driver: asyncpg.Connection, shop: str, lane: int, first: int, last: int, counts: _Counts
) -> list[tuple[int, bytes]]:
    """Positions and lines of the shop's rows within these positions."""
    entries = list(_entry_lines(await driver.fetch(_ENTRIES, lane, first, last, shop), shop, lane))
    counts.entries += len(entries)
    refusals = await driver.fetch(_REFUSALS, lane, first, last, shop)
    if not refusals:
        return entries
    counts.refusals += len(refusals)
    lines = [
        (row[0], b'["r",%d,%d,"%s"]\n' % (lane, row[0], seals.refusal_canonical(row).hex().encode()))
        for row in refusals
    ]
    return sorted([*entries, *lines])


def _entry_lines(found: Sequence[Any], shop: str, lane: int) -> Iterator[tuple[int, bytes]]:
    for row in found:
        account = Account(key=AccountKey(shop, row["member"], row["asset"]))
        entry = rows.entry_of(row, account, GENESIS)
        canonical = entry_bytes(entry).hex()
        position = row["position"]
        yield position, f'["e",{lane},{position},"{entry.hash.hex()}","{canonical}"]\n'.encode()


_ACCOUNTS: Final = (
    "SELECT id, member, asset, seq, hash, available, pending, held, debt, earned, spent FROM account"
    " WHERE shop = $1 AND (member, asset) > ($2, $3) ORDER BY member, asset LIMIT $4"
)


async def _accounts(
    driver: asyncpg.Connection, shop: str, lane: int, lanes: int, counts: _Counts
) -> AsyncIterator[bytes]:
    """The accounts of a lane, behind its rows: what a verifier remembers of them it can forget then."""
    after = ("", "")
    while found := await driver.fetch(_ACCOUNTS, shop, *after, ACCOUNTS_TOGETHER):
        after = (found[-1]["member"], found[-1]["asset"])
        of_lane = [row for row in found if lane_of(f"{shop}/{row['member']}", lanes) == lane]
        if not of_lane:
            continue
        counts.accounts += len(of_lane)
        yield b"".join(
            encode_json(["a", lane, member, asset, seq, account_hash.hex(), *numbers]) + b"\n"
            for _, member, asset, seq, account_hash, *numbers in of_lane
        )
        if counts.records is not None:
            async for chunk in _counted(records.lines_of_accounts(driver, [row["id"] for row in of_lane]), counts):
                yield chunk
