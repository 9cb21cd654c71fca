"""Days of a shop's zone as instants, whatever its clocks do at midnight."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_STEP = timedelta(microseconds=1)


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a day: from it on, the zone's calendar never shows an earlier day again.

    A midnight that the clocks skip is the instant of the skip; of one that they show twice it is the second, if they
    went back into the day before.
    """
    midnight = datetime.combine(day, time(), zone)
    first, second = midnight.astimezone(UTC), midnight.replace(fold=1).astimezone(UTC)
    if first == second:
        return first
    if first > second:  # skipped: the clocks change between the two
        return _turn(second, first, lambda at: at.astimezone(zone).date() >= day)
    changed = _turn(first, second, lambda at: at.astimezone(zone).utcoffset() != first.astimezone(zone).utcoffset())
    return second if changed.astimezone(zone).date() < day else first


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """The first instant after a day: what is usable through the end of the day is gone at it."""
    return start_of(day + timedelta(days=1), zone)


def _turn(low: datetime, high: datetime, turned: Callable[[datetime], bool]) -> datetime:
    """The first instant within (low, high] at which something holds, that holds from then on."""
    while high - low > _STEP:
        middle = low + (high - low) / 2
        low, high = (low, middle) if turned(middle) else (middle, high)
    return high
