"""What goes in and out over HTTP."""

import re
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from contracts.event import OpaqueId
from contracts.programmes import Language
from notifications.domain import MAX_LEADS, Channel, Facts, Reminders, Scenario
from notifications.domain import Settings as ShopSettings
from notifications.rendering import MAX_HTML, MAX_SUBJECT, MAX_TEXT, Rendered, Template
from notifications.smtp import MAX_ADDRESS, is_address
from notifications.store import Contact as StoredContact
from notifications.store import DeliveryRow, EndpointRow, Shop
from notifications.usecases import ReadMessage


def _address(value: str) -> str:
    if not is_address(value):
        raise ValueError("not an e-mail address")
    return value


def _line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return value


def _no_nul(value: str) -> str:
    if "\x00" in value or re.search("[\ud800-\udfff]", value):
        raise ValueError("must be text")
    return value


Email = Annotated[str, StringConstraints(min_length=3, max_length=MAX_ADDRESS), AfterValidator(_address)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=128, strip_whitespace=True), AfterValidator(_line)]
Words = Annotated[str, AfterValidator(_no_nul)]


class Asked(BaseModel):
    """A request: what it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Told(BaseModel):
    """A response: every field is always there."""

    model_config = ConfigDict(frozen=True)


# --- members -----------------------------------------------------------------------------------------------------


class PutContact(Asked):
    """Where and how a member is reached. Personal data: it stays in this service and is erased by DELETE."""

    email: Email
    name: Line | None = None
    language: Language | None = Field(default=None, description="Absent: the shop's.")


class Contact(Told):
    email: str
    name: str | None
    language: str | None

    @classmethod
    def of(cls, contact: StoredContact) -> Self:
        return cls(email=contact.email, name=contact.name, language=contact.language)


class Preferences(Asked):
    """What a member wants by e-mail. Webhooks are the shop's, and not concerned."""

    email: bool = Field(default=True, description="False: no e-mails at all.")
    muted: list[Scenario] = Field(default=[], max_length=len(Scenario), description="Scenarios not to be told of.")


class DeliveryOf(Told):
    delivery: UUID
    channel: Channel
    endpoint: str | None
    state: Literal["waiting", "sent", "dead", "dropped"]
    sent_at: datetime | None


class MessageFacts(Told):
    """What a message says, whatever its words."""

    points: int
    change: int
    available: int
    pending: int
    held: int
    owed: int
    order: str | None
    checkout: str | None
    reason: str | None
    rule: str | None
    shortfall: int
    activates_at: datetime | None
    expires_at: datetime | None
    lead_days: int | None

    @classmethod
    def of(cls, facts: Facts) -> Self:
        return cls(**{name: getattr(facts, name) for name in cls.model_fields})


class Message(Told):
    """Something that a member was told."""

    message: UUID
    scenario: Scenario
    at: datetime
    created_at: datetime
    language: str
    subject: str | None = Field(description="In the words of today; null where the shop's template does not fit.")
    text: str | None
    facts: MessageFacts
    deliveries: list[DeliveryOf]

    @classmethod
    def of(cls, read: ReadMessage) -> Self:
        row, words = read.row, read.words
        return cls(
            message=UUID(row.message),
            scenario=row.scenario,
            at=row.at,
            created_at=row.created_at,
            language=read.language,
            subject=words.subject if words else None,
            text=words.text if words else None,
            facts=MessageFacts.of(row.facts),
            deliveries=[DeliveryOf(**each) for each in row.deliveries],
        )


class Messages(Told):
    """A page, newest first."""

    messages: list[Message]
    next: UUID | None = Field(description="Give it as `after` for the next page; null on the last.")


# --- the shop's settings -----------------------------------------------------------------------------------------


class Switches(Asked):
    """Over which channels a scenario is told."""

    email: bool = True
    webhook: bool = True


class ReminderSettings(Asked):
    """When the end of points is announced."""

    lead_days: list[Annotated[int, Field(ge=0, le=365)]] = Field(
        default=[30, 7, 1], max_length=MAX_LEADS, description="Days before the last day of use; 0 is that day itself."
    )
    local_time: Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = Field(
        default="09:00", description="Time of day in the shop's zone."
    )

    @classmethod
    def of(cls, reminders: Reminders) -> Self:
        return cls(lead_days=list(reminders.lead_days), local_time=f"{reminders.local_time:%H:%M}")


class Settings(Asked):
    """What a shop sets here, always whole: what is left out goes back to its default."""

    scenarios: dict[Scenario, Switches] = Field(default={}, description="Absent scenarios are on over all channels.")
    reminders: ReminderSettings = ReminderSettings()
    stale_after_hours: int = Field(default=48, ge=1, le=8760, description="Older news is not told any more.")
    sender_name: Line | None = Field(default=None, description="Shown as the sender of e-mails.")
    reply_to: Email | None = None

    @classmethod
    def of(cls, shop: Shop) -> Self:
        return cls(
            scenarios=_switches(shop.settings),
            reminders=ReminderSettings.of(shop.settings.reminders),
            stale_after_hours=int(shop.settings.stale_after.total_seconds()) // 3600,
            sender_name=shop.sender.name,
            reply_to=shop.sender.reply_to,
        )


