"""Ids: UUIDv7, ascending, never twice."""

from datetime import UTC, datetime, timedelta
from threading import Thread
from uuid import UUID

import pytest

from chassis import ids


def test_an_id_is_a_uuid_of_version_7() -> None:
    made = UUID(ids.new_id())
    assert (made.version, made.variant) == (7, "specified in RFC 4122")


def test_ids_ascend_also_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([5_000_000_000_000_000_000, 4_000_000_000_000_000_000, 4_000_000_000_000_000_000])
    monkeypatch.setattr(ids, "_last", 0)
    monkeypatch.setattr(ids.time, "time_ns", lambda: next(clock))
    made = [ids.new_uuid() for _ in range(3)]
    assert made == sorted(made)
    assert len(set(made)) == 3


def test_more_ids_than_fit_a_millisecond_go_on_ascending() -> None:
    made = [ids.new_uuid() for _ in range(20_000)]
    assert made == sorted(set(made))


def test_a_named_id_is_the_same_for_the_same_name_and_ascends_with_its_moment() -> None:
    at = datetime(2026, 3, 2, 9, 32, 1, 250_000, tzinfo=UTC)
    made = ids.named_uuid(at, "corner", "a-1:1:7")
    assert (str(made), made.version, made.variant) == (
        "019cade3-eb62-8d80-b9d4-cf209c65b22b", 8, "specified in RFC 4122",
    )  # fmt: skip
    assert made == ids.named_uuid(at, "corner", "a-1:1:7")
    assert ids.named_uuid(at, "corner", "a-1:1:8") != made != ids.named_uuid(at, "corner\na-1:1", "7")
    assert ids.named_uuid(at + timedelta(milliseconds=1), "corner", "a-1:1:7") > made


def test_threads_never_get_the_same_id() -> None:
    made: list[UUID] = []
    threads = [Thread(target=lambda: made.extend(ids.new_uuid() for _ in range(2_000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8_000
