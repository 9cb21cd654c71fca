"""Telling: what the ledger's entries ask of this service."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from chassis import Outcome, Transaction
from notifications import measures, store
from notifications.domain import (
    Entry,
    Place,
    Recipient,
    Silence,
    Standing,
    announce,
    due,
    occurrence,
    place_of,
    standing,
)
from notifications.domain import Lot as EndingLot
from notifications.store import Due, EndpointRow, LotSeen, Member, Shop

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tell:
    """An entry of the ledger, to be told to whom it concerns."""

    entry: Entry
    traceparent: str | None = None


async def tell(tx: Transaction, commands: Sequence[Tell]) -> Outcome:
    """Record what is to be told of entries, once each, and remember the lots that will end."""
    news = await _news(tx, commands)
    if not news:
        return Outcome()
    shops = await store.shops(tx, {command.entry.shop for command in news})
    await _remember_lots(tx, [command.entry for command in news], shops)
    told = [(command, event) for command in news if (event := occurrence(command.entry)) is not None]
    members = {(event.shop, event.member) for _, event in told}
    recipients = await store.recipients(tx, members)
    endpoints = await store.endpoints(tx, {shop for shop, _ in members})
    dues, all_silences = [], list[Silence]()
    for command, event in told:
        routes, silences = due(
            event,
            settings=shops[event.shop].settings,
            recipient=recipients.get((event.shop, event.member), NOBODY),
            endpoints=[each.audience for each in endpoints.get(event.shop, ())],
            now=tx.now,
        )
        all_silences += silences
        dues.append(Due(event, routes, command.traceparent))
    count_silences(all_silences)
    await enqueue(tx, dues, endpoints)
    return Outcome()


NOBODY = Recipient()
"""A member of whom nothing is known here."""


async def _news(tx: Transaction, commands: Sequence[Tell]) -> list[Tell]:
    """Those that have not been told yet, in order; how far each account has been told moves on."""
    places = await store.places(tx, {command.entry.account for command in commands})
    reached: dict[str, tuple[Member, Place]] = {}
    news: list[Tell] = []
    older: list[Tell] = []
    jumped: list[store.Number] = []
    for command in commands:
        entry = command.entry
        verdict, gap = standing(places.get(entry.account), entry)
        if verdict is Standing.NEXT:
            places[entry.account] = place_of(entry)
            reached[entry.account] = ((entry.shop, entry.member), places[entry.account])
            jumped += [(entry.account, entry.epoch, seq) for seq in gap]
            news.append(command)
        elif verdict is Standing.OLDER:
            older.append(command)
        elif verdict is Standing.FORKED:
            measures.FORKS.inc()
            log.error("ledger_forked", account=entry.account, seq=entry.seq, epoch=entry.epoch)
        else:
            measures.REPEATS.inc()
    if jumped:
        measures.GAPS.inc(len(jumped))
        log.warning("ledger_gap", entries=len(jumped), account=jumped[0][0], seq=jumped[0][2])
        await store.note_missing(tx, jumped)
    if reached:
        await store.save_places(tx, reached)
    return news + await _late(tx, older)


async def _late(tx: Transaction, older: Sequence[Tell]) -> list[Tell]:
    """Of entries behind the last one told: those that had been jumped over. The others are repeats."""
    if not older:
        return []
    by_number = {(each.entry.account, each.entry.epoch, each.entry.seq): each for each in older}
    found = await store.found(tx, list(by_number))
    measures.REPEATS.inc(len(older) - len(found))
    return [by_number[number] for number in sorted(found)]


async def _remember_lots(tx: Transaction, entries: Sequence[Entry], shops: dict[str, Shop]) -> None:
    seen = []
    for entry in entries:
        settings = shops[entry.shop].settings
        for lot in entry.lots:
            if lot.expires_at is None:
                continue
            ending = EndingLot(lot.lot, lot.remaining, lot.activates_at, lot.expires_at)
            plan = announce(ending, reminders=settings.reminders, zone=settings.zone, now=tx.now)
            seen.append(
                LotSeen(
                    entry.shop,
                    entry.member,
                    entry.account,
                    entry.epoch,
                    entry.seq,
                    lot.lot,
                    lot.remaining,
                    lot.activates_at,
                    lot.expires_at,
                    look_at=tx.now if plan.lead_days is not None else plan.next_at,
                )
            )
    if seen:
        await store.save_lots(tx, seen)


async def enqueue(tx: Transaction, dues: Sequence[Due], endpoints: dict[str, list[EndpointRow]]) -> None:
    held = {
        (row.shop, row.endpoint): row.held_until
        for rows in endpoints.values()
        for row in rows
        if row.held_until is not None and row.held_until > tx.now
    }
    measures.MESSAGES.inc(await store.enqueue(tx, dues, held))


def count_silences(silences: Iterable[Silence]) -> None:
    for silence, count in Counter(silences).items():
        measures.SILENCES.labels(silence.value).inc(count)
