"""What to tell whom: which message an entry makes due, over which channels; when ends are announced; when to retry."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

MAX_LEADS = 10
"""Lead times of one shop. More would be a nuisance to members, not a service."""


class NotificationError(Exception):
    """What can be wrong with a request to this service.

    NotificationError
    ├── ShopNotFound          the shop is not known (yet)
    ├── ContactNotFound       the member has left no address
    ├── TemplateNotFound      the shop has no text of its own for that scenario and language
    ├── TemplateInvalid       the text cannot be used; says where and why
    ├── EndpointNotFound
    ├── TargetRefused         a webhook address that this service does not call
    ├── TooManyEndpoints
    ├── MessageNotFound
    ├── DeliveryNotFound
    └── DeliveryNotReplayable it waits for its turn already
    """

    code = "notification_error"

    def __str__(self) -> str:
        return (self.__doc__ or "").strip().rstrip(".")


@dataclass(eq=False)
class ShopNotFound(NotificationError):
    """There is no such shop, or its programme has not been told yet."""

    shop: str
    code = "shop_not_found"


@dataclass(eq=False)
class ContactNotFound(NotificationError):
    """The member has left no address."""

    member: str
    code = "contact_not_found"


@dataclass(eq=False)
class TemplateNotFound(NotificationError):
    """The shop has no words of its own for that scenario in that language."""

    scenario: str
    language: str
    code = "template_not_found"


@dataclass(eq=False)
class TemplateInvalid(NotificationError):
    """A template that cannot be used."""

    part: str
    """`subject`, `text` or `html`."""
    line: int
    reason: str
    code = "template_invalid"

    def __str__(self) -> str:
        return f"{self.part}, line {self.line}: {self.reason}"


@dataclass(eq=False)
class EndpointNotFound(NotificationError):
    """The shop has no such webhook endpoint."""

    endpoint: str
    code = "endpoint_not_found"


@dataclass(eq=False)
class TargetRefused(NotificationError):
    """A webhook address that is never called."""

    reason: str
    code = "target_refused"

    def __str__(self) -> str:
        return f"the webhook's address {self.reason}"


@dataclass(eq=False)
class TooManyEndpoints(NotificationError):
    """The shop has as many webhook endpoints as it may have."""

    most: int
    code = "too_many_endpoints"


@dataclass(eq=False)
class MessageNotFound(NotificationError):
    """The member has no such message."""

    message: str
    code = "message_not_found"


@dataclass(eq=False)
class DeliveryNotFound(NotificationError):
    """The shop has no such delivery."""

    delivery: str
    code = "delivery_not_found"


@dataclass(eq=False)
class DeliveryNotReplayable(NotificationError):
    """The delivery waits for its turn already."""

    delivery: str
    code = "delivery_not_replayable"


class Scenario(StrEnum):
    """What a member can be told about."""

    POINTS_EARNED = "points_earned"
    POINTS_PENDING = "points_pending"
    """Earned, usable later."""
    POINTS_ACTIVATED = "points_activated"
    """What was pending has become usable."""
    POINTS_USED = "points_used"
    POINTS_RETURNED = "points_returned"
    """Used before, given back because the purchase was returned."""
    POINTS_ADJUSTED = "points_adjusted"
    POINTS_REVOKED = "points_revoked"
    POINTS_EXPIRING = "points_expiring"
    POINTS_EXPIRED = "points_expired"


class Channel(StrEnum):
    EMAIL = "email"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Buckets:
    """A member's four sums, or a change to them. `debt` is at or below zero."""

    available: int = 0
    pending: int = 0
    held: int = 0
    debt: int = 0

    @property
    def net(self) -> int:
        return self.available + self.pending + self.held + self.debt


@dataclass(frozen=True, slots=True)
class LotChange:
    """What an entry did to one lot."""

    lot: str
    change: int
    remaining: int
    activates_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the ledger, as far as members are told of it."""

    shop: str
    member: str
    account: str
    epoch: int
    """Grows when a ledger is restored from a backup; its entries start anew from there."""
    seq: int
    entry: str
    kind: str
    at: datetime
    changes: Buckets
    balances: Buckets
    hash: str = ""
    lots: tuple[LotChange, ...] = ()
    order: str | None = None
    checkout: str | None = None
    reason: str | None = None
    rule: str | None = None
    shortfall: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What a message says, whatever its words and its language. No personal data."""

    points: int
    """How many points it is about, at or above zero."""
    change: int
    """The same with its sign: what the member gained or lost."""
    available: int
    """Usable, after it."""
    pending: int = 0
    held: int = 0
    owed: int = 0
    """Points that the member owes, at or above zero."""
    order: str | None = None
    checkout: str | None = None
    reason: str | None = None
    rule: str | None = None
    shortfall: int = 0
    activates_at: datetime | None = None
    expires_at: datetime | None = None
    """First instant at which the points are gone."""
    lead_days: int | None = None
    """Of an announcement: days until the last day on which the points can be used."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something a member may be told, once. `key` is unique within the shop, however often the event arrives."""

    shop: str
    member: str
    scenario: Scenario
    key: str
    at: datetime
    facts: Facts


