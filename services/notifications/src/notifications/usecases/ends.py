"""Announcing the end of points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chassis import Outcome, Transaction
from notifications import store
from notifications.domain import Announcement, announce, due, expiring
from notifications.store import Due
from notifications.usecases.entries import NOBODY, count_silences, enqueue


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
        count_silences(silences)
        dues.append(Due(event, routes))
    await store.save_looks(tx, looks)
    await enqueue(tx, dues, endpoints)
    return Outcome([len(lots)])
