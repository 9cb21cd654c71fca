"""Callers over HTTP and a publisher to Kafka, who write down what they saw and ask again for what they do not know."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from typing import Any, Final

from bench.callers import Caller, request
from bench.chaos.ledger.mixture import FREEZING, SOURCE, Asked, Mixture, Place
from bench.chaos.sending import Sender
from contracts import postings, topics
from contracts.event import encode
from testkit.history import FROZEN, Answer, Call, Read, answer_of, outcome_of, read_of
from testkit.system import System
from workload.lives import OrderEvent

CALLERS: Final = 24
CALL_SECONDS: Final = 8.0
"""An API that is not frozen answers, or says that it cannot, in less: its own tries end after five."""
AGAIN_SECONDS: Final = 0.1
"""Between two tries to find an API that listens."""
PACE_SECONDS: Final = 0.05
"""A caller's pause after each answer, at most: the machine is there for the faults too."""

FROZEN_SECONDS: Final = 0.5
"""For how long a member is frozen, at most."""

PUBLISHED_TOGETHER: Final = 100
PUBLISH_SECONDS: Final = 0.25

SETTLED_TOGETHER: Final = 500
"""Postings asked again in one call when all is over."""
SETTLE_SECONDS: Final = 900.0
"""For all of it, once there are no more faults."""


class _Asker(Caller):
    """One connection, with the body of the last answer."""

    def __init__(self) -> None:
        super().__init__()
        self._body = bytearray()

    def on_body(self, data: bytes) -> None:
        """The parser's."""
        self._body += data

    @property
    def closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._transport is None or self._transport.is_closing()

    async def ask(self, asked: bytes) -> tuple[int, dict[str, Any]]:
        """Status and document; any failure is an `OSError` or a time-out."""
        self._body.clear()
        async with asyncio.timeout(CALL_SECONDS):
            status = await self.call(asked)
        return status, json.loads(bytes(self._body))


