"""The composition root: settings → Service. What redemption listens to, does on time and answers, on one page."""

from pathlib import Path

from chassis import Runtime, Service
from redemption.api import PROBLEMS, ROUTES
from redemption.consumers import CONSUMERS
from redemption.holding import Desk
from redemption.jobs import finishing
from redemption.ledger_client import LedgerClient
from redemption.settings import RedemptionSettings


def build(settings: RedemptionSettings | None = None) -> Service:
    """The service; without settings given they are read from the environment."""
    settings = settings or RedemptionSettings()
    ledger = LedgerClient(settings.ledger_url, settings.service_token_file)

    async def startup(runtime: Runtime) -> None:
        runtime.extras["desk"] = Desk(runtime.database, ledger)

    async def shutdown(_runtime: Runtime) -> None:
        await ledger.close()

    return Service(
        name="redemption",
        settings=settings,
        title="Redemption",
        description="Points at checkout: how many may be used, the hold behind them, and what orders do to them.",
        migrations=Path(__file__).parents[2] / "migrations",
        routes=[ROUTES],
        consumers=CONSUMERS,
        jobs=[finishing(settings, ledger)],
        problems=PROBLEMS,
        startup=startup,
        shutdown=shutdown,
    )
