"""Orders' newest states, what they claim, and what is spent for them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chassis import Transaction
from redemption.domain.checkout import RESERVED, State
from redemption.domain.spending import Held, Spend

Key = tuple[str, str]
"""A shop and an id in it."""


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """What is kept of an order."""

    shop: str
    order: str
    revision: int
    body: bytes | None = None
    """The whole state, where points were ever used for it."""
    points_per_unit: str | None = None
    """The rate at which a tender that names no points was counted first; later states are counted at it too."""

    @property
    def key(self) -> Key:
        return (self.shop, self.order)


async def raise_revisions(tx: Transaction, revisions: Mapping[Key, int]) -> bool:
    """Note newer revisions of orders that never saw points, each of which is locked by it.

    False when some stay as they are: they are as new already, or points were used for them.
    """
    keys = sorted(revisions)
    done = await tx.driver.execute(
        "INSERT INTO order_state AS o (shop, order_id, revision)"
        " SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])"
        " ON CONFLICT (shop, order_id) DO UPDATE SET revision = excluded.revision"
        " WHERE o.body IS NULL AND o.revision < excluded.revision",
        *_columns(keys),
        [revisions[key] for key in keys],
    )
    return bool(done == f"INSERT 0 {len(keys)}")


async def with_points(tx: Transaction, keys: Collection[Key]) -> set[Key]:
    """Those of the orders for which points were ever used."""
    rows = await tx.driver.fetch(
        "SELECT o.shop, o.order_id FROM unnest($1::text[], $2::text[]) AS k (shop, order_id)"
        " JOIN order_state AS o USING (shop, order_id) WHERE o.body IS NOT NULL",
        *_columns(keys),
    )
    return {(row["shop"], row["order_id"]) for row in rows}


async def lock_orders(tx: Transaction, keys: Collection[Key]) -> dict[Key, StoredOrder]:
    """Those of the orders that are known, locked in one order for all."""
    shops, orders = _columns(sorted(keys))
    rows = await tx.driver.fetch(
        "SELECT o.shop, o.order_id, o.revision, o.body, o.points_per_unit"
        " FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (shop, order_id, place)"
        " JOIN order_state AS o USING (shop, order_id) ORDER BY k.place FOR UPDATE OF o",
        shops,
        orders,
    )
    return {(row["shop"], row["order_id"]): StoredOrder(*row) for row in rows}


async def save_orders(tx: Transaction, new: Sequence[StoredOrder], changed: Sequence[StoredOrder]) -> None:
    """Keep states. Two workers that meet a new order at once collide on its key, and the later one starts over."""
    if new:
        await tx.driver.execute(
            "INSERT INTO order_state (shop, order_id, revision, body, points_per_unit) SELECT * FROM unnest("
            "$1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::text[]) ORDER BY 1, 2",
            *_order_columns(new),
        )
    if changed:
        await tx.driver.execute(
            "UPDATE order_state AS o SET revision = n.revision, body = n.body,"
            " points_per_unit = n.points_per_unit FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[],"
            " $5::text[]) AS n (shop, order_id, revision, body, points_per_unit)"
            " WHERE o.shop = n.shop AND o.order_id = n.order_id",
            *_order_columns(changed),
        )


def _order_columns(orders: Sequence[StoredOrder]) -> list[list[Any]]:
    return [
        [order.shop for order in orders],
        [order.order for order in orders],
        [order.revision for order in orders],
        [order.body for order in orders],
        [order.points_per_unit for order in orders],
    ]


async def claim(tx: Transaction, wanted: Mapping[Key, str]) -> None:
    """Let paid orders claim the checkouts that they name; the first one has it for ever."""
    keys = sorted(wanted)
    await tx.driver.execute(
        "INSERT INTO claim (shop, checkout, order_id) SELECT * FROM unnest($1::text[], $2::text[], $3::text[])"
        " ON CONFLICT DO NOTHING",
        *_columns(keys),
        [wanted[key] for key in keys],
    )


async def claims(tx: Transaction, keys: Sequence[Key]) -> dict[Key, str]:
    """Which orders have claimed these checkouts."""
    rows = await tx.driver.fetch(
        "SELECT c.* FROM unnest($1::text[], $2::text[]) AS k (shop, checkout) JOIN claim AS c USING (shop, checkout)",
        *_columns(keys),
    )
    return {(row["shop"], row["checkout"]): row["order_id"] for row in rows}


@dataclass(frozen=True, slots=True)
class HeldCheckout:
    """The attempt of a checkout that counts for an order."""

    held: Held
    state: State
    worth: int


async def held(tx: Transaction, keys: Sequence[Key]) -> dict[Key, HeldCheckout]:
    """The newest attempt of each checkout that the ledger has not refused."""
    rows = await tx.driver.fetch(
        "SELECT h.* FROM unnest($1::text[], $2::text[]) AS k (shop, checkout) CROSS JOIN LATERAL ("
        " SELECT * FROM checkout AS c WHERE c.shop = k.shop AND c.checkout = k.checkout AND c.state <> 'refused'"
        " ORDER BY c.created_at DESC, c.id DESC LIMIT 1) AS h",
        *_columns(keys),
    )
    return {
        (row["shop"], row["checkout"]): HeldCheckout(
            held=Held(row["checkout"], str(row["hold"]), row["member"], row["points"]),
            state=State(row["state"]),
            worth=row["worth"],
        )
        for row in rows
    }


async def reserved_for_orders(tx: Transaction, orders: Sequence[Key]) -> dict[Key, list[Key]]:
    """Checkouts that may still hold points and were made, or named, for these orders."""
    rows = await tx.driver.fetch(
        "SELECT c.shop, c.order_id, c.checkout FROM unnest($1::text[], $2::text[]) AS k (shop, order_id)"
        " JOIN checkout AS c ON c.shop = k.shop AND c.order_id = k.order_id"
        " WHERE c.state = ANY($3) ORDER BY c.created_at",
        *_columns(orders),
        sorted(RESERVED),
    )
    found: dict[Key, list[Key]] = {}
    for row in rows:
        found.setdefault((row["shop"], row["order_id"]), []).append((row["shop"], row["checkout"]))
    return found


async def release_intended(tx: Transaction, holds: Sequence[str]) -> None:
    """Let those of the attempts that wait for the ledger's answer be freed as soon as it has come."""
    await tx.driver.execute(
        "UPDATE checkout SET state = $2, changed_at = $3 WHERE hold = ANY($1::uuid[]) AND state = $4",
        sorted(map(UUID, holds)),
        State.RELEASING,
        tx.now,
        State.INTENDED,
    )


