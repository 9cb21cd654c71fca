"""The senders: lease what is due, make the attempts side by side, record what came of them; one for each channel.

A delivery is recorded as sent after the other side has taken it. A crash in between repeats it with the same id: at
least once, recognisable. Within a stream (a member's e-mails; a member's webhooks to one endpoint) the next one starts
only when the one before has been taken or given up, so they arrive in order.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from uuid import UUID

import structlog
from opentelemetry.trace import SpanKind

from chassis import Database
from chassis.ids import new_uuid
from chassis.pauses import pause
from chassis.telemetry import current_traceparent, span
from notifications import measures, rendering, store, usecases
from notifications.domain import Channel, TemplateInvalid, next_attempt
from notifications.results import Gone, NotDue, Rejected, Result, Retry, Sent, Unreachable
from notifications.smtp import Mail, Mailer
from notifications.store import Made
from notifications.usecases import Claim, EndpointAnswered, Finish, JudgeEndpoints, Work
from notifications.webhooks import Caller, payload

log = structlog.get_logger()

AHEAD = 8
"""Streams leased for each connection: enough that a transaction is shared by many deliveries."""

DEPTH = 20
"""Deliveries taken from one stream at a time."""

FLUSH_SECONDS = 0.1
"""Results wait at most this long for company before they are recorded: what a crash may repeat."""

FLUSH_AT = 100

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
"""Between tries while a whole channel cannot be reached."""

Endpoint = tuple[str, str]
"""Shop and name."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How a channel is used."""

    connections: int
    per_endpoint: int
    attempt_seconds: float
    """Longest that one attempt takes."""
    lease_seconds: float
    give_up_after: timedelta
    idle_seconds: float
    endpoint_failures: int = 1
    """In a row, before an endpoint is left alone."""


