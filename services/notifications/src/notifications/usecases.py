"""What this service does, one function per verb: `(tx, commands in order of arrival) → Outcome`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from chassis import Outcome, Transaction
from notifications import measures, rendering, store, webhooks
from notifications.domain import (
    Announcement,
    Channel,
    ContactNotFound,
    DeliveryNotFound,
    DeliveryNotReplayable,
    EndpointNotFound,
    Entry,
    Facts,
    MessageNotFound,
    Place,
    Recipient,
    Scenario,
    Settings,
    ShopNotFound,
    Silence,
    Standing,
    TemplateInvalid,
    TemplateNotFound,
    TooManyEndpoints,
    announce,
    due,
    expiring,
    occurrence,
    place_of,
    standing,
)
from notifications.domain import Lot as EndingLot
from notifications.rendering import Rendered, Template
from notifications.store import Claimed, Contact, Due, EndpointRow, LotSeen, Made, Member, Shop, TemplateRow

log = structlog.get_logger()

ONE_ROW = 1


# --- what events ask ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LearnProgramme:
    """A shop's programme as it now is."""

    shop: str
    revision: int
    on: bool
    zone: str
    language: str
    points_name: str


async def learn_programmes(tx: Transaction, commands: Sequence[LearnProgramme]) -> Outcome:
    """Keep the newest revision of each shop's programme; a new zone moves its announcements."""
    newest = {command.shop: command for command in sorted(commands, key=lambda each: each.revision)}
    moved = await store.learn_shops(
        tx, [{field: getattr(each, field) for field in LearnProgramme.__slots__} for each in newest.values()]
    )
    if moved:
        await store.look_again(tx, moved)
    return Outcome()


@dataclass(frozen=True, slots=True)
class Tell:
    """An entry of the ledger, to be told to whom it concerns."""

    entry: Entry
    traceparent: str | None = None


async def tell(tx: Transaction, commands: Sequence[Tell]) -> Outcome:
    """Record what is to be told of entries, once each, and remember the lots that will end."""
    news = await _news(tx, commands)
    if not news:
        return Outcome()
    shops = await store.shops(tx, {command.entry.shop for command in news})
    await _remember_lots(tx, [command.entry for command in news], shops)
    told = [(command, event) for command in news if (event := occurrence(command.entry)) is not None]
    members = {(event.shop, event.member) for _, event in told}
    recipients = await store.recipients(tx, members)
    endpoints = await store.endpoints(tx, {shop for shop, _ in members})
    dues, all_silences = [], list[Silence]()
    for command, event in told:
        routes, silences = due(
            event,
            settings=shops[event.shop].settings,
            recipient=recipients.get((event.shop, event.member), NOBODY),
            endpoints=[each.audience for each in endpoints.get(event.shop, ())],
            now=tx.now,
        )
        all_silences += silences
        dues.append(Due(event, routes, command.traceparent))
    _count(all_silences)
    await _enqueue(tx, dues, endpoints)
    return Outcome()


NOBODY = Recipient()
"""A member of whom nothing is known here."""


async def _news(tx: Transaction, commands: Sequence[Tell]) -> list[Tell]:
    """Those that have not been told yet, in order; how far each account has been told moves on."""
    places = await store.places(tx, {command.entry.account for command in commands})
    reached: dict[str, tuple[Member, Place]] = {}
    news: list[Tell] = []
    older: list[Tell] = []
    jumped: list[store.Number] = []
    for command in commands:
        entry = command.entry
        verdict, gap = standing(places.get(entry.account), entry)
        if verdict is Standing.NEXT:
            places[entry.account] = place_of(entry)
            reached[entry.account] = ((entry.shop, entry.member), places[entry.account])
            jumped += [(entry.account, entry.epoch, seq) for seq in gap]
            news.append(command)
        elif verdict is Standing.OLDER:
            older.append(command)
        elif verdict is Standing.FORKED:
            measures.FORKS.inc()
            log.error("ledger_forked", account=entry.account, seq=entry.seq, epoch=entry.epoch)
        else:
            measures.REPEATS.inc()
    if jumped:
        measures.GAPS.inc(len(jumped))
        log.warning("ledger_gap", entries=len(jumped), account=jumped[0][0], seq=jumped[0][2])
        await store.note_missing(tx, jumped)
    if reached:
        await store.save_places(tx, reached)
    return news + await _late(tx, older)


async def _late(tx: Transaction, older: Sequence[Tell]) -> list[Tell]:
    """Of entries behind the last one told: those that had been jumped over. The others are repeats."""
    if not older:
        return []
    by_number = {(each.entry.account, each.entry.epoch, each.entry.seq): each for each in older}
    found = await store.found(tx, list(by_number))
    measures.REPEATS.inc(len(older) - len(found))
    return [by_number[number] for number in sorted(found)]


