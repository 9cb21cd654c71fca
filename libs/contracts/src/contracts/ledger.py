"""Topic `ledger`: what happened to members' points, exactly one event per entry or refusal, in order per account.

And, once in a ledger's life or never, that some of it is given up."""

from datetime import UTC, datetime
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, StringConstraints

from contracts.event import Event, Instant, MemberId, Model, OpaqueId, Points, PositivePoints, PostingKey
from contracts.postings import Cause
from contracts.seals import Hash, LedgerId, Signature
from contracts.topic import Topic

AnyAsset = Annotated[
    str,
    StringConstraints(min_length=1, max_length=32),
    Field(description="`points`, `stored_value`, `growth`, `passes`, …: pass over those that you do not know."),
]
"""Open, unlike what may be asked for: readers must go on when there is one more."""


IMPORTS: Final = "import"
"""The source of what a file asked for."""

OPENING: Final = "opening/"
"""How a posting's key begins whose file tells balances that come from another system."""


class Buckets(Model):
    """A member's four sums. `debt` is at or below zero."""

    available: int = 0
    pending: int = 0
    held: int = 0
    debt: int = 0


class LotChange(Model):
    """What an entry did to one lot."""

    lot: OpaqueId = Field(description="Unique in its account.")
    change: int = Field(description="Points that the lot gained or lost.")
    remaining: int = Field(description="Points left in it afterwards.")
    activates_at: Instant = Field(description="Of points that wait for an event (`cause.activates_on`): not before it.")
    expires_at: Instant | None = None


class EntryCause(Cause):
    """Why an entry was made: what its posting says, and where two members are concerned the other one."""

    gift: OpaqueId | None = Field(default=None, description="The gift that points were given or got by.")
    merge: OpaqueId | None = Field(default=None, description="The merge that moved all that a member had, or back.")
    member: MemberId | None = Field(default=None, description="The other member, whom they came from or went to.")
    missing: PositivePoints | None = Field(
        default=None, description="Of a merge that was undone: points that did not come back, spent or expired."
    )
    expired: Points | None = Field(default=None, description="Of the missing ones, those that have expired.")


class PointsChanged(Event):
    """One entry of an account: a change to its buckets, and how they stand after it."""

    type: ClassVar[str] = "points-changed"

    member: MemberId
    asset: AnyAsset = "points"
    account: OpaqueId
    epoch: int = Field(description="Grows when a ledger is restored from a backup.")
    seq: int = Field(ge=1, description="Grows by one per entry of the account.")
    entry: OpaqueId
    kind: str = Field(
        description="award, activate, expire, revoke, hold, capture, release, time_out, spend, give_back, credit,"
        " debit, top_up, gift_out, gift_in, freeze, unfreeze, merge_out, merge_in, unmerge_out, unmerge_in, …"
    )
    at: Instant
    recorded_at: Instant
    source: OpaqueId = Field(
        description="Who asked; `ledger` for what fell due by itself, `import` for lines of a file."
    )
    posting: PostingKey = Field(
        description="The key of what was asked; `opening/…` of `import`: a balance of another system."
    )
    order: OpaqueId | None = None
    checkout: OpaqueId | None = None
    hold: OpaqueId | None = Field(default=None, description="The hold that was placed, captured, released or ended.")
    cause: EntryCause = EntryCause()
    changes: Buckets
    system: dict[str, int] = Field(description="System accounts on the other side; all changes sum to zero.")
    balances: Buckets = Field(description="The buckets after the entry.")
    lots: tuple[LotChange, ...] = Field(
        default=(), description="Of thousands, only as many as fit an event; the statement has them all."
    )
    shortfall: int = Field(default=0, description="Points that could not be taken: written off or owed.")
    hash: str = Field(description="Hex of the entry's hash; each covers the one before it.")

    @property
    def key(self) -> str:
        return f"{self.shop}/{self.member}"

    @property
    def is_opening(self) -> bool:
        """Whether the points only came over from another system: the member has them as before."""
        return self.source == IMPORTS and self.posting.startswith(OPENING)

    @classmethod
    def example(cls) -> Self:
        at = datetime(2026, 3, 2, 9, 32, 1, tzinfo=UTC)
        return cls(
            shop="corner-grocer",
            member="m-2417",
            account="019cad9f-7c00-7000-8000-000000000001",
            epoch=1,
            seq=5,
            entry="019cad9f-7c00-7000-8000-000000000002",
            kind="award",
            at=at,
            recorded_at=at,
            source="rules",
            posting="10042/1/everything-earns/paid",
            order="10042",
            cause=EntryCause(rule="everything-earns", rule_version=7),
            changes=Buckets(available=11),
            system={"issued": -11},
            balances=Buckets(available=131),
            lots=(
                LotChange(
                    lot="5",
                    change=11,
                    remaining=11,
                    activates_at=at,
                    expires_at=datetime(2027, 3, 1, 23, tzinfo=UTC),
                ),
            ),
            hash="5f" * 32,
        )


