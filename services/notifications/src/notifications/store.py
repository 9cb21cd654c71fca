"""The only SQL: what is known of shops, members and accounts, and what is to be told. Statements take arrays."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from chassis import Transaction
from chassis.ids import new_uuid
from notifications.domain import (
    Channel,
    Endpoint,
    Facts,
    Lot,
    Occurrence,
    Place,
    Recipient,
    Reminders,
    Route,
    Scenario,
    Settings,
)

# --- shops -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sender:
    """How a shop signs its e-mails."""

    name: str | None = None
    reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class Shop:
    """One shop: what decides and what signs."""

    settings: Settings
    sender: Sender


async def known(tx: Transaction, shops: set[str]) -> set[str]:
    """Which of these shops have a programme that we have been told of."""
    rows = await tx.driver.fetch("SELECT shop FROM shop WHERE shop = ANY($1::text[])", sorted(shops))
    return {row["shop"] for row in rows}


async def shops(tx: Transaction, wanted: Collection[str]) -> dict[str, Shop]:
    """These shops' settings; those not known are missing."""
    rows = await tx.driver.fetch(
        'SELECT s.shop, s."on", s.zone, s.language, s.points_name, o.settings::text AS settings'
        " FROM shop AS s LEFT JOIN setting AS o ON o.shop = s.shop WHERE s.shop = ANY($1::text[])",
        sorted(wanted),
    )
    return {row["shop"]: _shop(row) for row in rows}


def _shop(row: asyncpg.Record) -> Shop:
    own: dict[str, Any] = json.loads(row["settings"]) if row["settings"] else {}
    standard = Settings(shop=row["shop"])
    settings = Settings(
        shop=row["shop"],
        on=row["on"],
        zone=row["zone"],
        language=row["language"],
        points_name=row["points_name"],
        switches={
            (Scenario(scenario), Channel(channel)): on
            for scenario, channels in own.get("scenarios", {}).items()
            for channel, on in channels.items()
        },
        reminders=(
            Reminders(tuple(own["reminders"]["lead_days"]), time.fromisoformat(own["reminders"]["local_time"]))
            if "reminders" in own
            else standard.reminders
        ),
        stale_after=(timedelta(hours=own["stale_after_hours"]) if "stale_after_hours" in own else standard.stale_after),
    )
    return Shop(settings, Sender(own.get("sender_name"), own.get("reply_to")))


