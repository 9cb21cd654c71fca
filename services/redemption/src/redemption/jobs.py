"""What redemption does on time: finish checkouts that a crash left between two steps."""

import asyncio
from datetime import UTC, datetime

import structlog

from chassis import Database, Job
from redemption.alarms import UNFINISHED_AGE
from redemption.domain.errors import LedgerUnavailable
from redemption.holding import Desk
from redemption.ledger_client import LedgerClient
from redemption.settings import RedemptionSettings
from redemption.usecases import checkouts
from redemption.usecases.checkouts import FindUnfinished

UNAVAILABLE_IN_A_ROW = 3
"""So many checkouts without an answer and the ledger is away: the next run tries again. One alone holds up nobody."""


def finishing(settings: RedemptionSettings, ledger: LedgerClient) -> Job:
    """The job that asks the ledger again, under the same keys, and records what it answers."""
    look = FindUnfinished(settings.finish_after_seconds, settings.finish_batch_size)

    async def run(database: Database, stop: asyncio.Event) -> None:
        desk = Desk(database, ledger)
        (unfinished,) = await database.execute(checkouts.find_unfinished, [look])
        oldest = min((checkout.changed_at for checkout in unfinished), default=None)
        UNFINISHED_AGE.set((datetime.now(UTC) - oldest).total_seconds() if oldest else 0)
        refused_in_a_row = 0
        for checkout in unfinished:
            if stop.is_set() or refused_in_a_row == UNAVAILABLE_IN_A_ROW:
                return
            try:
                finished = await desk.finish(checkout)
            except LedgerUnavailable:
                refused_in_a_row += 1
                continue
            refused_in_a_row = 0
            structlog.get_logger().info(
                "checkout_finished", shop=checkout.shop, checkout=checkout.checkout, state=finished.state.value
            )

    return Job(name="finish", every_seconds=settings.finish_every_seconds, run=run)
