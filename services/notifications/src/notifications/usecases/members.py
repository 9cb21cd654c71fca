"""What is asked about a member: contact, preferences, messages."""

from collections.abc import Sequence
from dataclasses import dataclass

from chassis import Outcome, Transaction
from notifications import rendering, store
from notifications.domain import ContactNotFound, Scenario, Settings, TemplateInvalid
from notifications.rendering import Rendered, Template
from notifications.store import Contact
from notifications.usecases.entries import NOBODY
from notifications.usecases.shops import known_shop
from notifications.usecases.templates import own_words


@dataclass(frozen=True, slots=True)
class PutContact:
    shop: str
    member: str
    contact: Contact


async def put_contact(tx: Transaction, commands: Sequence[PutContact]) -> Outcome:
    """Keep where a member is reached."""
    for command in commands:
        await known_shop(tx, command.shop)
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
        await known_shop(tx, command.shop)
        wanted = command.preferences
        await store.save_preferences(tx, command.shop, command.member, email_on=wanted.email_on, muted=wanted.muted)
    return Outcome([command.preferences for command in commands])


async def get_preferences(tx: Transaction, commands: Sequence[OfMember]) -> Outcome:
    """What a member wants; everything, until it was said otherwise."""
    found = await store.preferences(tx, [(each.shop, each.member) for each in commands])
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
    shop = await known_shop(tx, command.shop)
    contact = (await store.contacts(tx, [(command.shop, command.member)])).get((command.shop, command.member))
    own = own_words((await store.templates(tx, [command.shop])).get(command.shop, ()))
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
