"""How holds and spends stand after what the ledger has told."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from chassis import Transaction
from redemption.domain.checkout import State


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
