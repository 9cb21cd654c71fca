"""When the end of points is announced: once per lot and lead time, at the shop's local time."""

from datetime import UTC, datetime, time, timedelta

from hypothesis import given
from hypothesis import strategies as st

from notifications.domain import Announcement, Lot, Reminders, announce, expiring, last_day, lead_instant

ZONE = "Europe/Madrid"
OPENED = datetime(2026, 1, 1, tzinfo=UTC)
ENDS = datetime(2026, 3, 31, 22, tzinfo=UTC)
"""Usable through 31 March in Madrid, where summer time has begun on the 29th."""

REMINDERS = Reminders((30, 7, 1), time(9))


def lot(*, announced: int | None = None, remaining: int = 10, opened_at: datetime = OPENED) -> Lot:
    return Lot("l-1", remaining, opened_at, ENDS, announced)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def plan(now: str, **of: object) -> Announcement:
    return announce(lot(**of), reminders=REMINDERS, zone=ZONE, now=at(now))  # type: ignore[arg-type]


def test_the_last_day_is_the_shops() -> None:
    assert last_day(ENDS, ZONE).isoformat() == "2026-03-31"
    assert last_day(ENDS, "America/New_York").isoformat() == "2026-03-31"
    assert last_day(ENDS, "Asia/Tokyo").isoformat() == "2026-04-01"


def test_leads_are_counted_from_the_last_day_at_the_shops_local_time() -> None:
    leads = {
        days: lead_instant(ENDS, lead_days=days, local_time=time(9), zone=ZONE).isoformat() for days in (0, 1, 7, 30)
    }
    assert leads == {
        0: "2026-03-31T07:00:00+00:00",  # summer time
        1: "2026-03-30T07:00:00+00:00",
        7: "2026-03-24T08:00:00+00:00",  # winter time
        30: "2026-03-01T08:00:00+00:00",
    }


def test_each_lead_time_has_its_turn() -> None:
    assert plan("2026-02-01T00:00+00:00") == Announcement(None, at("2026-03-01T08:00+00:00"))
    assert plan("2026-03-01T08:00+00:00") == Announcement(30, at("2026-03-24T08:00+00:00"))
    assert plan("2026-03-01T08:00+00:00", announced=30) == Announcement(None, at("2026-03-24T08:00+00:00"))
    assert plan("2026-03-24T08:00+00:00", announced=30) == Announcement(7, at("2026-03-30T07:00+00:00"))
    assert plan("2026-03-30T07:00+00:00", announced=7) == Announcement(1, None)
    assert plan("2026-03-30T07:00+00:00", announced=1) == Announcement(None, None)


def test_after_a_standstill_only_the_shortest_lead_that_was_missed_is_told() -> None:
    assert plan("2026-03-25T00:00+00:00") == Announcement(7, at("2026-03-30T07:00+00:00"))


def test_what_was_earned_within_a_lead_time_is_not_announced_by_it() -> None:
    opened_at = at("2026-03-20T00:00+00:00")
    assert plan("2026-03-20T00:00+00:00", opened_at=opened_at) == Announcement(None, at("2026-03-24T08:00+00:00"))


def test_nothing_is_announced_of_what_is_used_up_or_over() -> None:
    assert plan("2026-03-24T09:00+00:00", remaining=0) == Announcement(None, None)
    assert announce(lot(), reminders=REMINDERS, zone=ZONE, now=ENDS) == Announcement(None, None)


def test_without_lead_times_nothing_is_announced() -> None:
    assert announce(lot(), reminders=Reminders(()), zone=ZONE, now=OPENED) == Announcement(None, None)


def test_lots_that_end_together_are_one_message() -> None:
    lots = [Lot("l-2", 30, OPENED, ENDS), Lot("l-1", 12, OPENED, ENDS)]
    event = expiring("corner", "m-1", "a-1", lots, lead_days=7, available=99, now=OPENED)
    assert event.key == "a-1:ends:l-1:7"
    assert (event.facts.points, event.facts.change, event.facts.available) == (42, -42, 99)
    assert (event.facts.expires_at, event.facts.lead_days) == (ENDS, 7)


@given(
    st.lists(st.integers(0, 40), max_size=6),
    st.lists(st.integers(0, 90 * 24), max_size=30),
    st.integers(0, 80),
    st.sampled_from(["Europe/Madrid", "Pacific/Apia", "America/St_Johns", "UTC"]),
)
def test_whenever_one_looks_each_lead_is_told_at_most_once_and_none_too_early(
    leads: list[int], looks: list[int], opened_day: int, zone: str
) -> None:
    reminders = Reminders(tuple(leads))
    opened_at = OPENED + timedelta(days=opened_day)
    told: list[int] = []
    for hour in sorted(looks):
        now = OPENED + timedelta(hours=hour)
        if now < opened_at:
            continue
        shortest = min(told, default=None)
        found = announce(lot(opened_at=opened_at, announced=shortest), reminders=reminders, zone=zone, now=now)
        if found.lead_days is not None:
            at_least = lead_instant(ENDS, lead_days=found.lead_days, local_time=time(9), zone=zone)
            assert opened_at <= at_least <= now < ENDS
            told.append(found.lead_days)
        assert found.next_at is None or now < found.next_at < ENDS
    assert told == sorted(set(told), reverse=True)
