"""What this service asks of the ledger over HTTP: entries that it has missed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import structlog

from chassis.client import Client, Unreachable
from contracts import Malformed, decode
from contracts.ledger import PointsChanged
from notifications.domain import Gap
from notifications.store import Held

PAGE: Final = 200
"""Entries of one call: the most that the ledger gives."""

OK: Final = 200

ASSET: Final = "points"
"""The only one that there is: accounts are kept without theirs."""

log = structlog.get_logger()


class LedgerUnavailable(Exception):
    """The ledger gave no answer, or none that can be used. It is asked again."""


class LedgerClient:
    """Calls the ledger; it only reads."""

    def __init__(self, url: str, token_file: Path) -> None:
        self._client = Client(url, token_file)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def entries(self, gap: Gap, after: int) -> list[PointsChanged]:
        """The next entries of a gap behind a number, oldest first, as their events would carry them.

        One that no event could carry is left out: as an event it would be a dead letter, and the stream goes on.
        """
        lines = await self._lines(gap.shop, gap.member, gap.asset, after, min(PAGE, gap.before - 1 - after))
        return [entry for line in lines if (entry := _event(gap, line)) is not None and entry.seq < gap.before]

    async def still_has(self, held: Held, position: int) -> bool:
        """Whether the ledger has the last entry told of an account, as it was told, up to a position of its log."""
        lines = await self._lines(held.shop, held.member, ASSET, held.seq - 1, 1) if held.seq else []
        return [(held.seq, held.hash)] == [
            (line.get("seq"), line.get("hash")) for line in lines if line.get("position", position + 1) <= position
        ]

    async def upto(self, held: Held, epoch: int, position: int, after: int) -> list[PointsChanged]:
        """The next entries of an account behind a number that the ledger has up to a position of its log."""
        gap = Gap(held.shop, held.member, ASSET, held.account, epoch, after, after + PAGE + 1)
        lines = await self._lines(held.shop, held.member, ASSET, after, PAGE)
        kept = [_event(gap, line) for line in lines if line.get("position", position + 1) <= position]
        return [entry for entry in kept if entry is not None]

    async def _lines(self, shop: str, member: str, asset: str, after: int, limit: int) -> list[Mapping[str, Any]]:
        path = f"/v1/shops/{quote(shop, safe='')}/members/{quote(member, safe='')}/entries"
        try:
            answer = await self._client.call("GET", f"{path}?asset={asset}&after_seq={after}&limit={limit}")
            if answer.status_code != OK:
                raise LedgerUnavailable(f"GET {path}: status {answer.status_code}")
            lines: list[Mapping[str, Any]] = answer.json()["entries"]
        except (Unreachable, ValueError, KeyError, TypeError) as error:
            raise LedgerUnavailable(f"GET {path}: {error!r}") from error
        return lines


def _event(gap: Gap, line: Mapping[str, Any]) -> PointsChanged | None:
    """A line of the statement as the event of the same entry; its own id is not told there and not needed here."""
    body = {
        **line,
        "shop": gap.shop,
        "member": gap.member,
        "asset": gap.asset,
        "account": gap.account,
        "epoch": gap.epoch,
        "entry": f"{gap.epoch}-{line.get('seq')}",
        "balances": line.get("after"),
    }
    try:
        event: PointsChanged = decode(PointsChanged, json.dumps(body).encode())
    except Malformed as malformed:
        log.warning("ledger_entry_malformed", account=gap.account, seq=line.get("seq"), reason=malformed.reason)
        return None
    return event