async def learn_shops(tx: Transaction, programmes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keep programmes, the newest revision of each; gives back the shops whose zone changed."""
    columns = ("shop", "revision", "on", "zone", "language", "points_name")
    rows = await tx.driver.fetch(
        "WITH told AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::bool[], $4::text[], $5::text[], $6::text[])"
        '   AS t (shop, revision, "on", zone, language, points_name)),'
        " before AS (SELECT s.shop, s.zone FROM shop AS s JOIN told USING (shop))"
        ' INSERT INTO shop AS s (shop, revision, "on", zone, language, points_name, updated_at)'
        " SELECT told.*, $7 FROM told ORDER BY shop"
        ' ON CONFLICT (shop) DO UPDATE SET (revision, "on", zone, language, points_name, updated_at) ='
        '   (excluded.revision, excluded."on", excluded.zone, excluded.language, excluded.points_name,'
        "    excluded.updated_at)"
        " WHERE s.revision < excluded.revision"
        " RETURNING s.shop, s.zone <> (SELECT before.zone FROM before WHERE before.shop = s.shop) AS moved",
        *([each[column] for each in programmes] for column in columns),
        tx.now,
    )
    return [row["shop"] for row in rows if row["moved"]]


async def save_settings(tx: Transaction, shop: str, settings: Mapping[str, Any]) -> None:
    """Replace what a shop has set here."""
    await tx.driver.execute(
        "INSERT INTO setting (shop, settings, updated_at) VALUES ($1, $2::jsonb, $3)"
        " ON CONFLICT (shop) DO UPDATE SET settings = excluded.settings, updated_at = excluded.updated_at",
        shop,
        json.dumps(settings),
        tx.now,
    )


# --- members -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Contact:
    """Where and how a member is reached. Personal data."""

    email: str
    name: str | None
    language: str | None


Member = tuple[str, str]
"""Shop and member."""


async def contacts(tx: Transaction, members: Collection[Member]) -> dict[Member, Contact]:
    """The contacts of those who have left one."""
    rows = await tx.driver.fetch(
        "SELECT shop, member, email, name, language FROM unnest($1::text[], $2::text[]) AS wanted (shop, member)"
        " JOIN contact USING (shop, member)",
        *_pairs(members),
    )
    return {(row["shop"], row["member"]): Contact(row["email"], row["name"], row["language"]) for row in rows}


async def save_contact(tx: Transaction, shop: str, member: str, contact: Contact) -> None:
    """Keep a member's contact in place of any before."""
    await tx.driver.execute(
        "INSERT INTO contact (shop, member, email, name, language, updated_at) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT (shop, member) DO UPDATE SET (email, name, language, updated_at) ="
        " (excluded.email, excluded.name, excluded.language, excluded.updated_at)",
        shop,
        member,
        contact.email,
        contact.name,
        contact.language,
        tx.now,
    )


async def erase_contact(tx: Transaction, shop: str, member: str) -> None:
    """Forget a member's contact."""
    await tx.driver.execute("DELETE FROM contact WHERE shop = $1 AND member = $2", shop, member)


async def recipients(tx: Transaction, members: Collection[Member]) -> dict[Member, Recipient]:
    """Members as far as e-mail is concerned; those with neither contact nor preferences are missing."""
    rows = await tx.driver.fetch(
        "SELECT shop, member, c.email IS NOT NULL AS reachable, coalesce(p.email_on, true) AS email_on,"
        " coalesce(p.muted, '{}') AS muted"
        " FROM unnest($1::text[], $2::text[]) AS wanted (shop, member)"
        " LEFT JOIN contact AS c USING (shop, member) LEFT JOIN preference AS p USING (shop, member)"
        " WHERE c.email IS NOT NULL OR p.email_on IS NOT NULL",
        *_pairs(members),
    )
    return {
        (row["shop"], row["member"]): Recipient(
            row["reachable"], row["email_on"], frozenset(Scenario(each) for each in row["muted"])
        )
        for row in rows
    }


async def save_preferences(
    tx: Transaction, shop: str, member: str, *, email_on: bool, muted: Iterable[Scenario]
) -> None:
    """Keep what a member wants."""
    await tx.driver.execute(
        "INSERT INTO preference (shop, member, email_on, muted, updated_at) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (shop, member) DO UPDATE SET (email_on, muted, updated_at) ="
        " (excluded.email_on, excluded.muted, excluded.updated_at)",
        shop,
        member,
        email_on,
        sorted(muted),
        tx.now,
    )


def _pairs(members: Collection[Member]) -> tuple[list[str], list[str]]:
    ordered = sorted(set(members))
    return [shop for shop, _ in ordered], [member for _, member in ordered]


# --- accounts and lots -------------------------------------------------------------------------------------------


async def places(tx: Transaction, accounts: Collection[str]) -> dict[str, Place]:
    """How far these accounts have been told, locked: a replay may run beside the stream."""
    rows = await tx.driver.fetch(
        "SELECT account, epoch, seq, hash, available FROM account WHERE account = ANY($1::text[])"
        " ORDER BY account FOR NO KEY UPDATE",
        sorted(set(accounts)),
    )
    return {row["account"]: Place(row["epoch"], row["seq"], row["hash"], row["available"]) for row in rows}


async def save_places(tx: Transaction, reached: Mapping[str, tuple[Member, Place]]) -> None:
    """Keep how far these accounts have been told."""
    ordered = sorted(reached)
    places = [reached[account][1] for account in ordered]
    await tx.driver.execute(
        "INSERT INTO account AS a (account, shop, member, epoch, seq, hash, available)"
        " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[],"
        "   $7::bigint[]) ON CONFLICT (account) DO UPDATE SET (member, epoch, seq, hash, available) ="
        " (excluded.member, excluded.epoch, excluded.seq, excluded.hash, excluded.available)"
        " WHERE (a.epoch, a.seq) < (excluded.epoch, excluded.seq)",
        ordered,
        [reached[account][0][0] for account in ordered],
        [reached[account][0][1] for account in ordered],
        [place.epoch for place in places],
        [place.seq for place in places],
        [place.hash for place in places],
        [place.available for place in places],
    )


Number = tuple[str, int, int]
"""Account, epoch, seq."""


async def note_missing(tx: Transaction, numbers: Sequence[Number]) -> None:
    """Remember entries that were jumped over."""
    await tx.driver.execute(
        "INSERT INTO missing (account, epoch, seq, noticed_at)"
        " SELECT m.*, $4 FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS m ON CONFLICT DO NOTHING",
        *_columns(sorted(numbers), 3),
        tx.now,
    )


async def found(tx: Transaction, numbers: Sequence[Number]) -> set[Number]:
    """Which of these had been jumped over; they are remembered no longer."""
    rows = await tx.driver.fetch(
        "DELETE FROM missing USING unnest($1::text[], $2::bigint[], $3::bigint[]) AS f (account, epoch, seq)"
        " WHERE missing.account = f.account AND missing.epoch = f.epoch AND missing.seq = f.seq"
        " RETURNING missing.account, missing.epoch, missing.seq",
        *_columns(sorted(numbers), 3),
    )
    return {(row["account"], row["epoch"], row["seq"]) for row in rows}


@dataclass(frozen=True, slots=True)
class LotSeen:
    """A lot as an entry left it."""

    shop: str
    member: str
    account: str
    epoch: int
    seq: int
    lot: str
    remaining: int
    opened_at: datetime
    expires_at: datetime
    look_at: datetime | None


async def save_lots(tx: Transaction, lots: Sequence[LotSeen]) -> None:
    """Keep lots that end, unless a later entry has been seen. What was announced of them stays."""
    newest = {(each.account, each.lot): each for each in sorted(lots, key=lambda each: (each.epoch, each.seq))}
    ordered = [newest[key] for key in sorted(newest)]
    await tx.driver.execute(
        "INSERT INTO lot AS l (account, lot, shop, member, epoch, seq, remaining, opened_at, expires_at, look_at)"
        " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],"
        "   $7::bigint[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[])"
        " ON CONFLICT (account, lot) DO UPDATE SET (member, epoch, seq, remaining, opened_at, expires_at, look_at) ="
        " (excluded.member, excluded.epoch, excluded.seq, excluded.remaining, excluded.opened_at, excluded.expires_at,"
        "   CASE WHEN excluded.remaining = 0 THEN NULL ELSE least(l.look_at, excluded.look_at) END)"
        " WHERE (l.epoch, l.seq) < (excluded.epoch, excluded.seq)",
        [each.account for each in ordered],
        [each.lot for each in ordered],
        [each.shop for each in ordered],
        [each.member for each in ordered],
        [each.epoch for each in ordered],
        [each.seq for each in ordered],
        [each.remaining for each in ordered],
        [each.opened_at for each in ordered],
        [each.expires_at for each in ordered],
        [each.look_at for each in ordered],
    )


@dataclass(frozen=True, slots=True)
class LotToLookAt:
    """A lot whose end may be due to be announced."""

    shop: str
    member: str
    account: str
    available: int
    lot: Lot


async def lots_to_look_at(tx: Transaction, limit: int) -> list[LotToLookAt]:
    """Lots that are to be looked at now, locked; those that another is looking at are passed over."""
    rows = await tx.driver.fetch(
        "SELECT l.shop, l.member, l.account, a.available, l.lot, l.remaining, l.opened_at, l.expires_at, l.announced"
        " FROM lot AS l JOIN account AS a ON a.account = l.account"
        " WHERE l.look_at <= $1 ORDER BY l.look_at, l.account LIMIT $2 FOR UPDATE OF l SKIP LOCKED",
        tx.now,
        limit,
    )
    return [
        LotToLookAt(
            row["shop"],
            row["member"],
            row["account"],
            row["available"],
            Lot(row["lot"], row["remaining"], row["opened_at"], row["expires_at"], row["announced"]),
        )
        for row in rows
    ]


async def save_looks(tx: Transaction, looks: Sequence[tuple[str, str, int | None, datetime | None]]) -> None:
    """Account, lot, the lead time announced just now (None: none) and when to look again."""
    await tx.driver.execute(
        "UPDATE lot SET announced = coalesce(n.announced, lot.announced), look_at = n.look_at"
        " FROM unnest($1::text[], $2::text[], $3::smallint[], $4::timestamptz[])"
        "   AS n (account, lot, announced, look_at)"
        " WHERE lot.account = n.account AND lot.lot = n.lot",
        *_columns(looks, 4),
    )


async def look_again(tx: Transaction, shops: Sequence[str]) -> None:
    """Have all these shops' lots looked at: their lead times or their zone have changed."""
    await tx.driver.execute(
        "UPDATE lot SET look_at = $2 WHERE shop = ANY($1::text[]) AND remaining > 0 AND expires_at > $2", shops, tx.now
    )


def _columns(rows: Sequence[Sequence[Any]], count: int) -> list[list[Any]]:
    return [[row[index] for row in rows] for index in range(count)]


# --- endpoints ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """A webhook endpoint with all that there is to know."""

    shop: str
    endpoint: str
    url: str
    scenarios: frozenset[Scenario] | None
    enabled: bool
    disabled_reason: str | None
    secret: str
    previous_secret: str | None
    previous_until: datetime | None
    failures: int
    failing_since: datetime | None
    held_until: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def audience(self) -> Endpoint:
        return Endpoint(self.endpoint, self.scenarios, self.enabled)

    def signing_secrets(self, now: datetime) -> list[str]:
        """The present secret, and the one before while it is still good."""
        previous = self.previous_secret if self.previous_until is not None and now < self.previous_until else None
        return [self.secret, *([previous] if previous else [])]


_ENDPOINT = (
    "shop, endpoint, url, scenarios, enabled, disabled_reason, secret, previous_secret, previous_until, failures,"
    " failing_since, held_until, created_at, updated_at"
)


async def endpoints(tx: Transaction, shops: Collection[str]) -> dict[str, list[EndpointRow]]:
    """The endpoints of these shops."""
    rows = await tx.driver.fetch(
        f"SELECT {_ENDPOINT} FROM endpoint WHERE shop = ANY($1::text[]) ORDER BY shop, endpoint",  # noqa: S608
        sorted(set(shops)),
    )
    by_shop: dict[str, list[EndpointRow]] = {}
    for row in rows:
        by_shop.setdefault(row["shop"], []).append(_endpoint(row))
    return by_shop


async def endpoint(tx: Transaction, shop: str, name: str) -> EndpointRow | None:
    """One endpoint, locked."""
    row = await tx.driver.fetchrow(
        f"SELECT {_ENDPOINT} FROM endpoint WHERE shop = $1 AND endpoint = $2 FOR UPDATE",  # noqa: S608
        shop,
        name,
    )
    return None if row is None else _endpoint(row)


def _endpoint(row: asyncpg.Record) -> EndpointRow:
    values = dict(row)
    if values["scenarios"] is not None:
        values["scenarios"] = frozenset(Scenario(each) for each in values["scenarios"])
    return EndpointRow(**values)


async def save_endpoint(tx: Transaction, row: EndpointRow) -> None:
    """Keep an endpoint as it now is."""
    values = {field: getattr(row, field) for field in EndpointRow.__slots__}
    values["scenarios"] = None if row.scenarios is None else sorted(row.scenarios)
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    excluded = ", ".join(f"excluded.{name}" for name in values)
    await tx.driver.execute(
        f"INSERT INTO endpoint ({', '.join(values)}) VALUES ({places})"  # noqa: S608 - names of our own columns
        f" ON CONFLICT (shop, endpoint) DO UPDATE SET ({', '.join(values)}) = ({excluded})",
        *values.values(),
    )


async def delete_endpoint(tx: Transaction, shop: str, name: str) -> bool:
    """Forget an endpoint; what waits for it is dropped when its turn comes."""
    status = await tx.driver.execute("DELETE FROM endpoint WHERE shop = $1 AND endpoint = $2", shop, name)
    return str(status) == "DELETE 1"


async def hold_streams(tx: Transaction, shop: str, name: str, until: datetime) -> None:
    """Let what waits for an endpoint wait longer; what is on its way now is left alone."""
    await tx.driver.execute(
        "UPDATE stream SET next_at = $3 WHERE stream IN (SELECT stream FROM stream WHERE shop = $1 AND endpoint = $2"
        ' AND next_at < $3 AND lease IS NULL ORDER BY member COLLATE "C" FOR UPDATE)',
        shop,
        name,
        until,
    )


# --- templates ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TemplateRow:
    """A shop's own words for one scenario in one language."""

    shop: str
    scenario: Scenario
    language: str
    subject: str
    text: str
    html: str
    updated_at: datetime


async def templates(tx: Transaction, shops: Collection[str]) -> dict[str, list[TemplateRow]]:
    """All words of their own that these shops have."""
    rows = await tx.driver.fetch(
        "SELECT shop, scenario, language, subject, text, html, updated_at FROM template"
        " WHERE shop = ANY($1::text[]) ORDER BY shop, scenario, language",
        sorted(set(shops)),
    )
    by_shop: dict[str, list[TemplateRow]] = {}
    for row in rows:
        by_shop.setdefault(row["shop"], []).append(TemplateRow(**{**dict(row), "scenario": Scenario(row["scenario"])}))
    return by_shop


async def save_template(tx: Transaction, row: TemplateRow) -> None:
    """Keep a shop's words in place of any before."""
    await tx.driver.execute(
        "INSERT INTO template (shop, scenario, language, subject, text, html, updated_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (shop, scenario, language)"
        " DO UPDATE SET (subject, text, html, updated_at) ="
        " (excluded.subject, excluded.text, excluded.html, excluded.updated_at)",
        row.shop,
        row.scenario,
        row.language,
        row.subject,
        row.text,
        row.html,
        row.updated_at,
    )


async def delete_template(tx: Transaction, shop: str, scenario: Scenario, language: str) -> bool:
    """Back to the words that come with the service."""
    status = await tx.driver.execute(
        "DELETE FROM template WHERE shop = $1 AND scenario = $2 AND language = $3", shop, scenario, language
    )
    return str(status) == "DELETE 1"


# --- messages and deliveries -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Due:
    """Something to tell, and the ways that it takes."""

    occurrence: Occurrence
    routes: Sequence[Route]
    traceparent: str | None = None


async def enqueue(tx: Transaction, dues: Sequence[Due], held_until: Mapping[tuple[str, str], datetime]) -> int:
    """Record messages and their deliveries, each once by its natural key; how many messages are new.

    `held_until`: endpoints, by shop and name, that are left alone for now.
    """
    new = await _new_messages(tx, dues)
    if not new:
        return 0
    wanted = [
        (due.occurrence.shop, due.occurrence.member, route.channel.value, route.endpoint, message)
        for message, due in new
        for route in due.routes
    ]
    streams = await _streams(tx, [each[:4] for each in wanted], held_until)
    # Numbers are given in this order, which is the order of arrival.
    await tx.driver.execute(
        "INSERT INTO delivery (delivery, message, shop, channel, endpoint, stream, state, waiting_since, changed_at)"
        " SELECT d.delivery, d.message, d.shop, d.channel, d.endpoint, d.stream, 'waiting', $7, $7"
        " FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[])"
        "   WITH ORDINALITY AS d (delivery, message, shop, channel, endpoint, stream, place) ORDER BY d.place"
        " ON CONFLICT ON CONSTRAINT delivery_once DO NOTHING",
        [new_uuid() for _ in wanted],
        [each[4] for each in wanted],
        [each[0] for each in wanted],
        [each[2] for each in wanted],
        [each[3] for each in wanted],
        [streams[each[:4]] for each in wanted],
        tx.now,
    )
    return len(new)


async def _new_messages(tx: Transaction, dues: Sequence[Due]) -> list[tuple[UUID, Due]]:
    by_id = {new_uuid(): due for due in dues if due.routes}
    if not by_id:
        return []
    told = [due.occurrence for due in by_id.values()]
    rows = await tx.driver.fetch(
        "INSERT INTO message (message, shop, member, scenario, key, at, facts, traceparent, created_at)"
        " SELECT m.*, $9 FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],"
        "   $7::jsonb[], $8::text[]) AS m ON CONFLICT ON CONSTRAINT message_once DO NOTHING RETURNING message",
        list(by_id),
        [each.shop for each in told],
        [each.member for each in told],
        [each.scenario.value for each in told],
        [each.key for each in told],
        [each.at for each in told],
        [facts_to_json(each.facts) for each in told],
        [due.traceparent for due in by_id.values()],
        tx.now,
    )
    new = {UUID(int=row["message"].int) for row in rows}
    return [(message, due) for message, due in by_id.items() if message in new]


StreamOf = tuple[str, str, str, str | None]
"""Shop, member, channel, endpoint."""


async def _streams(
    tx: Transaction, wanted: Collection[StreamOf], held_until: Mapping[tuple[str, str], datetime]
) -> dict[StreamOf, int]:
    """The streams, made or woken; their rows stay locked, so that a sender sees either all of this or nothing."""
    ordered = sorted(set(wanted), key=lambda each: (each[0], each[1], each[2], each[3] or ""))
    rows = await tx.driver.fetch(
        "INSERT INTO stream AS s (shop, member, channel, endpoint, next_at)"
        " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])"
        " ON CONFLICT ON CONSTRAINT stream_of DO UPDATE SET next_at = coalesce(s.next_at, excluded.next_at)"
        " RETURNING s.stream, s.shop, s.member, s.channel, s.endpoint",
        *_columns(ordered, 4),
        [max(tx.now, held_until.get((each[0], each[3] or ""), tx.now)) for each in ordered],
    )
    return {(row["shop"], row["member"], row["channel"], row["endpoint"]): row["stream"] for row in rows}


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is ours to make, until the lease ends."""

    delivery: str
    stream: int
    shop: str
    member: str
    channel: Channel
    endpoint: str | None
    attempts: int
    waiting_since: datetime
    scenario: Scenario
    at: datetime
    facts: Facts
    traceparent: str | None


async def anything_due(driver: asyncpg.Connection, channel: Channel) -> bool:
    """Whether a claim would find anything; asked outside a transaction, since it is asked again and again at rest."""
    return bool(
        await driver.fetchval(
            "SELECT EXISTS (SELECT FROM shop AS s CROSS JOIN LATERAL (SELECT FROM stream AS t"
            " WHERE t.channel = $1 AND t.shop = s.shop AND t.next_at <= clock_timestamp() LIMIT 1) AS d)",
            channel.value,
        )
    )


async def claim(
    tx: Transaction,
    channel: Channel,
    *,
    lease: UUID,
    lease_seconds: float,
    limit: int,
    depth: int,
    full: Collection[tuple[str, str]],
) -> list[Claimed]:
    """Lease streams that are due, shops taking turns, and give the first deliveries of each, in order.

    `full`: endpoints, by shop and name, that take no more at the moment.
    """
    full_shops, full_names = [shop for shop, _ in full], [name for _, name in full]
    candidates = await tx.driver.fetch(
        "SELECT d.stream FROM shop AS s CROSS JOIN LATERAL ("
        "   SELECT t.stream, row_number() OVER (ORDER BY t.next_at) AS turn FROM stream AS t"
        "   WHERE t.channel = $1 AND t.shop = s.shop AND t.next_at <= $2"
        "   AND NOT EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS f (shop, name)"
        "     WHERE f.shop = t.shop AND f.name = t.endpoint)"
        "   ORDER BY t.next_at LIMIT $3) AS d ORDER BY d.turn LIMIT $3",
        channel.value,
        tx.now,
        limit,
        full_shops,
        full_names,
    )
    if not candidates:
        return []
    leased = await tx.driver.fetch(
        "UPDATE stream SET lease = $3, next_at = $2 + make_interval(secs => $4) WHERE stream IN ("
        "   SELECT stream FROM stream WHERE stream = ANY($1::bigint[]) AND next_at <= $2 FOR UPDATE SKIP LOCKED)"
        " RETURNING stream",
        [row["stream"] for row in candidates],
        tx.now,
        lease,
        lease_seconds,
    )
    rows = await tx.driver.fetch(
        "SELECT d.delivery::text, d.stream, d.shop, d.channel, d.endpoint, d.attempts, d.waiting_since,"
        "   m.member, m.scenario, m.at, m.facts::text AS facts, m.traceparent"
        " FROM unnest($1::bigint[]) AS s (stream) CROSS JOIN LATERAL ("
        "   SELECT * FROM delivery WHERE delivery.stream = s.stream AND state = 'waiting'"
        "   ORDER BY number LIMIT $2) AS d"
        " JOIN message AS m ON m.message = d.message ORDER BY d.stream, d.number",
        [row["stream"] for row in leased],
        depth,
    )
    claimed = [_claimed(row) for row in rows]
    # A stream with nothing in it was woken for deliveries that are gone; it is let go at once.
    empty = {row["stream"] for row in leased} - {each.stream for each in claimed}
    if empty:
        await release(tx, [(stream, None) for stream in sorted(empty)], lease=lease)
    return claimed


def _claimed(row: asyncpg.Record) -> Claimed:
    values = dict(row)
    return Claimed(
        **{
            **values,
            "channel": Channel(values["channel"]),
            "scenario": Scenario(values["scenario"]),
            "facts": facts_from_json(values["facts"]),
        }
    )


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one delivery."""

    delivery: str
    state: str
    """`waiting` (to be tried again), `sent`, `dead` or `dropped`."""
    counted: bool
    """It was an attempt."""
    reason: str | None


async def lock_streams(tx: Transaction, streams: Collection[int]) -> None:
    """Lock streams in the order in which whoever adds to them does."""
    await tx.driver.execute(
        'SELECT FROM stream WHERE stream = ANY($1::bigint[]) ORDER BY shop COLLATE "C", member COLLATE "C",'
        '   channel, endpoint COLLATE "C" FOR UPDATE',
        sorted(streams),
    )


async def record(tx: Transaction, made: Sequence[Made]) -> None:
    """Keep what became of deliveries. One that is not waiting any more stays as it is."""
    await tx.driver.execute(
        "UPDATE delivery SET state = r.state, attempts = attempts + r.counted, reason = r.reason,"
        " changed_at = $5::timestamptz, sent_at = CASE WHEN r.state = 'sent' THEN $5::timestamptz END"
        " FROM unnest($1::uuid[], $2::text[], $3::int[], $4::text[]) AS r (delivery, state, counted, reason)"
        " WHERE delivery.delivery = r.delivery AND delivery.state = 'waiting'",
        [each.delivery for each in made],
        [each.state for each in made],
        [int(each.counted) for each in made],
        [each.reason for each in made],
        tx.now,
    )


async def release(tx: Transaction, streams: Sequence[tuple[int, datetime | None]], *, lease: UUID) -> None:
    """Let leased streams go: due at that instant, or at once if anything waits, or never. Lock them first."""
    await tx.driver.execute(
        "UPDATE stream SET lease = NULL, next_at = coalesce(r.next_at, CASE WHEN EXISTS ("
        "   SELECT FROM delivery AS d WHERE d.stream = stream.stream AND d.state = 'waiting') THEN $4::timestamptz END)"
        " FROM unnest($1::bigint[], $2::timestamptz[]) AS r (stream, next_at)"
        " WHERE stream.stream = r.stream AND stream.lease = $3",
        *_columns(streams, 2),
        lease,
        tx.now,
    )


async def replay(tx: Transaction, shop: str, delivery: str) -> str | None:
    """Have a delivery made again with its old id; gives its state before, None when the shop has none of that id."""
    row = await tx.driver.fetchrow(
        "SELECT delivery, stream, state FROM delivery WHERE shop = $1 AND delivery = $2::uuid FOR UPDATE",
        shop,
        delivery,
    )
    if row is None:
        return None
    if row["state"] != "waiting":
        await _replay(tx, [row["delivery"]], [row["stream"]])
    return str(row["state"])


async def replay_dead(tx: Transaction, shop: str, *, channel: Channel | None, endpoint: str | None, limit: int) -> int:
    """Have a shop's dead deliveries made again, oldest first; how many."""
    rows = await tx.driver.fetch(
        "SELECT delivery, stream FROM delivery WHERE shop = $1 AND state = 'dead'"
        " AND ($2::text IS NULL OR channel = $2) AND ($3::text IS NULL OR endpoint = $3)"
        " ORDER BY number LIMIT $4 FOR UPDATE",
        shop,
        channel,
        endpoint,
        limit,
    )
    await _replay(tx, [row["delivery"] for row in rows], [row["stream"] for row in rows])
    return len(rows)


async def _replay(tx: Transaction, deliveries: Sequence[Any], streams: Sequence[int]) -> None:
    await lock_streams(tx, streams)
    await tx.driver.execute(
        "UPDATE delivery SET state = 'waiting', attempts = 0, waiting_since = $2, changed_at = $2, sent_at = NULL"
        " WHERE delivery = ANY($1::uuid[])",
        deliveries,
        tx.now,
    )
    await tx.driver.execute(
        "UPDATE stream SET next_at = CASE WHEN lease IS NULL THEN $2 ELSE next_at END WHERE stream = ANY($1::bigint[])",
        sorted(set(streams)),
        tx.now,
    )


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as people see it."""

    delivery: str
    message: str
    member: str
    scenario: Scenario
    channel: Channel
    endpoint: str | None
    state: str
    attempts: int
    reason: str | None
    created_at: datetime
    sent_at: datetime | None
    next_at: datetime | None
    number: int


async def deliveries(
    tx: Transaction,
    shop: str,
    *,
    state: str | None = None,
    channel: Channel | None = None,
    endpoint: str | None = None,
    member: str | None = None,
    delivery: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[DeliveryRow]:
    """A shop's deliveries, newest first."""
    rows = await tx.driver.fetch(
        "SELECT d.delivery::text, d.message::text, m.member, m.scenario, d.channel, d.endpoint, d.state, d.attempts,"
        "   d.reason, m.created_at, d.sent_at, CASE WHEN d.state = 'waiting' THEN s.next_at END AS next_at, d.number"
        " FROM delivery AS d JOIN message AS m ON m.message = d.message JOIN stream AS s ON s.stream = d.stream"
        " WHERE d.shop = $1 AND ($2::text IS NULL OR d.state = $2) AND ($3::text IS NULL OR d.channel = $3)"
        " AND ($4::text IS NULL OR d.endpoint = $4) AND ($5::text IS NULL OR m.member = $5)"
        " AND ($6::uuid IS NULL OR d.delivery = $6::uuid) AND ($7::bigint IS NULL OR d.number < $7)"
        " ORDER BY d.number DESC LIMIT $8",
        shop,
        state,
        channel,
        endpoint,
        member,
        delivery,
        before,
        limit,
    )
    return [
        DeliveryRow(**{**dict(row), "scenario": Scenario(row["scenario"]), "channel": Channel(row["channel"])})
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message as it is kept."""

    message: str
    scenario: Scenario
    at: datetime
    facts: Facts
    created_at: datetime
    deliveries: list[dict[str, Any]]


async def messages(
    tx: Transaction,
    shop: str,
    member: str,
    *,
    scenario: Scenario | None = None,
    message: str | None = None,
    before: str | None = None,
    limit: int,
) -> list[MessageRow]:
    """A member's messages, newest first."""
    rows = await tx.driver.fetch(
        "SELECT m.message::text, m.scenario, m.at, m.facts::text AS facts, m.created_at,"
        "   (SELECT json_agg(json_build_object('delivery', d.delivery, 'channel', d.channel, 'endpoint', d.endpoint,"
        "     'state', d.state, 'sent_at', d.sent_at) ORDER BY d.number)::text"
        "    FROM delivery AS d WHERE d.message = m.message) AS deliveries"
        " FROM message AS m WHERE m.shop = $1 AND m.member = $2 AND ($3::text IS NULL OR m.scenario = $3)"
        " AND ($4::uuid IS NULL OR m.message = $4::uuid) AND ($5::uuid IS NULL OR m.message < $5::uuid)"
        " ORDER BY m.message DESC LIMIT $6",
        shop,
        member,
        scenario,
        message,
        before,
        limit,
    )
    return [
        MessageRow(
            row["message"],
            Scenario(row["scenario"]),
            row["at"],
            facts_from_json(row["facts"]),
            row["created_at"],
            json.loads(row["deliveries"] or "[]"),
        )
        for row in rows
    ]


async def forget_old(tx: Transaction, before: datetime, limit: int) -> int:
    """Delete a batch of old messages with their deliveries, except those that still wait."""
    status = await tx.driver.execute(
        "DELETE FROM message WHERE message IN (SELECT message FROM message AS m WHERE created_at < $1"
        " AND NOT EXISTS (SELECT FROM delivery AS d WHERE d.message = m.message AND d.state = 'waiting')"
        " ORDER BY created_at LIMIT $2)",
        before,
        limit,
    )
    await tx.driver.execute("DELETE FROM lot WHERE look_at IS NULL AND expires_at < $1", before)
    return int(status.removeprefix("DELETE "))


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits, and what needs a person."""

    waiting: int
    oldest_seconds: float
    dead: int


async def backlog(tx: Transaction) -> dict[Channel, Backlog]:
    """Per channel."""
    rows = await tx.driver.fetch(
        "SELECT channel, count(*) AS waiting, 0 AS dead,"
        "   extract(epoch FROM $1 - min(waiting_since))::float8 AS oldest"
        " FROM delivery WHERE state = 'waiting' GROUP BY channel"
        " UNION ALL SELECT channel, 0, count(*), 0 FROM delivery WHERE state = 'dead' GROUP BY channel",
        tx.now,
    )
    found = dict.fromkeys(Channel, Backlog(0, 0.0, 0))
    for row in rows:
        before = found[Channel(row["channel"])]
        found[Channel(row["channel"])] = Backlog(
            before.waiting + row["waiting"], max(before.oldest_seconds, row["oldest"]), before.dead + row["dead"]
        )
    return found


# --- facts -------------------------------------------------------------------------------------------------------


def facts_to_json(facts: Facts) -> str:
    """Facts as they are stored: absent ones are left out, instants in ISO 8601."""
    told = {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in asdict(facts).items()
        if value is not None
    }
    return json.dumps(told, separators=(",", ":"))


def facts_from_json(stored: str) -> Facts:
    """Facts that were stored; what a newer version added is passed over."""
    told = json.loads(stored)
    for key in ("activates_at", "expires_at"):
        if key in told:
            told[key] = datetime.fromisoformat(told[key])
    return Facts(**{key: value for key, value in told.items() if key in Facts.__dataclass_fields__})