class PostingRefused(Event):
    """The ledger refused a posting for a reason of business; nothing changed."""

    type: ClassVar[str] = "posting-refused"

    member: MemberId
    asset: AnyAsset = "points"
    source: OpaqueId
    posting: PostingKey
    kind: str
    order: OpaqueId | None = None
    checkout: OpaqueId | None = None
    code: OpaqueId = Field(description="Stable, such as `insufficient_points`.")
    detail: str
    facts: dict[str, int | str] = Field(default={})
    at: Instant
    epoch: int | None = Field(default=None, description="As of entries; absent in what was told by older ledgers.")

    @property
    def key(self) -> str:
        return f"{self.shop}/{self.member}"

    @classmethod
    def example(cls) -> Self:
        return cls(
            shop="corner-grocer",
            member="m-2417",
            source="till-4",
            posting="goodwill-reversal-9",
            kind="debit",
            code="insufficient_points",
            detail="100 points asked, 40 available",
            facts={"available": 40, "asked": 100},
            at=datetime(2026, 3, 2, 9, 32, 1, tzinfo=UTC),
            epoch=1,
        )


class EpochStarted(Event):
    """A ledger was restored from a backup: what it told of one of its lanes behind a position is given up.

    It comes before anything of the lane that is told in the new epoch. Whoever keeps accounts of that lane reads those
    that he holds beyond the position again, over HTTP. The fields are all that the signed bytes are made of;
    docs/tamper-evidence.md says how.
    """

    type: ClassVar[str] = "epoch-started"

    shop: Literal["*"] = Field(default="*", description="Every shop.")
    ledger: LedgerId = Field(description="Which ledger it is.")
    epoch: int = Field(ge=2, description="The new one.")
    lane: int = Field(ge=0)
    lanes: int = Field(ge=1, description="How many the ledger has; a member's is CRC-32 of `shop/member`, modulo that.")
    position: int = Field(ge=0, description="The last one, header `ce_position`, that holds as it was told.")
    told: int = Field(ge=0, description="The last one that was told or sealed before; up to it all is given up.")
    at: Instant
    seal: int = Field(ge=0, description="The lane's last seal, which the next one is made over; 0: none.")
    seal_hash: Hash = Field(description="Its hash; zeros: none.")
    public_key: Hash = Field(description="The key, Ed25519, that signs.")
    signature: Signature

    @property
    def key(self) -> str:
        return f"{self.shop}/{self.lane}"

    @classmethod
    def example(cls) -> Self:
        return cls(
            ledger="019cad9f-7c00-7000-8000-000000000000",
            epoch=2,
            lane=3,
            lanes=8,
            position=41,
            told=57,
            at=datetime(2026, 3, 2, 11, 0, 0, tzinfo=UTC),
            seal=7,
            seal_hash="5f" * 32,
            public_key="d7" * 32,
            signature="e5" * 64,
        )


TOPIC = Topic(
    name="ledger",
    about="What happened to members' points: one event per entry or refusal, in order per account; after a restore,"
    " what of it is given up.",
    key="shop/member",
    events=(PointsChanged, PostingRefused, EpochStarted),
    writers=("ledger",),
    readers=("redemption", "notifications", "anyone"),
)
