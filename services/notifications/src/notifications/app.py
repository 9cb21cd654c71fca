"""The composition root: settings → Service."""

from pathlib import Path

from chassis import Runtime, Service
from notifications import api, jobs
from notifications.consumers import CONSUMERS
from notifications.settings import NotificationsSettings

MIGRATIONS = Path(__file__).parents[2] / "migrations"


def build(settings: NotificationsSettings | None = None) -> Service:
    """The whole service on one page."""
    settings = settings or NotificationsSettings()

    async def startup(runtime: Runtime) -> None:
        runtime.extras["mailer"] = jobs.mailer(settings)  # for test sends

    async def shutdown(runtime: Runtime) -> None:
        await runtime.extras["mailer"].close()

    return Service(
        name="notifications",
        settings=settings,
        title="Notifications",
        description="Tells members by e-mail, and their shops' systems by signed webhooks, what happened to points.",
        migrations=MIGRATIONS,
        routes=[api.router],
        consumers=CONSUMERS,
        jobs=jobs.jobs(settings),
        problems=api.PROBLEMS,
        startup=startup,
        shutdown=shutdown,
    )
