"""Requests and responses."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    model_validator,
)

from contracts.event import MAX_MINOR_UNITS, MAX_POINTS, Currency, MemberId, OpaqueId
from contracts.orders import MAX_LINES, MAX_QUANTITY, Label, Rate
from contracts.postings import Asset
from contracts.programmes import Language, Zone
from rules.documents import Document, RuleChange, Rules, RuleSetDocument

Text = Annotated[str, StringConstraints(max_length=256)]
Money = Annotated[StrictInt, Field(ge=0, le=MAX_MINOR_UNITS)]


class Response(BaseModel):
    """A part of an answer; every field is there."""

    model_config = ConfigDict(frozen=True)


class ProgrammeBody(Document):
    """The shop's settings, whole."""

    on: StrictBool = Field(description="Off stops earning and using, keeps everything that is there.")
    zone: Zone
    currency: Currency = Field(description="Cannot change once there are rules in it.")
    shortfall: Literal["forgive", "debt"] = "forgive"
    points_name: Annotated[str, StringConstraints(min_length=1, max_length=32)] = "points"
    language: Language = "en"
    hold_minutes: Annotated[StrictInt, Field(ge=1, le=10_080)] = 30
    gifts_per_day: Annotated[StrictInt, Field(ge=0, le=1_000)] = Field(
        default=10, description="Gifts that a member may give in a day of the shop; 0: none."
    )
    gift_points_per_day: Annotated[StrictInt, Field(ge=0, le=MAX_POINTS)] = Field(
        default=10_000, description="Points that a member may give in a day of the shop."
    )
    approval_above: dict[Asset, Annotated[StrictInt, Field(ge=0, le=MAX_POINTS)]] = Field(
        default={},
        description="Amounts above which an operator's credit or debit needs a second person, by asset; stored value in"
        " minor units. An asset that is absent needs none.",
    )


class ProgrammeView(Response):
    """The settings as they now are."""

    revision: int
    on: bool
    zone: str
    currency: str
    shortfall: str
    points_name: str
    language: str
    hold_minutes: int
    approval_above: dict[str, int]
    gifts_per_day: int
    gift_points_per_day: int


class RuleView(Response):
    """A draft."""

    rule: str
    document: dict[str, Any]


class RulesView(Response):
    """All drafts."""

    rules: list[RuleView]


class RuleSetBody(Document):
    """Make a version."""

    rules: Rules | None = Field(
        default=None, description="The whole set, which becomes the drafts; absent: the drafts."
    )
    combine: Literal["most_specific", "best_of", "sum"] = "most_specific"
    note: Text = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self.document()
        return self

    def document(self) -> RuleSetDocument | None:
        """The set that was given."""
        return None if self.rules is None else RuleSetDocument(rules=self.rules, combine=self.combine)


class RuleSetSummary(Response):
    """A version, and where it is in its life."""

    version: int
    state: Literal["draft", "scheduled", "active", "retired"]
    since: datetime | None = Field(
        description="Null for drafts, and for a first version that decides all there ever was."
    )
    note: str
    zone: str
    currency: str
    created_at: datetime


class RuleSetWhole(RuleSetSummary):
    """The same with its rules."""

    document: dict[str, Any]


class RuleSets(Response):
    """Versions, newest first."""

    rule_sets: list[RuleSetSummary]
    next: int | None = Field(description="Give it as `after` for the next page; null on the last.")


class ActivateBody(Document):
    """From when; absent: now, or always for a shop's first version."""

    since: AwareDatetime | None = Field(default=None, alias="from")

    @model_validator(mode="after")
    def _near(self) -> Self:
        if self.since is not None and not 1970 <= self.since.year <= 2200:
            raise ValueError("`from` lies outside the years 1970 to 2200")
        return self


class Differences(Response):
    """What changes from one version to another."""

    version: int
    against: int | None
    changes: list[RuleChange]


class RuleOutcomeView(Response):
    """What came of one rule."""

    rule: str
    title: str
    fired: bool
    reason: str
    points: int | None = Field(description="Before any return; null for promotions.")
    arithmetic: str | None
    promotions: list[str]


class AwardView(Response):
    """An award that was asked of the ledger."""

    award: str
    rule: str
    rule_version: int
    promotions: list[str]
    generation: int
    member: str
    points: int
    taken_back: int
    left: int
    activates_at: datetime | None
    expires_at: datetime | None


class EarningsView(Response):
    """What an order has earned, and why."""

    order: str
    revision: int
    stage: str
    generation: int
    member: str | None
    test: bool
    placed_at: datetime
    rule_set_version: int | None
    earning_off: bool = Field(description="The programme is off, or was when the order was placed.")
    points: int = Field(description="What members keep of it.")
    awards: list[AwardView]
    rules: list[RuleOutcomeView]


class CartLine(Document):
    """A line of a cart."""

    sku: Label | None = None
    product: OpaqueId
    categories: Annotated[tuple[Label, ...], Field(max_length=50)] = ()
    brand: Label | None = None
    tags: Annotated[tuple[Label, ...], Field(max_length=50)] = ()
    quantity: Annotated[StrictInt, Field(ge=1, le=MAX_QUANTITY)] = 1
    unit_price: Money
    discount: Money = 0
    tax: Money = 0
    gift_card: StrictBool = False
    reward: StrictBool = False


class CartTender(Document):
    """A means of payment that lessens what earns."""

    kind: Literal["cash", "card", "stored_value", "points", "voucher", "other"]
    amount: Money


class PreviewBody(Document):
    """A cart, or one product, for a given member or nobody."""

    member: MemberId | None = None
    at: AwareDatetime | None = Field(default=None, description="As if placed then; absent: now.")
    version: Annotated[StrictInt, Field(ge=1, le=2**53)] | None = Field(
        default=None, description="By these rules, drafts too."
    )
    first_order: StrictBool | None = Field(default=None, description="Absent: looked up for the member.")
    channel: Literal["online", "pos"] = "online"
    currency: Currency | None = Field(default=None, description="Absent: the shop's.")
    rate: Rate | None = None
    prices_include_tax: StrictBool = False
    lines: Annotated[tuple[CartLine, ...], Field(min_length=1, max_length=MAX_LINES)]
    discount: Money = 0
    shipping: Money = 0
    shipping_tax: Money = 0
    coupons: Annotated[tuple[Label, ...], Field(max_length=50)] = ()
    tenders: Annotated[tuple[CartTender, ...], Field(max_length=50)] = ()


class PreviewAward(Response):
    """What one rule would give."""

    rule: str
    title: str
    points: int
    arithmetic: str
    promotions: list[str]
    granted_on: Literal["placed", "paid", "fulfilled"]
    usable_after_days: int


class PreviewView(Response):
    """What a cart would earn."""

    points: int = Field(description="What it would be given: 0 while earning is off, whatever its rules say.")
    earning_off: bool = Field(description="The programme is off, or was at that time: `awards` are given to nobody.")
    rule_set_version: int
    awards: list[PreviewAward]
    rules: list[RuleOutcomeView]
