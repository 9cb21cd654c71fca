"""The ledger when it has grown: what postings and reads cost beside millions of entries, and what callers see."""

import asyncio
import json
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Final

from bench import floors
from bench.callers import Answers, closed_loop, open_loop, request
from bench.ledger import books
from bench.ledger.books import Books
from bench.ledger.processes import Load, run
from bench.ledger.service import serving
from bench.ledger.workload import AWARD, SHOP, Spread
from bench.results import Figure
from contracts import postings, topics
from contracts.event import encode
from testkit.system import System
from workload.lives import OrderEvent
from workload.publisher import publish

GROWN_BY: Final = 1_000_000
"""Postings of one step of growing: what its processes have in memory."""
LEAST: Final = 1_000
SMALL: Final = 100
"""So many times smaller, in members and entries, is what the grown ledger is compared with: members are alike in both,
since one with many lots costs more to spend from, however large the ledger is. Nobody comes twice in a batch of either:
of a few members many would, whose account and lots are then read and written once for all that they do."""
RATED: Final = 200_000
"""Postings by which the grown ledger's rate is taken."""
RATED_SMALL: Final = 50_000
"""The same of the small one: each of its members gets 25, and is hardly another one for it."""
SECONDS: Final = 8.0
CALLERS: Final = 16
SINGLE_CALLERS: Final = 256
LOOKED_UP: Final = 1_000
AS_OF_PER_SECOND: Final = 200
HOLDS_PER_SECOND: Final = 1_000
POSTINGS_PER_SECOND: Final = 5_000
MIXED_SECONDS: Final = 20.0


