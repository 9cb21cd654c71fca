"""Telling: what the ledger's entries ask of this service."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import structlog

from chassis import Outcome, Transaction
from notifications import measures, store
from notifications.domain import (
    Channel,
    Entry,
    Gap,
    LotChange,
    Place,
    Recipient,
    Route,
    Scenario,
    Silence,
    Standing,
    came,
    due,
    lead_instants,
    occurrence,
    of_one_order,
    place_of,
    scenario_of,
    standing,
)
from notifications.store import Advance, Due, EndpointRow, Held, LotSeen, Member, Shop

log = structlog.get_logger()


class Tell(NamedTuple):
    """An entry of the ledger, to be told to whom it concerns. A tuple: one is made of every event."""

    entry: Entry
    traceparent: str | None = None


class BeginEpoch(NamedTuple):
    """The ledger goes on in a new epoch: of one of its lanes, what it told behind a position is given up."""

    epoch: int
    lane: int
    lanes: int
    position: int


class EpochBegan(TimeoutError):
    """Accounts of a lane may be told further than the ledger goes now. The batch waits until they were read again.

    A time-out, for the same reason as `EntriesMissing`.
    """

    def __init__(self, begun: BeginEpoch, before: Sequence[Tell]) -> None:
        super().__init__(f"lane {begun.lane} goes on in epoch {begun.epoch} behind position {begun.position}")
        self.begun = begun
        self.before = before
        """What the same batch has in front of it; it is to be told first."""


@dataclass(slots=True)
class ReadAgain:
    """An account as the ledger has it where its lane goes on in a new epoch."""

    held: Held
    place: Place
    lots: dict[str, LotChange] | None
    """All its lots; None where nothing of it was given up."""


async def read_again(tx: Transaction, commands: Sequence[ReadAgain]) -> Outcome:
    """Let accounts stand where the ledger goes on with them; nothing is told."""
    shops = await store.shops(tx, {command.held.shop for command in commands})
    for command in commands:
        held = command.held
        if not await store.enter_epoch(tx, held.account, command.place) or command.lots is None:
            continue
        measures.READ_AGAIN.inc()
        await store.forget_other_lots(tx, held.shop, held.account, list(command.lots))
        seen = [
            LotSeen(
                held.shop,
                held.account,
                lot.lot,
                lot.remaining,
                lot.activates_at,
                lot.expires_at,
                _first_look(lot, lot.activates_at, lot.expires_at, _instants(shops[held.shop], lot.expires_at)),
            )
            for lot in command.lots.values()
            if lot.expires_at is not None
        ]
        await store.save_lots(tx, seen)
    return Outcome([None] * len(commands))


class EntriesMissing(TimeoutError):
    """Entries came before others of their accounts. The batch waits until these have been fetched and told.

    A time-out, so the chassis takes it for what passes: the transaction is rolled back and the batch comes again.
    """

    def __init__(self, gaps: Sequence[Gap], before: Sequence[Tell]) -> None:
        super().__init__(f"{len(gaps)} accounts lack entries before the one that came")
        self.gaps = gaps
        self.before = before
        """What the same batch has of these accounts in front of their gaps; it is to be told first."""


async def tell(tx: Transaction, commands: Sequence[Tell]) -> Outcome:
    """Record what is to be told of entries, once each, and remember the lots that will end."""
    news = await _news(tx, commands)
    if not news:
        return Outcome()
    shops = await store.shops(tx, {command.entry.shop for command in news})
    await _remember_lots(tx, news, shops)
    told = [(command, scenario) for command in news if (scenario := scenario_of(command.entry)) is not None]
    recipients = await store.reachable(tx, {(command.entry.shop, command.entry.member) for command, _ in told})
    endpoints = await store.endpoints(tx, shops)
    audiences = {shop: [each.audience for each in endpoints.get(shop, ())] for shop in shops}
    groups, latest, all_silences = list[OfOneOrder](), dict[str, OfOneOrder](), list[Silence]()
    for command, scenario in told:
        entry = command.entry
        routes, silences = due(
            scenario,
            entry.at,
            settings=shops[entry.shop].settings,
            recipient=recipients.get((entry.shop, entry.member), NOBODY),
            endpoints=audiences[entry.shop],
            now=tx.now,
        )
        all_silences += silences
        if not routes:
            continue
        group = latest.get(entry.account)
        if group is None or not group.takes(entry, scenario):
            group = latest[entry.account] = OfOneOrder(scenario, entry.order)
            groups.append(group)
        group.dues.append(Due(occurrence(entry, scenario), routes, command.traceparent))
    count_silences(all_silences)
    await enqueue(tx, [due for group in groups for due in group.told()], endpoints)
    return Outcome()


@dataclass(slots=True)
class OfOneOrder:
    """Entries of an account that tell the same of one order, one after the other: each rule's points are one."""

    scenario: Scenario
    order: str | None
    dues: list[Due] = field(default_factory=list)

    def takes(self, entry: Entry, scenario: Scenario) -> bool:
        """Whether it goes on with an entry."""
        return self.order is not None and (self.order, self.scenario) == (entry.order, scenario)

    def told(self) -> list[Due]:
        """What is due: by e-mail all together, to the shop's systems each by itself."""
        mails = [due for due in self.dues if EMAIL in due.routes]
        if len(mails) < 2:
            return self.dues
        together = Due(of_one_order([due.occurrence for due in mails]), [EMAIL], mails[0].traceparent)
        hooks = [replace(due, routes=[route for route in due.routes if route != EMAIL]) for due in self.dues]
        return [together, *(due for due in hooks if due.routes)]


