"""From canonical bytes back to what they say: the layouts of `hashing`, read instead of written."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from struct import error
from typing import Final, NamedTuple

from ledger.domain.books import GENESIS, Account
from ledger.domain.hashing import AMOUNT, HEAD, LENGTH, LOT, NEVER, REFUSAL_HEAD
from ledger.domain.outcomes import Entry, LotChange
from ledger.domain.postings import AccountKey

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Undecodable(Exception):
    """Bytes that are no entry or refusal."""


class RefusalRead(NamedTuple):
    """A refusal as its bytes have it."""

    at: datetime
    shop: str
    member: str
    asset: str
    kind: str
    source: str
    key: str
    order: str | None
    hold: str | None
    checkout: str | None
    code: str
    facts: str


def instant_of(micros: int) -> datetime | None:
    """The instant of so many microseconds since 1970; None for the absent one."""
    return None if micros == NEVER else _EPOCH + timedelta(microseconds=micros)


def entry_of(canonical: bytes) -> Entry:
    """The entry of these bytes, on an account of which only the key is known; without its hashes."""
    try:
        return _entry_of(canonical)
    except (error, ValueError, OverflowError) as fault:
        raise Undecodable(f"not an entry: {fault}") from fault


def _entry_of(canonical: bytes) -> Entry:
    (
        seq, at, recorded_at, generation, available, pending, held, debt, available_after, pending_after, held_after,
        debt_after, earned_after, spent_after, shortfall, difference, *lengths, memo_length, changes, lots,
    ) = HEAD.unpack_from(canonical)  # fmt: skip
    texts, place = _texts(canonical, HEAD.size, lengths)
    shop, member, asset, kind, source, key, order, hold, checkout, cause = texts
    memo = canonical[place : place + memo_length]
    place += memo_length
    system = []
    for _ in range(changes):
        (length,) = LENGTH.unpack_from(canonical, place)
        name = canonical[place + LENGTH.size : place + LENGTH.size + length].decode()
        place += LENGTH.size + length
        system.append((name, int(AMOUNT.unpack_from(canonical, place)[0])))
        place += AMOUNT.size
    moved = []
    for _ in range(lots):
        moved.append(_lot_change(LOT.unpack_from(canonical, place)))
        place += LOT.size
    if place != len(canonical):
        raise ValueError(f"{len(canonical)} bytes, of which {place} say something")
    return Entry(
        account=Account(key=AccountKey(shop, member, asset)),
        seq=seq,
        kind=kind,
        at=_present(at),
        recorded_at=_present(recorded_at),
        source=source,
        key=key,
        order=order or None,
        hold=hold or None,
        checkout=checkout or None,
        generation=generation,
        cause=cause,
        memo_commitment=memo or None,
        available=available,
        pending=pending,
        held=held,
        debt=debt,
        system=tuple(system),
        available_after=available_after,
        pending_after=pending_after,
        held_after=held_after,
        debt_after=debt_after,
        earned_after=earned_after,
        spent_after=spent_after,
        lots=tuple(moved),
        shortfall=shortfall,
        difference=difference,
        previous_hash=GENESIS,
        hash=b"",
    )


def refusal_of(canonical: bytes) -> RefusalRead:
    """The refusal of these bytes."""
    try:
        at, *lengths = REFUSAL_HEAD.unpack_from(canonical)
        texts, end = _texts(canonical, REFUSAL_HEAD.size, lengths)
        if end != len(canonical):
            raise ValueError(f"{len(canonical)} bytes, of which {end} say something")
        shop, member, asset, kind, source, key, order, hold, checkout, code, facts = texts
        return RefusalRead(
            _present(at), shop, member, asset, kind, source, key, order or None, hold or None, checkout or None, code,
            facts,
        )  # fmt: skip
    except (error, ValueError, OverflowError) as fault:
        raise Undecodable(f"not a refusal: {fault}") from fault


def _texts(canonical: bytes, place: int, lengths: Sequence[int]) -> tuple[list[str], int]:
    texts = []
    for length in lengths:
        texts.append(canonical[place : place + length].decode())
        place += length
    return texts, place


def _lot_change(fields: tuple[int, ...]) -> LotChange:
    lot, change, remaining, activates_at, expires_at, priority = fields
    return LotChange(lot, change, remaining, _present(activates_at), instant_of(expires_at), priority)


def _present(micros: int) -> datetime:
    instant = instant_of(micros)
    if instant is None:
        raise ValueError("an instant is absent")
    return instant
