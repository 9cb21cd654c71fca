"""Lots: points that end, for announcing it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chassis import Transaction
from notifications.domain import Lot
from notifications.store.arrays import columns


@dataclass(frozen=True, slots=True)
class LotSeen:
    """A lot as an entry left it."""

    shop: str
    member: str
    account: str
    epoch: int
    seq: int
    lot: str
    remaining: int
    opened_at: datetime
    expires_at: datetime
    look_at: datetime | None


async def save_lots(tx: Transaction, lots: Sequence[LotSeen]) -> None:
    """Keep lots that end, unless a later entry has been seen. What was announced of them stays."""
    newest = {(each.account, each.lot): each for each in sorted(lots, key=lambda each: (each.epoch, each.seq))}
    ordered = [newest[key] for key in sorted(newest)]
    await tx.driver.execute(
        "INSERT INTO lot AS l (account, lot, shop, member, epoch, seq, remaining, opened_at, expires_at, look_at)"
        " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],"
        "   $7::bigint[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[])"
        " ON CONFLICT (account, lot) DO UPDATE SET (member, epoch, seq, remaining, opened_at, expires_at, look_at) ="
        " (excluded.member, excluded.epoch, excluded.seq, excluded.remaining, excluded.opened_at, excluded.expires_at,"
        "   CASE WHEN excluded.remaining = 0 THEN NULL ELSE least(l.look_at, excluded.look_at) END)"
        " WHERE (l.epoch, l.seq) < (excluded.epoch, excluded.seq)",
        [each.account for each in ordered],
        [each.lot for each in ordered],
        [each.shop for each in ordered],
        [each.member for each in ordered],
        [each.epoch for each in ordered],
        [each.seq for each in ordered],
        [each.remaining for each in ordered],
        [each.opened_at for each in ordered],
        [each.expires_at for each in ordered],
        [each.look_at for each in ordered],
    )


@dataclass(frozen=True, slots=True)
class LotToLookAt:
    """A lot whose end may be due to be announced."""

    shop: str
    member: str
    account: str
    available: int
    lot: Lot


async def lots_to_look_at(tx: Transaction, limit: int) -> list[LotToLookAt]:
    """Lots that are to be looked at now, locked; those that another is looking at are passed over."""
    rows = await tx.driver.fetch(
        "SELECT l.shop, l.member, l.account, a.available, l.lot, l.remaining, l.opened_at, l.expires_at, l.announced"
        " FROM lot AS l JOIN account AS a ON a.account = l.account"
        " WHERE l.look_at <= $1 ORDER BY l.look_at, l.account LIMIT $2 FOR UPDATE OF l SKIP LOCKED",
        tx.now,
        limit,
    )
    return [
        LotToLookAt(
            row["shop"],
            row["member"],
            row["account"],
            row["available"],
            Lot(row["lot"], row["remaining"], row["opened_at"], row["expires_at"], row["announced"]),
        )
        for row in rows
    ]


async def save_looks(tx: Transaction, looks: Sequence[tuple[str, str, int | None, datetime | None]]) -> None:
    """Account, lot, the lead time announced just now (None: none) and when to look again."""
    await tx.driver.execute(
        "UPDATE lot SET announced = coalesce(n.announced, lot.announced), look_at = n.look_at"
        " FROM unnest($1::text[], $2::text[], $3::smallint[], $4::timestamptz[])"
        "   AS n (account, lot, announced, look_at)"
        " WHERE lot.account = n.account AND lot.lot = n.lot",
        *columns(looks, 4),
    )


async def look_again(tx: Transaction, shops: Sequence[str]) -> None:
    """Have all these shops' lots looked at: their lead times or their zone have changed."""
    await tx.driver.execute(
        "UPDATE lot SET look_at = $2 WHERE shop = ANY($1::text[]) AND remaining > 0 AND expires_at > $2", shops, tx.now
    )
