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


def finishing(settings: RedemptionSettings, ledger: LedgerClient) -> Job:
    """The job that asks the ledger again, under the same keys, and records what it answers."""
    look = FindUnfinished(settings.finish_after_seconds, settings.finish_batch_size)

    async def run(database: Database, stop: asyncio.Event) -> None:
        desk = Desk(database, ledger)
        (unfinished,) = await database.execute(checkouts.find_unfinished, [look])
        oldest = min((checkout.changed_at for checkout in unfinished), default=None)
        UNFINISHED_AGE.set((datetime.now(UTC) - oldest).total_seconds() if oldest else 0)
        for checkout in unfinished:
            if stop.is_set():
                return
            try:
                finished = await desk.finish(checkout)
            except LedgerUnavailable:
                return  # the next run tries again; asking for each of them now would only wait as often
            structlog.get_logger().info(
                "checkout_finished", shop=checkout.shop, checkout=checkout.checkout, state=finished.state.value
            )

    return Job(name="finish", every_seconds=settings.finish_every_seconds, run=run)
