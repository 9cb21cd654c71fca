"""Programmes, drafts and versions of rules: what merchants' staff decide."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from pydantic import ValidationError

from chassis import Outcome, Transaction
from contracts.programmes import ApprovalAbove, ProgrammeChanged
from rules import store
from rules.documents import RuleChange, RuleDocument, RuleSetDocument, differences
from rules.domain.errors import (
    CurrencyFixed,
    NothingToRollBackTo,
    RuleNotFound,
    RulesError,
    RuleSetInvalid,
    RuleSetNotFound,
)
from rules.results import RuleSetView, view_of

log = structlog.get_logger()

THE_BEGINNING: Final = datetime(1, 1, 2, tzinfo=UTC)
"""A shop's first version decides all orders there ever were, unless it is told from when; there was no other."""


@dataclass(frozen=True, slots=True)
class SetProgramme:
    """The shop's settings are now these."""

    programme: store.Programme
    """Its revision is not looked at; it grows by itself."""


async def set_programme(tx: Transaction, commands: Sequence[SetProgramme]) -> Outcome:
    """Store settings and tell all services; settings that are as they were change nothing."""
    answers: list[store.Programme | RulesError] = []
    events = []
    for command in commands:
        wanted = command.programme
        await store.lock_shop(tx, wanted.shop)
        held = await store.programme(tx, wanted.shop, lock=True)
        if held is not None and held.currency != wanted.currency and await store.highest_version(tx, wanted.shop):
            answers.append(CurrencyFixed(held.currency))
            continue
        new = replace(wanted, revision=1 if held is None else held.revision + 1)
        if held is not None and _same(held, new):
            answers.append(held)
            continue
        await store.save_programme(tx, new)
        answers.append(new)
        events.append(told(new))
    return Outcome(answers=answers, events=events)


def _same(held: store.Programme, new: store.Programme) -> bool:
    return all(getattr(held, name) == getattr(new, name) for name in held.__slots__ if name != "revision")


def told(programme: store.Programme) -> ProgrammeChanged:
    """The event that carries a programme as it now is."""
    return ProgrammeChanged(
        shop=programme.shop,
        revision=programme.revision,
        on=programme.on,
        zone=programme.zone,
        currency=programme.currency,
        shortfall=programme.shortfall,  # type: ignore[arg-type]  # the column holds what the schema let in
        points_name=programme.points_name,
        language=programme.language,
        hold_minutes=programme.hold_minutes,
        approval_above=ApprovalAbove(**programme.approval_above),
        gifts_per_day=programme.gifts_per_day,
        gift_points_per_day=programme.gift_points_per_day,
    )


def known_from(event: ProgrammeChanged) -> store.Programme:
    """The opposite: a programme as it was told."""
    above = {asset: getattr(event.approval_above, asset) for asset in ApprovalAbove.model_fields}
    return store.Programme(
        shop=event.shop,
        revision=event.revision,
        on=event.on,
        zone=event.zone,
        currency=event.currency,
        shortfall=event.shortfall,
        points_name=event.points_name,
        language=event.language,
        hold_minutes=event.hold_minutes,
        gifts_per_day=event.gifts_per_day,
        gift_points_per_day=event.gift_points_per_day,
        approval_above={asset: amount for asset, amount in above.items() if amount is not None},
    )


async def take_over(tx: Transaction, commands: Sequence[store.Programme]) -> Outcome:
    """Know programmes as they were told last, by ourselves: this database may have been put back to an earlier moment,
    and whatever it told under revisions that others know already would be passed over. What is taken over is told once
    more, so that on the compacted topic nothing older is what stays."""
    events = []
    for programme in commands:
        await store.lock_shop(tx, programme.shop)
        held = await store.programme(tx, programme.shop, lock=True)
        if held is None or held.revision < programme.revision:
            await store.save_programme(tx, programme)
            events.append(told(programme))
            log.warning("programme_taken_over", shop=programme.shop, revision=programme.revision)
    return Outcome(events=events)


PAGE = 1_000


async def tell_programmes(tx: Transaction, commands: Sequence[Any]) -> Outcome:  # noqa: ARG001 – one shape of use case
    """Every programme as it now is; the relay asks when it takes the lead, since the topic is compacted."""
    events: list[ProgrammeChanged] = []
    after = ""
    while page := await store.programmes_after(tx, after, PAGE):
        events += map(told, page)
        after = page[-1].shop
    return Outcome(events=events)


@dataclass(frozen=True, slots=True)
class PutRule:
    """A draft is now this; None: it is gone."""

    shop: str
    rule: str
    document: RuleDocument | None


async def put_rules(tx: Transaction, commands: Sequence[PutRule]) -> Outcome:
    """Write or delete drafts; nothing is decided by them until they are made into a version."""
    answers: list[RulesError | None] = []
    for command in commands:
        await store.required_programme(tx, command.shop)
        if command.document is not None:
            await store.save_draft(tx, command.shop, command.rule, command.document.canonical())
            answers.append(None)
        elif await store.delete_drafts(tx, command.shop, only=command.rule):
            answers.append(None)
        else:
            answers.append(RuleNotFound(command.rule))
    return Outcome(answers=answers)