EMAIL = Route(Channel.EMAIL)

NOBODY = Recipient()
"""A member of whom nothing is known here."""


async def _news(tx: Transaction, commands: Sequence[Tell]) -> list[Tell]:
    """Those that have not been told yet, in order of arrival; how far each account has been told moves on.

    Nearly always an account's entries follow the last one told, and one statement proves and keeps that. Only the
    others are looked at one by one: first sights, repeats, forks and gaps.
    """
    following, others = _runs(commands)
    for epoch, runs in following.items():
        moved = await store.advance(
            tx,
            epoch,
            [
                Advance(account, first.seq - 1, last.seq, last.hash, last.balances.available)
                for account, (first, last) in runs.items()
            ],
        )
        others |= runs.keys() - moved
    if not others:
        return list(commands)
    news = await _news_of(tx, [command for command in commands if command.entry.account in others])
    return [c for c in commands if c.entry.account not in others or id(c) in news]


Runs = dict[int, dict[str, tuple[Entry, Entry]]]
"""By epoch and account: the first and the last of entries that follow each other."""


def _runs(commands: Sequence[Tell]) -> tuple[Runs, set[str]]:
    """Accounts whose entries here follow each other, and those that have to be looked at more closely."""
    runs: dict[str, tuple[Entry, Entry]] = {}
    others: set[str] = set()
    for command in commands:
        entry = command.entry
        run = runs.get(entry.account)
        if run is None:
            runs[entry.account] = (entry, entry)
            if entry.seq == 1:  # a first sight most likely
                others.add(entry.account)
        elif entry.seq == run[1].seq + 1 and entry.epoch == run[1].epoch:
            runs[entry.account] = (run[0], entry)
        else:
            others.add(entry.account)
    following: Runs = {}
    for account, run in runs.items():
        if account not in others:
            following.setdefault(run[0].epoch, {})[account] = run
    return following, others


