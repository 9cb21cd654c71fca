"""What was missed on the topic, or given up by it, is fetched from the ledger while the batch that showed it waits."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import structlog

from chassis import Database, Outcome, Transaction
from chassis.lanes import lane_of
from notifications import measures, store, usecases
from notifications.domain import Gap, LotChange, Place
from notifications.ledger_client import LedgerClient, LedgerUnavailable
from notifications.store import Held
from notifications.usecases import BeginEpoch, EntriesMissing, EpochBegan, PassOver, ReadAgain, Tell

log = structlog.get_logger()

ACCOUNTS_TOGETHER: Final = 500
"""Read again and kept in one transaction."""

CALLS_AT_ONCE: Final = 8
"""Of the ledger, while accounts are read again: it has others to answer."""


class CatchingUp:
    """The use case `tell` for a stream that may have gaps, and of which parts may be given up.

    A batch that shows a gap is rolled back; the gap is filled beside it, page by page and each page in a transaction of
    its own, so none stays open across a call; and the batch, which comes again and again, finds no gap any more. While
    the ledger gives no answer, it waits. A kill loses nothing: the position in the topic has not moved.

    Where the ledger goes on in a new epoch it is the same: each account of the lane is held against the ledger, and
    read again if it was told further than the ledger goes. After a kill, those that stand in the new epoch are done.
    """

    def __init__(self, ledger: LedgerClient) -> None:
        self._ledger = ledger
        self._database: Database | None = None
        self._filling: asyncio.Task[None] | None = None
        self._read: set[tuple[int, int]] = set()
        """Lanes and epochs whose accounts this process has read again."""

    def start(self, database: Database) -> None:
        """Where what is fetched is told."""
        self._database = database

    async def stop(self) -> None:
        """Let go of what is on its way; it will be missing again after the next start."""
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)
        await self._ledger.close()

    async def tell(self, tx: Transaction, commands: Sequence[Tell | BeginEpoch]) -> Outcome:
        """Tell entries, or have that fetched first which is missing before them or was given up."""
        told: list[Tell] = []
        try:
            for command in commands:
                if isinstance(command, Tell):
                    told.append(command)
                elif (command.lane, command.epoch) not in self._read:
                    await usecases.tell(tx, told)  # which may lack entries itself
                    raise EpochBegan(command, told)
            return await usecases.tell(tx, told)
        except EntriesMissing as missing:
            self._soon(self._fill_all, missing)
            raise
        except EpochBegan as began:
            self._soon(self._begin, began)
            raise

    def _soon(self, work: Callable[[Any], Coroutine[Any, Any, None]], shown: EntriesMissing | EpochBegan) -> None:
        if self._filling is not None:
            if not self._filling.done():
                return
            self._filling.result()  # a fault of our own stops the consumer instead of being tried for ever
        self._filling = asyncio.create_task(self._do(work(shown), shown.before))

    async def _do(self, work: Coroutine[Any, Any, None], before: Sequence[Tell]) -> None:
        try:
            await self._tell(before)
            await work
        except LedgerUnavailable as error:
            measures.UNANSWERED.inc()
            log.warning("ledger_unavailable", error=str(error))
        finally:
            work.close()

    async def _fill_all(self, missing: EntriesMissing) -> None:
        for gap in missing.gaps:
            await self._fill(gap)

    # -- a new epoch

    async def _begin(self, began: EpochBegan) -> None:
        begun, after, accounts = began.begun, "", 0
        log.warning("ledger_epoch_began", lane=begun.lane, epoch=begun.epoch, position=begun.position)
        while True:
            async with self._connected.begin() as tx:
                page = await store.before_epoch(tx, begun.epoch, after, ACCOUNTS_TOGETHER)
            if not page:
                break
            after = page[-1].account
            ours = [held for held in page if lane_of(f"{held.shop}/{held.member}", begun.lanes) == begun.lane]
            for first in range(0, len(ours), CALLS_AT_ONCE):
                some = ours[first : first + CALLS_AT_ONCE]
                read = await asyncio.gather(*(self._read_again(held, begun) for held in some))
                await self._connected.execute(usecases.read_again, read)
            accounts += len(ours)
        self._read.add((begun.lane, begun.epoch))
        log.warning("ledger_epoch_read", lane=begun.lane, epoch=begun.epoch, accounts=accounts)

    async def _read_again(self, held: Held, begun: BeginEpoch) -> ReadAgain:
        """Where the ledger goes on with an account: the last entry told, or an earlier one."""
        if await self._ledger.still_has(held, begun.position):
            return ReadAgain(held, Place(begun.epoch, held.seq, held.hash, held.available), None)
        place, lots = Place(begun.epoch, 0, "", 0), dict[str, LotChange]()
        while entries := await self._ledger.upto(held, begun.epoch, begun.position, place.seq):
            for entry in entries:
                lots.update((lot.lot, lot) for lot in entry.lots)
            last = entries[-1]
            place = Place(begun.epoch, last.seq, last.hash, last.balances.available)
        return ReadAgain(held, place, lots)

    # -- gaps

    async def _fill(self, gap: Gap) -> None:
        missing = gap.before - gap.after - 1
        log.warning("ledger_gap", account=gap.account, epoch=gap.epoch, after=gap.after, entries=missing)
        told = gap.after
        while told < gap.before - 1:
            entries = await self._ledger.entries(gap, told)
            following = [entry for place, entry in enumerate(entries, start=told + 1) if entry.seq == place]
            if following:
                await self._tell([Tell(entry) for entry in following])
                told = following[-1].seq
            else:
                last = entries[0].seq - 1 if entries else gap.before - 1
                log.error("ledger_gap_unfilled", account=gap.account, epoch=gap.epoch, after=told, last=last)
                await self._connected.execute(usecases.pass_over, [PassOver(gap, told, last)])
                told = last
        measures.GAPS.inc(missing)

    async def _tell(self, commands: Sequence[Tell]) -> None:
        if commands:
            await self._connected.execute(usecases.tell, commands)

    @property
    def _connected(self) -> Database:
        assert self._database is not None, "start() comes before the first batch"
        return self._database
