"""Days of the shop's zone as instants: windows, hours, when awards activate and when they end."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a day in the zone."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def instant_of(moment: date | datetime, zone: ZoneInfo) -> datetime:
    """A configured moment as an instant: a day begins at its midnight, a time without offset is the shop's."""
    if not isinstance(moment, datetime):
        return start_of(moment, zone)
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def months_later(day: date, months: int) -> date:
    """The same day of a later month, or that month's last day: 31 January + 1 month is 28 or 29 February."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def end_of_month(day: date) -> date:
    """The last day of the month."""
    return day.replace(day=monthrange(day.year, day.month)[1])


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time `[since, until)`; moments without an offset are the shop's."""

    since: date | datetime | None = None
    until: date | datetime | None = None
    """First moment outside."""


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of the day `[since, until)` by the shop's clock; it may run over midnight."""

    since: time
    until: time

    def hold(self, clock: time) -> bool:
        """Whether the clock shows a time inside."""
        if self.since <= self.until:
            return self.since <= clock < self.until
        return clock >= self.since or clock < self.until


class Lasting(StrEnum):
    """What a validity counts in."""

    NEVER_ENDS = "never_ends"
    DAYS = "days"
    MONTHS = "months"
    MONTHS_TO_MONTH_END = "months_to_month_end"
    MONTH_END = "month_end"
    YEAR_END = "year_end"
    FIXED = "fixed"


LAST_YEAR = 9000
"""Beyond it validity means never; keeps date arithmetic inside what calendars can say."""


@dataclass(frozen=True, slots=True)
class Validity:
    """How long points stay usable, counted from their activation; the last day is usable to its end."""

    lasting: Lasting = Lasting.NEVER_ENDS
    count: int = 0
    """Days or months."""
    on: date | None = None
    """The last day, where it is fixed."""

    def last_day(self, activated_on: date) -> date | None:
        """The last day on which points activated that day are usable; None for no end."""
        if self.lasting is Lasting.DAYS:
            return activated_on + timedelta(days=self.count)
        if self.lasting is Lasting.MONTHS:
            return months_later(activated_on, self.count)
        if self.lasting is Lasting.MONTHS_TO_MONTH_END:
            return end_of_month(months_later(activated_on.replace(day=1), self.count))
        if self.lasting is Lasting.MONTH_END:
            return end_of_month(activated_on)
        if self.lasting is Lasting.YEAR_END:
            return activated_on.replace(month=12, day=31)
        return self.on

    def expires_at(self, activated_on: date, zone: ZoneInfo) -> datetime | None:
        """First instant at which the points are no longer usable; None for never."""
        last = None if activated_on.year > LAST_YEAR else self.last_day(activated_on)
        return None if last is None else start_of(last + timedelta(days=1), zone)


class Trigger(StrEnum):
    """The step of an order's life at which an award is made."""

    PLACED = "placed"
    PAID = "paid"
    FULFILLED = "fulfilled"


@dataclass(frozen=True, slots=True)
class Grant:
    """When points are granted: at a step, and usable so many days after it. Until then they are pending."""

    on: Trigger = Trigger.PAID
    after_days: int = 0

    def activates_at(self, reached_at: datetime, zone: ZoneInfo) -> datetime:
        """The same time of day, so many days later by the shop's clock."""
        if not self.after_days:
            return reached_at
        return (reached_at.astimezone(zone) + timedelta(days=self.after_days)).astimezone(UTC)
