"""The only SQL of redemption: load, lock, save, query."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from chassis import Transaction
from redemption import tables
from redemption.domain.checkout import RESERVED, UNFINISHED, Checkout, State, Usage
from redemption.domain.spending import Held, Spend

Key = tuple[str, str]
"""A shop and an id in it."""


# -- programmes and settings


@dataclass(frozen=True, slots=True)
class Programme:
    """What redemption needs of a shop's programme."""

    shop: str
    revision: int
    is_on: bool
    currency: str
    hold_minutes: int


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a shop's points can be used: its programme, and its own settings if there are any."""

    programme: Programme
    document: Mapping[str, Any] | None
    is_stopped: bool
    revision: int
    changed_at: datetime | None


async def save_programmes(tx: Transaction, programmes: Sequence[Programme]) -> None:
    """Keep the newest revision of each shop's programme."""
    newest = {p.shop: p for p in sorted(programmes, key=lambda p: p.revision)}
    ordered = [newest[shop] for shop in sorted(newest)]
    await tx.driver.execute(
        "INSERT INTO programme AS p (shop, revision, is_on, currency, hold_minutes)"
        " SELECT * FROM unnest($1::text[], $2::bigint[], $3::bool[], $4::text[], $5::int[])"
        " ON CONFLICT (shop) DO UPDATE SET revision = excluded.revision, is_on = excluded.is_on,"
        " currency = excluded.currency, hold_minutes = excluded.hold_minutes WHERE p.revision < excluded.revision",
        [p.shop for p in ordered],
        [p.revision for p in ordered],
        [p.is_on for p in ordered],
        [p.currency for p in ordered],
        [p.hold_minutes for p in ordered],
    )


async def known_shops(tx: Transaction, shops: Iterable[str]) -> set[str]:
    """Which of these shops have a programme."""
    rows = await tx.driver.fetch("SELECT shop FROM programme WHERE shop = ANY($1)", list(shops))
    return {row["shop"] for row in rows}


async def load_terms(tx: Transaction, shops: Iterable[str]) -> dict[str, Terms]:
    """The terms of those shops that are known."""
    programme, using = tables.programme, tables.using
    rows = await tx.conn.execute(
        select(
            programme,
            using.c.document,
            using.c.is_stopped,
            using.c.revision.label("settings_revision"),
            using.c.changed_at,
        )
        .select_from(programme.outerjoin(using, using.c.shop == programme.c.shop))
        .where(programme.c.shop.in_(sorted(set(shops))))
    )
    return {
        row.shop: Terms(
            programme=Programme(row.shop, row.revision, row.is_on, row.currency, row.hold_minutes),
            document=row.document,
            is_stopped=bool(row.is_stopped),
            revision=row.settings_revision or 0,
            changed_at=row.changed_at,
        )
        for row in rows
    }


async def save_document(tx: Transaction, shop: str, document: Mapping[str, Any]) -> None:
    """Replace a shop's settings; the same again changes nothing."""
    using = tables.using
    statement = insert(using).values(shop=shop, revision=1, document=document, is_stopped=False, changed_at=tx.now)
    await tx.conn.execute(
        statement.on_conflict_do_update(
            index_elements=[using.c.shop],
            set_={"document": document, "revision": using.c.revision + 1, "changed_at": tx.now},
            where=using.c.document.is_distinct_from(statement.excluded.document),
        )
    )


async def save_switch(tx: Transaction, shop: str, *, is_stopped: bool) -> None:
    """Stop or start the use of points; the same again changes nothing."""
    using = tables.using
    statement = insert(using).values(shop=shop, revision=1, is_stopped=is_stopped, changed_at=tx.now)
    await tx.conn.execute(
        statement.on_conflict_do_update(
            index_elements=[using.c.shop],
            set_={"is_stopped": is_stopped, "revision": using.c.revision + 1, "changed_at": tx.now},
            where=using.c.is_stopped != is_stopped,
        )
    )


# -- checkouts


_CHECKOUT_FIELDS: Final = [field.name for field in fields(Checkout)]
_CHECKOUT_COLUMNS: Final = [tables.checkout.c[name] for name in _CHECKOUT_FIELDS]


async def checkout_by_key(tx: Transaction, shop: str, client: str, key: str) -> Checkout | None:
    """The checkout that was made under an idempotency key; a refusal leaves its key unused."""
    checkout = tables.checkout
    found = await tx.conn.execute(
        select(*_CHECKOUT_COLUMNS).where(
            checkout.c.shop == shop,
            checkout.c.client == client,
            checkout.c.idempotency_key == key,
            checkout.c.state != State.REFUSED,
        )
    )
    return _checkout(found.one_or_none())


async def newest_checkout(tx: Transaction, shop: str, checkout_id: str, *, lock: bool = False) -> Checkout | None:
    """The newest attempt of a checkout."""
    checkout = tables.checkout
    statement = (
        select(*_CHECKOUT_COLUMNS)
        .where(checkout.c.shop == shop, checkout.c.checkout == checkout_id)
        .order_by(checkout.c.created_at.desc(), checkout.c.id.desc())
        .limit(1)
    )
    found = await tx.conn.execute(statement.with_for_update() if lock else statement)
    return _checkout(found.one_or_none())


