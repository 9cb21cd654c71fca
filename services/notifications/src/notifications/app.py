"""The composition root: settings → Service."""

from pathlib import Path

from chassis import Runtime, Service
from notifications import api, jobs
from notifications.catching_up import CatchingUp
from notifications.consumers import consumers
from notifications.ledger_client import LedgerClient
from notifications.settings import NotificationsSettings

MIGRATIONS = Path(__file__).parents[2] / "migrations"


def build(settings: NotificationsSettings | None = None) -> Service:
    """The whole service on one page."""
    settings = settings or NotificationsSettings()
    catching_up = CatchingUp(LedgerClient(settings.ledger_url, settings.service_token_file))

    async def startup(runtime: Runtime) -> None:
        catching_up.start(runtime.database)
        runtime.extras["mailer"] = jobs.mailer(settings)  # for test sends

    async def shutdown(runtime: Runtime) -> None:
        await runtime.extras["mailer"].close()
        await catching_up.stop()

    return Service(
        name="notifications",
        settings=settings,
        title="Notifications",
        description="Tells members by e-mail, and their shops' systems by signed webhooks, what happened to points.",
        migrations=MIGRATIONS,
        routes=[api.router],
        consumers=consumers(catching_up.tell),
        jobs=jobs.jobs(settings),
        problems=api.PROBLEMS,
        startup=startup,
        shutdown=shutdown,
    )
