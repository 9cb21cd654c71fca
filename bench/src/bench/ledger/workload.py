"""What members do, in the mixture that the ledger is measured with."""

import random
from bisect import bisect
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import accumulate
from typing import Final
from uuid import UUID

from chassis.lanes import lane_of
from ledger.domain.postings import Award, Capture, GiveBack, Hold, Posting, Spend

SHOP: Final = "bench"
SOURCE: Final = "bench"
LIVES_UNTIL: Final = datetime(2040, 1, 1, tzinfo=UTC)

EARNS_PERCENT: Final = 70
SPENDS_PERCENT: Final = 25
HOLDS_PERCENT: Final = 3
"""The rest are returns."""
REPEATED_PERCENT: Final = 1
"""Of all: asked again with the same key and content, not long after the first time."""

EXPIRES_IN_DAYS: Final = 1_000
"""From the day until which all live: as many different ends."""

AWARD: Final = 20
SPEND: Final = 56
"""Three lots. As much goes out as comes in, so that a member who does everything does not pile up lots."""
START: Final = 500
"""Points that every member has at first, so that what is measured is not write-offs."""

REMEMBERED: Final = 10_000
"""Of the newest spends and holds, from which returns and captures choose."""


class Spread(StrEnum):
    """How operations fall on members."""

    UNIFORM = "uniform"
    ZIPF = "zipf"
    """The n-th member is 1/n as busy as the first."""
    HOT = "hot"
    """One member does everything."""
    ROUNDS = "rounds"
    """Everybody comes once, in some order, before anybody comes again: a batch has as many members as it can have."""


class Keys(StrEnum):
    """What postings' keys look like to an index."""

    TIME_ORDERED = "time_ordered"
    RANDOM = "random"


def members_of(count: int, lanes: int, share: int, shares: int) -> list[str]:
    """The members of one of several processes, each with lanes of its own as Kafka's partitions give them."""
    members = (f"m-{number}" for number in range(count))
    return [member for member in members if lane_of(f"{SHOP}/{member}", lanes) % shares == share]


def first_awards(members: list[str]) -> Iterator[Posting]:
    """What every member has before anything is measured."""
    for member in members:
        yield _award(member, f"first/{member}", START, LIVES_UNTIL)


def operations(members: list[str], count: int, *, spread: Spread, keys: Keys, name: str) -> Iterator[Posting]:
    """The mixture: awards with lots, spends, holds and their captures, returns, and repeats of all of them.

    Another `name` makes other keys and other choices.
    """
    chance = random.Random(name)
    choose = _chooser(members, spread, chance)
    key_of = _namer(keys, name, chance)
    spends: deque[Spend] = deque(maxlen=REMEMBERED)
    holds: deque[Hold] = deque(maxlen=REMEMBERED)
    newest: deque[Posting] = deque(maxlen=REMEMBERED)
    for number in range(count):
        dice = chance.randrange(100)
        if newest and chance.randrange(100) < REPEATED_PERCENT:
            yield newest[chance.randrange(len(newest))]
            continue
        key, member = key_of(number), choose()
        posting: Posting
        if dice < EARNS_PERCENT:
            ends_at = LIVES_UNTIL + timedelta(days=chance.randrange(EXPIRES_IN_DAYS))
            posting = _award(member, key, AWARD, ends_at)
        elif dice < EARNS_PERCENT + SPENDS_PERCENT:
            posting = Spend(
                shop=SHOP, member=member, source=SOURCE, key=key, order=key, checkout=key, generation=1, amount=SPEND
            )
            spends.append(posting)
        elif dice < EARNS_PERCENT + SPENDS_PERCENT + HOLDS_PERCENT:
            if holds and chance.randrange(2):
                held = holds.popleft()
                posting = Capture(shop=SHOP, member=held.member, source=SOURCE, key=key, hold=held.hold)
            else:
                posting = Hold(
                    shop=SHOP, member=member, source=SOURCE, key=key, hold=key, amount=AWARD, at_most=True,
                    expires_at=LIVES_UNTIL,
                )  # fmt: skip
                holds.append(posting)
        elif spends:
            spent = spends.popleft()
            posting = GiveBack(
                shop=SHOP, member=spent.member, source=SOURCE, key=key, order=spent.order, checkout=spent.checkout,
                generation=1, total=SPEND,
            )  # fmt: skip
        else:
            posting = _award(member, key, AWARD, LIVES_UNTIL)
        newest.append(posting)
        yield posting


def _award(member: str, key: str, amount: int, expires_at: datetime) -> Award:
    return Award(shop=SHOP, member=member, source=SOURCE, key=key, order=key, amount=amount, expires_at=expires_at)


def _chooser(members: list[str], spread: Spread, chance: random.Random) -> Callable[[], str]:
    if spread is Spread.HOT:
        return lambda: members[0]
    if spread is Spread.UNIFORM:
        return lambda: members[int(chance.random() * len(members))]
    if spread is Spread.ROUNDS:
        return partial(next, _rounds(list(members), chance))
    weights = list(accumulate(1 / rank for rank in range(1, len(members) + 1)))
    return lambda: members[bisect(weights, chance.random() * weights[-1])]


def _rounds(members: list[str], chance: random.Random) -> Iterator[str]:
    while True:
        chance.shuffle(members)
        yield from members


def _namer(keys: Keys, name: str, chance: random.Random) -> Callable[[int], str]:
    if keys is Keys.TIME_ORDERED:
        return lambda number: f"{number:010d}-{name}"
    return lambda _: str(UUID(int=chance.getrandbits(128), version=4))
