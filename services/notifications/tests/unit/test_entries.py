"""Once each: an entry against what has been told of its account."""

from datetime import UTC, datetime

from contracts.ledger import Buckets, PointsChanged
from notifications.domain import Entry, Place, Standing, place_of, standing

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
