"""Ids of our own, ordered by time, so that an index's newest pages stay warm."""

import os
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from threading import Lock
from typing import Final
from uuid import UUID

LAST_UUID: Final = UUID(int=(1 << 128) - 1)
"""Behind all others: the newest are before it."""

_lock = Lock()
_last = 0


def new_uuid() -> UUID:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, then a counter, then 62 random bits; ascending within a process."""
    global _last  # noqa: PLW0603  # one sequence for the process is the point
    with _lock:
        _last = max(_last + 1, time.time_ns() // 1_000_000 << 12)
        instant = _last
    return UUID(
        int=(instant >> 12) << 80
        | 0x7 << 76
        | (instant & 0xFFF) << 64
        | 0b10 << 62
        | int.from_bytes(os.urandom(8)) & ((1 << 62) - 1)
    )


def new_id() -> str:
    """A UUIDv7 as a string."""
    return str(new_uuid())


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def named_uuid(at: datetime, *name: str) -> UUID:
    """A UUIDv8 (RFC 9562) that whoever knows the name draws again: 48 bits of milliseconds, then 74 of its SHA-256."""
    digest = int.from_bytes(sha256("\n".join(name).encode()).digest()[:10])
    return UUID(
        int=((at - _EPOCH) // _MILLISECOND & ((1 << 48) - 1)) << 80
        | 0x8 << 76
        | (digest >> 62 & 0xFFF) << 64
        | 0b10 << 62
        | digest & ((1 << 62) - 1)
    )