async def _remember_lots(tx: Transaction, entries: Sequence[Entry], shops: dict[str, Shop]) -> None:
    seen = []
    for entry in entries:
        settings = shops[entry.shop].settings
        for lot in entry.lots:
            if lot.expires_at is None:
                continue
            ending = EndingLot(lot.lot, lot.remaining, lot.activates_at, lot.expires_at)
            plan = announce(ending, reminders=settings.reminders, zone=settings.zone, now=tx.now)
            seen.append(
                LotSeen(
                    entry.shop,
                    entry.member,
                    entry.account,
                    entry.epoch,
                    entry.seq,
                    lot.lot,
                    lot.remaining,
                    lot.activates_at,
                    lot.expires_at,
                    look_at=tx.now if plan.lead_days is not None else plan.next_at,
                )
            )
    if seen:
        await store.save_lots(tx, seen)


async def _enqueue(tx: Transaction, dues: Sequence[Due], endpoints: dict[str, list[EndpointRow]]) -> None:
    held = {
        (row.shop, row.endpoint): row.held_until
        for rows in endpoints.values()
        for row in rows
        if row.held_until is not None and row.held_until > tx.now
    }
    measures.MESSAGES.inc(await store.enqueue(tx, dues, held))


def _count(silences: Iterable[Silence]) -> None:
    for silence, count in Counter(silences).items():
        measures.SILENCES.labels(silence.value).inc(count)


# --- what is done on time ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnnounceEnds:
    """Look at lots whose end may be due to be announced."""

    limit: int


async def announce_ends(tx: Transaction, commands: Sequence[AnnounceEnds]) -> Outcome:
    """Announce ends that are due, once per lot and lead time, together where they end together; how many were seen."""
    (command,) = commands
    lots = await store.lots_to_look_at(tx, command.limit)
    if not lots:
        return Outcome([0])
    shops = await store.shops(tx, {each.shop for each in lots})
    looks: list[tuple[str, str, int | None, Any]] = []
    together: dict[tuple[str, Any, int], list[store.LotToLookAt]] = {}
    for each in lots:
        settings = shops[each.shop].settings
        plan: Announcement = announce(each.lot, reminders=settings.reminders, zone=settings.zone, now=tx.now)
        looks.append((each.account, each.lot.lot, plan.lead_days, plan.next_at))
        if plan.lead_days is not None:
            together.setdefault((each.account, each.lot.expires_at, plan.lead_days), []).append(each)
    recipients = await store.recipients(tx, {(each.shop, each.member) for each in lots})
    endpoints = await store.endpoints(tx, {each.shop for each in lots})
    dues = []
    for (account, _, lead_days), group in together.items():
        first = group[0]
        event = expiring(
            first.shop,
            first.member,
            account,
            [each.lot for each in group],
            lead_days=lead_days,
            available=first.available,
            now=tx.now,
        )
        routes, silences = due(
            event,
            settings=shops[first.shop].settings,
            recipient=recipients.get((first.shop, first.member), NOBODY),
            endpoints=[row.audience for row in endpoints.get(first.shop, ())],
            now=tx.now,
        )
        _count(silences)
        dues.append(Due(event, routes))
    await store.save_looks(tx, looks)
    await _enqueue(tx, dues, endpoints)
    return Outcome([len(lots)])


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
    recipients = await store.recipients(tx, members)
    own = {shop: _own(rows) for shop, rows in (await store.templates(tx, names)).items()}
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


