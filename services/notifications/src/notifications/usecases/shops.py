"""A shop's programme and settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chassis import Outcome, Transaction
from notifications import store
from notifications.domain import ShopNotFound
from notifications.store import Shop


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
class OfShop:
    shop: str


async def get_settings(tx: Transaction, commands: Sequence[OfShop]) -> Outcome:
    """What holds for a shop."""
    return Outcome([await known_shop(tx, command.shop) for command in commands])


@dataclass(frozen=True, slots=True)
class PutSettings:
    shop: str
    settings: dict[str, Any]


async def put_settings(tx: Transaction, commands: Sequence[PutSettings]) -> Outcome:
    """Replace what a shop has set; other lead times hold for lots that are there already, too."""
    answers = []
    for command in commands:
        before = await known_shop(tx, command.shop)
        await store.save_settings(tx, command.shop, command.settings)
        after = await known_shop(tx, command.shop)
        if after.settings.reminders != before.settings.reminders:
            await store.look_again(tx, [command.shop])
        answers.append(after)
    return Outcome(answers)


async def known_shop(tx: Transaction, shop: str) -> Shop:
    found = (await store.shops(tx, [shop])).get(shop)
    if found is None:
        raise ShopNotFound(shop)
    return found
