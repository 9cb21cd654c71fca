"""Floods of dead letters: whose is one shop's, when there are too many."""

from chassis import Poison
from chassis.flood import Flood
from chassis.messages import Message, Raw
from testkit.probe import settings_of_nobody

SETTINGS = settings_of_nobody(dead_letters_per_shop=3, dead_letter_shops=2)


def _dead(shop: str, count: int) -> list[Message]:
    raw = Raw("orders", 0, 0, None, (), None)
    return [Message(raw, shop, dead=Poison("malformed", "…")) for _ in range(count)]


def test_a_shop_is_over_the_limit_once() -> None:
    flood = Flood(SETTINGS)
    assert flood.over(_dead("a", 2), now=0) == set()
    assert flood.over(_dead("a", 1), now=1) == {"a"}
    assert flood.over(_dead("a", 50), now=2) == set()
    assert flood.reason_to_stop is None


def test_several_shops_are_a_reason_to_stop() -> None:
    flood = Flood(SETTINGS)
    assert flood.over(_dead("a", 3) + _dead("b", 3) + _dead("c", 2), now=0) == {"a", "b"}
    assert flood.reason_to_stop == "2 shops quarantined within a minute"


def test_what_is_older_than_a_minute_does_not_count() -> None:
    flood = Flood(SETTINGS)
    assert flood.over(_dead("a", 2), now=0) == set()
    assert flood.over(_dead("a", 1), now=61) == set()
    assert flood.over(_dead("a", 2), now=62) == {"a"}
    assert flood.over(_dead("b", 3), now=123) == {"b"}
    assert flood.reason_to_stop is None


def test_messages_that_tell_no_shop_are_nobodys_flood() -> None:
    flood = Flood(SETTINGS)
    assert flood.over(_dead("", 1_000), now=0) == set()
    assert flood.reason_to_stop is None


def test_shops_whose_time_is_over_are_forgotten() -> None:
    flood = Flood(SETTINGS)
    for number in range(10):
        flood.over(_dead(f"made-up-{number}", 1), now=0)
    assert flood.over([], now=61) == set()
    assert not flood._counts