def _own(rows: Sequence[TemplateRow]) -> dict[tuple[Scenario, str], Template]:
    return {(row.scenario, row.language): Template(row.subject, row.text, row.html) for row in rows}


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


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete what is older than that."""

    age: timedelta
    limit: int


async def forget(tx: Transaction, commands: Sequence[Forget]) -> Outcome:
    """Delete a batch of old messages; how many."""
    (command,) = commands
    return Outcome([await store.forget_old(tx, tx.now - command.age, command.limit)])


async def measure(tx: Transaction, _: Sequence[None]) -> Outcome:
    """How much waits and what needs a person, as metrics."""
    for channel, backlog in (await store.backlog(tx)).items():
        measures.WAITING.labels(channel.value).set(backlog.waiting)
        measures.OLDEST.labels(channel.value).set(backlog.oldest_seconds)
        measures.DEAD.labels(channel.value).set(backlog.dead)
    return Outcome()


# --- what is asked over HTTP: members ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PutContact:
    shop: str
    member: str
    contact: Contact


async def put_contact(tx: Transaction, commands: Sequence[PutContact]) -> Outcome:
    """Keep where a member is reached."""
    for command in commands:
        await _known(tx, command.shop)
        await store.save_contact(tx, command.shop, command.member, command.contact)
    return Outcome([command.contact for command in commands])


@dataclass(frozen=True, slots=True)
class OfMember:
    shop: str
    member: str


async def get_contact(tx: Transaction, commands: Sequence[OfMember]) -> Outcome:
    """Where a member is reached."""
    found = await store.contacts(tx, [(each.shop, each.member) for each in commands])
    return Outcome([found.get((each.shop, each.member)) or ContactNotFound(each.member) for each in commands])


async def erase_contact(tx: Transaction, commands: Sequence[OfMember]) -> Outcome:
    """Forget where a member is reached; what still waits to be sent there is dropped."""
    for command in commands:
        await store.erase_contact(tx, command.shop, command.member)
    return Outcome([None] * len(commands))


@dataclass(frozen=True, slots=True)
class Preferences:
    email_on: bool
    muted: frozenset[Scenario]


@dataclass(frozen=True, slots=True)
class PutPreferences:
    shop: str
    member: str
    preferences: Preferences


async def put_preferences(tx: Transaction, commands: Sequence[PutPreferences]) -> Outcome:
    """Keep what a member wants to be told by e-mail."""
    for command in commands:
        await _known(tx, command.shop)
        wanted = command.preferences
        await store.save_preferences(tx, command.shop, command.member, email_on=wanted.email_on, muted=wanted.muted)
    return Outcome([command.preferences for command in commands])


async def get_preferences(tx: Transaction, commands: Sequence[OfMember]) -> Outcome:
    """What a member wants; everything, until it was said otherwise."""
    found = await store.recipients(tx, [(each.shop, each.member) for each in commands])
    recipients = [found.get((each.shop, each.member), NOBODY) for each in commands]
    return Outcome([Preferences(each.email_on, each.muted) for each in recipients])


@dataclass(frozen=True, slots=True)
class ListMessages:
    shop: str
    member: str
    before: str | None
    limit: int


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """A message with its words, as they would be now."""

    row: store.MessageRow
    words: Rendered | None
    """None: the shop's template does not fit its facts."""
    language: str


async def list_messages(tx: Transaction, commands: Sequence[ListMessages]) -> Outcome:
    """What a member has been told, newest first, in the member's words of today."""
    (command,) = commands
    rows = await store.messages(tx, command.shop, command.member, before=command.before, limit=command.limit)
    if not rows:
        return Outcome([[]])
    shop = await _known(tx, command.shop)
    contact = (await store.contacts(tx, [(command.shop, command.member)])).get((command.shop, command.member))
    own = _own((await store.templates(tx, [command.shop])).get(command.shop, ()))
    languages = rendering.candidates(contact.language if contact else None, shop.settings)
    answer = []
    for row in rows:
        template, language = rendering.choose(own, row.scenario, languages)
        words = _try_render(template, language, shop.settings, command.member, contact, row)
        answer.append(ReadMessage(row, words, language))
    return Outcome([answer])


def _try_render(
    template: Template, language: str, settings: Settings, member: str, contact: Contact | None, row: store.MessageRow
) -> Rendered | None:
    name = contact.name if contact else None
    told = rendering.context(settings=settings, member=member, name=name, language=language, at=row.at, facts=row.facts)
    try:
        return rendering.render(template, told)
    except TemplateInvalid:
        return None


# --- what is asked over HTTP: the shop's settings and words ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OfShop:
    shop: str


async def get_settings(tx: Transaction, commands: Sequence[OfShop]) -> Outcome:
    """What holds for a shop."""
    return Outcome([await _known(tx, command.shop) for command in commands])


@dataclass(frozen=True, slots=True)
class PutSettings:
    shop: str
    settings: dict[str, Any]


async def put_settings(tx: Transaction, commands: Sequence[PutSettings]) -> Outcome:
    """Replace what a shop has set; other lead times hold for lots that are there already, too."""
    answers = []
    for command in commands:
        before = await _known(tx, command.shop)
        await store.save_settings(tx, command.shop, command.settings)
        after = await _known(tx, command.shop)
        if after.settings.reminders != before.settings.reminders:
            await store.look_again(tx, [command.shop])
        answers.append(after)
    return Outcome(answers)


async def list_templates(tx: Transaction, commands: Sequence[OfShop]) -> Outcome:
    """A shop's own words."""
    found = await store.templates(tx, [command.shop for command in commands])
    return Outcome([found.get(command.shop, []) for command in commands])


