"""Drafts of rules, versions of them, and from when each version decides."""

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chassis import Transaction
from rules.documents import RuleSetDocument
from rules.domain.rule_set import RuleSet

COMPILED_SETS = 4_096
"""Compiled versions kept in memory per process: a few for every shop that is busy."""

_compiled: OrderedDict[tuple[str, int, datetime], RuleSet] = OrderedDict()
"""Versions never change, so what was compiled once holds; the instant of creation tells databases apart in tests."""


async def drafts(tx: Transaction, shop: str) -> dict[str, Any]:
    """All drafts of a shop."""
    rows = await tx.driver.fetch("SELECT rule, document::text FROM rule WHERE shop = $1 ORDER BY rule", shop)
    return {row["rule"]: json.loads(row["document"]) for row in rows}


async def save_draft(tx: Transaction, shop: str, rule: str, document: Mapping[str, Any]) -> None:
    """Insert or replace a draft."""
    await tx.driver.execute(
        "INSERT INTO rule (shop, rule, document, changed_at) VALUES ($1, $2, $3::jsonb, $4)"
        " ON CONFLICT (shop, rule) DO UPDATE SET document = $3::jsonb, changed_at = $4",
        shop, rule, json.dumps(document), tx.now,
    )  # fmt: skip


async def delete_drafts(tx: Transaction, shop: str, *, keep: Iterable[str] = (), only: str | None = None) -> int:
    """Delete one draft, or all that are not to be kept; how many there were."""
    status = await tx.driver.execute(
        "DELETE FROM rule WHERE shop = $1 AND rule <> ALL($2::text[]) AND ($3::text IS NULL OR rule = $3)",
        shop, list(keep), only,
    )  # fmt: skip
    return int(status.removeprefix("DELETE "))


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a shop's rules as stored, with the beginnings that were set for it."""

    shop: str
    version: int
    document: dict[str, Any]
    zone: str
    currency: str
    note: str
    created_at: datetime


async def insert_version(tx: Transaction, new: Version) -> None:
    """Store a version for ever."""
    await tx.driver.execute(
        "INSERT INTO rule_set (shop, version, document, zone, currency, note, created_at)"
        " VALUES ($1, $2, $3::jsonb, $4, $5, $6, $7)",
        new.shop, new.version, json.dumps(new.document), new.zone, new.currency, new.note, new.created_at,
    )  # fmt: skip


async def highest_version(tx: Transaction, shop: str) -> int:
    """0 when there is none."""
    return int(
        await tx.driver.fetchval(
            "SELECT COALESCE((SELECT version FROM rule_set WHERE shop = $1 ORDER BY version DESC LIMIT 1), 0)", shop
        )
    )


async def versions(tx: Transaction, shop: str, *, before: int | None, limit: int) -> list[Version]:
    """Newest first."""
    rows = await tx.driver.fetch(
        "SELECT shop, version, document::text, zone, currency, note, created_at FROM rule_set"
        " WHERE shop = $1 AND version < $2 ORDER BY version DESC LIMIT $3",
        shop, before or 2**62, limit,
    )  # fmt: skip
    return [_version(row) for row in rows]


async def version(tx: Transaction, shop: str, number: int) -> Version | None:
    """One of them."""
    found = await versions(tx, shop, before=number + 1, limit=1)
    return found[0] if found and found[0].version == number else None


def _version(row: Any) -> Version:
    return Version(**{**dict(row), "document": json.loads(row["document"])})


@dataclass(frozen=True, slots=True)
class Activation:
    """From when a version decides."""

    version: int
    since: datetime
    created_at: datetime
    """Of the version."""


