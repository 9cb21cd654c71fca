"""Lanes: the same key, the same lane, in every process and for ever."""

from collections import Counter

from chassis.lanes import lane_of


def test_a_keys_lane_never_changes() -> None:
    """Written down: a change would split the rows of a key over two lanes."""
    assert [lane_of(key, 8) for key in ("corner/m-1", "corner/m-2", "other/m-1", "", "ü/1")] == [5, 7, 3, 0, 7]


def test_lanes_are_used_evenly() -> None:
    counts = Counter(lane_of(f"corner/m-{number}", 8) for number in range(80_000))
    assert set(counts) == set(range(8))
    assert all(9_000 < count < 11_000 for count in counts.values())