@dataclass(slots=True)
class Sender:
    """Sends what is due over one channel."""

    channel: Channel
    attempt: Callable[[Work], Awaitable[Result]]
    limits: Limits
    _slots: asyncio.Semaphore = field(init=False)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _streams_at: Counter[Endpoint] = field(default_factory=Counter)
    _slots_at: dict[Endpoint, asyncio.Semaphore] = field(default_factory=dict)
    _finished: list[Finish] = field(default_factory=list)
    _finished_at: float = 0.0
    _answers: dict[Endpoint, EndpointAnswered] = field(default_factory=dict)
    _pause_seconds: float = 0.0
    """Grows while the channel as a whole cannot be reached."""
    _paused_until: float = 0.0

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.limits.connections)

    async def run(self, database: Database, stop: asyncio.Event) -> None:
        """Until told to stop; then what is on its way comes to its end and is recorded."""
        try:
            while not stop.is_set():
                started = await self._start(database)
                await self._flush(database, patient=True)
                if not started:
                    await self._wait(stop)
            if self._running:
                await asyncio.wait(self._running, timeout=self.limits.attempt_seconds)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
        await self._flush(database, patient=False)

    async def _wait(self, stop: asyncio.Event) -> None:
        """For a result, a stop, or the next look."""
        if not self._running:
            await pause(stop, self.limits.idle_seconds)
        else:
            seconds = min(FLUSH_SECONDS, self.limits.idle_seconds)
            await asyncio.wait(self._running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    async def _start(self, database: Database) -> bool:
        """Lease what is due, as far as there is room, and set it going; whether there was anything."""
        room = self.limits.connections * AHEAD - len(self._running)
        if room < self.limits.connections or time.monotonic() < self._paused_until:
            return False
        async with database.look() as driver:
            if not await store.anything_due(driver, self.channel):
                return False
        most = self.limits.per_endpoint * AHEAD
        lease = new_uuid()
        command = Claim(
            channel=self.channel,
            lease=UUID(int=lease.int),
            lease_seconds=self.limits.lease_seconds,
            limit=room,
            depth=DEPTH,
            full=frozenset(endpoint for endpoint, count in self._streams_at.items() if count >= most),
        )
        begun = time.monotonic()
        (work,) = await database.execute(usecases.claim, [command])
        until = begun + self.limits.lease_seconds - self.limits.attempt_seconds
        for _, group in groupby(work, key=lambda each: each.claimed.stream):
            task = asyncio.create_task(self._stream(list(group), command.lease, until))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return bool(work)

    async def _stream(self, work: Sequence[Work], lease: UUID, until: float) -> None:
        """One stream's deliveries, one after the other, until one has to wait."""
        first = work[0].claimed
        endpoint = (first.shop, first.endpoint or "")
        slots = self._slots_at.setdefault(endpoint, asyncio.Semaphore(self.limits.per_endpoint))
        made: list[Made] = []
        retry_after: timedelta | None = None
        self._streams_at[endpoint] += 1
        try:
            for each in work:
                # The wait for a connection is over before the attempt's time, and the lease's, is looked at.
                async with slots, self._slots:
                    retry_after = self._held(each, endpoint)
                    if retry_after is not None or time.monotonic() > until:
                        break  # not now: another endpoint's or another lease's turn
                    outcome, retry_after = await self._make(each, endpoint)
                made.append(outcome)
                if retry_after is not None:
                    break
        finally:
            self._streams_at[endpoint] -= 1
            if not self._streams_at[endpoint]:
                del self._streams_at[endpoint], self._slots_at[endpoint]
            if not self._finished:
                self._finished_at = time.monotonic()
            self._finished.append(Finish(first.stream, lease, tuple(made), retry_after))

    def _held(self, work: Work, endpoint: Endpoint) -> timedelta | None:
        """How long an endpoint, or the whole channel, is to be left alone; None: not at all."""
        now = datetime.now(UTC)
        if work.endpoint is not None and work.endpoint.held_until is not None and work.endpoint.held_until > now:
            return work.endpoint.held_until - now
        answer = self._answers.get(endpoint)
        if answer is not None and not answer.good and answer.failures >= self.limits.endpoint_failures:
            return usecases.ENDPOINT_PAUSES[0]
        left = self._paused_until - time.monotonic()
        return timedelta(seconds=left) if left > 0 else None

    async def _make(self, work: Work, endpoint: Endpoint) -> tuple[Made, timedelta | None]:
        """One attempt, and how long to wait before the next of this stream."""
        started = time.monotonic()
        with span(f"send {self.channel}", work.claimed.traceparent, SpanKind.PRODUCER) as current:
            try:
                result = await self.attempt(work)
            except Exception as error:
                log.exception("attempt_failed", delivery=work.claimed.delivery)
                result = Retry(f"fault of ours: {type(error).__name__}")
            if current is not None:
                current.set_attribute("accrual.delivery", work.claimed.delivery)
                current.set_attribute("accrual.result", type(result).__name__)
        kind = type(result).__name__.lower()
        measures.DELIVERIES.labels(self.channel, kind).inc()
        measures.SECONDS.labels(self.channel).observe(time.monotonic() - started)
        self._note(work, endpoint, result)
        return self._judge(work, result)

    def _judge(self, work: Work, result: Result) -> tuple[Made, timedelta | None]:
        """What a result means for the delivery."""
        claimed, now = work.claimed, datetime.now(UTC)
        match result:
            case Sent():
                measures.AGE_SECONDS.labels(self.channel).observe((now - claimed.waiting_since).total_seconds())
                return Made(claimed.delivery, "sent", counted=True, reason=None), None
            case NotDue(reason):
                return Made(claimed.delivery, "dropped", counted=False, reason=reason), None
            case Rejected(reason) | Gone(reason):
                return Made(claimed.delivery, "dead", counted=True, reason=reason), None
            case Unreachable(reason):
                if now - claimed.waiting_since > self.limits.give_up_after:
                    return Made(claimed.delivery, "dead", counted=True, reason=reason), None
                pause = timedelta(seconds=max(self._paused_until - time.monotonic(), FIRST_PAUSE_SECONDS))
                return Made(claimed.delivery, "waiting", counted=False, reason=reason), pause
            case Retry(reason, after_seconds):
                at = next_attempt(
                    attempts=claimed.attempts + 1,
                    since=claimed.waiting_since,
                    now=now,
                    give_up_after=self.limits.give_up_after,
                    spread=random.random(),
                )
                if at is None:
                    return Made(claimed.delivery, "dead", counted=True, reason=reason), None
                pause = max(at - now, timedelta(seconds=after_seconds or 0))
                return Made(claimed.delivery, "waiting", counted=True, reason=reason), pause

    def _note(self, work: Work, endpoint: Endpoint, result: Result) -> None:
        """Remember how the channel, or the endpoint, does."""
        if isinstance(result, Unreachable):
            if time.monotonic() >= self._paused_until:  # the first of those that found out at the same time
                self._pause_seconds = min(max(2 * self._pause_seconds, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
                self._paused_until = time.monotonic() + self._pause_seconds
                log.warning(
                    "channel_unreachable", channel=self.channel, reason=result.reason, pause=self._pause_seconds
                )
            return
        if isinstance(result, Sent):
            self._pause_seconds = 0.0
        if work.endpoint is None:
            return
        before = self._answers.get(endpoint)
        if isinstance(result, Sent):
            if work.endpoint.failures or before is not None:
                self._answers[endpoint] = EndpointAnswered(*endpoint, good=True)
        elif isinstance(result, Retry | Gone):
            failures = before.failures + 1 if before is not None and not before.good else 1
            gone = isinstance(result, Gone)
            self._answers[endpoint] = EndpointAnswered(*endpoint, good=False, gone=gone, failures=failures)

    async def _flush(self, database: Database, *, patient: bool) -> None:
        """Record what is finished. Results that cannot be recorded stay here and are tried again."""
        if not self._finished:
            return
        waited = time.monotonic() - self._finished_at
        if patient and self._running and len(self._finished) < FLUSH_AT and waited < FLUSH_SECONDS:
            return
        finished, answers = list(self._finished), dict(self._answers)
        await database.execute(usecases.finish, finished)
        self._finished = self._finished[len(finished) :]
        self._finished_at = time.monotonic()
        if answers:
            command = JudgeEndpoints(tuple(answers.values()), self.limits.endpoint_failures, self.limits.give_up_after)
            await database.execute(usecases.judge_endpoints, [command])
            self._answers = {key: value for key, value in self._answers.items() if answers.get(key) != value}


# --- the two channels --------------------------------------------------------------------------------------------


def email_attempt(mailer: Mailer, *, sender: str) -> Callable[[Work], Awaitable[Result]]:
    """How an e-mail is sent: with the words, the address and the wishes of this moment."""

    async def attempt(work: Work) -> Result:
        claimed, contact, shop = work.claimed, work.contact, work.shop
        if contact is None:
            return NotDue("no_contact")
        if not work.recipient.accepts(claimed.scenario):
            return NotDue("opted_out")
        assert work.words is not None, "an e-mail always has words"
        template, language = work.words
        told = rendering.context(
            settings=shop.settings,
            member=claimed.member,
            name=contact.name,
            language=language,
            at=claimed.at,
            facts=claimed.facts,
        )
        try:
            words = rendering.render(template, told)
        except TemplateInvalid as error:
            return Rejected(f"template: {error}")
        return await mailer.send(
            Mail(
                delivery=claimed.delivery,
                sender=sender,
                sender_name=shop.sender.name,
                reply_to=shop.sender.reply_to,
                to=contact.email,
                to_name=contact.name,
                language=language,
                words=words,
                date=claimed.waiting_since,
            )
        )

    return attempt


def webhook_attempt(caller: Caller) -> Callable[[Work], Awaitable[Result]]:
    """How a webhook is posted."""

    async def attempt(work: Work) -> Result:
        claimed, endpoint = work.claimed, work.endpoint
        if endpoint is None:
            return NotDue("endpoint_deleted")
        if not endpoint.enabled:
            return Rejected(f"the endpoint is disabled: {endpoint.disabled_reason}")
        now = datetime.now(UTC)
        return await caller.post(
            endpoint.url,
            signing_secrets=endpoint.signing_secrets(now),
            webhook_id=claimed.delivery,
            body=payload(
                claimed.scenario, shop=claimed.shop, member=claimed.member, at=claimed.at, facts=claimed.facts
            ),
            now=now,
            traceparent=current_traceparent() or claimed.traceparent,
        )

    return attempt