@dataclass
class Story:
    """All that was asked for, and what was seen of it."""

    system: System
    ports: Sequence[int]
    """Of the APIs."""
    seed: int
    calls: list[Call] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    asked: dict[str, Asked] = field(default_factory=dict)
    """Everything by key."""
    _refused: dict[tuple[str, str], Asked] = field(default_factory=dict)
    """Spends of members that were frozen, by shop and checkout, until they are done."""
    ambiguous: int = 0
    """Calls over HTTP of which nobody knew at first what had become of them."""
    published: int = 0
    answers: int = 0
    """Calls and reads over HTTP that told what had become of them."""
    token: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.token = self.system.tokens.mint(lifetime_seconds=86_400)

    @property
    def operations(self) -> int:
        """Asked for so far: calls, records, reads."""
        return len(self.calls) + len(self.reads)

    async def flow(self, stop: asyncio.Event) -> None:
        """Until told to stop; causes that are owed to what waits for them come last."""
        await asyncio.gather(self._publish(stop), *(self._call(number, stop) for number in range(CALLERS)))

    async def settle(self) -> None:
        """Ask again for whatever has no end yet, until all have one."""
        wire = _Wire(self)
        give_up_at = time.monotonic() + SETTLE_SECONDS
        while (unknown := self._unknown()) and time.monotonic() < give_up_at:  # the checker says what is left
            for asked in unknown:
                if asked.kind in _PATHS:
                    await wire.post(asked)
            for shop in sorted({asked.place.shop for asked in unknown}):
                some = [asked for asked in unknown if asked.place.shop == shop and asked.kind not in _PATHS]
                for first in range(0, len(some), SETTLED_TOGETHER):
                    await wire.post_many(some[first : first + SETTLED_TOGETHER])
            await self._spend_after_all(wire)
            await asyncio.sleep(AGAIN_SECONDS)
        wire.close()

    async def _spend_after_all(self, wire: "_Wire") -> None:
        """What was refused of a frozen member, once it is let go, under new keys: returns may wait for it."""
        for spend in list(self._refused.values()):
            again = f"{spend.key}-again-{len(self.asked)}"
            await wire.post(replace(spend, key=f"{again}-unfreeze", effect={"kind": "unfreeze", **FREEZING}, shared={}))
            await wire.post(replace(spend, key=again))

    def tell(self, call: Call) -> None:
        """Write down what was seen."""
        self.calls.append(call)
        asked = self.asked[call.key]
        if asked.kind == "spend" and call.answer is not None:
            checkout = (asked.place.shop, asked.effect["checkout"])
            if call.answer.code == FROZEN:
                self._refused.setdefault(checkout, asked)
            else:
                self._refused.pop(checkout, None)

    def _unknown(self) -> list[Asked]:
        known = {call.key for call in self.calls if call.answer is not None and call.answer.result != "parked"}
        return [asked for key, asked in self.asked.items() if key not in known]

    # -- over HTTP

    async def _call(self, number: int, stop: asyncio.Event) -> None:
        chance = random.Random(self.seed * 1_000 + number)
        mixture = Mixture(f"c{number}", chance)
        postings_asked = mixture.postings()
        wire = _Wire(self, chance)
        while not stop.is_set():
            dice = chance.randrange(100)
            if dice < 12:
                await wire.read(mixture.place())
            elif dice < 30:
                await self._hold(wire, mixture)
            elif dice < 36:
                await self._ask(wire, mixture.gift())
            elif dice < 37:
                await self._freeze(wire, mixture)
            else:
                await self._ask(wire, next(postings_asked))
            await asyncio.sleep(chance.random() * PACE_SECONDS)
        for owed in mixture.rest():
            await wire.post(owed)
        wire.close()

    async def _hold(self, wire: "_Wire", mixture: Mixture) -> None:
        asked = mixture.hold()
        placed = await self._ask(wire, asked)
        if placed is None or placed.result != "held" or wire.chance.random() < 0.2:
            return  # some are left to their time limit
        end = mixture.end(asked)
        ended = await self._ask(wire, end)
        if ended is not None and ended.result == "held" and end.kind == "capture":
            mixture.captured(end, asked.effect["amount"])

    async def _freeze(self, wire: "_Wire", mixture: Mixture) -> None:
        """Not for long: others are to meet both, a member that is frozen and one that is not."""
        freeze, unfreeze = mixture.freezing()
        await self._ask(wire, freeze)
        await asyncio.sleep(wire.chance.random() * FROZEN_SECONDS)
        await self._ask(wire, unfreeze)

    async def _ask(self, wire: "_Wire", asked: Asked) -> Answer | None:
        """Once; when it is not known what became of it, half of the callers ask again, the others go away."""
        answer = await wire.post(asked)
        if answer is None and wire.chance.random() < 0.5:
            answer = await wire.post(asked)
        return answer

    # -- by Kafka

    async def _publish(self, stop: asyncio.Event) -> None:
        mixture = Mixture("k", random.Random(self.seed))
        endless = mixture.postings()
        sender = Sender(self.system.bootstrap_servers, topic=topics.POSTINGS.name)
        while not stop.is_set():
            await self._send(sender, [next(endless) for _ in range(PUBLISHED_TOGETHER)])
            await asyncio.sleep(PUBLISH_SECONDS)
        await self._send(sender, mixture.rest())
        await sender.close()

    async def _send(self, sender: Sender, asked: Sequence[Asked]) -> None:
        """Nobody answers on this way: each of them is asked again in the end."""
        now = time.monotonic()
        for one in asked:
            self.asked[one.key] = one
            self.calls.append(Call(one.place.account, one.key, one.kind, now, is_late=True))
        await sender.send([_event(one) for one in asked])
        self.published += len(asked)


_PATHS: Final = {
    "hold": "holds",
    "capture": "holds/{hold}/capture",
    "release": "holds/{hold}/release",
    "gift": "members/{member}/gifts",
    "freeze": "members/{member}/freeze",
    "unfreeze": "members/{member}/unfreeze",
}
"""What has a route of its own; all else is a posting among others."""


