"""Members who turn out to be one person: most of them for good, two again and again, and parted each time."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import httpx

from bench.chaos.asking import Refused, ask

MERGE_SECONDS: Final = 2.0
"""Between two merges: they meet orders and checkouts that are under way, and leave most of them alone."""

EVERY_NTH_MOVES_A_SHOPPER: Final = 5
"""Of the merges: a shopper, who goes on with the old card, gets a new one."""

TWINS: Final = {"twin-0": 700, "twin-1": 300}
"""Points of the two who are parted again; they do nothing else, so that there is one right answer."""

_OPERATOR: Final = {"operator": "chaos", "reason": "one_person"}


@dataclass
class Merges:
    """Merges for as long as the story is told."""

    households: Sequence[str]
    shoppers: Sequence[str]
    merged: dict[str, str] = field(default_factory=dict)
    """For good: who, into whom."""
    parted: int = 0

    async def prepare(self, http: httpx.AsyncClient) -> None:
        """Points for the twins."""
        postings = [
            {"key": f"start-{twin}", "member": twin, "effect": {"kind": "credit", "amount": points}, "cause": _OPERATOR}
            for twin, points in TWINS.items()
        ]
        await ask(http, "POST", "postings", {"postings": postings})

    async def flow(self, http: httpx.AsyncClient, stop: asyncio.Event) -> None:
        """Until told to stop; whoever was merged last of the twins is parted."""
        await asyncio.gather(self._merge(http, stop), self._merge_and_part(http, stop))

    async def _merge(self, http: httpx.AsyncClient, stop: asyncio.Event) -> None:
        for member, into in self._pairs():
            await asyncio.sleep(MERGE_SECONDS)
            if stop.is_set():
                return
            await ask(http, "POST", f"members/{member}/merge", {**_OPERATOR, "into": into}, key=f"merge-{member}")
            self.merged[member] = into

    def _pairs(self) -> Iterator[tuple[str, str]]:
        cards = {shopper: shopper for shopper in self.shoppers}
        for number, pair in enumerate(zip(self.households[::2], self.households[1::2], strict=False)):
            yield pair
            turn, rest = divmod(number, EVERY_NTH_MOVES_A_SHOPPER)
            if rest == 0:
                shopper = self.shoppers[turn % len(self.shoppers)]
                card = f"{shopper}-card-{number}"
                yield cards[shopper], card
                cards[shopper] = card

    async def _merge_and_part(self, http: httpx.AsyncClient, stop: asyncio.Event) -> None:
        one, other = TWINS
        for turn in count():
            if stop.is_set():
                return
            merged = await ask(http, "POST", f"members/{one}/merge", {**_OPERATOR, "into": other}, key=f"twins-{turn}")
            await _require(http, {one: (0, other), other: (TWINS[one] + TWINS[other], None)}, turn)
            await ask(http, "POST", f"merges/{merged['merge']}/undo", _OPERATOR, key=f"twins-{turn}-undone")
            await _require(http, {twin: (points, None) for twin, points in TWINS.items()}, turn)
            self.parted += 1
            await asyncio.sleep(MERGE_SECONDS)


async def _require(http: httpx.AsyncClient, wanted: dict[str, tuple[int, str | None]], turn: int) -> None:
    for member, has in wanted.items():
        answer = await ask(http, "GET", f"members/{member}/balances")
        (points,) = answer["balances"]
        found: tuple[Any, ...] = (points["available"], answer["merged_into"])
        if found != has:
            raise Refused(f"{member} has {found} in turn {turn}, and not {has}")
