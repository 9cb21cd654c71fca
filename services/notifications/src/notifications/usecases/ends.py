"""Announcing the end of points."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chassis import Outcome, Transaction
from notifications import store
from notifications.domain import Announcement, announce, due, expiring
from notifications.store import Due, LotToLookAt
from notifications.usecases.entries import NOBODY, count_silences, enqueue


@dataclass(frozen=True, slots=True)
class AnnounceEnds:
    """Look at lots whose end may be due to be announced."""

    limit: int


async def announce_ends(tx: Transaction, commands: Sequence[AnnounceEnds]) -> Outcome:
    """Announce ends that are due, once per lot and lead time, and forget lots that are over; how many were seen."""
    (command,) = commands
    lots = await store.lots_to_look_at(tx, command.limit)
    if not lots:
        return Outcome([0])
    over = [each for each in lots if each.lot.expires_at <= tx.now]
    await store.forget_lots(tx, [(each.shop, each.account, each.lot.lot) for each in over])
    await _announce(tx, [each for each in lots if each.lot.expires_at > tx.now])
    return Outcome([len(lots)])


async def _announce(tx: Transaction, lots: Sequence[LotToLookAt]) -> None:
    """Lots that end together are one message."""
    shops = await store.shops(tx, {each.shop for each in lots})
    looks: list[store.Looked] = []
    together: dict[tuple[str, datetime, int], list[LotToLookAt]] = {}
    for each in lots:
        settings = shops[each.shop].settings
        plan: Announcement = announce(each.lot, reminders=settings.reminders, zone=settings.zone, now=tx.now)
        next_at = plan.next_at or each.lot.expires_at  # at its end it is forgotten
        looks.append(store.Looked(each.shop, each.account, each.lot.lot, plan.lead_days, next_at))
        if plan.lead_days is not None:
            together.setdefault((each.account, each.lot.expires_at, plan.lead_days), []).append(each)
    recipients = await store.reachable(tx, {(each.shop, each.member) for each in lots})
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
            event.scenario,
            event.at,
            settings=shops[first.shop].settings,
            recipient=recipients.get((first.shop, first.member), NOBODY),
            endpoints=[row.audience for row in endpoints.get(first.shop, ())],
            now=tx.now,
        )
        count_silences(silences)
        dues.append(Due(event, routes))
    await store.save_looks(tx, looks)
    await enqueue(tx, dues, endpoints)


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Look again at lots of shops whose lead times or zone have changed."""

    limit: int


async def look_again(tx: Transaction, commands: Sequence[LookAgain]) -> Outcome:
    """Have a batch of lots looked at again; whether there may be more."""
    (command,) = commands
    return Outcome([await store.look_at_more(tx, command.limit)])
