"""The job `check-seals`: whether the log still holds what was sealed, some seals each time, round and round."""

import asyncio

import asyncpg
import structlog

from chassis import Database
from ledger import metrics
from ledger.domain.seals import NO_HASH
from ledger.signing import signed_by
from ledger.start import holds
from ledger.store import seals
from ledger.store.seals import Sealed

SEALS_TOGETHER = 50


class SealChecker:
    """Goes on where its last run had looked at enough rows."""

    def __init__(self, rows_per_run: int) -> None:
        self._rows_per_run = rows_per_run
        self._lane = 0
        self._last: Sealed | None = None
        """The seal of the lane that was looked at last."""
        self._mismatches = 0
        """In this round."""

    async def run(self, database: Database, stop: asyncio.Event) -> None:
        """Some seals; the figure of a round is told when it is complete, a fault at once."""
        rows = 0
        while rows < self._rows_per_run and not stop.is_set():
            async with database.look() as driver:
                number = 0 if self._last is None else self._last.seal.number
                found = await seals.numbered_behind(driver, {self._lane: number}, SEALS_TOGETHER)
                for sealed in found:
                    rows += sealed.seal.last - sealed.seal.first + 2
                    if not (self._follows(sealed) and await holds(driver, sealed)):
                        self._tell(sealed)
                    self._last = sealed
                    if rows >= self._rows_per_run:
                        return
                if not found and await self._next_lane(driver):
                    return

    def _follows(self, sealed: Sealed) -> bool:
        """Whether it is made over the one before it, and signed."""
        last, seal = self._last, sealed.seal
        before = (0, 0, NO_HASH) if last is None else (last.seal.number, last.seal.last, last.seal.hash)
        return before == (seal.number - 1, seal.first - 1, seal.previous) and signed_by(
            seal.key, sealed.signature, seal.encoded()
        )

    def _tell(self, sealed: Sealed) -> None:
        self._mismatches += 1
        metrics.SEAL_MISMATCHES.set(self._mismatches)
        structlog.get_logger().error(
            "seal_mismatch",
            lane=sealed.seal.lane,
            number=sealed.seal.number,
            first=sealed.seal.first,
            last=sealed.seal.last,
        )

    async def _next_lane(self, driver: asyncpg.Connection) -> bool:
        """Go on with the next lane; whether the round is complete."""
        self._lane, self._last = self._lane + 1, None
        if self._lane < await driver.fetchval("SELECT lanes FROM lane_count"):
            return False
        metrics.SEAL_MISMATCHES.set(self._mismatches)
        self._lane, self._mismatches = 0, 0
        return True