def _switches(settings: ShopSettings) -> dict[Scenario, Switches]:
    return {
        scenario: Switches(
            email=settings.switches.get((scenario, Channel.EMAIL), True),
            webhook=settings.switches.get((scenario, Channel.WEBHOOK), True),
        )
        for scenario in Scenario
    }


# --- words -------------------------------------------------------------------------------------------------------


class PutTemplate(Asked):
    """The words of one scenario in one language; Jinja2 with variables, `if` and a few filters."""

    subject: Annotated[Words, Field(min_length=1, max_length=MAX_SUBJECT)]
    text: Annotated[Words, Field(min_length=1, max_length=MAX_TEXT)]
    html: Annotated[Words, Field(max_length=MAX_HTML)] = Field(default="", description="Empty: the text alone is sent.")

    def words(self) -> Template:
        return Template(self.subject, self.text, self.html)


class TemplateOf(Told):
    scenario: Scenario
    language: str
    own: bool = Field(description="The shop's own; false: the words that come with the service.")
    subject: str
    text: str
    html: str
    updated_at: datetime | None


class Templates(Told):
    templates: list[TemplateOf]
    variables: list[str] = Field(description="What a template may name.")


class PreviewTemplate(Asked):
    """What to look at, and with whose facts."""

    template: PutTemplate | None = Field(default=None, description="Absent: the words that hold now.")
    member: OpaqueId | None = Field(default=None, description="Take the facts of this member's newest such message.")
    message: UUID | None = Field(default=None, description="Or of this very message of the member.")


class Preview(Told):
    subject: str
    text: str
    html: str
    message: UUID | None = Field(description="Whose facts were used; null: made-up ones.")

    @classmethod
    def of(cls, words: Rendered, message: str | None) -> Self:
        return cls(subject=words.subject, text=words.text, html=words.html, message=UUID(message) if message else None)


class TestSend(PreviewTemplate):
    """The same, sent to an address that is used once and not kept."""

    __test__ = False  # not a test, though its name begins like one

    to: Email


class TestSent(Told):
    __test__ = False

    message_id: str
    sent: bool
    reason: str | None


# --- webhooks ----------------------------------------------------------------------------------------------------


class PutEndpoint(Asked):
    """Where a shop listens."""

    url: Annotated[str, Field(min_length=1, max_length=2000)]
    scenarios: list[Scenario] | None = Field(
        default=None, max_length=len(Scenario), description="Absent or null: all, also those that come later."
    )
    enabled: bool = True


class Endpoint(Told):
    """A webhook endpoint. Its secret is read at `…/secret`."""

    endpoint: str
    url: str
    scenarios: list[Scenario] | None
    enabled: bool
    disabled_reason: str | None
    failing_since: datetime | None
    held_until: datetime | None = Field(description="Left alone until then, because it has been failing.")
    previous_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: EndpointRow) -> Self:
        return cls(
            endpoint=row.endpoint,
            url=row.url,
            scenarios=None if row.scenarios is None else sorted(row.scenarios),
            enabled=row.enabled,
            disabled_reason=row.disabled_reason,
            failing_since=row.failing_since,
            held_until=row.held_until,
            previous_secret_until=row.previous_until,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class Endpoints(Told):
    endpoints: list[Endpoint]


class Secret(Told):
    """`whsec_…`: keep it safe; whoever has it can sign."""

    secret: str


class RotateSecret(Asked):
    keep_hours: int = Field(default=24, ge=0, le=168, description="How long the old secret signs beside the new one.")


# --- deliveries --------------------------------------------------------------------------------------------------


class Delivery(Told):
    delivery: UUID = Field(description="The Message-ID of an e-mail begins with it; a webhook's `webhook-id` is it.")
    message: UUID
    member: str
    scenario: Scenario
    channel: Channel
    endpoint: str | None
    state: Literal["waiting", "sent", "dead", "dropped"]
    attempts: int
    reason: str | None
    created_at: datetime
    sent_at: datetime | None
    next_at: datetime | None = Field(description="When the next attempt of its stream is due, while it waits.")

    @classmethod
    def of(cls, row: DeliveryRow) -> Self:
        return cls(
            delivery=UUID(row.delivery),
            message=UUID(row.message),
            member=row.member,
            scenario=row.scenario,
            channel=row.channel,
            endpoint=row.endpoint,
            state=row.state,
            attempts=row.attempts,
            reason=row.reason,
            created_at=row.created_at,
            sent_at=row.sent_at,
            next_at=row.next_at,
        )


class Deliveries(Told):
    """A page, newest first."""

    deliveries: list[Delivery]
    next: int | None = Field(description="Give it as `after` for the next page; null on the last.")


class Replay(Asked):
    """Which dead deliveries to make again; all of the shop when nothing is named."""

    channel: Channel | None = None
    endpoint: OpaqueId | None = None


class Replayed(Told):
    replayed: int = Field(description="At most 1,000 in one call; call again until it is 0.")


class ReplayedOne(Told):
    delivery: UUID