@dataclass(frozen=True, slots=True)
class MakeRuleSet:
    """Make a version: of these rules, which become the drafts too, or of the drafts as they are."""

    shop: str
    rules: RuleSetDocument | None
    combine: str | None
    note: str
    client: str


async def make_rule_sets(tx: Transaction, commands: Sequence[MakeRuleSet]) -> Outcome:
    """Store a version as a draft; a version that says what the newest one says is that one."""
    return Outcome(answers=[await _make(tx, command) for command in commands])


async def _make(tx: Transaction, command: MakeRuleSet) -> RuleSetView | RulesError:
    programme = await store.required_programme(tx, command.shop, lock=True)
    document = command.rules
    if document is None:
        try:
            document = RuleSetDocument.model_validate(
                {"rules": await store.drafts(tx, command.shop), "combine": command.combine or "most_specific"}
            )
        except ValidationError as error:
            return RuleSetInvalid("; ".join(str(fault["msg"]) for fault in error.errors()[:5]))
    else:
        await store.delete_drafts(tx, command.shop, keep=document.rules)
        for rule_id, rule in document.rules.items():
            await store.save_draft(tx, command.shop, rule_id, rule.canonical())
    highest = await store.highest_version(tx, command.shop)
    newest = await store.version(tx, command.shop, highest) if highest else None
    canonical = document.canonical()
    if newest is None or (newest.document, newest.zone) != (canonical, programme.zone):
        newest = store.Version(
            command.shop, highest + 1, canonical, programme.zone, programme.currency, command.note, tx.now
        )
        await store.insert_version(tx, newest)
    activations = await store.activations(tx, command.shop)
    return view_of(newest, activations, tx.now)


@dataclass(frozen=True, slots=True)
class Activate:
    """Let a version decide the orders placed from an instant on; None: from now, or always if it is the first."""

    shop: str
    version: int
    since: datetime | None
    client: str


async def activate(tx: Transaction, commands: Sequence[Activate]) -> Outcome:
    """Activate or schedule versions. Orders that were decided before keep the version that decided them."""
    return Outcome(answers=[await _activate(tx, command) for command in commands])


async def _activate(tx: Transaction, command: Activate) -> RuleSetView | RulesError:
    await store.required_programme(tx, command.shop, lock=True)
    found = await store.version(tx, command.shop, command.version)
    if found is None:
        return RuleSetNotFound(command.version)
    activations = await store.activations(tx, command.shop)
    since = command.since or (tx.now if activations else THE_BEGINNING)
    active = [activation for activation in activations if activation.since <= tx.now]
    if command.since is None and active and active[-1].version == command.version:
        return view_of(found, activations, tx.now)
    await store.activate(tx, command.shop, command.version, since, command.client)
    return view_of(found, await store.activations(tx, command.shop), tx.now)


@dataclass(frozen=True, slots=True)
class RollBack:
    """Let the version decide again that did before the present one."""

    shop: str
    client: str


async def roll_back(tx: Transaction, commands: Sequence[RollBack]) -> Outcome:
    """Activate the version that was active before, from now on; what was decided meanwhile stays decided."""
    answers: list[RuleSetView | RulesError] = []
    for command in commands:
        await store.required_programme(tx, command.shop, lock=True)
        past = [a for a in await store.activations(tx, command.shop) if a.since <= tx.now]
        before = [a.version for a in past if a.version != past[-1].version]
        if not before:
            answers.append(NothingToRollBackTo(past[-1].version if past else None))
            continue
        answers.append(await _activate(tx, Activate(command.shop, before[-1], None, command.client)))
    return Outcome(answers=answers)


@dataclass(frozen=True, slots=True)
class Compare:
    """How a version differs from another; None: from the one that is active."""

    shop: str
    version: int
    against: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences, rule by rule."""

    version: int
    against: int | None
    changes: list[RuleChange]


async def compare(tx: Transaction, commands: Sequence[Compare]) -> Outcome:
    """Differences between versions."""
    answers: list[Comparison | RulesError] = []
    for command in commands:
        await store.required_programme(tx, command.shop)
        found = await store.version(tx, command.shop, command.version)
        against = command.against
        if against is None:
            past = [a for a in await store.activations(tx, command.shop) if a.since <= tx.now]
            against = past[-1].version if past else None
        other = None if against is None else await store.version(tx, command.shop, against)
        if found is None:
            answers.append(RuleSetNotFound(command.version))
        elif other is None and against is not None:
            answers.append(RuleSetNotFound(against))
        else:
            before = other.document["rules"] if other is not None else {}
            answers.append(Comparison(found.version, against, differences(before, found.document["rules"])))
    return Outcome(answers=answers)
