"""Accounts: how far each has been told."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from chassis import Transaction
from notifications.domain import Place
from notifications.store.arrays import columns
from notifications.store.members import Member


class Advance(NamedTuple):
    """Entries of one account that follow each other: the number told before them, and where the last one leaves it."""

    account: str
    told: int
    seq: int
    hash: str
    available: int


async def advance(tx: Transaction, epoch: int, advances: Sequence[Advance]) -> set[str]:
    """Move accounts on that stand exactly where these begin; which they were. Nothing is read or locked before."""
    rows = await tx.driver.fetch(
        "UPDATE account AS a SET seq = n.seq, hash = n.hash, available = n.available"
        " FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[])"
        "   AS n (account, told, seq, hash, available)"
        " WHERE a.account = n.account AND a.epoch = $1 AND a.seq = n.told RETURNING a.account",
        epoch,
        *columns(sorted(advances), len(Advance._fields)),
    )
    return {row[0] for row in rows}


async def places(tx: Transaction, accounts: Collection[str]) -> dict[str, Place]:
    """How far these accounts have been told, locked: a replay may run beside the stream."""
    rows = await tx.driver.fetch(
        "SELECT account, epoch, seq, hash, available FROM account WHERE account = ANY($1::text[])"
        " ORDER BY account FOR NO KEY UPDATE",
        sorted(accounts),
    )
    return {row["account"]: Place(row["epoch"], row["seq"], row["hash"], row["available"]) for row in rows}


async def save_places(tx: Transaction, reached: Mapping[str, tuple[Member, Place]]) -> None:
    """Keep how far these accounts have been told, those also that are seen for the first time."""
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


class Held(NamedTuple):
    """An account as it was told so far."""

    account: str
    shop: str
    member: str
    seq: int
    hash: str
    available: int


async def before_epoch(tx: Transaction, epoch: int, after: str, limit: int) -> list[Held]:
    """The next accounts behind one that stand in an earlier epoch."""
    rows = await tx.driver.fetch(
        "SELECT account, shop, member, seq, hash, available FROM account WHERE account > $2 AND epoch < $1"
        " ORDER BY account LIMIT $3",
        epoch,
        after,
        limit,
    )
    return [Held(*row) for row in rows]


async def enter_epoch(tx: Transaction, account: str, place: Place) -> bool:
    """Let an account stand where the ledger goes on with it in a new epoch; false if it stands in that one already."""
    status = await tx.driver.execute(
        "UPDATE account SET epoch = $2, seq = $3, hash = $4, available = $5 WHERE account = $1 AND epoch < $2",
        account,
        place.epoch,
        place.seq,
        place.hash,
        place.available,
    )
    return bool(status == "UPDATE 1")


async def pass_over(tx: Transaction, account: str, epoch: int, *, told: int, seq: int) -> None:
    """Let an account stand further on than it was told: what is between is not to be had."""
    await tx.driver.execute(
        "UPDATE account SET seq = $4, hash = '' WHERE account = $1 AND epoch = $2 AND seq = $3",
        account,
        epoch,
        told,
        seq,
    )
