"""Topic `postings`: what is asked of the ledger. Whoever may write here mints points."""

from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from contracts.event import (
    Count,
    Currency,
    Event,
    Instant,
    MemberId,
    Model,
    OpaqueId,
    Points,
    PositivePoints,
    PostingKey,
    Text,
)
from contracts.topic import Topic

Asset = Literal["points", "stored_value", "growth", "passes"]
"""What is counted: points to use; stored value, money in minor units of the shop's currency; growth, which decides on
levels and is never used; passes, uses that are left."""

Words = Annotated[Text, StringConstraints(max_length=256)]


class Cause(Model):
    """Why a posting was made: shown in the statement, carried by every event that follows from it."""

    rule: OpaqueId | None = None
    rule_version: Count | None = None
    promotions: tuple[OpaqueId, ...] = Field(default=(), max_length=50, description="Rules that multiplied the award.")
    operator: OpaqueId | None = None
    reason: OpaqueId | None = Field(default=None, description="A code such as `goodwill`, `refund`, `cancellation`.")
    refund: OpaqueId | None = None
    activates_on: OpaqueId | None = Field(
        default=None, description="The event that the points wait for. The ledger's own: it is not asked for here."
    )
    proposer: OpaqueId | None = Field(
        default=None, description="Who asked for what a second person approved, by the token. The ledger's own."
    )
    approver: OpaqueId | None = Field(default=None, description="That second person, by the token. The ledger's own.")


AWAITED = Field(
    default=None,
    description="Pending until that event, such as `fulfilled`, however long: `activate` says that it has happened, and"
    " when the points end. Beside it stand no dates.",
)


def _waits_or_has_dates(it: "Award | Credit") -> None:
    if it.activates_on is not None and (it.activates_at is not None or it.expires_at is not None):
        raise ValueError("what waits for an event has no dates before it")


class Award(Model):
    """Credit points and open a lot. The posting's key is the award's id."""

    kind: Literal["award"] = "award"
    amount: PositivePoints
    activates_at: Instant | None = Field(default=None, description="Pending until then; absent: at once.")
    expires_at: Instant | None = Field(default=None, description="First instant at which they are gone; absent: never.")
    priority: int = Field(default=0, ge=-1000, le=1000, description="Lower is consumed earlier.")
    activates_on: OpaqueId | None = AWAITED

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        _waits_or_has_dates(self)
        return self


class TopUp(Model):
    """Money that was paid in for stored value. It can be revoked by its key, like an award."""

    kind: Literal["top_up"] = "top_up"
    amount: PositivePoints = Field(description="Minor units of the currency.")
    currency: Currency = Field(description="As paid; refused unless it is the shop's.")
    expires_at: Instant | None = Field(default=None, description="First instant at which it is gone; absent: never.")


class Revoke(Model):
    """Take back of one award or top-up, so far in all. Parks until it is known."""

    kind: Literal["revoke"] = "revoke"
    award: PostingKey
    total: Points = Field(description="Cumulative: what is to be taken back of that award in all.")
    award_source: OpaqueId | None = Field(default=None, description="Who asked for the award; absent: who asks now.")


class Activate(Model):
    """What an award or credit waits for has happened. Parks until it is known; again changes nothing."""

    kind: Literal["activate"] = "activate"
    award: PostingKey
    expires_at: Instant | None = Field(default=None, description="First instant at which they are gone; absent: never.")
    award_source: OpaqueId | None = Field(default=None, description="Who asked for the award; absent: who asks now.")


class Spend(Model):
    """Debit a paid order's points tender: capture its hold if it is open, else debit what is available."""

    kind: Literal["spend"] = "spend"
    checkout: OpaqueId = Field(description="The checkout, or the order's id where the tender names none.")
    generation: Count
    amount: PositivePoints
    hold: OpaqueId | None = None


class GiveBack(Model):
    """Return points of one spend to the lots they came from, so far in all. Parks until the spend is known."""

    kind: Literal["give_back"] = "give_back"
    checkout: OpaqueId
    generation: Count
    total: Points = Field(description="Cumulative: what is to be given back of that spend in all.")


class Hold(Model):
    """Reserve points for a checkout."""

    kind: Literal["hold"] = "hold"
    hold: OpaqueId
    amount: PositivePoints
    at_most: bool = Field(default=False, description="Cut to what is available instead of refusing.")
    expires_at: Instant


class Capture(Model):
    """Debit a hold, whole or in part; the rest is freed."""

    kind: Literal["capture"] = "capture"
    hold: OpaqueId
    amount: PositivePoints | None = Field(default=None, description="Absent: all of it.")


class Release(Model):
    """Free a hold."""

    kind: Literal["release"] = "release"
    hold: OpaqueId


class Credit(Model):
    """An operator's manual credit."""

    kind: Literal["credit"] = "credit"
    amount: PositivePoints
    activates_at: Instant | None = None
    expires_at: Instant | None = None
    activates_on: OpaqueId | None = AWAITED
    memo: Words | None = Field(default=None, description="Erasable; the history holds only a commitment to it.")

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        _waits_or_has_dates(self)
        return self


class Debit(Model):
    """An operator's manual debit; refused when not enough is available."""

    kind: Literal["debit"] = "debit"
    amount: PositivePoints
    memo: Words | None = None


Effect = Annotated[
    Award | TopUp | Activate | Revoke | Spend | GiveBack | Hold | Capture | Release | Credit | Debit,
    Field(discriminator="kind"),
]


class PostingRequested(Event):
    """A service asks the ledger to move a member's points; the one command among the events."""

    type: ClassVar[str] = "posting-requested"
    command: ClassVar[bool] = True

    member: MemberId
    asset: Asset = "points"
    source: OpaqueId = Field(description="The service that asks; keys are unique per shop and source.")
    posting: PostingKey = Field(description="Natural key, kept for ever: asking again changes nothing.")
    order: OpaqueId | None = None
    cause: Cause = Cause()
    effect: Effect

    @property
    def key(self) -> str:
        return f"{self.shop}/{self.member}"

    @classmethod
    def example(cls) -> Self:
        return cls(
            shop="corner-grocer",
            member="m-2417",
            source="rules",
            posting="10042/1/everything-earns/paid",
            order="10042",
            cause=Cause(rule="everything-earns", rule_version=7),
            effect=Award(amount=11, expires_at=datetime(2027, 3, 1, 23, tzinfo=UTC)),
        )


TOPIC = Topic(
    name="postings",
    about="What is asked of the ledger; whoever may write here mints points.",
    key="shop/member",
    events=(PostingRequested,),
    writers=("rules", "redemption"),
    readers=("ledger",),
)
