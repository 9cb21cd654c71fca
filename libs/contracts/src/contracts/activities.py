"""Topic `activities`: what members do besides buying."""

from datetime import UTC, datetime
from typing import Annotated, ClassVar, Self

from pydantic import Field, StringConstraints

from contracts.event import Event, Instant, MemberId, OpaqueId, Text
from contracts.topic import Topic

FactName = Annotated[Text, StringConstraints(min_length=1, max_length=64)]


class ActivityRecorded(Event):
    """A member did something that may earn: a check-in, a review, a share, a log-in, or what the shop itself named."""

    type: ClassVar[str] = "activity-recorded"

    activity: OpaqueId = Field(description="Unique within the shop; the same activity never counts twice.")
    member: MemberId
    kind: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    at: Instant
    facts: dict[FactName, Text | int | bool] = Field(default={}, max_length=50, description="No personal data.")

    @property
    def key(self) -> str:
        return f"{self.shop}/{self.member}"

    @classmethod
    def example(cls) -> Self:
        return cls(
            shop="corner-grocer",
            activity="a-77",
            member="m-2417",
            kind="check-in",
            at=datetime(2026, 3, 2, 8, tzinfo=UTC),
        )


TOPIC = Topic(
    name="activities",
    about="What members do besides buying.",
    key="shop/member",
    events=(ActivityRecorded,),
    writers=("publishers",),
    readers=(),
)
