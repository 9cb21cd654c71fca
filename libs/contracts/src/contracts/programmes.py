"""Topic `programmes`: each shop's settings that more than one service needs, always whole."""

from typing import Annotated, ClassVar, Literal, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, StringConstraints

from contracts.event import MAX_POINTS, Currency, Event, Model, Points, Text
from contracts.topic import Topic


def _known_zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("not a time zone of the IANA database")
    return value


Zone = Annotated[str, AfterValidator(_known_zone)]
"""An IANA time zone, such as `Europe/Madrid`."""

Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z][A-Za-z]{1,3})?$")]
"""A BCP 47 language tag."""


class ApprovalAbove(Model):
    """Amounts above which an operator's credit or debit needs a second person, by asset; absent: none does."""

    points: Points | None = None
    stored_value: Points | None = Field(default=None, description="Minor units of the currency.")
    growth: Points | None = None
    passes: Points | None = None


class ProgrammeChanged(Event):
    """The shop's programme as it now is. The highest revision holds."""

    type: ClassVar[str] = "programme-changed"

    revision: int = Field(ge=1, description="Grows by one with every change of the shop's programme.")
    on: bool = Field(description="Off stops earning and using, keeps everything that is there.")
    zone: Zone = Field(description="The shop's time zone: days, windows and expiries are of this zone.")
    currency: Currency = Field(description="The currency that rates of earning and using are in.")
    shortfall: Literal["forgive", "debt"] = Field(
        default="forgive", description="What happens when points to take back are gone."
    )
    points_name: Annotated[Text, StringConstraints(min_length=1, max_length=32)] = "points"
    language: Language = "en"
    hold_minutes: int = Field(
        default=30, ge=1, le=10_080, description="Minutes that a checkout keeps points before they are free again."
    )
    approval_above: ApprovalAbove = ApprovalAbove()
    gifts_per_day: int = Field(
        default=10, ge=0, le=1_000, description="Gifts that a member may give in a day of the shop; 0: none."
    )
    gift_points_per_day: int = Field(
        default=10_000, ge=0, le=MAX_POINTS, description="Points that a member may give in a day of the shop."
    )

    @classmethod
    def example(cls) -> Self:
        return cls(shop="corner-grocer", revision=4, on=True, zone="Europe/Madrid", currency="EUR", shortfall="forgive")


TOPIC = Topic(
    name="programmes",
    about="Each shop's settings that several services need, always whole.",
    key="shop",
    events=(ProgrammeChanged,),
    writers=("rules",),
    readers=("rules", "ledger", "redemption", "notifications"),
    retention=None,
    compacted=True,
)
