"""What is asked for: every kind of posting, on few members so that they meet, again and again under the same keys."""

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, NamedTuple

from bench.ledger.workload import SHOP

FORGIVING: Final = SHOP
"""Writes shortfalls off."""
OWING: Final = "bench-debt"
"""Keeps them as debts."""

MEMBERS: Final = 40
"""In each shop: few, so that operations meet."""
HOT_PERCENT: Final = 20
"""Of all operations, on one member."""
SOURCE: Final = "test"
"""The client of the tokens, and the source named on Kafka: so either way in can ask for what came by the other."""

REMEMBERED: Final = 500
REPEATED_PERCENT: Final = 6
AHEAD_PERCENT: Final = 30
"""Of returns and take-backs: asked for before what they belong to."""
SOON_PERCENT: Final = 15
"""Of lots: they activate or expire while the campaign goes on."""


class Place(NamedTuple):
    """An account."""

    shop: str
    member: str

    @property
    def account(self) -> str:
        return f"{self.shop}/{self.member}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A posting, so that it can be asked again word for word."""

    place: Place
    key: str
    effect: dict[str, Any]
    shared: dict[str, Any] = field(default_factory=dict)
    """`order` and `cause`."""

    @property
    def kind(self) -> str:
        """Of the effect."""
        return str(self.effect["kind"])

    @property
    def posting(self) -> dict[str, Any]:
        """As the API takes it."""
        return {"key": self.key, "member": self.place.member, "effect": self.effect, **self.shared}


FREEZING: Final = {"operator": "ana", "reason": "lost_card"}
"""Who freezes and lets go, and why."""
_OPERATOR: Final = {"cause": {"operator": "ana", "reason": "correction"}}


class Mixture:
    """An endless source of postings, different for each name; what belongs together is kept together."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self._name = name
        self._chance = chance
        self._numbers = count()
        self._awards: deque[tuple[Place, str, int]] = deque(maxlen=REMEMBERED)
        self._spends: deque[tuple[Place, dict[str, Any], int]] = deque(maxlen=REMEMBERED)
        self._newest: deque[Asked] = deque(maxlen=REMEMBERED)
        self._later: deque[Asked] = deque()
        """Causes of what was asked for ahead of them."""

    def place(self) -> Place:
        """Whose points."""
        if self._chance.randrange(100) < HOT_PERCENT:
            return Place(FORGIVING, "m-0")
        return Place(self._chance.choice((FORGIVING, OWING)), f"m-{self._chance.randrange(MEMBERS)}")

    def postings(self) -> Iterator[Asked]:
        """One after the other; without holds, which only callers that wait for their answers place."""
        while True:
            chance = self._chance.randrange(100)
            if self._newest and chance < REPEATED_PERCENT:
                yield self._chance.choice(self._newest)
                continue
            if self._later and chance < 2 * REPEATED_PERCENT:
                yield self._later.popleft()
                continue
            asked = self._next()
            self._newest.append(asked)
            yield asked

    def rest(self) -> Sequence[Asked]:
        """Causes that are still owed to what waits for them."""
        rest = list(self._later)
        self._later.clear()
        return rest

    def hold(self) -> Asked:
        """A new hold; some end soon, some outlive the campaign."""
        key = self._key()
        seconds = self._chance.choice((5, 15, 30, 36_000))
        effect = {
            "kind": "hold", "hold": key, "amount": self._chance.randrange(1, 80),
            "at_most": self._chance.random() < 0.5, "expires_at": _ahead(seconds),
        }  # fmt: skip
        return Asked(self.place(), key, effect)

    def gift(self) -> Asked:
        """A new gift, to another member of the shop or (refused) to the giver."""
        to = f"m-{self._chance.randrange(MEMBERS)}"
        return Asked(self.place(), self._key(), {"kind": "gift", "to": to, "amount": self._chance.randrange(1, 40)})

    def freezing(self) -> tuple[Asked, Asked]:
        """A member is frozen, and let go again."""
        place = self.place()
        freeze, unfreeze = (Asked(place, self._key(), {"kind": kind, **FREEZING}) for kind in ("freeze", "unfreeze"))
        return freeze, unfreeze

    def end(self, asked: Asked) -> Asked:
        """The end of a hold that was placed."""
        key, hold = self._key(), asked.effect["hold"]
        if self._chance.random() < 0.6:
            return Asked(asked.place, key, {"kind": "capture", "hold": hold})
        return Asked(asked.place, key, {"kind": "release", "hold": hold})

    def captured(self, asked: Asked, amount: int) -> None:
        """A capture can be given back, as a spend."""
        self._spends.append((asked.place, {"checkout": asked.effect["hold"], "generation": 1}, amount))

    def _next(self) -> Asked:
        dice = self._chance.randrange(100)
        if dice < 45:
            return self._award(self.place(), self._key())
        if dice < 55:
            amount = self._chance.randrange(1, 80)
            kind = self._chance.choice(("credit", "debit", "debit"))
            return Asked(self.place(), self._key(), {"kind": kind, "amount": amount}, _OPERATOR)
        if dice < 75:
            return self._spend(self.place(), self._key())
        return self._return() if dice < 90 else self._take_back()

    def _award(self, place: Place, key: str) -> Asked:
        effect: dict[str, Any] = {"kind": "award", "amount": self._chance.randrange(1, 60)}
        if self._chance.randrange(100) < SOON_PERCENT:
            activates_in, lasts = self._chance.randrange(1, 20), self._chance.randrange(1, 60)
            if self._chance.random() < 0.5:
                effect["activates_at"] = _ahead(activates_in)
            if self._chance.random() < 0.7:
                effect["expires_at"] = _ahead(activates_in + lasts)
        self._awards.append((place, key, effect["amount"]))
        return Asked(place, key, effect, {"order": key})

    def _spend(self, place: Place, key: str) -> Asked:
        spent = {"checkout": key, "generation": 1}
        amount = self._chance.randrange(1, 120)
        self._spends.append((place, spent, amount))
        return Asked(place, key, {"kind": "spend", "amount": amount, **spent}, {"order": key})

    def _return(self) -> Asked:
        """So far in all, of a spend that was asked for or will be."""
        if not self._spends or self._chance.randrange(100) < AHEAD_PERCENT:
            self._later.append(self._spend(self.place(), self._key()))
            place, spent, amount = self._spends[-1]
        else:
            place, spent, amount = self._chance.choice(self._spends)
        return Asked(place, self._key(), {"kind": "give_back", "total": self._chance.randrange(amount + 1), **spent})

    def _take_back(self) -> Asked:
        """So far in all, of an award that was asked for or will be."""
        if not self._awards or self._chance.randrange(100) < AHEAD_PERCENT:
            self._later.append(self._award(self.place(), self._key()))
            place, award, amount = self._awards[-1]
        else:
            place, award, amount = self._chance.choice(self._awards)
        return Asked(
            place, self._key(), {"kind": "revoke", "award": award, "total": self._chance.randrange(amount + 1)}
        )

    def _key(self) -> str:
        return f"{self._name}-{next(self._numbers)}"


def _ahead(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
