"""Epochs: a ledger that was restored from a backup goes on in a new one, and says for each lane from where.

The bytes that are signed: "accrual/epoch/1\\n" · 16 bytes ledger · uint32 epoch · uint32 lane · uint32 lanes · uint64
position · uint64 told · int64 at · uint64 number of the lane's last seal (0: none) · its hash (32 zero bytes: none) ·
the public key that signs.
"""

from dataclasses import dataclass
from datetime import datetime
from struct import Struct
from typing import Final
from uuid import UUID

from ledger.domain.hashing import micros

_TAG: Final = b"accrual/epoch/1\n"
_BODY: Final = Struct(">16sIIIQQqQ32s32s")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStart:
    """Where a lane goes on in a new epoch."""

    ledger: UUID
    epoch: int
    lane: int
    lanes: int
    """How many lanes the ledger has."""
    position: int
    """The last one that the ledger still has as it was told; what was told behind it is given up."""
    told: int
    """The last one that was told or sealed in the epochs before; not below `position`."""
    at: datetime
    seal: int
    """Number of the lane's last seal, which the next one is made over; 0 when there is none."""
    seal_hash: bytes
    key: bytes

    def encoded(self) -> bytes:
        """The bytes that are signed."""
        return _TAG + _BODY.pack(
            self.ledger.bytes,
            self.epoch,
            self.lane,
            self.lanes,
            self.position,
            self.told,
            micros(self.at),
            self.seal,
            self.seal_hash,
            self.key,
        )