@dataclass(frozen=True, slots=True)
class OfTemplate:
    shop: str
    scenario: Scenario
    language: str


async def get_template(tx: Transaction, commands: Sequence[OfTemplate]) -> Outcome:
    """The words that hold for a scenario in a language: the shop's own, else ours."""
    (command,) = commands
    await _known(tx, command.shop)
    for row in (await store.templates(tx, [command.shop])).get(command.shop, ()):
        if (row.scenario, row.language) == (command.scenario, command.language):
            return Outcome([row])
    template = rendering.builtin().get((command.scenario, command.language))
    if template is None:
        return Outcome([TemplateNotFound(command.scenario, command.language)])
    return Outcome([template])


@dataclass(frozen=True, slots=True)
class PutTemplate:
    shop: str
    scenario: Scenario
    language: str
    template: Template


async def put_template(tx: Transaction, commands: Sequence[PutTemplate]) -> Outcome:
    """Keep a shop's words, once they have proven to fit every message of their scenario."""
    answers = []
    for command in commands:
        await _known(tx, command.shop)
        words = command.template
        rendering.check(words, command.scenario)
        row = TemplateRow(
            command.shop, command.scenario, command.language, words.subject, words.text, words.html, tx.now
        )
        await store.save_template(tx, row)
        answers.append(row)
    return Outcome(answers)


async def delete_template(tx: Transaction, commands: Sequence[OfTemplate]) -> Outcome:
    """Back to the words that come with the service."""
    for command in commands:
        await store.delete_template(tx, command.shop, command.scenario, command.language)
    return Outcome([None] * len(commands))


@dataclass(frozen=True, slots=True)
class Preview:
    """What words would look like, with a real message's facts where there is one."""

    shop: str
    scenario: Scenario
    language: str
    template: Template | None
    """None: those that hold now."""
    member: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Previewed:
    words: Rendered
    message: str | None
    """Whose facts were used; None: made-up ones."""
    shop: Shop


async def preview(tx: Transaction, commands: Sequence[Preview]) -> Outcome:
    """Render words without sending or keeping anything."""
    (command,) = commands
    shop = await _known(tx, command.shop)
    template = command.template
    if template is None:
        own = _own((await store.templates(tx, [command.shop])).get(command.shop, ()))
        template, _ = rendering.choose(own, command.scenario, rendering.candidates(command.language, shop.settings))
    else:
        rendering.check(template, command.scenario)
    row = await _real(tx, command)
    if command.message is not None and row is None:
        return Outcome([MessageNotFound(command.message)])
    member = command.member or "m-2417"
    contact = None
    if command.member is not None:
        contact = (await store.contacts(tx, [(command.shop, member)])).get((command.shop, member))
    facts, at = (row.facts, row.at) if row is not None else (sample(command.scenario, tx), tx.now)
    told = rendering.context(
        settings=shop.settings,
        member=member,
        name=contact.name if contact else None,
        language=command.language,
        at=at,
        facts=facts,
    )
    return Outcome([Previewed(rendering.render(template, told), row.message if row else None, shop)])


async def _real(tx: Transaction, command: Preview) -> store.MessageRow | None:
    if command.member is None:
        return None
    rows = await store.messages(
        tx, command.shop, command.member, scenario=command.scenario, message=command.message, limit=ONE_ROW
    )
    return rows[0] if rows else None


def sample(scenario: Scenario, tx: Transaction) -> Facts:
    """Plausible facts, for a preview where nothing real is at hand."""
    lost = scenario in (
        Scenario.POINTS_USED,
        Scenario.POINTS_REVOKED,
        Scenario.POINTS_EXPIRED,
        Scenario.POINTS_EXPIRING,
    )
    return Facts(
        points=120,
        change=-120 if lost else 120,
        available=340,
        order="10042",
        activates_at=tx.now + timedelta(days=14) if scenario is Scenario.POINTS_PENDING else None,
        expires_at=tx.now + timedelta(days=7 if scenario is Scenario.POINTS_EXPIRING else 365),
        lead_days=7 if scenario is Scenario.POINTS_EXPIRING else None,
    )


async def _known(tx: Transaction, shop: str) -> Shop:
    found = (await store.shops(tx, [shop])).get(shop)
    if found is None:
        raise ShopNotFound(shop)
    return found


# --- what is asked over HTTP: webhooks ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PutEndpoint:
    shop: str
    endpoint: str
    url: str
    scenarios: frozenset[Scenario] | None
    enabled: bool
    most: int


