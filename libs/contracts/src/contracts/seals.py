"""Topic `seals`: what the ledger's log held, signed, for whoever wants to hold it against the ledger later."""

from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints

from contracts.event import Event, Instant
from contracts.topic import Topic

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", min_length=64, max_length=64)]
"""Hex of 32 bytes."""

Signature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$", min_length=128, max_length=128)]
"""Hex of 64 bytes."""

LedgerId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", max_length=36)]
"""A UUID."""


class LogSealed(Event):
    """A range of positions of one of the ledger's lanes, over all shops; each seal covers the one before it.

    The fields are all that the signed bytes are made of; docs/tamper-evidence.md says how.
    """

    type: ClassVar[str] = "log-sealed"

    shop: Literal["*"] = Field(default="*", description="Every shop.")
    ledger: LedgerId = Field(description="Which ledger it is.")
    epoch: int = Field(ge=1, description="Grows when a ledger is restored from a backup.")
    lane: int = Field(ge=0)
    number: int = Field(ge=1, description="Grows by one per seal of the lane.")
    first: int = Field(ge=1, description="The first position of the range.")
    last: int = Field(ge=0, description="The last one; `first` less 1 where a seal only announces a key.")
    at: Instant
    shops: int = Field(ge=0, description="Shops with rows in the range.")
    previous: Hash = Field(description="The hash of the lane's seal before it; zeros before the first.")
    root: Hash = Field(description="The Merkle root over the shops of the range.")
    public_key: Hash = Field(description="The key, Ed25519, that signs it.")
    next_public_key: Hash | None = Field(
        default=None, description="The key that signs from the next seal on; absent: the same one."
    )
    signature: Signature

    @property
    def key(self) -> str:
        return f"{self.shop}/{self.lane}"

    @classmethod
    def example(cls) -> Self:
        return cls(
            ledger="019cad9f-7c00-7000-8000-000000000000",
            epoch=1,
            lane=3,
            number=1,
            first=1,
            last=4,
            at=datetime(2026, 3, 2, 9, 32, 5, tzinfo=UTC),
            shops=1,
            previous="00" * 32,
            root="5f" * 32,
            public_key="d7" * 32,
            signature="e5" * 64,
        )


TOPIC = Topic(
    name="seals",
    about="What the ledger's log held, lane by lane, signed; keep it apart from the ledger.",
    key="*/lane",
    events=(LogSealed,),
    writers=("ledger",),
    readers=("anyone",),
    partitions=1,
    retention=None,
)
