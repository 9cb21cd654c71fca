"""What the ledger does on time. Balances are right without it: reads subtract what is due."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from chassis import Database, Job
from chassis.database import with_lanes
from chassis.faults import is_transient
from chassis.lanes import lane_of
from ledger import approving, importing, metrics, usecases
from ledger.approving import ExpireProposal
from ledger.domain import POINTS
from ledger.seal_check import SealChecker
from ledger.sealing import Sealer
from ledger.settings import LedgerSettings
from ledger.store import checking, proposals, upkeep

FOLDED_ROWS: Final = 20_000
"""Appended sums put together in one statement."""

BATCHES_AT_ONCE: Final = 2
"""While the database saves what is due on one lane, the next one is decided."""

REPORTED: Final = 100
"""Parked postings looked at again in one round, and proposals closed."""

SUMS_REST: Final = 100
"""All accounts are added up again after so many times as long as it took: seconds, where there are millions."""


def jobs(settings: LedgerSettings) -> list[Job]:
    """All of them."""
    return [
        Job(
            "due", settings.due_every_seconds, lambda database, stop: apply_due(database, stop, settings.due_batch_size)
        ),
        Job("fold-sums", settings.fold_every_seconds, fold_sums),
        Job("parked", settings.parked_every_seconds, Parked(settings.parked_alarm_seconds).run),
        Job("proposals", settings.proposals_every_seconds, expire_proposals),
        Job("check", settings.check_every_seconds, Checker(settings.replay_batch_size).run),
        Job("seal", settings.seal_every_seconds, Sealer(settings).run),
        Job("check-seals", settings.check_every_seconds, SealChecker(settings.seal_check_rows).run),
        Job("imports", settings.imports_every_seconds, importing.work),
        Job(
            "drop-imports",
            settings.import_drop_every_seconds,
            partial(importing.drop_old, keep=timedelta(days=settings.import_keep_days)),
        ),
    ]


async def apply_due(database: Database, stop: asyncio.Event, batch_size: int) -> None:
    """Activate, end holds and expire on accounts that nobody touches, lane by lane, until nothing is due.

    Each batch is a transaction of its own; the next look finds what is still due, so a crash loses nothing and a second
    run finds nothing. Accounts that cannot be brought up to date hold up no other, however many; the run fails when all
    others are done.
    """
    lanes = await database.lane_count()
    failed: dict[UUID, Exception] = {}
    while not stop.is_set():
        async with database.look() as driver:
            found = await upkeep.due_accounts(driver, batch_size * lanes + len(failed))
        due = [account for account in found if account[0] not in failed]
        metrics.OVERDUE.set(len(due))
        by_lane: dict[int, list[UUID]] = defaultdict(list)
        for account_id, shop, member in due:
            by_lane[lane_of(f"{shop}/{member}", lanes)].append(account_id)
        batches = iter(
            [
                (lane, account_ids[first : first + batch_size])
                for lane, account_ids in sorted(by_lane.items())
                for first in range(0, len(account_ids), batch_size)
            ]
        )
        done = await asyncio.gather(
            *(_bring_up_to_date(database, stop, batches, failed) for _ in range(BATCHES_AT_ONCE)),
            return_exceptions=True,
        )
        for error in done:
            if error is not None:
                raise error
        if len(due) < batch_size * lanes:
            break
    if failed:
        raise next(iter(failed.values()))


async def _bring_up_to_date(
    database: Database, stop: asyncio.Event, batches: Iterator[tuple[int, list[UUID]]], failed: dict[UUID, Exception]
) -> None:
    for lane, account_ids in batches:
        if stop.is_set():
            return
        await _all_that_can_be(database, lane, account_ids, failed)


async def _all_that_can_be(
    database: Database, lane: int, account_ids: list[UUID], failed: dict[UUID, Exception]
) -> None:
    """Bring accounts up to date, halving them around those with which it fails; `failed` says why."""
    try:
        async with database.begin([lane]) as tx:
            await usecases.bring_up_to_date(tx, account_ids)
    except Exception as error:
        if is_transient(error):
            raise
        if len(account_ids) == 1:
            structlog.get_logger().error("account_stays_due", account=str(account_ids[0]), error=repr(error))
            failed[account_ids[0]] = error
            return
        middle = len(account_ids) // 2
        await _all_that_can_be(database, lane, account_ids[:middle], failed)
        await _all_that_can_be(database, lane, account_ids[middle:], failed)


async def fold_sums(database: Database, stop: asyncio.Event) -> None:
    """Keep reads of system accounts short: every batch appends sums, this puts them together."""
    while not stop.is_set():
        async with database.begin() as tx:
            folded = await upkeep.fold_sums(tx.driver, FOLDED_ROWS)
        if folded < FOLDED_ROWS // 2:
            return


async def expire_proposals(database: Database, stop: asyncio.Event) -> None:
    """Close what nobody has decided on in time, each in a transaction of its own; none can be approved by then."""
    while not stop.is_set():
        async with database.begin() as tx:
            due = await proposals.overdue(tx.driver, REPORTED)
        for shop, proposal, member in due:
            command = ExpireProposal(shop, member, proposal)
            await database.execute(approving.expire_proposals, [command], lane_key=approving.lane_key)
        if len(due) < REPORTED:
            return


class Parked:
    """The second defence of parking: what has waited for a while is offered again, and reported if it waits on; some of
    it each time, round and round, so that what never gets its cause holds up nothing behind it."""

    def __init__(self, alarm_seconds: float) -> None:
        self._alarm_seconds = alarm_seconds
        self._after = 0

    async def run(self, database: Database, stop: asyncio.Event) -> None:
        """Tell how much waits, then offer some of it again, each in a transaction of its own."""
        async with database.begin() as tx:
            waiting = await checking.parking(tx.driver, None)
            before = tx.now - timedelta(seconds=self._alarm_seconds)
            some = await upkeep.parked_before(tx.driver, before, after=self._after, limit=REPORTED)
        metrics.PARKED.set(waiting.count)
        metrics.PARKED_AGE.set(0 if waiting.oldest_at is None else (tx.now - waiting.oldest_at).total_seconds())
        self._after = some[-1]["place"] if len(some) == REPORTED else 0
        for row in some:
            if stop.is_set():
                return
            key = (row["shop"], row["source"], row["key"])
            lanes = await database.lanes_of([f"{row['shop']}/{row['member']}"])
            if not await with_lanes(lanes, partial(_offer_again, database, row["account_id"], key)):
                structlog.get_logger().warning(
                    "posting_parked_long", shop=row["shop"], source=row["source"], key=row["key"], since=row["since"]
                )


async def _offer_again(database: Database, account_id: UUID, key: tuple[str, str, str], lanes: set[int]) -> bool:
    async with database.begin(lanes) as tx:
        return await usecases.offer_again(tx, account_id, key)


class Checker:
    """Sums and replay for the metrics, some accounts each time, round and round."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._after = ("", "", "")
        self._round = checking.Findings()
        self._add_up_at = 0.0
        """By the process's own clock."""

    async def run(self, database: Database, stop: asyncio.Event) -> None:  # noqa: ARG002
        """The sums, unless they rest; and one batch of accounts. The figures of a round are told when it is complete, a
        fault at once."""
        began_at = time.monotonic()
        if began_at >= self._add_up_at:
            await self._add_up(database)
            now = time.monotonic()
            self._add_up_at = now + SUMS_REST * (now - began_at)
        async with database.look() as driver:
            found = await checking.replay(driver, None, after=self._after, limit=self._batch_size, chains=True)
        self._round.add(found)
        self._after = found.last or ("", "", "")
        if found.last is None or found.members:
            metrics.REPLAY_MISMATCHES.set(self._round.replay_mismatches)
            metrics.SEQ_GAPS.set(self._round.seq_gaps)
            metrics.BOOK_MISMATCHES.set(self._round.book_mismatches)
            metrics.CHAIN_BREAKS.set(self._round.chain_breaks)
        if found.members:
            structlog.get_logger().error("books_broken", members=found.members)
        if found.last is None:
            self._round = checking.Findings()

    async def _add_up(self, database: Database) -> None:
        async with database.look() as driver:
            total, by_asset = await checking.sums(driver, None)
        metrics.SUM_OF_ACCOUNTS.set(total)
        for asset, sums in by_asset.items():
            for name, amount in sums.system.items():
                metrics.SYSTEM_AMOUNTS.labels(asset, name).set(amount)
                if asset == POINTS:
                    metrics.SYSTEM_POINTS.labels(name).set(amount)
        if total:
            structlog.get_logger().error("books_broken", sum_of_accounts=total)
