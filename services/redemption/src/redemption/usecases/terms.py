"""On what terms a shop's points can be used: its programme, told by rules, and its own settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chassis import Outcome, Transaction
from redemption.domain.errors import SettingsNotFound, ShopNotFound
from redemption.store import terms as store
from redemption.store.terms import Programme


@dataclass(frozen=True, slots=True)
class SaveSettings:
    """Replace how a shop lets its members use points."""

    shop: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Switch:
    """Stop, or start, the use of points; earning goes on."""

    shop: str
    on: bool


async def follow_programmes(tx: Transaction, programmes: Sequence[Programme]) -> Outcome:
    """Keep what rules tell of shops' programmes; the highest revision holds."""
    await store.save_programmes(tx, programmes)
    return Outcome()


async def look_up(tx: Transaction, shops: Sequence[str]) -> Outcome:
    """The terms of shops; a shop without settings offers no use."""
    found = await store.load_terms(tx, shops)
    return Outcome(answers=[found.get(shop) or ShopNotFound(shop=shop) for shop in shops])


async def look_up_settings(tx: Transaction, shops: Sequence[str]) -> Outcome:
    """The same, where the settings themselves are asked for."""
    answers: list[Any] = []
    for answer in (await look_up(tx, shops)).answers:
        missing = not isinstance(answer, Exception) and answer.document is None
        answers.append(SettingsNotFound() if missing else answer)
    return Outcome(answers=answers)


async def save(tx: Transaction, commands: Sequence[SaveSettings]) -> Outcome:
    """Replace settings; only of shops whose programme is known, since amounts are in its currency."""
    known = await store.known_shops(tx, {command.shop for command in commands})
    for command in commands:
        if command.shop in known:
            await store.save_document(tx, command.shop, command.document)
    return await look_up(tx, [command.shop for command in commands])


async def switch(tx: Transaction, commands: Sequence[Switch]) -> Outcome:
    """Stop or start using points with one word. Holds that exist, and what orders bring, go on."""
    known = await store.known_shops(tx, {command.shop for command in commands})
    for command in commands:
        if command.shop in known:
            await store.save_switch(tx, command.shop, is_stopped=not command.on)
    return await look_up(tx, [command.shop for command in commands])