@dataclass
class _Wire:
    """One caller's connections, which go to whichever API listens."""

    story: Story
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    _askers: dict[int, _Asker] = field(default_factory=dict)

    async def post(self, asked: Asked) -> Answer | None:
        """Ask once, and write down what was seen; None where nobody knows."""
        self.story.asked[asked.key] = asked
        asker, port = await self._asker()
        invoked_at = time.monotonic()
        answer = None
        try:
            answer = answer_of(*await asker.ask(self._request(asked, port)))
        except (OSError, TimeoutError, ValueError):
            self._drop(port)
        answered_at = inf if answer is None else time.monotonic()
        self.story.answers += answer is not None
        self.story.ambiguous += answer is None
        self.story.tell(Call(asked.place.account, asked.key, asked.kind, invoked_at, answered_at, answer))
        return answer

    async def post_many(self, asked: Sequence[Asked]) -> None:
        """Ask again for many in one call; if that fails, nothing is written down."""
        asker, port = await self._asker()
        body = json.dumps({"postings": [one.posting for one in asked]}).encode()
        path = f"/v1/shops/{asked[0].place.shop}/postings"
        invoked_at = time.monotonic()
        try:
            status, document = await asker.ask(request("POST", path, port, self.story.token, body))
        except (OSError, TimeoutError, ValueError):
            self._drop(port)
            return
        if status in (200, 202):
            now = time.monotonic()
            for one, outcome in zip(asked, document["outcomes"], strict=True):
                answer = outcome_of(outcome)
                self.story.tell(Call(one.place.account, one.key, one.kind, invoked_at, now, answer))

    async def read(self, place: Place) -> None:
        """The balance now, if anybody tells it."""
        asker, port = await self._asker()
        path = f"/v1/shops/{place.shop}/members/{place.member}/balances"
        invoked_at = time.monotonic()
        try:
            status, document = await asker.ask(request("GET", path, port, self.story.token))
        except (OSError, TimeoutError, ValueError):
            self._drop(port)
            return
        if status == 200:
            self.story.answers += 1
            self.story.reads.append(read_of(place.account, invoked_at, time.monotonic(), document))

    def close(self) -> None:
        """Hang up."""
        for port in list(self._askers):
            self._drop(port)

    def _request(self, asked: Asked, port: int) -> bytes:
        prefix = f"/v1/shops/{asked.place.shop}"
        if asked.kind not in _PATHS:
            body = json.dumps({"postings": [asked.posting]}).encode()
            return request("POST", f"{prefix}/postings", port, self.story.token, body)
        path = _PATHS[asked.kind].format(member=asked.place.member, **asked.effect)
        told = {name: value for name, value in asked.effect.items() if name not in ("kind", "hold")}
        if asked.kind == "hold":
            told |= {"hold": asked.effect["hold"], "member": asked.place.member}
        body = b"" if asked.kind == "release" else json.dumps(told).encode()
        return request("POST", f"{prefix}/{path}", port, self.story.token, body, key=asked.key)

    async def _asker(self) -> tuple[_Asker, int]:
        """A connection to any API that listens, as a balancer finds one."""
        while True:
            port = self.chance.choice(self.story.ports)
            asker = self._askers.get(port)
            if asker is not None and not asker.closed:
                return asker, port
            try:
                loop = asyncio.get_running_loop()
                _, asker = await loop.create_connection(_Asker, "127.0.0.1", port)
            except OSError:
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                self._askers[port] = asker
                return asker, port

    def _drop(self, port: int) -> None:
        self._askers.pop(port).close()


def _event(asked: Asked) -> OrderEvent:
    requested = postings.PostingRequested.model_validate(
        {
            "shop": asked.place.shop, "member": asked.place.member, "source": SOURCE, "posting": asked.key,
            "effect": _instants(asked.effect), **asked.shared,
        }
    )  # fmt: skip
    return OrderEvent(datetime.now(UTC), requested.type, asked.key, requested.key.encode(), encode(requested), "", 0)


def _instants(effect: dict[str, Any]) -> dict[str, Any]:
    return {
        name: datetime.fromisoformat(value) if name.endswith("_at") else value for name, value in effect.items()
    }  # fmt: skip
