"""What an entry has to tell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from notifications.domain.entries import Entry, LotChange


class Scenario(StrEnum):
    """What a member can be told about."""

    POINTS_EARNED = "points_earned"
    POINTS_PENDING = "points_pending"
    """Earned, usable later."""
    POINTS_ACTIVATED = "points_activated"
    """What was pending has become usable."""
    POINTS_USED = "points_used"
    POINTS_RETURNED = "points_returned"
    """Used before, given back because the purchase was returned."""
    POINTS_ADJUSTED = "points_adjusted"
    POINTS_GIVEN = "points_given"
    """To another member."""
    POINTS_RECEIVED = "points_received"
    """From another member."""
    POINTS_REVOKED = "points_revoked"
    POINTS_EXPIRING = "points_expiring"
    POINTS_EXPIRED = "points_expired"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a message says, whatever its words and its language. No personal data."""

    points: int
    """How many points it is about, at or above zero."""
    change: int
    """The same with its sign: what the member gained or lost."""
    available: int
    """Usable, after it."""
    pending: int = 0
    held: int = 0
    owed: int = 0
    """Points that the member owes, at or above zero."""
    order: str | None = None
    checkout: str | None = None
    reason: str | None = None
    rule: str | None = None
    shortfall: int = 0
    activates_at: datetime | None = None
    expires_at: datetime | None = None
    """First instant at which the points are gone."""
    lead_days: int | None = None
    """Of an announcement: days until the last day on which the points can be used."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something a member may be told, once. `key` is unique within the shop, however often the event arrives."""

    shop: str
    member: str
    scenario: Scenario
    key: str
    at: datetime
    facts: Facts

    @property
    def drawn_at(self) -> datetime:
        """The moment that its ids begin with. Of an end that is announced, `at` is when somebody looked: the day that
        was due is the same whenever that is."""
        ends, lead = self.facts.expires_at, self.facts.lead_days
        return self.at if ends is None or lead is None else ends - timedelta(days=lead)


def scenario_of(entry: Entry) -> Scenario | None:
    """What an entry has to tell; None for what is no member's business, such as a hold."""
    changes = entry.changes
    match entry.kind:
        case "award":
            scenario = Scenario.POINTS_PENDING if changes.pending > 0 else Scenario.POINTS_EARNED
        case "activate":
            scenario = Scenario.POINTS_ACTIVATED
        case "capture" | "spend":
            scenario = Scenario.POINTS_USED
        case "give_back":
            scenario = Scenario.POINTS_RETURNED
        case "credit" if entry.is_opening:
            return None  # they were the member's before
        case "credit" | "debit":
            scenario = Scenario.POINTS_ADJUSTED
        case "gift_out":
            scenario = Scenario.POINTS_GIVEN
        case "gift_in":
            scenario = Scenario.POINTS_RECEIVED
        case "revoke":
            scenario = Scenario.POINTS_REVOKED
        case "expire":
            scenario = Scenario.POINTS_EXPIRED
        case _:
            return None
    return scenario if change_of(entry) else None


def came(entry: Entry, lot: LotChange) -> bool:
    """Whether a lot has come to the member by this entry. Where it is told of, that tells the lot's end too."""
    return entry.kind in ("award", "credit", "top_up", "gift_in", "merge_in") and lot.change > 0


def change_of(entry: Entry) -> int:
    """What the member gained or lost by it."""
    changes = entry.changes
    if entry.kind == "activate":  # it moves points between the member's own buckets, so its net is zero
        return -changes.pending
    return changes.available + changes.pending + changes.held + changes.debt


def occurrence(entry: Entry, scenario: Scenario) -> Occurrence:
    """What is told of an entry."""
    opened = [lot for lot in entry.lots if lot.change > 0]
    change, balances = change_of(entry), entry.balances
    return Occurrence(
        shop=entry.shop,
        member=entry.member,
        scenario=scenario,
        key=f"{entry.account}:{entry.epoch}:{entry.seq}",
        at=entry.at,
        facts=Facts(
            points=abs(change),
            change=change,
            available=balances.available,
            pending=balances.pending,
            held=balances.held,
            owed=-balances.debt,
            order=entry.order,
            checkout=entry.checkout,
            reason=entry.cause.reason,
            rule=entry.cause.rule,
            shortfall=entry.shortfall,
            activates_at=_activates_at(entry, opened),
            expires_at=min((lot.expires_at for lot in opened if lot.expires_at is not None), default=None),
        ),
    )


def of_one_order(occurrences: Sequence[Occurrence]) -> Occurrence:
    """What entries of one order tell together, of one scenario and in order: nobody wants a mail for each rule.

    What is one rule's own is left out; of dates, all can be used from the last and until the first.
    """
    first, last = occurrences[0], occurrences[-1]
    facts = [each.facts for each in occurrences]
    activates = [each.activates_at for each in facts]
    return replace(
        last,
        key=f"{first.key}-{last.key.rpartition(':')[2]}",
        facts=replace(
            last.facts,
            points=sum(each.points for each in facts),
            change=sum(each.change for each in facts),
            shortfall=sum(each.shortfall for each in facts),
            reason=_common([each.reason for each in facts]),
            rule=_common([each.rule for each in facts]),
            activates_at=None if None in activates else max(at for at in activates if at is not None),
            expires_at=min((each.expires_at for each in facts if each.expires_at is not None), default=None),
        ),
    )


def _common(words: Sequence[str | None]) -> str | None:
    return words[0] if len(set(words)) == 1 else None


def _activates_at(entry: Entry, opened: Sequence[LotChange]) -> datetime | None:
    """Of pending points; None for those that wait for an event, of which nobody knows when it will be."""
    if entry.changes.pending <= 0 or entry.cause.activates_on is not None:
        return None
    return min((lot.activates_at for lot in opened), default=None)
