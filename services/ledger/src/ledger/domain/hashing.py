"""What is hashed, byte by byte, so that others can verify: a posting's content, and an account's chain of entries.

All integers are big-endian two's complement. An instant is its microseconds since 1970-01-01T00:00:00Z; an absent one
is the smallest 64-bit integer. Text is UTF-8; its length in bytes stands in the head, 0xFFFFFFFF for absent.

An entry's hash is SHA-256 over: "accrual/entry/1\\n" · the hash of the account's previous entry (32 zero bytes before
the first) · the entry's bytes:

    head    16 × int64   seq, at, recorded_at, generation, changes of available, pending, held and debt, the same four
                         after it, lifetime earned and spent after it, shortfall, difference
            13 × uint32  lengths of the texts below, number of system changes, number of lot changes
    texts                shop, member, asset, kind, source, key, order, hold, checkout, cause, memo commitment
    system  per change   uint32 length, name, int64 amount
    lots    per change   6 × int64: lot, change, remaining, activates_at, expires_at, priority

Not hashed: where the entry stands in the log (lane, position, epoch), and any id that import would draw anew.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Final

from ledger.domain.outcomes import Entry
from ledger.domain.postings import (
    Award,
    Capture,
    Credit,
    Debit,
    GiveBack,
    Hold,
    Posting,
    Release,
    Revoke,
    Spend,
)

_ENTRY_TAG: Final = b"accrual/entry/1\n"
_POSTING_TAG: Final = b"accrual/posting/1\n"
_MEMO_TAG: Final = b"accrual/memo/1\n"

_ABSENT: Final = 0xFFFFFFFF
_NEVER: Final = -(2**63)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_HEAD: Final = Struct(">16q13I")
_SYSTEM: Final = Struct(">q")
_LENGTH: Final = Struct(">I")
_LOT: Final = Struct(">6q")


@lru_cache(maxsize=8192)
def micros(instant: datetime | None) -> int:
    """Microseconds since the epoch, exactly; most instants of a batch are the same one."""
    return _NEVER if instant is None else (instant - _EPOCH) // _MICROSECOND


def entry_hash(entry: Entry) -> bytes:
    """The next link of the account's chain."""
    return sha256(_ENTRY_TAG + entry.previous_hash + entry_bytes(entry)).digest()


def entry_bytes(entry: Entry) -> bytes:
    """The canonical bytes of an entry, as laid out above."""
    account = entry.account.key
    shop, member, asset = account.shop.encode(), account.member.encode(), account.asset.encode()
    kind, source, key, cause = entry.kind.encode(), entry.source.encode(), entry.key.encode(), entry.cause.encode()
    order, order_length = _optional(entry.order)
    hold, hold_length = _optional(entry.hold)
    checkout, checkout_length = _optional(entry.checkout)
    memo = entry.memo_commitment
    head = _HEAD.pack(
        entry.seq,
        micros(entry.at),
        micros(entry.recorded_at),
        entry.generation,
        entry.available,
        entry.pending,
        entry.held,
        entry.debt,
        entry.available_after,
        entry.pending_after,
        entry.held_after,
        entry.debt_after,
        entry.earned_after,
        entry.spent_after,
        entry.shortfall,
        entry.difference,
        len(shop),
        len(member),
        len(asset),
        len(kind),
        len(source),
        len(key),
        order_length,
        hold_length,
        checkout_length,
        len(cause),
        _ABSENT if memo is None else len(memo),
        len(entry.system),
        len(entry.lots),
    )
    parts = [head, shop, member, asset, kind, source, key, order, hold, checkout, cause, memo or b""]
    for name, amount in entry.system:
        encoded = name.encode()
        parts += (_LENGTH.pack(len(encoded)), encoded, _SYSTEM.pack(amount))
    parts += [
        _LOT.pack(lot.lot, lot.change, lot.remaining, micros(lot.activates_at), micros(lot.expires_at), lot.priority)
        for lot in entry.lots
    ]
    return b"".join(parts)


def _optional(text: str | None) -> tuple[bytes, int]:
    if text is None:
        return b"", _ABSENT
    encoded = text.encode()
    return encoded, len(encoded)


def content_hash(posting: Posting) -> bytes:
    """What makes a repeated posting the same: all that it asks for, wherever it came in. The memo is not part of it."""
    parts = [_POSTING_TAG]
    for value in (
        posting.kind,
        posting.shop,
        posting.member,
        posting.asset,
        posting.source,
        posting.key,
        posting.order,
        posting.cause,
        *_content(posting),
    ):
        if value is None:
            parts.append(b"-")
        else:
            encoded = (value if isinstance(value, str) else str(value)).encode()
            parts.append(b"%d:%b" % (len(encoded), encoded))
    return sha256(b"".join(parts)).digest()


def _content(posting: Posting) -> tuple[str | int | None, ...]:
    match posting:
        case Award() | Credit():
            return posting.amount, micros(posting.activates_at), micros(posting.expires_at), posting.priority
        case Revoke():
            return posting.award_id.source, posting.award, posting.total
        case Spend():
            return posting.checkout, posting.generation, posting.amount, posting.hold
        case GiveBack():
            return posting.checkout, posting.generation, posting.total
        case Hold():
            return posting.hold, posting.amount, int(posting.at_most), micros(posting.expires_at)
        case Capture():
            return posting.hold, posting.amount
        case Release():
            return (posting.hold,)
        case Debit():
            return (posting.amount,)
        case _:
            raise TypeError(posting)


def memo_commitment(salt: bytes, memo: str) -> bytes:
    """Binds an entry to an operator's memo without holding it: with the salt erased, nothing can be guessed."""
    return sha256(_MEMO_TAG + len(salt).to_bytes(4, "big") + salt + memo.encode()).digest()