async def name_orders(tx: Transaction, named: Mapping[Key, str]) -> None:
    """Note on checkouts which order names them."""
    keys = sorted(named)
    await tx.driver.execute(
        "UPDATE checkout AS c SET order_id = n.order_id FROM unnest($1::text[], $2::text[], $3::text[])"
        " AS n (shop, checkout, order_id) WHERE c.shop = n.shop AND c.checkout = n.checkout"
        " AND c.order_id IS DISTINCT FROM n.order_id",
        *_columns(keys),
        [named[key] for key in keys],
    )


async def spends(tx: Transaction, orders: Sequence[Key]) -> dict[Key, list[Spend]]:
    """All spends of these orders, oldest first."""
    rows = await tx.driver.fetch(
        "SELECT s.* FROM unnest($1::text[], $2::text[]) AS k (shop, order_id) JOIN spend AS s USING (shop, order_id)"
        " ORDER BY s.place",
        *_columns(orders),
    )
    found: dict[Key, list[Spend]] = {}
    for row in rows:
        spend = Spend(
            name=row["name"],
            generation=row["generation"],
            claim=row["claim"],
            member=row["member"],
            points=row["points"],
            given_back=row["given_back"],
            hold=str(row["hold"]) if row["hold"] else None,
        )
        found.setdefault((row["shop"], row["order_id"]), []).append(spend)
    return found


async def save_spends(tx: Transaction, saved: Sequence[tuple[Key, Spend, int]]) -> None:
    """Keep spends of orders, each with the difference of its tender to its hold; of known ones the total has risen."""
    if not saved:
        return
    await tx.driver.execute(
        "INSERT INTO spend AS s (shop, name, generation, order_id, claim, member, points, given_back, hold, difference,"
        " asked_at) SELECT *, $11::timestamptz FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[],"
        " $6::text[], $7::bigint[], $8::bigint[], $9::uuid[], $10::bigint[])"
        " ON CONFLICT (shop, name, generation) DO UPDATE SET given_back = excluded.given_back"
        " WHERE s.order_id = excluded.order_id",
        [key[0] for key, _, _ in saved],
        [spend.name for _, spend, _ in saved],
        [spend.generation for _, spend, _ in saved],
        [key[1] for key, _, _ in saved],
        [spend.claim for _, spend, _ in saved],
        [spend.member for _, spend, _ in saved],
        [spend.points for _, spend, _ in saved],
        [spend.given_back for _, spend, _ in saved],
        [UUID(spend.hold) if spend.hold else None for _, spend, _ in saved],
        [difference for _, _, difference in saved],
        tx.now,
    )


def _columns(keys: Collection[Key]) -> tuple[list[str], list[str]]:
    return [key[0] for key in keys], [key[1] for key in keys]
