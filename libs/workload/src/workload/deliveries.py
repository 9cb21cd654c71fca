"""How events arrive: in order of time, and on request some twice and some long after their time."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from heapq import heappop, heappush
from random import Random

from workload.lives import Life, OrderEvent


def deliveries(
    lives: Iterable[Life], *, repeats: float = 0.0, late: float = 0.0, delay_hours: float = 72.0, seed: int = 1
) -> Iterator[OrderEvent]:
    """The events of many orders as one stream.

    `repeats`: the share of events that come once more some time later, half of them under another event id.
    `late`: the share that comes up to `delay_hours` after its time, so that newer states overtake it.
    A member's first order is never late.
    """
    chance = Random(seed)
    waiting: list[tuple[datetime, int, OrderEvent]] = []
    number = 0
    for life in lives:
        started_at = life.events[0].at
        while waiting and waiting[0][0] <= started_at:
            yield heappop(waiting)[2]
        for event in life.events:
            at = event.at
            if late and not life.first and chance.random() < late:
                at += timedelta(hours=delay_hours * chance.random())
            number += 1
            heappush(waiting, (at, number, event))
            if repeats and chance.random() < repeats:
                again = event._replace(id=f"{event.id}-again") if chance.random() < 0.5 else event
                number += 1
                heappush(waiting, (at + timedelta(hours=delay_hours * chance.random()), number, again))
    while waiting:
        yield heappop(waiting)[2]
