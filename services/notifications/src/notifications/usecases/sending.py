"""What a sender asks: deliveries to make, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from chassis import Outcome, Transaction
from notifications import rendering, store
from notifications.domain import Channel, Recipient
from notifications.rendering import Template
from notifications.store import Claimed, Contact, EndpointRow, Made, Shop
from notifications.usecases.entries import NOBODY
from notifications.usecases.templates import own_words

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Claim:
    """Lease deliveries that are due."""

    channel: Channel
    lease: UUID
    lease_seconds: float
    limit: int
    depth: int
    full: frozenset[tuple[str, str]] = frozenset()
    """Endpoints that take no more at the moment."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a sender needs to make one delivery."""

    claimed: Claimed
    shop: Shop
    contact: Contact | None
    recipient: Recipient
    endpoint: EndpointRow | None
    words: tuple[Template, str] | None
    """The template and its language, for e-mails."""


async def claim(tx: Transaction, commands: Sequence[Claim]) -> Outcome:
    """Lease deliveries that are due, with all that is needed to make them as things are now."""
    (command,) = commands
    claimed = await store.claim(
        tx,
        command.channel,
        lease=command.lease,
        lease_seconds=command.lease_seconds,
        limit=command.limit,
        depth=command.depth,
        full=command.full,
    )
    if not claimed:
        return Outcome([[]])
    names = {each.shop for each in claimed}
    shops = await store.shops(tx, names)
    if command.channel is Channel.WEBHOOK:
        rows = {(row.shop, row.endpoint): row for some in (await store.endpoints(tx, names)).values() for row in some}
        work = [
            Work(each, shops[each.shop], None, NOBODY, rows.get((each.shop, each.endpoint or "")), None)
            for each in claimed
        ]
        return Outcome([work])
    members = {(each.shop, each.member) for each in claimed}
    contacts = await store.contacts(tx, members)
    recipients = await store.reachable(tx, members)
    own = {shop: own_words(rows) for shop, rows in (await store.templates(tx, names)).items()}
    work = []
    for each in claimed:
        contact = contacts.get((each.shop, each.member))
        languages = rendering.candidates(contact.language if contact else None, shops[each.shop].settings)
        work.append(
            Work(
                each,
                shops[each.shop],
                contact,
                recipients.get((each.shop, each.member), NOBODY),
                None,
                rendering.choose(own.get(each.shop, {}), each.scenario, languages),
            )
        )
    return Outcome([work])


@dataclass(frozen=True, slots=True)
class Finish:
    """What became of one stream's deliveries."""

    stream: int
    lease: UUID
    made: tuple[Made, ...]
    retry_after: timedelta | None
    """Until the stream's next turn; None: as soon as anything waits in it."""


async def finish(tx: Transaction, commands: Sequence[Finish]) -> Outcome:
    """Record what became of deliveries and let their streams go."""
    await store.lock_streams(tx, [command.stream for command in commands])
    await store.record(tx, [made for command in commands for made in command.made])
    by_lease: dict[UUID, list[tuple[int, Any]]] = {}
    for command in commands:
        next_at = None if command.retry_after is None else tx.now + command.retry_after
        by_lease.setdefault(command.lease, []).append((command.stream, next_at))
    for lease, streams in by_lease.items():
        await store.release(tx, streams, lease=lease)
    return Outcome()


@dataclass(frozen=True, slots=True)
class EndpointAnswered:
    """How an endpoint's last attempts went."""

    shop: str
    endpoint: str
    good: bool
    gone: bool = False
    failures: int = 0
    """Just now, in a row."""


ENDPOINT_PAUSES = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=1),
)
"""How long a failing endpoint is left alone, growing with its failures; after an hour it is asked again in any case."""


@dataclass(frozen=True, slots=True)
class JudgeEndpoints:
    """Hold endpoints that fail, let go of those that answer, disable those that are gone."""

    answers: tuple[EndpointAnswered, ...]
    failures: int
    """In a row, before an endpoint is held."""
    disable_after: timedelta


async def judge_endpoints(tx: Transaction, commands: Sequence[JudgeEndpoints]) -> Outcome:
    """What fails for one member fails for the others: leave a failing endpoint alone for a while, for all of them."""
    (command,) = commands
    for answer in sorted(command.answers, key=lambda each: (each.shop, each.endpoint)):
        row = await store.endpoint(tx, answer.shop, answer.endpoint)
        if row is None or not row.enabled:
            continue
        if answer.good:
            if row.failures:
                await store.save_endpoint(tx, replace(row, failures=0, failing_since=None, held_until=None))
            continue
        failures = row.failures + answer.failures
        since = row.failing_since or tx.now
        if answer.gone or tx.now - since > command.disable_after:
            reason = "answered 410 Gone" if answer.gone else "failed for too long"
            await store.save_endpoint(tx, replace(row, enabled=False, disabled_reason=reason, updated_at=tx.now))
            log.warning("endpoint_disabled", shop=row.shop, endpoint=row.endpoint, reason=reason)
            continue
        held_until = row.held_until
        if failures >= command.failures and (held_until is None or held_until <= tx.now):
            step = min(failures // command.failures, len(ENDPOINT_PAUSES)) - 1
            held_until = tx.now + ENDPOINT_PAUSES[step]
            await store.hold_streams(tx, row.shop, row.endpoint, held_until)
        await store.save_endpoint(tx, replace(row, failures=failures, failing_since=since, held_until=held_until))
    return Outcome()