@dataclass(frozen=True, slots=True)
class Reminders:
    """When the end of points is announced."""

    lead_days: tuple[int, ...] = (30, 7, 1)
    """Days before the last day of use; 0 is that day itself."""
    local_time: time = time(9, 0)
    """Time of day in the shop's zone: nobody wants to be woken at midnight."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One shop: what its programme says and what it wants to be told."""

    shop: str
    on: bool = True
    """A programme that is off is silent."""
    zone: str = "UTC"
    language: str = "en"
    points_name: str = "points"
    switches: Mapping[tuple[Scenario, Channel], bool] = field(default_factory=dict)
    """Absent: on."""
    reminders: Reminders = Reminders()
    stale_after: timedelta = timedelta(hours=48)
    """Older news is no news: it is not told (a back-fill, or a long standstill)."""

    def wants(self, scenario: Scenario, channel: Channel) -> bool:
        return self.on and self.switches.get((scenario, channel), True)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A member as far as e-mail is concerned."""

    reachable: bool = False
    """An address is known."""
    email_on: bool = True
    muted: frozenset[Scenario] = frozenset()

    def accepts(self, scenario: Scenario) -> bool:
        return self.email_on and scenario not in self.muted


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook that a shop listens on."""

    endpoint: str
    scenarios: frozenset[Scenario] | None = None
    """None: all, also those that do not exist yet."""
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """One way that a message takes."""

    channel: Channel
    endpoint: str | None = None


class Silence(StrEnum):
    """Why nothing is due over a channel; counted, so that a quiet system can be told from a broken one."""

    PROGRAMME_OFF = "programme_off"
    STALE = "stale"
    SWITCHED_OFF = "switched_off"
    NO_CONTACT = "no_contact"
    OPTED_OUT = "opted_out"


def occurrence(entry: Entry) -> Occurrence | None:
    """What an entry has to tell; None for what is no member's business, such as a hold."""
    net = entry.changes.net
    match entry.kind:
        case "award" if entry.changes.pending > 0:
            scenario, change = Scenario.POINTS_PENDING, net
        case "award":
            scenario, change = Scenario.POINTS_EARNED, net
        case "activate":
            # Activation moves points between the member's own buckets, so its net is zero.
            scenario, change = Scenario.POINTS_ACTIVATED, -entry.changes.pending
        case "capture" | "spend":
            scenario, change = Scenario.POINTS_USED, net
        case "give_back":
            scenario, change = Scenario.POINTS_RETURNED, net
        case "credit" | "debit":
            scenario, change = Scenario.POINTS_ADJUSTED, net
        case "revoke":
            scenario, change = Scenario.POINTS_REVOKED, net
        case "expire":
            scenario, change = Scenario.POINTS_EXPIRED, net
        case _:
            return None
    if change == 0:
        return None
    return Occurrence(
        shop=entry.shop,
        member=entry.member,
        scenario=scenario,
        key=f"{entry.account}:{entry.epoch}:{entry.seq}",
        at=entry.at,
        facts=_facts(entry, change),
    )


def _facts(entry: Entry, change: int) -> Facts:
    opened = [lot for lot in entry.lots if lot.change > 0]
    return Facts(
        points=abs(change),
        change=change,
        available=entry.balances.available,
        pending=entry.balances.pending,
        held=entry.balances.held,
        owed=-entry.balances.debt,
        order=entry.order,
        checkout=entry.checkout,
        reason=entry.reason,
        rule=entry.rule,
        shortfall=entry.shortfall,
        activates_at=min((lot.activates_at for lot in opened), default=None) if entry.changes.pending > 0 else None,
        expires_at=min((lot.expires_at for lot in opened if lot.expires_at is not None), default=None),
    )


def due(
    event: Occurrence,
    *,
    settings: Settings,
    recipient: Recipient,
    endpoints: Collection[Endpoint] = (),
    now: datetime,
) -> tuple[list[Route], list[Silence]]:
    """The ways that a message takes to its member and to the shop's systems, and why it does not take others."""
    if not settings.on:
        return [], [Silence.PROGRAMME_OFF]
    if now - event.at > settings.stale_after:
        return [], [Silence.STALE]
    routes: list[Route] = []
    silences: list[Silence] = []
    if not settings.wants(event.scenario, Channel.EMAIL):
        silences.append(Silence.SWITCHED_OFF)
    elif not recipient.reachable:
        silences.append(Silence.NO_CONTACT)
    elif not recipient.accepts(event.scenario):
        silences.append(Silence.OPTED_OUT)
    else:
        routes.append(Route(Channel.EMAIL))
    if settings.wants(event.scenario, Channel.WEBHOOK):
        routes += [
            Route(Channel.WEBHOOK, each.endpoint)
            for each in endpoints
            if each.enabled and (each.scenarios is None or event.scenario in each.scenarios)
        ]
    return routes, silences


