"""What is hashed, byte by byte, so that others can verify: a posting's content, and an account's chain of entries.

All integers are big-endian two's complement. An instant is its microseconds since 1970-01-01T00:00:00Z; an absent one
is the smallest 64-bit integer. Text is UTF-8; its length in bytes stands in the head; an absent text has length 0.

An entry's hash is SHA-256 over: "accrual/entry/1\\n" · the hash of the account's previous entry (32 zero bytes before
the first) · the entry's bytes:

    head    16 × int64   seq, at, recorded_at, generation, changes of available, pending, held and debt, the same four
                         after it, lifetime earned and spent after it, shortfall, difference
            13 × uint32  lengths of the texts and of the memo commitment, numbers of system changes and of lot changes
    texts                shop, member, asset, kind, source, key, order, hold, checkout, cause; then the memo commitment
    system  per change   uint32 length, name, int64 amount
    lots    per change   6 × int64: lot, change, remaining, activates_at, expires_at, priority

Not hashed: where the entry stands in the log (lane, position, epoch), and any id that import would draw anew.

A refusal's hash is SHA-256 over: "accrual/refusal/1\\n" · int64 at · 11 × uint32 lengths of the texts · shop, member,
asset, kind, source, key, order, hold, checkout, code, facts (the JSON text as it is stored). No chain goes over
refusals; seals hold them.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Any, Final

from ledger.domain.outcomes import Entry
from ledger.domain.postings import (
    Activate,
    Award,
    Capture,
    Credit,
    Debit,
    Freeze,
    Gift,
    GiveBack,
    Hold,
    Merge,
    Posting,
    PostingId,
    Release,
    Revoke,
    Spend,
    TopUp,
    UndoMerge,
    Unfreeze,
)

_ENTRY_TAG: Final = b"accrual/entry/1\n"
_REFUSAL_TAG: Final = b"accrual/refusal/1\n"
_POSTING_TAG: Final = "accrual/posting/1\n"
_MEMO_TAG: Final = b"accrual/memo/1\n"

NEVER: Final = -(2**63)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""The nibble with a UUID's variant: its two low bits are the value's."""

HEAD: Final = Struct(">16q13I")
REFUSAL_HEAD: Final = Struct(">q11I")
LENGTH: Final = Struct(">I")
AMOUNT: Final = Struct(">q")
LOT: Final = Struct(">6q")


@lru_cache(maxsize=8192)
def micros(instant: datetime | None) -> int:
    """Microseconds since the epoch, exactly; most instants of a batch are the same one."""
    return NEVER if instant is None else (instant - _EPOCH) // _MICROSECOND


def entry_hash(entry: Entry) -> bytes:
    """The next link of the account's chain."""
    return linked(entry.previous_hash, entry_bytes(entry))


def linked(previous: bytes, canonical: bytes) -> bytes:
    """The hash of an entry's bytes behind the one before it."""
    return sha256(_ENTRY_TAG + previous + canonical).digest()


def entry_bytes(entry: Entry) -> bytes:
    """The canonical bytes of an entry, as laid out above."""
    shop, member, asset = entry.account.key
    texts = (
        shop,
        member,
        asset,
        entry.kind,
        entry.source,
        entry.key,
        entry.order or "",
        entry.hold or "",
        entry.checkout or "",
        entry.cause,
    )
    text = "".join(texts)
    memo = entry.memo_commitment or b""
    head = HEAD.pack(
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
        *(map(len, texts) if text.isascii() else [len(part.encode()) for part in texts]),
        len(memo),
        len(entry.system),
        len(entry.lots),
    )
    parts = [head, text.encode(), memo]
    for name, amount in entry.system:
        encoded = name.encode()
        parts += (LENGTH.pack(len(encoded)), encoded, AMOUNT.pack(amount))
    for lot, change, remaining, activates_at, expires_at, priority in entry.lots:
        parts.append(LOT.pack(lot, change, remaining, micros(activates_at), micros(expires_at), priority))
    return b"".join(parts)


def refusal_bytes(at: datetime, texts: Sequence[str | None]) -> bytes:
    """The canonical bytes of a refusal: its instant and the eleven texts, as laid out above."""
    encoded = [(text or "").encode() for text in texts]
    return b"".join((REFUSAL_HEAD.pack(micros(at), *map(len, encoded)), *encoded))


def refusal_hash(canonical: bytes) -> bytes:
    """Of a refusal's canonical bytes."""
    return sha256(_REFUSAL_TAG + canonical).digest()


def content_hash(posting: Posting) -> bytes:
    """What makes a repeated posting the same: all that it asks for, wherever it came in. The memo is no part of it, nor
    is the hold of a spend: it says where the points are, which a redemption that was put back a day may not know.

    SHA-256 over "accrual/posting/1\\n" · the fields' lengths in characters, decimal, between commas · ":" · the fields.
    """
    fields = (
        posting.kind,
        posting.shop,
        posting.member,
        posting.asset,
        posting.source,
        posting.key,
        posting.order or "",
        posting.cause,
        *_CONTENT[type(posting)](posting),
    )
    lengths = ",".join([str(len(field)) for field in fields])
    return sha256(f"{_POSTING_TAG}{lengths}:{''.join(fields)}".encode()).digest()


def _credit(posting: Award | Credit) -> tuple[str, ...]:
    return (
        str(posting.amount),
        str(micros(posting.activates_at)),
        str(micros(posting.expires_at)),
        str(posting.priority),
    )


_CONTENT: Final[Mapping[type[Posting], Callable[[Any], tuple[str, ...]]]] = {
    Award: _credit,
    Credit: _credit,
    TopUp: lambda it: (str(it.amount), it.currency, str(micros(it.expires_at))),
    Debit: lambda it: (str(it.amount),),
    Revoke: lambda it: (it.award_id.source, it.award, str(it.total)),
    Activate: lambda it: (it.award_id.source, it.award, str(micros(it.expires_at))),
    Hold: lambda it: (it.hold, str(it.amount), str(it.at_most), str(micros(it.expires_at))),
    Capture: lambda it: (it.hold, "" if it.amount is None else str(it.amount)),
    Release: lambda it: (it.hold,),
    Spend: lambda it: (it.checkout, str(it.generation), str(it.amount)),
    GiveBack: lambda it: (it.checkout, str(it.generation), str(it.total)),
    Gift: lambda it: (it.to, str(it.amount)),
    Freeze: lambda _: (),
    Unfreeze: lambda _: (),
    Merge: lambda it: (it.into,),
    UndoMerge: lambda it: (it.merge, it.into),
}


def movement_id(posting: Posting) -> str:
    """The id of what a posting does to two members at once; a repeat has the same."""
    return name_of(posting.kind, posting.id)


def name_of(what: str, posting: PostingId) -> str:
    """The id of something that a posting causes once: drawn from the posting's, so that nobody need keep it."""
    return uuid8(sha256("\n".join((what, *posting)).encode()).digest())


def uuid8(digest: bytes) -> str:
    """RFC 9562's version for values of one's own making."""
    text = digest[:16].hex()
    return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


def memo_commitment(salt: bytes, memo: str) -> bytes:
    """Binds an entry to an operator's memo without holding it: with the salt erased, nothing can be guessed."""
    return sha256(_MEMO_TAG + len(salt).to_bytes(4, "big") + salt + memo.encode()).digest()
