"""What a broker's answers say of the end of what was sent."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import RecordMetadata

from chassis.acknowledged import CutOff, End, ends_of

FIRST, SECOND = ("postings", 1), ("postings", 2)


def answer(partition: tuple[str, int], offset: int, timestamp: int | None, kind: int = 1) -> Any:
    return RecordMetadata(*partition, TopicPartition(*partition), offset, timestamp, kind, 0)


def test_the_end_is_behind_the_last_batch_of_each_partition() -> None:
    sent = [(answer(FIRST, 10, 500), 3), (answer(FIRST, 13, 501), 2), (answer(SECOND, 0, 499), 1)]
    assert ends_of(sent, {FIRST: End(10, 400)}) == {FIRST: End(15, 501), SECOND: End(1, 499)}


def test_times_that_the_broker_did_not_give_say_nothing() -> None:
    assert ends_of([(answer(FIRST, 10, 500, kind=0), 3), (answer(FIRST, -1, None), 3)], {FIRST: End(99, 1)}) == {}


def test_a_record_before_the_known_end_says_that_what_was_there_is_gone() -> None:
    with pytest.raises(CutOff) as cut:
        ends_of([(answer(SECOND, 7, 500), 1), (answer(FIRST, 9, 500), 3)], {FIRST: End(10, 400), SECOND: End(7, 1)})
    assert cut.value.lost == {FIRST: 9}