async def _news_of(tx: Transaction, commands: Sequence[Tell]) -> set[int]:
    """The identities of those that are news, one by one."""
    places = await store.places(tx, {command.entry.account for command in commands})
    reached: dict[str, tuple[Member, Place]] = {}
    news: set[int] = set()
    gaps: dict[str, Gap] = {}
    for command in commands:
        entry = command.entry
        place = places.get(entry.account)
        match standing(place, entry):
            case Standing.NEXT:
                places[entry.account] = place_of(entry)
                reached[entry.account] = ((entry.shop, entry.member), places[entry.account])
                news.add(id(command))
            case Standing.AHEAD:
                assert place is not None, "an account that was never seen is ahead of nothing"
                gap = Gap(entry.shop, entry.member, entry.asset, entry.account, entry.epoch, place.seq, entry.seq)
                gaps.setdefault(entry.account, gap)
            case Standing.FORKED:
                measures.FORKS.inc()
                log.error("ledger_forked", account=entry.account, seq=entry.seq, epoch=entry.epoch)
            case Standing.REPEATED:
                measures.REPEATS.inc()
    if gaps:
        before = [command for command in commands if id(command) in news and command.entry.account in gaps]
        raise EntriesMissing(list(gaps.values()), before)
    if reached:
        await store.save_places(tx, reached)
    return news


async def _remember_lots(tx: Transaction, news: Sequence[Tell], shops: dict[str, Shop]) -> None:
    looks: dict[tuple[str, datetime], list[datetime]] = {}
    opened: dict[tuple[str, str], LotSeen] = {}
    changed: dict[tuple[str, str], LotSeen] = {}
    for command in news:
        entry = command.entry
        for lot in entry.lots:
            ends = lot.expires_at
            if ends is None:
                continue
            instants = looks.get((entry.shop, ends))
            if instants is None:
                instants = looks[entry.shop, ends] = _instants(shops[entry.shop], ends)
            key = (entry.account, lot.lot)
            # A lot is named after the entry that opened it; it may be used within the same batch.
            fresh = key not in changed and (key in opened or lot.lot == str(entry.seq))
            seen = opened if fresh else changed
            before = seen.get(key)
            since = lot.activates_at if before is None else max(lot.activates_at, before.opened_at)
            if came(entry, lot):  # with its dates: it may have been usable long before
                since = max(since, entry.at)
            seen[key] = LotSeen(
                entry.shop, entry.account, lot.lot, lot.remaining, since, ends, _first_look(lot, since, ends, instants)
            )
    if opened:
        await store.add_lots(tx, list(opened.values()))
    if changed:
        await store.save_lots(tx, list(changed.values()))


def _instants(shop: Shop, ends: datetime) -> list[datetime]:
    settings = shop.settings
    return [at for _, at in lead_instants(ends, reminders=settings.reminders, zone=settings.zone)]


def _first_look(lot: LotChange, since: datetime, ends: datetime, instants: Sequence[datetime]) -> datetime:
    """When to see whether a lot's end is to be announced: at its first lead time, and of what is used up never."""
    if lot.remaining > 0:
        for at in instants:
            if at >= since:
                return at
    return ends


async def enqueue(tx: Transaction, dues: Sequence[Due], endpoints: dict[str, list[EndpointRow]]) -> None:
    """Record what is due, and how much of it was new."""
    held = {
        (row.shop, row.endpoint): row.held_until
        for rows in endpoints.values()
        for row in rows
        if row.held_until is not None and row.held_until > tx.now
    }
    measures.MESSAGES.inc(await store.enqueue(tx, dues, held))


def count_silences(silences: Iterable[Silence]) -> None:
    """Count why nothing was due."""
    for silence, count in Counter(silences).items():
        measures.SILENCES.labels(silence.value).inc(count)


@dataclass(frozen=True, slots=True)
class PassOver:
    """Entries in a gap that the ledger does not give either."""

    gap: Gap
    told: int
    """The last one before them."""
    last: int


async def pass_over(tx: Transaction, commands: Sequence[PassOver]) -> Outcome:
    """Go on behind entries that are not to be had."""
    for command in commands:
        gap = command.gap
        await store.pass_over(tx, gap.account, gap.epoch, told=command.told, seq=command.last)
    return Outcome([None] * len(commands))
