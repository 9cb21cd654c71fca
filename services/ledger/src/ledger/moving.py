"""`python -m ledger import FILE`: a complete export of a shop, taken over into a ledger that has nothing of that shop.

One transaction, in which nobody posts and no relay leads: it is there as a whole, or nothing has changed. Every line is
checked as it passes (hashes, chains, sums, seals) and the books once more before the end; one lane's accounts are
remembered, and the rows of one seal. Entries keep their hashes, instants and numbers; accounts get new ids, rows the
next positions of their lanes. They are not told on the topic: they happened long ago, and elsewhere.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from chassis.ids import new_uuid
from chassis.lanes import lane_of
from ledger import tables
from ledger.domain import Account, AccountKey
from ledger.domain.decoding import Undecodable, entry_of, refusal_of
from ledger.domain.hashing import linked, refusal_hash
from ledger.sealed_rows import SealedRows, SealsDiffer
from ledger.store import alone, checking, moving, records
from ledger.store.exporting import FORMAT, VERSION
from ledger.store.rows import entry_row

ROWS_TOGETHER: Final = 5_000
"""Rows of one COPY: a few MiB."""

CHECKED_TOGETHER: Final = 500
"""Accounts of one statement of the check behind the import."""


class ImportRefused(Exception):
    """The export was not taken over; nothing has changed."""


class ShopNotEmpty(ImportRefused):
    """There is something of the shop already; two histories cannot be one."""

    def __init__(self, shop: str) -> None:
        super().__init__(f"the shop {shop} has accounts here already; import it into a ledger that has nothing of it")


class RelayAtWork(ImportRefused):
    """A worker of this ledger runs, which would tell what is imported."""

    def __init__(self) -> None:
        super().__init__(
            "a relay of this ledger leads, or was killed some seconds ago: stop its workers (worker, all), and try"
            " again when its lease has ended"
        )


class RowsUntold(ImportRefused):
    """Rows in front of the imported ones still have to be told."""

    def __init__(self, untold: Mapping[int, int]) -> None:
        super().__init__(
            f"{sum(untold.values())} entries of this ledger have not been told yet: start a worker, wait until"
            " accrual_relay_lag_rows is 0, stop it, and try again"
        )


class ExportDoesNotHold(ImportRefused):
    """The file is not whole, or not what was sealed."""

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what if line is None else f"line {line}: {what}")


@dataclass(slots=True)
class Imported:
    """What was taken over."""

    shop: str
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Standing:
    """An account while its lane passes."""

    account: Account
    lane: int
    told: bool = False
    """Its own line has come."""


async def import_shop(url: str, lines: Iterable[bytes]) -> Imported:
    """Take an export over. Raises `ImportRefused`; then nothing has changed."""
    numbered = enumerate(lines, start=1)
    try:
        header = _header(next(numbered, (1, b""))[1])
        async with alone.alone(url) as driver:
            if not await alone.lead(driver):
                raise RelayAtWork
            if untold := await moving.untold(driver):
                raise RowsUntold(untold)
            if not await moving.is_empty(driver, header["shop"]):
                raise ShopNotEmpty(header["shop"])
            run = _Import(driver, header, await moving.highest(driver))
            for number, line in numbered:
                run.line = number
                await run.add(line)
            await run.end()
            return Imported(header["shop"], run.counts)
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, OverflowError) as error:
        raise ExportDoesNotHold(f"the database does not take it: {error}") from error


def _header(line: bytes) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads(line)
        if (header["format"], header["version"]) != (FORMAT, VERSION):
            raise ExportDoesNotHold(f"an export of another kind: {header['format']} {header['version']}", 1)
        if "complete" not in header:
            raise ExportDoesNotHold("not a complete export: ask for it with `?complete=true`", 1)
        AccountKey(header["shop"], "", "").shop.encode()
        header["readers"] = records.readers(header["complete"])
        header["lanes"] = int(header["lanes"])
    except (ValueError, TypeError, AttributeError) as error:
        raise ExportDoesNotHold("not an export of a ledger", 1) from error
    except KeyError as error:
        raise ExportDoesNotHold(f"the first line lacks {error}, or names what this ledger does not know", 1) from error
    return header


class _Import:
    def __init__(self, driver: asyncpg.Connection, header: Mapping[str, Any], positions: dict[int, int]) -> None:
        self._driver = driver
        self._header = header
        self._shop: str = header["shop"]
        self._readers = header["readers"]
        self._positions = positions
        """The last one of each lane of this ledger."""
        self._lane = -1
        """Of the export, whose lines come now; beyond its lanes once all have come."""
        self._rows: SealedRows | None = None
        self._accounts: dict[tuple[str, str], _Standing] = {}
        self._sums: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._waiting: defaultdict[str, list[Any]] = defaultdict(list)
        """Records for each table, or lines of keys, until there are enough to copy."""
        self._told: Mapping[str, int] | None = None
        self.counts = dict.fromkeys(("entries", "refusals", "seals", "accounts", "records"), 0)
        self.line = 1

    async def add(self, line: bytes) -> None:
        """The next line."""
        if self._told is not None:
            raise ExportDoesNotHold("something follows the last line", self.line)
        try:
            match json.loads(line):
                case ["e", int(lane), int(position), str(stored), str(content)]:
                    await self._entry(lane, position, bytes.fromhex(stored), bytes.fromhex(content))
                case ["r", int(lane), int(position), str(content)]:
                    await self._refusal(lane, position, bytes.fromhex(content))
                case {"seal": dict(seal), "shop": dict(of_shop)}:
                    (await self._in_lane(seal["lane"])).seal(seal, of_shop)
                    self.counts["seals"] += 1
                case ["a", int(lane), str(member), str(asset), int(seq), str(stored), *numbers]:
                    await self._in_lane(lane)
                    self._account(member, asset, [seq, bytes.fromhex(stored), *numbers])
                case [str(letter), str(member), str(asset), *values] if letter in self._readers:
                    await self._record(letter, member, asset, values)
                case {"end": dict(told)}:
                    self._told = told
                case _:
                    raise ExportDoesNotHold("no line of a complete export", self.line)
        except (SealsDiffer, Undecodable) as error:
            raise ExportDoesNotHold(str(error), self.line) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ExportDoesNotHold(f"cannot be read: {error!r}", self.line) from error

    # -- the history

    async def _in_lane(self, lane: int) -> SealedRows:
        if lane != self._lane:
            await self._leave_lane()
            if not self._lane < lane < self._header["lanes"]:
                raise ExportDoesNotHold(f"lane {lane} comes after lane {self._lane}", self.line)
            self._lane, self._rows = lane, SealedRows(self._shop)
        assert self._rows is not None, "a lane has been entered"
        return self._rows

    def _standing(self, member: str, asset: str) -> _Standing:
        """The account that a line of this lane names; made at its first sight."""
        standing = self._accounts.get((member, asset))
        if standing is None:
            name = f"{self._shop}/{member}"
            if lane_of(name, self._header["lanes"]) != self._lane:
                raise ExportDoesNotHold(f"{member} does not belong to lane {self._lane}", self.line)
            account = Account(key=AccountKey(self._shop, member, asset), id=new_uuid())
            standing = _Standing(account, lane_of(name, len(self._positions)))
            self._accounts[member, asset] = standing
        return standing

    def _place(self, lane: int) -> int:
        self._positions[lane] += 1
        return self._positions[lane]

    async def _entry(self, lane: int, position: int, stored: bytes, content: bytes) -> None:
        rows = await self._in_lane(lane)
        rows.row(position, stored)
        entry = entry_of(content)
        shop, member, asset = entry.account.key
        standing = self._standing(member, asset)
        account = standing.account
        where = f"{member} {asset} seq {entry.seq}"
        if shop != self._shop or entry.seq != account.seq + 1:
            raise ExportDoesNotHold(f"{where} comes after seq {account.seq}, or is of another shop", self.line)
        if linked(account.hash, content) != stored:
            raise ExportDoesNotHold(f"{where}: its hash does not follow from its bytes and the entry before", self.line)
        account.seq, account.hash, account.last_at = entry.seq, stored, entry.at
        account.available += entry.available
        account.pending += entry.pending
        account.held += entry.held
        account.debt += entry.debt
        account.earned, account.spent = entry.earned_after, entry.spent_after
        after = (entry.available_after, entry.pending_after, entry.held_after, entry.debt_after)
        if (account.available, account.pending, account.held, account.debt) != after:
            raise ExportDoesNotHold(f"{where}: its buckets are not those before plus its changes", self.line)
        if entry.available + entry.pending + entry.held + entry.debt + sum(amount for _, amount in entry.system):
            raise ExportDoesNotHold(f"{where}: its changes do not sum to zero", self.line)
        for name, amount in entry.system:
            self._sums[asset, name] += amount
        entry.account, entry.hash = account, stored
        self.counts["entries"] += 1
        await self._keep("entry", entry_row(entry, standing.lane, self._place(standing.lane), None))

    async def _refusal(self, lane: int, position: int, content: bytes) -> None:
        (await self._in_lane(lane)).row(position, refusal_hash(content))
        at, shop, member, asset, kind, *texts = refusal_of(content)
        if shop != self._shop:
            raise ExportDoesNotHold(f"a refusal of another shop, {shop}", self.line)
        standing = self._standing(member, asset)
        self.counts["refusals"] += 1
        place = (standing.lane, self._place(standing.lane))
        await self._keep("refusal", (*place, standing.account.id, kind, at, *texts, None))

    # -- what is true now

    def _account(self, member: str, asset: str, stored: list[Any]) -> None:
        standing = self._standing(member, asset)
        account = standing.account
        found = [account.seq, account.hash, account.available, account.pending, account.held, account.debt]
        if [*found, account.earned, account.spent] != stored or standing.told:
            raise ExportDoesNotHold(f"the account of {member} {asset} is not what its last entry says", self.line)
        standing.told = True
        self.counts["accounts"] += 1

    async def _record(self, letter: str, member: str, asset: str, values: list[Any]) -> None:
        names, readers = self._readers[letter]
        read = [reader(value) for reader, value in zip(readers, values, strict=True)]
        self.counts["records"] += 1
        if letter in records.OF_SHOP:
            await self._leave_lane()
            self._lane = self._header["lanes"]
            self._waiting[letter].append((member, asset, read))
            if len(self._waiting[letter]) >= ROWS_TOGETHER:
                await self._copy_keys(letter)
            return
        standing = self._accounts.get((member, asset))
        if standing is None or not standing.told:
            raise ExportDoesNotHold(f"there is no account of {member} {asset}", self.line)
        _note_due(standing, letter, dict(zip(names, read, strict=True)))
        await self._keep(letter, self._lead(letter, standing.account.id) + tuple(read))

    def _lead(self, letter: str, account_id: UUID) -> tuple[Any, ...]:
        known = {"account_id": account_id, "shop": self._shop}
        return tuple(known[name] for name in moving.lead_columns(letter))

    async def _leave_lane(self) -> None:
        """Its rows and accounts are complete."""
        if self._rows is not None:
            self._rows.close()
        self._rows = None
        for (member, asset), standing in self._accounts.items():
            if not standing.told:
                raise ExportDoesNotHold(
                    f"the account of {member} {asset} has entries, but no line of its own", self.line
                )
            account = standing.account
            record = (
                account.id, *account.key, account.available, account.pending, account.held, account.debt,
                account.earned, account.spent, account.seq, account.hash, account.last_at, account.next_due_at,
                account.noted,
            )  # fmt: skip
            await self._keep("account", record)
        self._accounts = {}

    # -- into the tables

    async def _keep(self, table: str, record: tuple[Any, ...]) -> None:
        waiting = self._waiting[table]
        waiting.append(record)
        if len(waiting) >= ROWS_TOGETHER:
            await self._copy(table)

    async def _copy(self, table: str) -> None:
        waiting = self._waiting.pop(table, [])
        if table in records.ALL:
            columns = [*moving.lead_columns(table), *self._readers[table][0]]
            await moving.copy(self._driver, records.ALL[table].name, columns, waiting)
        else:
            await moving.copy(self._driver, table, tables.metadata.tables[table].columns.keys(), waiting)

    async def _copy_keys(self, letter: str) -> None:
        """What belongs to the shop names accounts of all lanes, which are stored by then."""
        await self._copy("account")
        found = self._waiting.pop(letter, [])
        if not found:
            return
        others = [place for place, name in enumerate(self._readers[letter][0]) if name in records.OTHERS]
        names = {(member, asset) for member, asset, _ in found}
        names.update((read[place], asset) for _, asset, read in found for place in others)
        ids = await moving.account_ids(self._driver, self._shop, sorted(names))
        for member, asset, read in found:
            for name in (member, *(read[place] for place in others)):
                if (name, asset) not in ids:
                    raise ExportDoesNotHold(f"there is no account of {name} {asset}", self.line)
            for place in others:
                read[place] = ids[read[place], asset]
            self._waiting[letter].append(self._lead(letter, ids[member, asset]) + tuple(read))
        await self._copy(letter)

    async def end(self) -> None:
        """The file has ended: it must be whole, and the books right."""
        if self._told is None:
            raise ExportDoesNotHold("the file was cut off")
        if self._told != self.counts:
            raise ExportDoesNotHold(f"the last line counts {self._told}, the file has {self.counts}")
        await self._leave_lane()
        for letter in records.OF_SHOP:
            await self._copy_keys(letter)
        for table in list(self._waiting):
            await self._copy(table)
        await moving.note_members(self._driver, self._shop)
        programme = self._header.get("programme")
        if programme is not None:
            await moving.learn(self._driver, self._shop, programme)
        await moving.add_sums(self._driver, self._shop, self._sums)
        await self._check()
        await moving.move_cursors(self._driver, self._positions)

    async def _check(self) -> None:
        """What no line could show: lots, holds and debts against the buckets, lots and keys against the history."""
        total, _ = await checking.sums(self._driver, self._shop)
        after = (self._shop, "", "")
        while True:
            found = await checking.replay(self._driver, self._shop, after=after, limit=CHECKED_TOGETHER)
            if total or found.members:
                raise ExportDoesNotHold(f"the books do not add up: {total} points too many, members {found.members}")
            if found.last is None:
                break
            after = found.last
        async for some in moving.ids_of_shop(self._driver, self._shop):
            member = await moving.whose_lots_differ(self._driver, some)
            if member is not None:
                raise ExportDoesNotHold(f"the lots of {member} are not what the history says of them")
        key = await moving.whose_key_differs(self._driver, self._shop)
        if key is not None:
            raise ExportDoesNotHold(f"the posting {key} and its entries are not both there")


def _note_due(standing: _Standing, letter: str, record: Mapping[str, Any]) -> None:
    """What the account's own row says of its lots and holds: when something falls due."""
    due: datetime | None = None
    if letter == "l" and record["remaining"] and not record["ended"]:
        waits = record["pending"] and record.get("activates_on") is not None  # for an event, which has no instant
        due = None if waits else record["activates_at"] if record["pending"] else record["expires_at"]
    elif letter == "h" and record["state"] == "open":
        due = record["expires_at"]
    account = standing.account
    if due is not None and (account.next_due_at is None or due < account.next_due_at):
        account.next_due_at = due