async def checkout_by_id(tx: Transaction, attempt: UUID, *, lock: bool = False) -> Checkout:
    """An attempt, as it now is."""
    statement = select(*_CHECKOUT_COLUMNS).where(tables.checkout.c.id == attempt)
    checkout = _checkout((await tx.conn.execute(statement.with_for_update() if lock else statement)).one())
    assert checkout is not None
    return checkout


async def end_overdue(tx: Transaction, shop: str, checkout_id: str) -> None:
    """Note that a hold's time is over, before the ledger's event says so, so that the checkout can be tried again."""
    checkout = tables.checkout
    await tx.conn.execute(
        update(checkout)
        .where(
            checkout.c.shop == shop,
            checkout.c.checkout == checkout_id,
            checkout.c.state.in_([State.INTENDED, State.HELD]),
            checkout.c.expires_at <= tx.now,
        )
        .values(state=State.EXPIRED, changed_at=tx.now)
    )


async def insert_checkout(tx: Transaction, checkout: Checkout) -> bool:
    """Record an intent; false when its key is used, or its checkout is alive, already."""
    values = {name: getattr(checkout, name) for name in _CHECKOUT_FIELDS}
    statement = insert(tables.checkout).values(values).on_conflict_do_nothing().returning(tables.checkout.c.id)
    return (await tx.conn.execute(statement)).one_or_none() is not None


async def move_checkout(
    tx: Transaction, attempt: UUID, *, before: State, after: State, problem: Mapping[str, Any] | None = None
) -> None:
    """Record the ledger's answer; whoever was faster, another request, the job or the ledger's event, is not undone."""
    checkout = tables.checkout
    await tx.conn.execute(
        update(checkout)
        .where(checkout.c.id == attempt, checkout.c.state == before)
        .values(state=after, problem=problem, changed_at=tx.now)
    )


async def save_answer(tx: Transaction, answered: Checkout) -> None:
    """Keep the first answer of an attempt."""
    checkout = tables.checkout
    await tx.conn.execute(update(checkout).where(checkout.c.id == answered.id).values(answer=answered.answer))


async def unfinished_checkouts(tx: Transaction, before: datetime, limit: int) -> list[Checkout]:
    """Attempts that have waited for the ledger's answer since before that instant."""
    checkout = tables.checkout
    rows = await tx.conn.execute(
        select(*_CHECKOUT_COLUMNS)
        .where(checkout.c.state.in_(sorted(UNFINISHED)), checkout.c.changed_at < before)
        .order_by(checkout.c.changed_at)
        .limit(limit)
    )
    return [found for row in rows if (found := _checkout(row)) is not None]


async def usage(tx: Transaction, shop: str, checkout_id: str) -> Usage:
    """What the ledger has done for the orders that name a checkout."""
    spend = tables.spend
    row = (
        await tx.conn.execute(
            select(
                func.sum(spend.c.debited),
                func.sum(spend.c.returned),
                func.sum(spend.c.shortfall),
                func.sum(spend.c.difference),
            ).where(spend.c.shop == shop, spend.c.claim == checkout_id, spend.c.claim != "")
        )
    ).one()
    return Usage(*(int(value or 0) for value in row))


async def is_claimed(tx: Transaction, shop: str, checkout_id: str) -> bool:
    """Whether a paid order has named the checkout already."""
    claim = tables.claim
    found = await tx.conn.execute(select(claim.c.order_id).where(claim.c.shop == shop, claim.c.checkout == checkout_id))
    return found.one_or_none() is not None


def _checkout(row: Row[Any] | None) -> Checkout | None:
    if row is None:
        return None
    values = dict(zip(_CHECKOUT_FIELDS, row, strict=True))
    return Checkout(**{**values, "state": State(values["state"])})


# -- orders


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """What is kept of an order."""

    shop: str
    order: str
    revision: int
    stage: int
    body: bytes | None = None
    """The whole state, where points were ever used for it."""
    points_per_unit: str | None = None
    """The rate at which a tender that names no points was counted first; later states are counted at it too."""

    @property
    def key(self) -> Key:
        return (self.shop, self.order)


async def lock_orders(tx: Transaction, keys: Sequence[Key]) -> dict[Key, StoredOrder]:
    """Those of the orders that are known, locked in one order for all."""
    shops, orders = _columns(sorted(keys))
    rows = await tx.driver.fetch(
        "SELECT o.shop, o.order_id, o.revision, o.stage, o.body, o.points_per_unit"
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
            "INSERT INTO order_state (shop, order_id, revision, stage, body, points_per_unit) SELECT * FROM unnest("
            "$1::text[], $2::text[], $3::bigint[], $4::smallint[], $5::bytea[], $6::text[]) ORDER BY 1, 2",
            *_order_columns(new),
        )
    if changed:
        await tx.driver.execute(
            "UPDATE order_state AS o SET revision = n.revision, stage = n.stage, body = n.body,"
            " points_per_unit = n.points_per_unit FROM unnest($1::text[], $2::text[], $3::bigint[], $4::smallint[],"
            " $5::bytea[], $6::text[]) AS n (shop, order_id, revision, stage, body, points_per_unit)"
            " WHERE o.shop = n.shop AND o.order_id = n.order_id",
            *_order_columns(changed),
        )


