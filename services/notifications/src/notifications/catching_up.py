"""Entries that were missed on the topic are fetched from the ledger and told, while the batch that showed it waits."""

import asyncio
from collections.abc import Sequence

import structlog

from chassis import Database, Outcome, Transaction
from notifications import measures, usecases
from notifications.domain import Gap
from notifications.ledger_client import LedgerClient, LedgerUnavailable
from notifications.usecases import EntriesMissing, PassOver, Tell

log = structlog.get_logger()


class CatchingUp:
    """The use case `tell` for a stream that may have gaps.

    A batch that shows a gap is rolled back; the gap is filled beside it, page by page and each page in a transaction of
    its own, so none stays open across a call; and the batch, which comes again and again, finds no gap any more. While
    the ledger gives no answer, it waits. A kill loses nothing: the position in the topic has not moved.
    """

    def __init__(self, ledger: LedgerClient) -> None:
        self._ledger = ledger
        self._database: Database | None = None
        self._filling: asyncio.Task[None] | None = None

    def start(self, database: Database) -> None:
        """Where what is fetched is told."""
        self._database = database

    async def stop(self) -> None:
        """Let go of what is on its way; it will be missing again after the next start."""
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)
        await self._ledger.close()

    async def tell(self, tx: Transaction, commands: Sequence[Tell]) -> Outcome:
        """Tell entries, or have those fetched that are missing before them."""
        try:
            return await usecases.tell(tx, commands)
        except EntriesMissing as missing:
            self._fill_soon(missing)
            raise

    def _fill_soon(self, missing: EntriesMissing) -> None:
        if self._filling is not None:
            if not self._filling.done():
                return
            self._filling.result()  # a fault of our own stops the consumer instead of being tried for ever
        self._filling = asyncio.create_task(self._fill_all(missing))

    async def _fill_all(self, missing: EntriesMissing) -> None:
        await self._tell(missing.before)
        try:
            for gap in missing.gaps:
                await self._fill(gap)
        except LedgerUnavailable as error:
            measures.UNANSWERED.inc()
            log.warning("ledger_unavailable", error=str(error))

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
