"""What is done on time: sending what is due, announcing ends, forgetting what is old."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from chassis import Database, Job
from notifications import usecases
from notifications.domain import Channel
from notifications.sending import Limits, Sender, email_attempt, webhook_attempt
from notifications.settings import NotificationsSettings
from notifications.smtp import Mailer
from notifications.webhooks import Caller

LOTS_AT_ONCE = 500
MESSAGES_AT_ONCE = 1_000
"""Rows of one transaction, which stays well under a second."""

ANNOUNCE_EVERY_SECONDS = 5.0
FORGET_EVERY_SECONDS = 3600.0
MEASURE_EVERY_SECONDS = 15.0


def jobs(settings: NotificationsSettings) -> list[Job]:
    """All of them."""
    return [
        Job("send-emails", settings.send_every_seconds, send_emails(settings)),
        Job("send-webhooks", settings.send_every_seconds, send_webhooks(settings)),
        Job("announce-ends", ANNOUNCE_EVERY_SECONDS, announce_ends),
        Job("forget", FORGET_EVERY_SECONDS, forget(settings)),
        Job("measure", MEASURE_EVERY_SECONDS, measure),
    ]


def mailer(settings: NotificationsSettings) -> Mailer:
    """The way to the mail server."""
    return Mailer(
        host=settings.smtp_host,
        port=settings.smtp_port,
        tls=settings.smtp_tls,
        user=settings.smtp_user,
        password=settings.smtp_password.get_secret_value() if settings.smtp_password else None,
        connections=settings.smtp_connections,
        timeout_seconds=settings.smtp_timeout_seconds,
    )


Run = Callable[[Database, asyncio.Event], Awaitable[None]]


def send_emails(settings: NotificationsSettings) -> Run:
    """Send e-mails that are due until told to stop."""
    way = mailer(settings)
    limits = Limits(
        connections=settings.smtp_connections,
        per_endpoint=settings.smtp_connections,
        attempt_seconds=2 * settings.smtp_timeout_seconds,  # a dead kept connection, then a fresh one
        lease_seconds=settings.lease_seconds + 2 * settings.smtp_timeout_seconds,
        give_up_after=timedelta(hours=settings.email_give_up_hours),
        idle_seconds=settings.send_every_seconds,
    )
    sender = Sender(Channel.EMAIL, email_attempt(way, sender=settings.smtp_sender), limits)

    async def run(database: Database, stop: asyncio.Event) -> None:
        async with way:
            await sender.run(database, stop)

    return run


def send_webhooks(settings: NotificationsSettings) -> Run:
    """Post webhooks that are due until told to stop."""
    caller = Caller(
        connections=settings.webhook_connections,
        timeout_seconds=settings.webhook_timeout_seconds,
        private_targets=settings.webhook_private_targets,
    )
    limits = Limits(
        connections=settings.webhook_connections,
        per_endpoint=settings.webhook_connections_per_endpoint,
        attempt_seconds=settings.webhook_timeout_seconds,
        lease_seconds=settings.lease_seconds + settings.webhook_timeout_seconds,
        give_up_after=timedelta(hours=settings.webhook_give_up_hours),
        idle_seconds=settings.send_every_seconds,
        endpoint_failures=settings.webhook_failures,
    )
    sender = Sender(Channel.WEBHOOK, webhook_attempt(caller), limits)

    async def run(database: Database, stop: asyncio.Event) -> None:
        async with caller:
            await sender.run(database, stop)

    return run


async def announce_ends(database: Database, stop: asyncio.Event) -> None:
    """Announce all ends that are due, by the lead times and zones that hold now."""
    again = usecases.LookAgain(LOTS_AT_ONCE)
    while not stop.is_set() and (await database.execute(usecases.look_again, [again]))[0]:
        pass
    while not stop.is_set():
        (looked_at,) = await database.execute(usecases.announce_ends, [usecases.AnnounceEnds(LOTS_AT_ONCE)])
        if looked_at < LOTS_AT_ONCE:
            return


def forget(settings: NotificationsSettings) -> Run:
    """Delete messages that are older than they are kept."""

    async def run(database: Database, stop: asyncio.Event) -> None:
        command = usecases.Forget(timedelta(days=settings.message_keep_days), MESSAGES_AT_ONCE)
        while not stop.is_set():
            (deleted,) = await database.execute(usecases.forget, [command])
            if deleted < MESSAGES_AT_ONCE:
                return

    return run


async def measure(database: Database, _: asyncio.Event) -> None:
    """Tell how much waits."""
    await database.execute(usecases.measure, [None])
