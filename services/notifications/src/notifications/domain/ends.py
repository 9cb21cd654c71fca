"""The end of points, announced beforehand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from notifications.domain.audience import Reminders
from notifications.domain.occurrences import Facts, Occurrence, Scenario


@dataclass(frozen=True, slots=True)
class Lot:
    """Points that end, as this service remembers them."""

    lot: str
    remaining: int
    opened_at: datetime
    """Since when the member can use them: active, and come here by an award, a gift, a merge or from another system."""
    expires_at: datetime
    announced: int | None = None
    """The shortest lead time announced so far, in days."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is to be done about a lot now."""

    lead_days: int | None
    """Announce it as this many days before its last day; None for not now."""
    next_at: datetime | None
    """When to look at it again; None for never."""


def announce(lot: Lot, *, reminders: Reminders, zone: str, now: datetime) -> Announcement:
    """Which lead time of a lot is due: each once; after a standstill only the shortest of those missed."""
    if lot.remaining <= 0 or now >= lot.expires_at:
        return Announcement(None, None)
    late: int | None = None
    for lead, at in lead_instants(lot.expires_at, reminders=reminders, zone=zone):
        if lot.announced is not None and lead >= lot.announced:
            continue
        if at < lot.opened_at:
            continue  # earned within that lead time: the message about earning has said when they end
        if at > now:
            return Announcement(late, at)
        late = lead
    return Announcement(late, None)


def lead_instants(expires_at: datetime, *, reminders: Reminders, zone: str) -> list[tuple[int, datetime]]:
    """The instants at which an end is announced, each with its lead time in days; the first one first."""
    leads = sorted(set(reminders.lead_days), reverse=True)
    instants = [
        (lead, lead_instant(expires_at, lead_days=lead, local_time=reminders.local_time, zone=zone)) for lead in leads
    ]
    return [(lead, at) for lead, at in instants if at < expires_at]


def lead_instant(expires_at: datetime, *, lead_days: int, local_time: time, zone: str) -> datetime:
    """The instant at which an end is announced: on the last day of use less the lead, at the shop's local time."""
    day = last_day(expires_at, zone) - timedelta(days=lead_days)
    return datetime.combine(day, local_time, ZoneInfo(zone)).astimezone(UTC)


def last_day(expires_at: datetime, zone: str) -> date:
    """The last calendar day in the shop's zone on which points that end at that instant can be used."""
    return (expires_at - timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date()


def expiring(
    shop: str, member: str, account: str, lots: Sequence[Lot], *, lead_days: int, available: int, now: datetime
) -> Occurrence:
    """One message for lots of a member that end at the same instant. Its key is the first lot's."""
    points = sum(lot.remaining for lot in lots)
    first = min(lots, key=lambda lot: lot.lot)
    return Occurrence(
        shop=shop,
        member=member,
        scenario=Scenario.POINTS_EXPIRING,
        key=f"{account}:ends:{first.lot}:{lead_days}",
        at=now,
        facts=Facts(
            points=points, change=-points, available=available, expires_at=first.expires_at, lead_days=lead_days
        ),
    )