async def activate(tx: Transaction, shop: str, number: int, since: datetime, client: str) -> None:
    """Let a version decide from an instant on; a beginning of the same version that is still to come is dropped."""
    await tx.driver.execute(
        "DELETE FROM activation WHERE shop = $1 AND version = $2 AND since > $3", shop, number, tx.now
    )
    await tx.driver.execute(
        "INSERT INTO activation (shop, version, since, activated_at, client) VALUES ($1, $2, $3, $4, $5)",
        shop, number, since, tx.now, client,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Deciding:
    """What a shop's orders are decided by."""

    on: bool
    currency: str
    timeline: Sequence[Activation]
    """All beginnings in order; of equal ones the one that was set last comes last."""
    pauses: Sequence[tuple[datetime, datetime | None]]

    def version_at(self, placed_at: datetime) -> int | None:
        """The version that holds for orders placed then."""
        for activation in reversed(self.timeline):
            if activation.since <= placed_at:
                return activation.version
        return None

    def awards(self, placed_at: datetime) -> bool:
        """Whether orders placed then may earn now."""
        if not self.pauses:
            return self.on
        return self.on and not any(
            since <= placed_at and (until is None or placed_at < until) for since, until in self.pauses
        )


async def deciding(tx: Transaction, shops: Sequence[str]) -> dict[str, Deciding]:
    """For each shop that has a programme."""
    rows = await tx.driver.fetch(
        'SELECT p.shop, p."on", p.currency,'
        " ARRAY(SELECT a FROM (SELECT a.version, a.since, s.created_at FROM activation AS a"
        "   JOIN rule_set AS s USING (shop, version) WHERE a.shop = p.shop ORDER BY a.since, a.place) AS a),"
        " ARRAY(SELECT z FROM (SELECT z.since, z.until FROM pause AS z WHERE z.shop = p.shop ORDER BY z.since) AS z)"
        " FROM programme AS p WHERE p.shop = ANY($1::text[])",
        shops,
    )
    return {
        shop: Deciding(on, currency, [Activation(*one) for one in timeline], [tuple(one) for one in pauses])
        for shop, on, currency, timeline, pauses in rows
    }


async def activations(tx: Transaction, shop: str) -> Sequence[Activation]:
    """All beginnings of a shop's versions in order; none without a programme."""
    found = await deciding(tx, [shop])
    return found[shop].timeline if shop in found else ()


@dataclass(frozen=True, slots=True)
class Compiled:
    """A version ready to decide, and the currency that it is in."""

    rules: RuleSet
    currency: str


_currencies: dict[tuple[str, int, datetime], str] = {}


async def compiled(
    tx: Transaction, wanted: Iterable[tuple[str, int]], deciding: Mapping[str, Deciding]
) -> dict[tuple[str, int], Compiled]:
    """Versions by (shop, version). `deciding`: of their shops; it says of nearly all when they were made."""
    made = {(shop, one.version): one.created_at for shop, its in deciding.items() for one in its.timeline}
    pairs = list(dict.fromkeys(wanted))
    others = [pair for pair in pairs if pair not in made]
    if others:
        for shop, number, created_at in await tx.driver.fetch(
            "SELECT s.shop, s.version, s.created_at FROM unnest($1::text[], $2::bigint[]) AS w (shop, version)"
            " JOIN rule_set AS s USING (shop, version)",
            [shop for shop, _ in others],
            [number for _, number in others],
        ):
            made[shop, number] = created_at
    keys = [(*pair, made[pair]) for pair in pairs if pair in made]
    missing = [key for key in keys if key not in _compiled]
    if missing:
        for row in await tx.driver.fetch(
            "SELECT s.shop, s.version, s.created_at, s.document::text, s.zone, s.currency"
            " FROM unnest($1::text[], $2::bigint[]) AS w (shop, version) JOIN rule_set AS s USING (shop, version)",
            [shop for shop, _, _ in missing],
            [number for _, number, _ in missing],
        ):
            key = (row["shop"], row["version"], row["created_at"])
            document = RuleSetDocument.model_validate_json(row["document"])
            _compiled[key] = document.compiled(row["version"], row["zone"])
            _currencies[key] = row["currency"]
    found = {(key[0], key[1]): Compiled(_compiled[key], _currencies[key]) for key in keys}
    for key in keys:
        _compiled.move_to_end(key)
    while len(_compiled) > COMPILED_SETS:
        dropped, _ = _compiled.popitem(last=False)
        _currencies.pop(dropped)
    return found