def _order_columns(orders: Sequence[StoredOrder]) -> list[list[Any]]:
    return [
        [order.shop for order in orders],
        [order.order for order in orders],
        [order.revision for order in orders],
        [order.stage for order in orders],
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


async def reserved_for_orders(tx: Transaction, orders: Sequence[Key]) -> dict[Key, list[str]]:
    """Checkouts that may still hold points and were made, or named, for these orders."""
    rows = await tx.driver.fetch(
        "SELECT c.shop, c.order_id, c.checkout FROM unnest($1::text[], $2::text[]) AS k (shop, order_id)"
        " JOIN checkout AS c ON c.shop = k.shop AND c.order_id = k.order_id"
        " WHERE c.state = ANY($3) ORDER BY c.created_at",
        *_columns(orders),
        sorted(RESERVED),
    )
    found: dict[Key, list[str]] = {}
    for row in rows:
        found.setdefault((row["shop"], row["order_id"]), []).append(row["checkout"])
    return found


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


def _columns(keys: Sequence[Key]) -> tuple[list[str], list[str]]:
    return [key[0] for key in keys], [key[1] for key in keys]


# -- what the ledger tells


@dataclass(frozen=True, slots=True)
class Standing:
    """How an attempt stands, and which entry of the ledger told it last."""

    id: UUID
    state: State
    is_late: bool
    epoch: int
    seq: int


async def holds_of_spends(tx: Transaction, names: Sequence[tuple[str, str, int]]) -> dict[tuple[str, str, int], UUID]:
    """The holds behind spends, by shop, name and generation."""
    rows = await tx.driver.fetch(
        "SELECT s.shop, s.name, s.generation, s.hold FROM unnest($1::text[], $2::text[], $3::int[])"
        " AS k (shop, name, generation) JOIN spend AS s USING (shop, name, generation) WHERE s.hold IS NOT NULL",
        [name[0] for name in names],
        [name[1] for name in names],
        [name[2] for name in names],
    )
    return {(row["shop"], row["name"], row["generation"]): row["hold"] for row in rows}


async def lock_by_holds(tx: Transaction, holds: Iterable[UUID]) -> dict[UUID, Standing]:
    """Attempts by their holds, locked in one order for all."""
    rows = await tx.driver.fetch(
        "SELECT hold, id, state, is_late, epoch, seq FROM checkout WHERE hold = ANY($1::uuid[]) ORDER BY id FOR UPDATE",
        sorted(set(holds)),
    )
    return {
        row["hold"]: Standing(row["id"], State(row["state"]), row["is_late"], row["epoch"], row["seq"]) for row in rows
    }


async def save_standings(tx: Transaction, standings: Sequence[Standing]) -> None:
    """Record how attempts stand after the ledger's entries."""
    await tx.driver.execute(
        "UPDATE checkout AS c SET state = t.state, is_late = t.is_late, epoch = t.epoch, seq = t.seq, changed_at = $6"
        " FROM unnest($1::uuid[], $2::text[], $3::bool[], $4::bigint[], $5::bigint[])"
        " AS t (id, state, is_late, epoch, seq) WHERE c.id = t.id",
        [standing.id for standing in standings],
        [standing.state for standing in standings],
        [standing.is_late for standing in standings],
        [standing.epoch for standing in standings],
        [standing.seq for standing in standings],
        tx.now,
    )


@dataclass(slots=True)
class Done:
    """What the ledger has done for one spend, as far as it has been told."""

    shop: str
    name: str
    generation: int
    debited: int | None = None
    shortfall: int = 0
    returned: int = 0
    refusal: str | None = None


async def save_done(tx: Transaction, done: Sequence[Done]) -> None:
    """Record what the ledger did for spends; one row each. Totals only rise, so repeats change nothing."""
    await tx.driver.execute(
        "UPDATE spend AS s SET debited = COALESCE(t.debited, s.debited), returned = GREATEST(s.returned, t.returned),"
        " shortfall = GREATEST(s.shortfall, t.shortfall), refusal = COALESCE(t.refusal, s.refusal)"
        " FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::jsonb[])"
        " AS t (shop, name, generation, debited, shortfall, returned, refusal)"
        " WHERE s.shop = t.shop AND s.name = t.name AND s.generation = t.generation",
        [one.shop for one in done],
        [one.name for one in done],
        [one.generation for one in done],
        [one.debited for one in done],
        [one.shortfall for one in done],
        [one.returned for one in done],
        [one.refusal for one in done],
    )
