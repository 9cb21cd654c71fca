"""Days of the shop's zone as instants."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from rules.domain.calendar import Grant, Lasting, Validity, months_later

MADRID = ZoneInfo("Europe/Madrid")


def test_month_end() -> None:
    # Usable through 28 February in the shop's zone: gone at its midnight, 23:00 UTC.
    assert Validity(Lasting.MONTHS, 1).expires_at(date(2026, 1, 31), MADRID) == datetime(2026, 2, 28, 23, tzinfo=UTC)
    assert months_later(date(2028, 1, 31), 1) == date(2028, 2, 29)


@pytest.mark.parametrize(
    ("validity", "last_day"),
    [
        (Validity(Lasting.DAYS, 90), date(2026, 5, 1)),
        (Validity(Lasting.MONTHS, 12), date(2027, 1, 31)),
        (Validity(Lasting.MONTHS_TO_MONTH_END, 1), date(2026, 2, 28)),
        (Validity(Lasting.MONTHS_TO_MONTH_END, 11), date(2026, 12, 31)),
        (Validity(Lasting.MONTH_END), date(2026, 1, 31)),
        (Validity(Lasting.YEAR_END), date(2026, 12, 31)),
        (Validity(Lasting.FIXED, on=date(2026, 6, 30)), date(2026, 6, 30)),
        (Validity(), None),
    ],
)
def test_validities_name_their_last_day(validity: Validity, last_day: date | None) -> None:
    assert validity.last_day(date(2026, 1, 31)) == last_day


def test_a_day_whose_midnight_does_not_exist_begins_when_its_clocks_do() -> None:
    # Cairo's clocks went from 23:59:59 on 25 April 2024 to 01:00.
    last = Validity(Lasting.FIXED, on=date(2024, 4, 25)).expires_at(date(2024, 1, 1), ZoneInfo("Africa/Cairo"))
    assert last == datetime(2024, 4, 25, 22, tzinfo=UTC)


def test_a_delay_keeps_the_time_of_day_over_a_change_of_clocks() -> None:
    paid_at = datetime(2026, 3, 20, 9, tzinfo=UTC)
    assert Grant(after_days=14).activates_at(paid_at, MADRID) == datetime(2026, 4, 3, 8, tzinfo=UTC)


@pytest.mark.parametrize("first", [date(2011, 6, 1), date(2024, 1, 1), date(2037, 6, 1)], ids=str)
def test_in_every_zone_the_last_day_is_usable_to_its_end_whatever_the_clocks_do(first: date) -> None:
    """On all days of two years beside a change of the clocks; Samoa's missing day is among them."""
    tick = timedelta(microseconds=1)
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        noons = [datetime(first.year, first.month, first.day, 12, tzinfo=UTC) + timedelta(days=n) for n in range(730)]
        for noon, next_noon in pairwise(noons):
            if noon.astimezone(zone).utcoffset() == next_noon.astimezone(zone).utcoffset():
                continue
            for days in (-1, 0, 1, 2):
                day = noon.date() + timedelta(days=days)
                end = Validity(Lasting.FIXED, on=day).expires_at(day, zone)
                assert end is not None
                assert (end - tick).astimezone(zone).date() <= day, (name, day)
                for minutes in (0, 1, 59, 61, 119, 179):
                    assert (end + timedelta(minutes=minutes)).astimezone(zone).date() > day, (name, day)
