"""Days of a shop's zone as instants: every zone of the database, whatever its clocks do at midnight."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from ledger.domain.calendar import end_of, start_of

ZONES = sorted(available_timezones())


@pytest.mark.parametrize(
    ("zone", "day", "gone_at"),
    [
        ("Europe/Madrid", date(2026, 2, 28), datetime(2026, 2, 28, 23, tzinfo=UTC)),
        ("Europe/Madrid", date(2026, 3, 29), datetime(2026, 3, 29, 22, tzinfo=UTC)),  # a day of 23 hours
        ("Europe/Madrid", date(2026, 10, 25), datetime(2026, 10, 25, 23, tzinfo=UTC)),  # a day of 25
        # From 23:59:59 to 01:00: the next day has no midnight.
        ("America/Santiago", date(2025, 9, 6), datetime(2025, 9, 7, 4, tzinfo=UTC)),
        ("Asia/Beirut", date(2024, 3, 30), datetime(2024, 3, 30, 22, tzinfo=UTC)),
        ("Africa/Cairo", date(2024, 4, 25), datetime(2024, 4, 25, 22, tzinfo=UTC)),
        # From 23:59:59 back to 23:00: the last hour of the day comes twice.
        ("America/Santiago", date(2025, 4, 5), datetime(2025, 4, 6, 4, tzinfo=UTC)),
        ("Asia/Beirut", date(2024, 10, 26), datetime(2024, 10, 26, 22, tzinfo=UTC)),
        ("Africa/Cairo", date(2024, 10, 31), datetime(2024, 10, 31, 22, tzinfo=UTC)),
        # From 00:59:59 back to 00:00: the day before ends at the first of two midnights.
        ("America/Havana", date(2025, 11, 1), datetime(2025, 11, 2, 4, tzinfo=UTC)),
        # From 00:00:59 back to 23:01: the day before ends at the second.
        ("America/St_Johns", date(2010, 11, 6), datetime(2010, 11, 7, 3, 30, tzinfo=UTC)),
        # From 23:30 to 00:30 of the next day.
        ("America/Toronto", date(1919, 3, 30), datetime(1919, 3, 31, 4, 30, tzinfo=UTC)),
        # 30 December 2011 did not happen.
        ("Pacific/Apia", date(2011, 12, 29), datetime(2011, 12, 30, 10, tzinfo=UTC)),
        ("Pacific/Apia", date(2011, 12, 30), datetime(2011, 12, 30, 10, tzinfo=UTC)),
        ("Asia/Kathmandu", date(2026, 1, 31), datetime(2026, 1, 31, 18, 15, tzinfo=UTC)),
        ("Pacific/Kiritimati", date(2026, 1, 31), datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_what_is_usable_through_a_day_is_gone_at_its_end(zone: str, day: date, gone_at: datetime) -> None:
    assert end_of(day, ZoneInfo(zone)) == gone_at


@pytest.mark.parametrize("first", [date(1995, 1, 1), date(2010, 1, 1), date(2024, 1, 1), date(2037, 6, 1)], ids=str)
def test_in_every_zone_a_day_is_usable_to_its_last_instant_and_no_longer(first: date) -> None:
    """All days of two years on which, or beside which, the clocks change; and the first of each month."""
    for name in ZONES:
        zone = ZoneInfo(name)
        offsets = [
            datetime(first.year, first.month, first.day, 12, tzinfo=UTC) + timedelta(days=number)
            for number in range(730)
        ]
        for noon, next_noon in pairwise(offsets):
            changes = noon.astimezone(zone).utcoffset() != next_noon.astimezone(zone).utcoffset()
            if not changes and noon.day != 1:
                continue
            for days in (-1, 0, 1, 2):
                day = noon.date() + timedelta(days=days)
                end = end_of(day, zone)
                assert end == start_of(day + timedelta(days=1), zone)
                assert (end - timedelta(microseconds=1)).astimezone(zone).date() <= day, (name, day)
                # From then on no clock of the zone shows the day again.
                for minutes in (0, 1, 29, 59, 61, 119, 179):
                    assert (end + timedelta(minutes=minutes)).astimezone(zone).date() > day, (name, day)
