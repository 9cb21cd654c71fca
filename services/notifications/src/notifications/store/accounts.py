"""Accounts: how far each has been told."""

from collections.abc import Collection, Mapping, Sequence

from chassis import Transaction
from notifications.domain import Place
from notifications.store.arrays import columns
from notifications.store.members import Member


async def places(tx: Transaction, accounts: Collection[str]) -> dict[str, Place]:
    """How far these accounts have been told, locked: a replay may run beside the stream."""
    rows = await tx.driver.fetch(
        "SELECT account, epoch, seq, hash, available FROM account WHERE account = ANY($1::text[])"
        " ORDER BY account FOR NO KEY UPDATE",
        sorted(set(accounts)),
    )
    return {row["account"]: Place(row["epoch"], row["seq"], row["hash"], row["available"]) for row in rows}


async def save_places(tx: Transaction, reached: Mapping[str, tuple[Member, Place]]) -> None:
    """Keep how far these accounts have been told."""
    ordered = sorted(reached)
    places = [reached[account][1] for account in ordered]
    await tx.driver.execute(
        "INSERT INTO account AS a (account, shop, member, epoch, seq, hash, available)"
        " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[],"
        "   $7::bigint[]) ON CONFLICT (account) DO UPDATE SET (member, epoch, seq, hash, available) ="
        " (excluded.member, excluded.epoch, excluded.seq, excluded.hash, excluded.available)"
        " WHERE (a.epoch, a.seq) < (excluded.epoch, excluded.seq)",
        ordered,
        [reached[account][0][0] for account in ordered],
        [reached[account][0][1] for account in ordered],
        [place.epoch for place in places],
        [place.seq for place in places],
        [place.hash for place in places],
        [place.available for place in places],
    )


Number = tuple[str, int, int]
"""Account, epoch, seq."""


async def note_missing(tx: Transaction, numbers: Sequence[Number]) -> None:
    """Remember entries that were jumped over."""
    await tx.driver.execute(
        "INSERT INTO missing (account, epoch, seq, noticed_at)"
        " SELECT m.*, $4 FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS m ON CONFLICT DO NOTHING",
        *columns(sorted(numbers), 3),
        tx.now,
    )


async def found(tx: Transaction, numbers: Sequence[Number]) -> set[Number]:
    """Which of these had been jumped over; they are remembered no longer."""
    rows = await tx.driver.fetch(
        "DELETE FROM missing USING unnest($1::text[], $2::bigint[], $3::bigint[]) AS f (account, epoch, seq)"
        " WHERE missing.account = f.account AND missing.epoch = f.epoch AND missing.seq = f.seq"
        " RETURNING missing.account, missing.epoch, missing.seq",
        *columns(sorted(numbers), 3),
    )
    return {(row["account"], row["epoch"], row["seq"]) for row in rows}
