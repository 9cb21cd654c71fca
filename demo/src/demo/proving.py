"""What must hold afterwards, asked of the services and held against what was seen from outside."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

import httpx

from demo.gateway import Gateway
from demo.running import shop_file
from workload import Life, model

SERVICES: Final = ("ledger", "rules", "redemption", "notifications")

COUNTED: Final = ("accounts", "entries", "replay_mismatches", "seq_gaps", "book_mismatches", "chain_breaks")
"""What a page of the ledger's check says of its own accounts; the rest is of the whole shop."""

MAILS_SECONDS: Final = 180.0
LOOK_SECONDS: Final = 0.5


async def checked(gateway: Gateway) -> dict[str, Any]:
    """The ledger's own check of this shop's books, hash chains too."""
    found: dict[str, Any] = await gateway.get("ledger/check", chains=True)
    while found["next"] is not None:
        page = await gateway.get("ledger/check", chains=True, after=found["next"])
        found = {**page, **{name: found[name] + page[name] for name in COUNTED}}
    return found


async def dead_letters(gateway: Gateway) -> int:
    """Messages that some service could not apply."""
    pages = await asyncio.gather(*(gateway.get(f"{service}/dead-letters", limit=200) for service in SERVICES))
    return sum(len(page["dead_letters"]) for page in pages)


async def emails(gateway: Gateway, mailbox_url: str) -> Mapping[str, int]:
    """Wait until no delivery waits any more; then what the mailbox has."""
    deadline = time.monotonic() + MAILS_SECONDS
    while (await gateway.get("notifications/deliveries", state="waiting", limit=1))["deliveries"]:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(LOOK_SECONDS)
    async with httpx.AsyncClient(base_url=mailbox_url, timeout=10) as mailbox:
        counted: Mapping[str, int] = (await mailbox.get("/api/count")).json()
        return counted


def disagreements(lives: Iterable[Life], kept: Mapping[str, int], *, every: int) -> tuple[int, list[str]]:
    """Hold some orders against a slow model that shares no code with the services: (how many, what differs)."""
    shop = model.Shop.read(shop_file())
    count, wrong = 0, []
    for life in islice(lives, 0, None, every):
        count += 1
        expected = sum(shop.kept(life.newest, first_order=life.first).values())
        if kept.get(life.order, 0) != expected:
            wrong.append(f"{life.order} ({life.kind}): {kept.get(life.order, 0)} points kept, {expected} expected")
    return count, wrong