# --- the end of points, announced beforehand ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lot:
    """Points that end, as this service remembers them."""

    lot: str
    remaining: int
    opened_at: datetime
    """When they became usable."""
    expires_at: datetime
    announced: int | None = None
    """The shortest lead time announced so far, in days."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is to be done about a lot now."""

    lead_days: int | None
    """Announce it as this many days before its last day; None for not now."""
    next_at: datetime | None
    """When to look at it again; None for never."""


def announce(lot: Lot, *, reminders: Reminders, zone: str, now: datetime) -> Announcement:
    """Which lead time of a lot is due: each once; after a standstill only the shortest of those missed."""
    if lot.remaining <= 0 or now >= lot.expires_at:
        return Announcement(None, None)
    late: int | None = None
    for lead in sorted(set(reminders.lead_days), reverse=True):
        at = lead_instant(lot.expires_at, lead_days=lead, local_time=reminders.local_time, zone=zone)
        if lot.announced is not None and lead >= lot.announced:
            continue
        if at < lot.opened_at or at >= lot.expires_at:
            continue  # earned within that lead time: the message about earning has said when they end
        if at > now:
            return Announcement(late, at)
        late = lead
    return Announcement(late, None)


def lead_instant(expires_at: datetime, *, lead_days: int, local_time: time, zone: str) -> datetime:
    """The instant at which an end is announced: on the last day of use less the lead, at the shop's local time."""
    day = last_day(expires_at, zone) - timedelta(days=lead_days)
    return datetime.combine(day, local_time, ZoneInfo(zone)).astimezone(UTC)


def last_day(expires_at: datetime, zone: str) -> date:
    """The last calendar day in the shop's zone on which points that end at that instant can be used."""
    return (expires_at - timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date()


def expiring(
    shop: str, member: str, account: str, lots: Sequence[Lot], *, lead_days: int, available: int, now: datetime
) -> Occurrence:
    """One message for lots of a member that end at the same instant. Its key is the first lot's."""
    points = sum(lot.remaining for lot in lots)
    first = min(lots, key=lambda lot: lot.lot)
    return Occurrence(
        shop=shop,
        member=member,
        scenario=Scenario.POINTS_EXPIRING,
        key=f"{account}:ends:{first.lot}:{lead_days}",
        at=now,
        facts=Facts(
            points=points, change=-points, available=available, expires_at=first.expires_at, lead_days=lead_days
        ),
    )


# --- trying again ------------------------------------------------------------------------------------------------

BACK_OFF: tuple[timedelta, ...] = (
    timedelta(seconds=1),
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Pauses after the first, second, … failure; the last one repeats. Short at first, since most faults are."""


def next_attempt(
    *, attempts: int, since: datetime, now: datetime, give_up_after: timedelta, spread: float
) -> datetime | None:
    """When to try again after the n-th failure; None when that would be too late to be of use.

    `spread` in 0…1 lengthens the pause by up to a tenth, so that what failed together does not return together.
    """
    pause = BACK_OFF[min(attempts, len(BACK_OFF)) - 1]
    at = now + pause * (1 + spread / 10)
    return at if at - since <= give_up_after else None


# --- once each ---------------------------------------------------------------------------------------------------

MAX_GAP = 1_000
"""Entries of one account remembered as missing at one jump. A longer jump is a reader that starts anew."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far an account has been told."""

    epoch: int
    seq: int
    hash: str
    available: int


class Standing(StrEnum):
    """An entry against what has been told of its account."""

    NEXT = "next"
    REPEATED = "repeated"
    """The last one once more."""
    FORKED = "forked"
    """The last one's number with another content: the ledger's history has been altered."""
    OLDER = "older"
    """At or before what has been told: a repeat, unless it was jumped over."""


def standing(place: Place | None, entry: Entry) -> tuple[Standing, range]:
    """Whether an entry is news, and which numbers it jumps over. A first sight of an account jumps over nothing."""
    if place is None or entry.epoch > place.epoch:
        return Standing.NEXT, range(0)
    if entry.epoch == place.epoch and entry.seq > place.seq:
        return Standing.NEXT, range(max(place.seq + 1, entry.seq - MAX_GAP), entry.seq)
    if (entry.epoch, entry.seq) == (place.epoch, place.seq):
        return (Standing.REPEATED if entry.hash == place.hash else Standing.FORKED), range(0)
    return Standing.OLDER, range(0)


def place_of(entry: Entry) -> Place:
    """How far an account has been told once this entry has been."""
    return Place(entry.epoch, entry.seq, entry.hash, entry.balances.available)
