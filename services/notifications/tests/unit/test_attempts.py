"""When to try again what could not be delivered."""

from datetime import UTC, datetime, timedelta

import pytest

from notifications.domain import BACK_OFF, next_attempt

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def test_pauses_grow_for_days() -> None:
    at, pauses, since = NOW, [], NOW
    for attempt in range(1, 100):
        following = next_attempt(attempts=attempt, since=since, now=at, give_up_after=timedelta(days=5), spread=0)
        if following is None:
            break
        pauses.append(following - at)
        at = following
    assert pauses[: len(BACK_OFF)] == list(BACK_OFF)
    assert pauses == sorted(pauses)
    assert timedelta(days=4) < at - since <= timedelta(days=5)


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_pauses_are_spread_by_up_to_a_tenth(spread: float) -> None:
    at = next_attempt(attempts=5, since=NOW, now=NOW, give_up_after=timedelta(days=1), spread=spread)
    assert at == NOW + timedelta(minutes=10 + spread)