async def put_endpoint(tx: Transaction, commands: Sequence[PutEndpoint]) -> Outcome:
    """Keep where a shop listens. A new endpoint gets a secret of its own; enabling one again forgives its failures."""
    (command,) = commands
    await _known(tx, command.shop)
    before = await store.endpoint(tx, command.shop, command.endpoint)
    if before is None:
        if len((await store.endpoints(tx, [command.shop])).get(command.shop, ())) >= command.most:
            return Outcome([TooManyEndpoints(command.most)])
        before = EndpointRow(
            shop=command.shop,
            endpoint=command.endpoint,
            url=command.url,
            scenarios=command.scenarios,
            enabled=command.enabled,
            disabled_reason=None,
            secret=webhooks.new_secret(),
            previous_secret=None,
            previous_until=None,
            failures=0,
            failing_since=None,
            held_until=None,
            created_at=tx.now,
            updated_at=tx.now,
        )
    row = replace(
        before,
        url=command.url,
        scenarios=command.scenarios,
        enabled=command.enabled,
        disabled_reason=None if command.enabled else "switched off",
        failures=0,
        failing_since=None,
        held_until=None,
        updated_at=tx.now,
    )
    await store.save_endpoint(tx, row)
    return Outcome([row])


async def list_endpoints(tx: Transaction, commands: Sequence[OfShop]) -> Outcome:
    """Where a shop listens."""
    found = await store.endpoints(tx, [command.shop for command in commands])
    return Outcome([found.get(command.shop, []) for command in commands])


@dataclass(frozen=True, slots=True)
class OfEndpoint:
    shop: str
    endpoint: str


async def get_endpoint(tx: Transaction, commands: Sequence[OfEndpoint]) -> Outcome:
    """One endpoint."""
    return Outcome(
        [await store.endpoint(tx, each.shop, each.endpoint) or EndpointNotFound(each.endpoint) for each in commands]
    )


async def delete_endpoint(tx: Transaction, commands: Sequence[OfEndpoint]) -> Outcome:
    """Listen there no more; what still waits for it is dropped."""
    for command in commands:
        await store.delete_endpoint(tx, command.shop, command.endpoint)
    return Outcome([None] * len(commands))


@dataclass(frozen=True, slots=True)
class RotateSecret:
    shop: str
    endpoint: str
    keep: timedelta
    """How long signatures by the old secret go beside those by the new one."""


async def rotate_secret(tx: Transaction, commands: Sequence[RotateSecret]) -> Outcome:
    """A new secret; the old one signs too, for a while, so that the receiver can change over in peace."""
    (command,) = commands
    row = await store.endpoint(tx, command.shop, command.endpoint)
    if row is None:
        return Outcome([EndpointNotFound(command.endpoint)])
    rotated = replace(
        row,
        secret=webhooks.new_secret(),
        previous_secret=row.secret,
        previous_until=tx.now + command.keep,
        updated_at=tx.now,
    )
    await store.save_endpoint(tx, rotated)
    return Outcome([rotated])


# --- what is asked over HTTP: deliveries -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListDeliveries:
    shop: str
    state: str | None = None
    channel: Channel | None = None
    endpoint: str | None = None
    member: str | None = None
    delivery: str | None = None
    before: int | None = None
    limit: int = 50


async def list_deliveries(tx: Transaction, commands: Sequence[ListDeliveries]) -> Outcome:
    """A shop's deliveries, newest first."""
    (command,) = commands
    return Outcome(
        [
            await store.deliveries(
                tx,
                command.shop,
                state=command.state,
                channel=command.channel,
                endpoint=command.endpoint,
                member=command.member,
                delivery=command.delivery,
                before=command.before,
                limit=command.limit,
            )
        ]
    )


@dataclass(frozen=True, slots=True)
class ReplayDelivery:
    shop: str
    delivery: str


async def replay_delivery(tx: Transaction, commands: Sequence[ReplayDelivery]) -> Outcome:
    """Make a delivery again, with its old id, whatever became of it before."""
    (command,) = commands
    state = await store.replay(tx, command.shop, command.delivery)
    if state is None:
        return Outcome([DeliveryNotFound(command.delivery)])
    if state == "waiting":
        return Outcome([DeliveryNotReplayable(command.delivery)])
    return Outcome([command.delivery])


@dataclass(frozen=True, slots=True)
class ReplayDead:
    shop: str
    channel: Channel | None
    endpoint: str | None
    limit: int


async def replay_dead(tx: Transaction, commands: Sequence[ReplayDead]) -> Outcome:
    """Make a shop's dead deliveries again; how many."""
    (command,) = commands
    count = await store.replay_dead(
        tx, command.shop, channel=command.channel, endpoint=command.endpoint, limit=command.limit
    )
    return Outcome([count])
