"""The start of an epoch: what a ledger that was restored from a backup says of each lane, signed."""

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct, error
from typing import Any, Final
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from accrual_verify.layout import Malformed, micros_of

TAG: Final = b"accrual/epoch/1\n"

_BODY: Final = Struct(">16sIIIQQqQ32s32s")


@dataclass(frozen=True, slots=True)
class EpochStart:
    """Where a lane went on."""

    ledger: str
    epoch: int
    lane: int
    position: int
    """The last one that holds as it was told."""
    told: int
    """The last one that was told or sealed; behind `position` and up to it all is given up."""
    at: int
    seal: int
    """Number of the last seal that holds, which the next one is made over; 0: none."""
    key: bytes
    signature: bytes
    body: bytes

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "EpochStart":
        """As it is told; raises `Malformed`."""
        try:
            ledger = UUID(told["ledger"])
            at, key = micros_of(told["at"]), bytes.fromhex(told["public_key"])
            body = TAG + _BODY.pack(
                ledger.bytes,
                told["epoch"],
                told["lane"],
                told["lanes"],
                told["position"],
                told["told"],
                at,
                told["seal"],
                bytes.fromhex(told["seal_hash"]),
                key,
            )
            signature = bytes.fromhex(told["signature"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, error) as fault:
            raise Malformed(f"not the start of an epoch: {fault!r}") from fault
        places = (told["epoch"], told["lane"], told["position"], told["told"])
        return cls(str(ledger), *places, at, told["seal"], key, signature, body)

    def signed(self) -> bool:
        """Whether the signature is that of the key that it names."""
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(self.signature, self.body)
        except (InvalidSignature, ValueError):
            return False
        return True
