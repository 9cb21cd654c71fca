"""A shop's own words, and how they would look."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from chassis import Outcome, Transaction
from notifications import rendering, store
from notifications.domain import Facts, MessageNotFound, Scenario, TemplateNotFound
from notifications.rendering import Rendered, Template
from notifications.store import Shop, TemplateRow
from notifications.usecases.shops import OfShop, known_shop

ONE_ROW = 1


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
    await known_shop(tx, command.shop)
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
        await known_shop(tx, command.shop)
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
    shop = await known_shop(tx, command.shop)
    template = command.template
    if template is None:
        own = own_words((await store.templates(tx, [command.shop])).get(command.shop, ()))
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


def own_words(rows: Sequence[TemplateRow]) -> dict[tuple[Scenario, str], Template]:
    """Templates by scenario and language."""
    return {(row.scenario, row.language): Template(row.subject, row.text, row.html) for row in rows}
