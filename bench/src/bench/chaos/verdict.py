"""The verdict: exactly what the slow model says, in order, once, with nothing left behind."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import asyncpg
import httpx
from aiokafka import TopicPartition

from bench.chaos import downstream
from bench.chaos.story import POINTS, SHOP, Story
from bench.shop import DEMO
from contracts import topics
from contracts.amounts import amounts
from contracts.life import generation, is_cancelled
from contracts.returns import returned_fractions, returned_share
from local.paths import SERVICES
from testkit import wait_until
from testkit.system import System
from testkit.webhooks import Receiver
from workload import model

CALM_SECONDS: Final = 240.0
"""After the last fault everything must have drained within this; a minute of it is the time limit of the last holds."""


@dataclass
class Verdict:
    """What was found; empty lists are what is wanted."""

    orders: int = 0
    events: int = 0
    checkouts: int = 0
    expired: int = 0
    """Checkouts whose time limit ended them."""
    spends: int = 0
    entries: int = 0
    merges: int = 0
    """For good, and undone."""
    messages: int = 0
    """By e-mail."""
    webhooks: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing twice, nothing stuck."""
        return not (self.lost or self.duplicated or self.stuck)

    def __str__(self) -> str:
        return json.dumps(
            {name: value[:20] if isinstance(value, list) else value for name, value in asdict(self).items()}
        )


async def judge(system: System, story: Story, receiver: Receiver, *, told_again: bool) -> Verdict:
    """Wait until all is calm, then look everywhere. `told_again`: notifications were put back to an earlier moment."""
    verdict = Verdict(orders=len(story.orders), events=story.events, checkouts=story.checkouts)
    await system.until_ready(timeout_seconds=CALM_SECONDS)
    try:
        await wait_until(lambda: _calm(system), timeout_seconds=CALM_SECONDS, every_seconds=0.5, what="calm")
    except AssertionError as error:
        verdict.stuck.append(str(error))
        verdict.stuck += [
            f"{service} says: {fault}" for service in SERVICES for fault in await _faults(system, service)
        ]
    await _points_of_orders(system, story, verdict)
    await _spends(system, story, verdict)
    await _checkouts(system, story, verdict)
    await _books(system, verdict)
    told = await downstream.read(system)
    verdict.entries = told.entries
    verdict.lost += told.lost
    verdict.duplicated += told.duplicated
    await _merges(system, story, verdict)
    await _messages(system, receiver, verdict, told_again=told_again)
    return verdict


# -- calm


async def _calm(system: System) -> bool:
    """No hold open, every record applied, every event sent, nobody waiting, no delivery due; and while that was looked
    at nothing new came, which might have gone past a place that had been found empty."""
    async with _database(system, "ledger") as database:
        assert not await database.fetchval("SELECT count(*) FROM hold WHERE state = 'open'"), "holds are open"
        assert not await database.fetchval("SELECT count(*) FROM parked"), "postings are parked"
    ends = await _ends(system)
    for service in SERVICES:
        async with _database(system, service) as database:
            rows = await database.fetch("SELECT topic, partition, next FROM consumer_offset")
            behind = {(r["topic"], r["partition"]): ends[r["topic"], r["partition"]] - r["next"] for r in rows}
            assert not any(behind.values()), f"{service} is behind: { {p: n for p, n in behind.items() if n} }"
            assert not await database.fetchval("SELECT count(*) FROM waiting"), f"messages wait in {service}"
            unsent = await database.fetchval(
                "SELECT count(*) FROM outbox AS o JOIN relay_cursor AS c USING (lane) WHERE o.position > c.position"
            )
            assert not unsent, f"{service} has {unsent} events to send"
    async with _database(system, "notifications") as database:
        assert not await database.fetchval("SELECT count(*) FROM delivery WHERE state = 'waiting'"), "mail is due"
    assert await _ends(system) == ends, "events still come"
    return True


async def _faults(system: System, service: str) -> list[str]:
    """What a service itself says is wrong with it."""
    async with httpx.AsyncClient(base_url=system.service_url(service), timeout=10) as http:
        try:
            return list((await http.get("/ready")).json()["faults"])
        except httpx.TransportError as error:  # which says something, too
            return [repr(error)]


async def _ends(system: System) -> dict[tuple[str, int], int]:
    async with downstream.reader(system) as consumer:
        partitions = [TopicPartition(t.name, n) for t in topics.ALL for n in range(t.partitions)]
        return {(tp.topic, tp.partition): end for tp, end in (await consumer.end_offsets(partitions)).items()}


# -- points


