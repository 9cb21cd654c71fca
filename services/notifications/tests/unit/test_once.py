"""Once each: an entry against what has been told of its account; and when to try again."""

from datetime import UTC, datetime, timedelta

import pytest

from notifications.domain import BACK_OFF, Buckets, Entry, Place, Standing, next_attempt, place_of, standing

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def entry(seq: int, *, epoch: int = 1, content: str = "") -> Entry:
    return Entry(
        shop="corner",
        member="m-1",
        account="a-1",
        epoch=epoch,
        seq=seq,
        entry=f"e-{seq}",
        kind="award",
        at=NOW,
        changes=Buckets(available=1),
        balances=Buckets(available=seq),
        hash=content or f"{epoch}-{seq}",
    )


PLACE = place_of(entry(5))


def test_the_next_entry_is_news() -> None:
    assert standing(PLACE, entry(6)) == (Standing.NEXT, range(0))
    assert place_of(entry(6)) == Place(1, 6, "1-6", 6)


def test_a_reader_may_start_anywhere() -> None:
    assert standing(None, entry(500)) == (Standing.NEXT, range(0))


def test_what_is_jumped_over_is_named() -> None:
    verdict, gap = standing(PLACE, entry(9))
    assert (verdict, list(gap)) == (Standing.NEXT, [6, 7, 8])


def test_a_very_long_jump_names_only_its_end() -> None:
    _, gap = standing(PLACE, entry(10_000))
    assert (gap[0], gap[-1]) == (9_000, 9_999)


def test_the_last_one_again_is_a_repeat() -> None:
    assert standing(PLACE, entry(5))[0] is Standing.REPEATED


def test_the_last_one_with_another_hash_is_a_fork() -> None:
    assert standing(PLACE, entry(5, content="forged"))[0] is Standing.FORKED


def test_one_before_it_is_older() -> None:
    assert standing(PLACE, entry(4))[0] is Standing.OLDER


def test_a_new_epoch_starts_anew_and_an_old_one_is_over() -> None:
    assert standing(PLACE, entry(3, epoch=2)) == (Standing.NEXT, range(0))
    assert standing(place_of(entry(3, epoch=2)), entry(9, epoch=1))[0] is Standing.OLDER


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
