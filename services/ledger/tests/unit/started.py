"""The start of an epoch, for tests and for vectors."""

from datetime import UTC, datetime
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.domain.epochs import EpochStart
from ledger.store.epochs import Started

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))

START = EpochStart(
    ledger=UUID("019cad9f-7c00-7000-8000-000000000000"),
    epoch=2,
    lane=5,
    lanes=8,
    position=2,
    told=7,
    at=datetime(2026, 3, 2, 11, tzinfo=UTC),
    seal=1,
    seal_hash=bytes.fromhex("ff5b336c3a7da06b491690b0b13e272873460fa0121a329a400f25da8a855c9b"),
    key=KEY.public_key().public_bytes_raw(),
)

STARTED = Started(START, KEY.sign(START.encoded()))