async def _points_of_orders(system: System, story: Story, verdict: Verdict) -> None:
    """What each order's awards leave, rule by rule, beside the model, whichever account they have come to."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    async with _database(system, "ledger") as database:
        rows = await database.fetch(
            'SELECT l."order", e.cause::text, sum(l.amount - l.taken_back)::bigint AS kept FROM lot AS l'
            " JOIN account AS a ON a.id = l.account_id"
            " JOIN entry AS e ON e.source = l.source AND e.key = l.key AND e.kind = 'award'"
            " WHERE a.shop = $1 AND l.kind = 'award' GROUP BY 1, 2",
            SHOP,
        )
    for row in rows:
        rule = json.loads(row["cause"]).get("rule")
        found[row["order"]][rule] = found[row["order"]].get(rule, 0) + row["kept"]
    shop = model.Shop.read(DEMO)
    for order, life in story.orders.items():
        wanted = shop.kept(life.newest, first_order=life.first)
        have = {rule: points for rule, points in found.get(order, {}).items() if points}
        if wanted != have:
            more = sum(have.values()) > sum(wanted.values())
            (verdict.duplicated if more else verdict.lost).append(f"{order} ({life.kind}): {wanted=} {have=}")


async def _spends(system: System, story: Story, verdict: Verdict) -> None:
    """Each points tender is debited once per generation, and what returns give back has come back. A generation that
    was over before anyone looked was not debited at all, or has come back whole."""
    async with _database(system, "ledger") as database:
        rows = await database.fetch(
            "SELECT s.checkout, s.generation, s.amount, s.given_back FROM spend AS s"
            " JOIN account AS a ON a.id = s.account_id WHERE a.shop = $1",
            SHOP,
        )
    verdict.spends = len(rows)
    found = {(row["checkout"], row["generation"]): (row["amount"], row["given_back"]) for row in rows}
    wanted: dict[tuple[str, int], tuple[int, int]] = {}
    over: set[tuple[str, int]] = set()
    for checkout, order in story.paid_with_points.items():
        newest = story.orders[order].newest
        last = generation(newest) - is_cancelled(newest)
        over.update((checkout, number) for number in range(1, last + 1))
        if not is_cancelled(newest):
            back = returned_share(amounts(newest).points_shares(POINTS), returned_fractions(newest))
            wanted[checkout, last] = (POINTS, back)
    undone = dict.fromkeys(over - wanted.keys(), (POINTS, POINTS))
    for place in wanted.keys() | found.keys():
        want, have = wanted.get(place), found.get(place)
        if have not in (want, undone.get(place)):
            (verdict.lost if have is None else verdict.duplicated).append(f"spend {place}: wanted {want}, found {have}")


async def _checkouts(system: System, story: Story, verdict: Verdict) -> None:
    """Each checkout ended as its shopper ended it."""
    async with _database(system, "redemption") as database:
        rows = await database.fetch("SELECT checkout, state FROM checkout WHERE shop = $1", SHOP)
    found = {row["checkout"]: row["state"] for row in rows}
    verdict.expired = sum(state == "expired" for state in found.values())
    for checkout in story.given_up:
        if found.pop(checkout, None) not in ("released", "expired", "refused"):
            verdict.stuck.append(f"{checkout} was given up")
    for checkout, order in story.paid_with_points.items():
        state = found.pop(checkout, None)
        # An order that was called off before anyone looked has freed its points instead, or their time limit had.
        freed = state in ("released", "expired") and is_cancelled(story.orders[order].newest)
        if state != "captured" and not freed:
            verdict.lost.append(f"{checkout} was paid with, and is {state}")
    verdict.stuck += [f"{checkout}: nobody knows it" for checkout in found]


# -- books, merges, messages


async def _books(system: System, verdict: Verdict) -> None:
    """The ledger's own check: sums, replay, gaps, chains."""
    headers = system.tokens.headers()
    async with httpx.AsyncClient(base_url=system.gateway_url, headers=headers, timeout=120) as http:
        after: dict[str, str] = {}
        while True:
            page = (await http.get(f"/v1/shops/{SHOP}/ledger/check", params={"chains": True, **after})).json()
            for name in ("sum_of_accounts", "replay_mismatches", "seq_gaps", "book_mismatches", "chain_breaks"):
                if page[name] != 0:
                    verdict.lost.append(f"ledger check: {name} = {page[name]}")
            if page["next"] is None:
                return
            after = {"after": page["next"]}


async def _merges(system: System, story: Story, verdict: Verdict) -> None:
    """Whoever was merged has nothing left, and its id leads to the other."""
    merged = story.merges.merged
    verdict.merges = len(merged) + story.merges.parted
    async with _database(system, "ledger") as database:
        rows = await database.fetch("SELECT member, merged_into FROM member WHERE shop = $1", SHOP)
        left = await database.fetch(
            "SELECT member, available, pending, held, debt FROM account WHERE shop = $1 AND member = ANY($2)"
            " AND (available, pending, held, debt) <> (0, 0, 0, 0)",
            SHOP,
            list(merged),
        )
    found = {row["member"]: row["merged_into"] for row in rows if row["merged_into"] is not None}
    if found != merged:
        verdict.lost.append(f"merges: wanted {merged.items() - found.items()}, found {found.items() - merged.items()}")
    verdict.lost += [f"merged, with something left: {dict(row)}" for row in left]


async def _messages(system: System, receiver: Receiver, verdict: Verdict, *, told_again: bool) -> None:
    """Every delivery was sent; who takes them knows exactly as many ids as there were deliveries. Of e-mails that were
    told again some may have more: what was in two for one order can be in one now."""
    async with httpx.AsyncClient(base_url=system.mailbox_url) as http:
        in_the_box = (await http.get("/api/count")).json()["distinct_ids"]
    hooks: dict[str, set[bytes]] = defaultdict(set)
    for call in receiver.calls:
        hooks[call.headers["webhook-id"]].add(call.body)
    verdict.duplicated += [f"webhook {name} has several bodies" for name, bodies in hooks.items() if len(bodies) > 1]
    verdict.messages = await _sent(system, "email", in_the_box, verdict, more=told_again)
    verdict.webhooks = await _sent(system, "webhook", len(hooks), verdict)


async def _sent(system: System, channel: str, ids: int, verdict: Verdict, *, more: bool = False) -> int:
    async with _database(system, "notifications") as database:
        due, sent = await database.fetchrow(
            "SELECT count(*) FILTER (WHERE state <> 'dropped'), count(*) FILTER (WHERE state = 'sent') FROM delivery"
            " WHERE channel = $1",
            channel,
        )
    if not (sent == due == ids or (more and sent == due < ids)):
        (verdict.duplicated if ids > due else verdict.lost).append(f"{channel}: {due} due, {sent} sent, {ids} ids came")
    return int(due)


@asynccontextmanager
async def _database(system: System, service: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(system.database_url(service))
    try:
        yield connection
    finally:
        await connection.close()
