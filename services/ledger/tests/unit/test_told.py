"""The end of the topic: which epoch and position were told last, whatever was repeated late."""

import json
from typing import Any

from chassis.relay import partition_of
from contracts import topics
from ledger.store.log import EPOCH_LANES, epoch_event
from ledger.told import Told, note

from .started import STARTED


def seen(*records: tuple[int, int, dict[str, Any] | None]) -> dict[int, Told]:
    lanes: dict[int, Told] = {}
    for lane, position, body in records:
        headers = [("ce_lane", b"%d" % lane), ("ce_position", b"%d" % position), ("ce_id", b"e-%d" % position)]
        note(lanes, headers, b"{}" if body is None else json.dumps(body).encode())
    return lanes


def test_the_highest_position_of_the_last_epoch_is_what_was_told() -> None:
    lanes = seen((3, 7, {"epoch": 1}), (3, 8, None), (4, 1, {"epoch": 1}), (3, 6, {"epoch": 1}))
    assert {lane: (told.epoch, told.position) for lane, told in lanes.items()} == {3: (1, 8), 4: (1, 1)}
    assert lanes[3].ids == {7: "e-7", 8: "e-8", 6: "e-6"}


def test_a_new_epoch_begins_at_its_position_and_older_ones_are_late_repeats() -> None:
    start = (EPOCH_LANES + 3, 2, {"epoch": 2, "position": 5})
    lanes = seen((3, 9, {"epoch": 1}), start, (3, 6, {"epoch": 2}), (3, 10, {"epoch": 1}))
    assert (lanes[3].epoch, lanes[3].position, set(lanes[3].ids)) == (2, 6, {5, 6})
    assert seen((3, 9, {"epoch": 1}), start)[3].position == 5


def test_what_no_relay_of_a_ledger_sent_is_passed_over() -> None:
    lanes: dict[int, Told] = {}
    note(lanes, [], b"{}")
    note(lanes, [("ce_lane", b"x"), ("ce_position", b"1"), ("ce_id", b"a")], b"{}")
    note(lanes, [("ce_lane", b"1"), ("ce_position", b"1"), ("ce_id", b"a")], b"not json")
    assert lanes == {}


def test_the_start_of_an_epoch_goes_where_the_rows_of_its_lane_go() -> None:
    event = epoch_event(STARTED)
    assert event.topic == topics.LEDGER.name
    assert partition_of(event) == STARTED.start.lane % topics.LEDGER.partitions
    assert EPOCH_LANES % topics.LEDGER.partitions == 0
