"""Once each: an entry against what has been told of its account; and when to try again."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.ledger import Buckets, PointsChanged
from notifications.domain import BACK_OFF, Entry, Place, Standing, next_attempt, place_of, standing

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def entry(seq: int, *, epoch: int = 1, content: str = "") -> Entry:
    return PointsChanged(
        shop="corner",
        member="m-1",
        account="a-1",
        epoch=epoch,
        seq=seq,
        entry=f"e-{seq}",
        kind="award",
        at=NOW,
        recorded_at=NOW,
        source="rules",
        posting=f"p-{seq}",
        system={},
        changes=Buckets(available=1),
        balances=Buckets(available=seq),
        hash=content or f"{epoch}-{seq}",
    )


PLACE = place_of(entry(5))


def test_the_next_entry_is_news() -> None:
    assert standing(PLACE, entry(6)) is Standing.NEXT
    assert place_of(entry(6)) == Place(1, 6, "1-6", 6)


def test_a_reader_may_start_anywhere() -> None:
    assert standing(None, entry(500)) is Standing.NEXT


def test_one_that_jumps_over_others_is_ahead() -> None:
    assert standing(PLACE, entry(7)) is Standing.AHEAD
    assert standing(PLACE, entry(10_000)) is Standing.AHEAD


def test_the_last_one_again_is_a_repeat() -> None:
    assert standing(PLACE, entry(5)) is Standing.REPEATED


def test_the_last_one_with_another_hash_is_a_fork() -> None:
    assert standing(PLACE, entry(5, content="forged")) is Standing.FORKED


def test_one_before_it_is_a_repeat() -> None:
    assert standing(PLACE, entry(4)) is Standing.REPEATED


def test_a_new_epoch_starts_anew_and_an_old_one_is_over() -> None:
    assert standing(PLACE, entry(3, epoch=2)) is Standing.NEXT
    assert standing(place_of(entry(3, epoch=2)), entry(9, epoch=1)) is Standing.REPEATED


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