async def measure(system: System, *, members: int, entries: int) -> list[Figure]:
    """One database that grows to so many entries, and is then read and written; a small one beside it."""
    small = await _grow(system, "ledger_small", members // SMALL, entries // SMALL)
    rated = Load(members // SMALL, RATED_SMALL, spread=Spread.ROUNDS, seed=1_000)
    rate = await run(small.settings, rated, streams=2)
    await books.drop(system, small)
    began_at = datetime.now(UTC)
    grown = await _grow(system, "ledger_grown", members, entries)
    rated = Load(members, RATED, spread=Spread.ROUNDS, seed=1_000)
    large = await run(grown.settings, rated, streams=2)
    figures = [
        Figure("entries", await grown.count("entry"), "entries"),
        Figure.beside("growth_ratio", large.per_second, "postings/s", rate.per_second),
    ]
    await _already_told(grown)
    token = system.tokens.mint()
    with tempfile.TemporaryDirectory() as folder, floors.bare_asgi(Path(folder)) as port:
        bare = await closed_loop(port, CALLERS, SECONDS, lambda: request("GET", "/", port, token))
        body = _posting(0)
        bare_post = await closed_loop(
            port, SINGLE_CALLERS, SECONDS, lambda: request("POST", "/", port, token, body)
        )  # fmt: skip
    floors.say("bare_asgi_per_second", bare.per_second)
    async with serving(system, grown, "api") as port:
        figures += await _reads(port, token, members, began_at, bare.per_second)
        numbers = count()
        single = await closed_loop(
            port, SINGLE_CALLERS, SECONDS, lambda: _post_one(port, token, next(numbers), members)
        )  # fmt: skip
        _only(single, 200)
        figures.append(Figure.beside("http_single_256", single.per_second, "postings/s", bare_post.per_second))
    figures += await _mixed(system, grown, token, members)
    await books.drop(system, grown)
    return figures


async def _grow(system: System, name: str, members: int, entries: int) -> Books:
    """From the members' first awards to so many entries."""
    on = await books.make(system, name)
    await run(on.settings, Load(members=members, operations=0))
    seed = 0
    while (have := await on.count("entry")) < entries:
        print(f"    {have:,} entries", flush=True)
        seed += 1
        step = min(GROWN_BY, max(entries - have, LEAST))  # the last ones may all be repeats or refusals
        await run(on.settings, Load(members, step, seed=seed), processes=2)
    await on.settle()
    return on


async def _already_told(grown: Books) -> None:
    """What was posted while nobody ran is not to be told now."""
    async with grown.superuser() as connection:
        await connection.execute(
            "UPDATE relay_cursor AS c SET position = GREATEST(c.position,"
            " (SELECT COALESCE(max(e.position), 0) FROM entry AS e WHERE e.lane = c.lane),"
            " (SELECT COALESCE(max(r.position), 0) FROM refusal AS r WHERE r.lane = c.lane))"
        )


async def _reads(port: int, token: str, members: int, began_at: datetime, bare: float) -> list[Figure]:
    """Balances of one, of a thousand, and as they were."""
    chance = random.Random(3)

    def member() -> str:
        return f"m-{chance.randrange(members)}"

    def balance() -> bytes:
        return request("GET", f"/v1/shops/{SHOP}/members/{member()}/balances", port, token)

    def lookup() -> bytes:
        asked = json.dumps({"members": [member() for _ in range(LOOKED_UP)]}).encode()
        return request("POST", f"/v1/shops/{SHOP}/balances/lookup", port, token, asked)

    past = (datetime.now(UTC) - began_at).total_seconds()

    def as_of() -> bytes:
        at = (began_at + timedelta(seconds=chance.random() * past)).isoformat().replace("+00:00", "Z")
        return request("GET", f"/v1/shops/{SHOP}/members/{member()}/balances?as_of={at}", port, token)

    await closed_loop(port, CALLERS, SECONDS / 4, balance)
    read = await closed_loop(port, CALLERS, SECONDS, balance)
    looked_up = await closed_loop(port, 1, SECONDS, lookup)
    await open_loop(port, AS_OF_PER_SECOND, SECONDS / 4, as_of)
    past_read = await open_loop(port, AS_OF_PER_SECOND, SECONDS, as_of)
    for answers in (read, looked_up, past_read):
        _only(answers, 200)
    return [
        Figure.beside("balance_read_ratio", read.per_second, "answers/s", bare),
        Figure("lookup_1000_p99_ms", round(looked_up.percentile_ms(99), 2), "ms"),
        Figure("lookup_1000_p50_ms", round(looked_up.percentile_ms(50), 2), "ms"),
        Figure("as_of_p99_ms", round(past_read.percentile_ms(99), 2), "ms"),
        Figure("as_of_p50_ms", round(past_read.percentile_ms(50), 2), "ms"),
    ]


async def _mixed(system: System, grown: Books, token: str, members: int) -> list[Figure]:
    """Holds at a fixed rate beside postings from Kafka at another."""
    async with _posting_beside(system, members) as late_by, _both(system, grown) as port:
        hold = _hold(port, token, members)
        await open_loop(port, HOLDS_PER_SECOND, MIXED_SECONDS / 4, hold, callers=SINGLE_CALLERS)
        answers = await open_loop(port, HOLDS_PER_SECOND, MIXED_SECONDS, hold, callers=SINGLE_CALLERS)
    _only(answers, 201)
    return [
        Figure("hold_p99_ms_mixed", round(answers.percentile_ms(99), 2), "ms"),
        Figure("hold_p50_ms_mixed", round(answers.percentile_ms(50), 2), "ms"),
        Figure("postings_late_seconds_mixed", round(late_by(), 2), "s"),
    ]


@asynccontextmanager
async def _both(system: System, grown: Books) -> AsyncIterator[int]:
    """A worker for Kafka and an API for callers, as replicas of the two are run; the API's port."""
    # Small batches: a hold waits for the lanes until the one before it has ended.
    async with serving(system, grown, "worker", {"LEDGER_BATCH_SIZE": "200"}), serving(system, grown, "api") as port:
        yield port


@asynccontextmanager
async def _posting_beside(system: System, members: int) -> AsyncIterator[Callable[[], float]]:
    """Postings published at a fixed rate, whoever keeps up, from before the block until its end."""
    stop = asyncio.Event()
    late_by = [0.0]

    def events() -> Iterator[OrderEvent]:
        now = datetime.now(UTC)
        for number in count():
            if stop.is_set():
                return
            member = f"m-{number * 7_919 % members}"
            body = encode(
                postings.PostingRequested(
                    shop=SHOP, member=member, source="kafka", posting=f"k-{number}", effect=postings.Award(amount=AWARD)
                )
            )
            yield OrderEvent(now, "posting-requested", f"k-{number}", f"{SHOP}/{member}".encode(), body, "", 0)

    async def keep_publishing() -> None:
        published = await publish(
            system.bootstrap_servers, events(), rate=POSTINGS_PER_SECOND, topic=topics.POSTINGS.name
        )
        late_by[0] = published.behind_seconds

    publishing = asyncio.create_task(keep_publishing())
    try:
        yield lambda: late_by[0]
    finally:
        stop.set()
        await publishing


def _hold(port: int, token: str, members: int) -> Callable[[], bytes]:
    expires_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    numbers = count()

    def make() -> bytes:
        hold = f"mixed-{(number := next(numbers))}"
        body = {"hold": hold, "member": f"m-{number * 7_919 % members}", "amount": 1, "expires_at": expires_at}
        return request("POST", f"/v1/shops/{SHOP}/holds", port, token, json.dumps(body).encode(), key=hold)

    return make


def _posting(number: int, member: str = "m-0") -> bytes:
    effect = {"kind": "award", "amount": AWARD}
    return json.dumps({"postings": [{"key": f"single-{number}", "member": member, "effect": effect}]}).encode()


def _post_one(port: int, token: str, number: int, members: int) -> bytes:
    body = _posting(number, f"m-{number * 7_919 % members}")
    return request("POST", f"/v1/shops/{SHOP}/postings", port, token, body)


def _only(answers: Answers, status: int) -> None:
    """A run with refusals measures refusals."""
    if set(answers.statuses) != {status}:
        raise AssertionError(f"answers other than {status}: {answers.statuses}")
