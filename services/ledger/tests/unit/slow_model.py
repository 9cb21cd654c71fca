"""A slow, obvious ledger: points one by one, every rule spelled out, and nothing shared with the real one."""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2026, 2, 1, tzinfo=UTC)
END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)
GIFTS_A_DAY, GIVEN_A_DAY = 3, 14


@dataclass
class MLot:
    number: int
    left: int
    starts: datetime
    ends: datetime
    priority: int
    order: str | None
    award: str | None
    pending: bool
    waits: bool = False
    """For an event."""
    ended: bool = False
    was: list[int] = field(default_factory=list)
    """Its numbers in the accounts that it came from by merges that stand."""

    @property
    def rank(self) -> Any:
        return self.priority, self.ends, self.starts, self.number


@dataclass
class MHold:
    number: int
    amount: int
    placed: datetime
    ends: datetime
    came: list[str] = field(default_factory=list)
    """By which merges that stand."""


@dataclass
class Missed:
    number: int
    key: str
    order: str | None
    spend: Any = None
    award: str | None = None
    waits: int = 0
    owed: int = 0
    off: int = 0
    since: datetime = START
    came: list[str] = field(default_factory=list)


@dataclass
class MSpend:
    amount: int
    order: str | None
    key: str
    used: list[int] = field(default_factory=list)
    """Lot of every point used, in order of use; those that came back are gone from it."""
    returned: int = 0
    ended: int = 0
    reversed: int = 0
    came: list[str] = field(default_factory=list)


@dataclass
class MParked:
    """Asked for before its cause was known."""

    cause: Any
    """An award's key, or a spend."""
    act: str
    content: tuple[Any, ...]
    posting: Any

    @property
    def owner(self) -> str:
        """Of the cause; its name begins with its member's."""
        name: str = self.cause if isinstance(self.cause, str) else self.cause[0]
        return name[0]


class Model:
    """Everything is a loop over single points; nothing is cached, nothing is clever."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.now = START
        self.numbers = 0
        self.lots: list[MLot] = []
        self.holds: dict[str, MHold] = {}
        self.missed: list[Missed] = []
        self.spends: dict[Any, MSpend] = {}
        self.awarded: dict[str, tuple[int, str | None]] = {}
        self.asked_back: dict[str, int] = defaultdict(int)
        self.system: dict[str, int] = defaultdict(int)
        self.earned = 0
        self.spent = 0
        self.frozen = False
        self.given: list[tuple[Any, int]] = []
        self.parked: list[MParked] = []

    # -- what stands

    @property
    def held(self) -> int:
        return sum(hold.amount for hold in self.holds.values())

    @property
    def pending(self) -> int:
        return sum(lot.left for lot in self.lots if lot.pending)

    @property
    def available(self) -> int:
        return sum(lot.left for lot in self.lots if not lot.pending) - self.held

    @property
    def debt(self) -> int:
        return -sum(missed.owed for missed in self.missed)

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    # -- time

    def advance(self, now: datetime) -> None:
        self.now = now
        self.due()

    def due(self) -> None:
        while True:
            things = [
                (lot.starts, 0, lot.number, lot) for lot in self.lots if lot.pending and lot.left and not lot.waits
            ]
            things += [(hold.ends, 1, hold.number, name) for name, hold in self.holds.items()]
            things += [
                (lot.ends, 2, lot.number, lot) for lot in self.lots if lot.left and not lot.ended and not lot.pending
            ]
            things = sorted((thing for thing in things if thing[0] <= self.now), key=lambda thing: thing[:3])
            if not things:
                return
            _, what, _, thing = things[0]
            if what == 0:
                thing.pending = False
                self.repay_from([thing])
            elif what == 1:
                self.end_hold(thing, 0)
            else:
                left_over = self.left_over(thing)  # it is no ended lot yet, that goes before all others
                thing.ended = True
                self.expire(thing, left_over)

    def expire(self, lot: MLot, points: int) -> None:
        lot.left -= points
        self.system["expired"] += points

    # -- lots and holds

    def live(self) -> list[MLot]:
        return sorted(
            (lot for lot in self.lots if lot.left and not lot.pending and not lot.ended), key=lambda lot: lot.rank
        )

    @staticmethod
    def may_use(hold: MHold, lot: MLot) -> bool:
        return not lot.pending and hold.placed < lot.ends

    def allocate(self, holds: list[MHold], left: dict[int, int]) -> bool:
        """Give every hold its points, ended lots first, the newest hold first; False if one goes short."""
        lots = sorted(self.lots, key=lambda lot: (not lot.ended, lot.rank))
        for hold in sorted(holds, key=lambda hold: (hold.placed, hold.number), reverse=True):
            for _ in range(hold.amount):
                for lot in lots:
                    if left[lot.number] and self.may_use(hold, lot):
                        left[lot.number] -= 1
                        break
                else:
                    return False
        return True

    def left_over(self, lot: MLot) -> int:
        left = {other.number: other.left for other in self.lots}
        assert self.allocate(list(self.holds.values()), left)
        return left[lot.number]

    def end_hold(self, name: str, captured: int) -> list[int]:
        """Returns the lot of every point captured."""
        hold = self.holds[name]
        freed = hold.amount - captured
        for missed in self.missed:
            while missed.waits and freed:
                self.take_for_hold(hold, own=missed)
                missed.waits -= 1
                freed -= 1
                hold.amount -= 1
                self.system["revoked"] += 1
                self.earned -= 1
        used = []
        for _ in range(captured):
            used.append(self.take_for_hold(hold))
            hold.amount -= 1
        self.system["redeemed"] += captured
        self.spent += captured
        del self.holds[name]
        going = {lot.number: self.left_over(lot) for lot in self.lots if lot.ended}
        gone = sum(going.values())
        while -self.debt and freed > gone:
            self.repay_one(self.live()[0])
            freed -= 1
        for lot in self.lots:
            if lot.ended:
                self.expire(lot, going[lot.number])
        self.settle_uncovered()
        return used

    def settle_uncovered(self) -> None:
        for missed in reversed(self.missed):
            while missed.waits and sum(other.waits for other in self.missed) > self.held:
                missed.waits -= 1
                self.take_back_one(missed.key, missed.order, missed.award)

    def take_for_hold(self, hold: MHold, own: Missed | None = None) -> int:
        """One point for a hold that ends: the first in order that the holds staying open can do without."""
        others = [other for other in self.holds.values() if other is not hold]
        rest = MHold(hold.number, hold.amount - 1, hold.placed, hold.ends)
        for lot in self.own_first(self.lots, own):
            if lot.left and self.may_use(hold, lot):
                left = {other.number: other.left for other in self.lots}
                left[lot.number] -= 1
                if self.allocate([*others, rest], left):
                    lot.left -= 1
                    return lot.number
        raise AssertionError("a capture fails for lack of points")

    def own_first(self, lots: list[MLot], own: Missed | None) -> list[MLot]:
        order = own.order if own else None
        award = own.award if own else None
        return sorted(
            lots,
            key=lambda lot: (
                not (award is not None and lot.award == award),
                not (order is not None and lot.order == order),
                not lot.ended,
                lot.rank,
            ),
        )

    # -- what is missing

    def row(self, key: str, order: str | None, spend: Any = None, award: str | None = None) -> Missed:
        for missed in self.missed:
            if missed.key == key:
                return missed
        self.missed.append(Missed(self.number(), key, order, spend, award, since=self.now))
        return self.missed[-1]

    def miss_one(self, missed: Missed) -> None:
        if self.policy == "debt":
            missed.owed += 1
        else:
            missed.off += 1
            self.system["written_off"] -= 1

    def repay_one(self, lot: MLot, rows: list[Missed] | None = None) -> None:
        lot.left -= 1
        missed = next(missed for missed in (self.missed if rows is None else rows) if missed.owed)
        missed.owed -= 1
        if missed.spend is not None:
            self.spends[missed.spend].used.append(lot.number)

    def repay_from(self, lots: list[MLot]) -> None:
        for lot in lots:
            while lot.left and self.debt:
                self.repay_one(lot)

    def cancel_one(self, rows: list[Missed]) -> bool:
        for missed in rows:
            if missed.owed:
                missed.owed -= 1
                return True
            if missed.off:
                missed.off -= 1
                self.system["written_off"] += 1
                return True
        return False

    # -- postings

    def credit(
        self, name: str, amount: int, order: str | None, starts: Any, ends: Any, priority: int, award: str | None
    ) -> None:
        self.due()
        waits = starts == "event"
        starts = None if waits else starts
        pending = waits or (starts is not None and starts > self.now)
        lot = MLot(
            self.number(), amount, starts or self.now, ends or END_OF_TIME, priority, order, award, pending, waits
        )
        self.lots.append(lot)
        self.system[name] -= amount
        if lot.ends <= self.now:
            lot.ended = True
            self.expire(lot, amount)
        elif not pending:
            self.repay_from([lot])

    def award(self, key: str, amount: int, order: str | None, starts: Any, ends: Any, priority: int) -> None:
        self.credit("issued", amount, order, starts, ends, priority, key)
        self.awarded[key] = (amount, order)
        self.earned += amount

    def debit(self, amount: int) -> bool:
        self.due()
        if amount > self.available:
            return False
        for _ in range(amount):
            self.live()[0].left -= 1
        self.system["adjusted"] += amount
        return True

    def give(self, other: "Model", amount: int) -> None:
        self.due()
        today = (self.now - timedelta(hours=5)).date()  # New York, in winter
        before = [points for day, points in self.given if day == today]
        if self.frozen or amount > self.available:
            return
        if len(before) >= GIFTS_A_DAY or sum(before) + amount > GIVEN_A_DAY:
            return
        self.given.append((today, amount))
        other.due()
        got: list[MLot] = []
        number = other.number()
        for _ in range(amount):
            lot = self.live()[0]
            lot.left -= 1
            if not got or (got[-1].rank, got[-1].order) != (lot.rank, lot.order):
                got.append(replace(lot, left=0))
            got[-1].left += 1
        for place, lot in enumerate(got):
            lot.number, lot.order, lot.award, lot.was = number + place * 1_000_000, None, None, []
        other.lots += got
        self.system["transferred"] += amount
        other.system["transferred"] -= amount
        other.repay_from(got)

    def hold(self, name: str, amount: int, at_most: bool, ends: datetime) -> bool:
        self.due()
        if self.frozen:
            return False
        amount = min(amount, self.available) if at_most else amount
        if not 0 < amount <= self.available:
            return False
        self.holds[name] = MHold(self.number(), amount, self.now, ends)
        return True

    def capture(self, name: str, amount: int | None, key: str) -> None:
        self.due()
        if name not in self.holds or (amount or 0) > self.holds[name].amount or (name, 1) in self.spends:
            return
        amount = amount or self.holds[name].amount
        self.spends[name, 1] = MSpend(amount, None, key)
        self.spends[name, 1].used = self.end_hold(name, amount)

    def release(self, name: str) -> None:
        self.due()
        if name in self.holds:
            self.end_hold(name, 0)

    def spend(self, spend: Any, amount: int, hold: str | None, order: str | None, key: str, *, is_new: bool) -> None:
        self.due()
        if spend in self.spends or (self.frozen and is_new):
            return
        if hold in self.holds:
            amount = min(amount, self.holds[hold].amount)
            self.spends[spend] = MSpend(amount, order, key)
            self.spends[spend].used = self.end_hold(hold, amount)
            return
        self.spends[spend] = MSpend(amount, order, key)
        for _ in range(amount):
            if self.available:
                lot = self.live()[0]
                lot.left -= 1
                self.spends[spend].used.append(lot.number)
            else:
                self.miss_one(self.row(key, order, spend))
        self.system["redeemed"] += amount
        self.spent += amount

    def revoke(self, award: str, total: int, key: str) -> None:
        self.due()
        amount, order = self.awarded[award]
        if total <= amount:
            while self.asked_back[award] < total:
                self.asked_back[award] += 1
                self.take_back_one(key, order, award)

    def activate(self, award: str, ends: datetime | None) -> None:
        self.due()
        lot = next(lot for lot in self.lots if lot.award == award)
        if lot.waits and lot.left:
            lot.waits = lot.pending = False
            lot.starts, lot.ends = self.now, ends or END_OF_TIME
            if lot.ends <= self.now:
                lot.ended = True
                self.expire(lot, lot.left)
            else:
                self.repay_from([lot])

    def knows(self, cause: Any) -> bool:
        return cause in self.awarded or cause in self.spends

    def settle(self, parked: MParked) -> None:
        """Its cause is known by now, here or elsewhere; then it is refused."""
        self.parked.remove(parked)
        self.due()
        if self.knows(parked.cause):
            getattr(self, parked.act)(*parked.content)

    def settle_waiting_for(self, cause: Any) -> None:
        for parked in [parked for parked in self.parked if parked.cause == cause]:
            self.settle(parked)

    def take_back_one(self, key: str, order: str | None, award: str | None) -> None:
        own = Missed(0, key, order, award=award)
        for lot in self.own_first(self.lots, own):
            if lot.pending and lot.left and (lot.award == award or (order is not None and lot.order == order)):
                lot.left -= 1
                break
        else:
            if self.available:
                self.own_first(self.live(), own)[0].left -= 1
            elif sum(missed.waits for missed in self.missed) < self.held:
                self.row(key, order, award=award).waits += 1
                return
            elif not self.reverse_one(order):
                self.miss_one(self.row(key, order, award=award))
        self.system["revoked"] += 1
        self.earned -= 1

    def reverse_one(self, order: str | None, by: int = 1) -> bool:
        for spend in self.spends.values():
            if order is not None and spend.order == order and 0 <= spend.reversed + by <= spend.ended:
                spend.reversed += by
                self.system["expired"] -= by
                return True
        return False

    def give_back(self, spend_id: Any, total: int) -> None:
        self.due()
        spend = self.spends[spend_id]
        own = [missed for missed in self.missed if missed.spend == spend_id]
        usable = gone = 0
        points = min(total, spend.amount) - spend.returned
        for _ in range(points):
            spend.returned += 1
            self.spent -= 1
            self.system["redeemed"] -= 1
            if not self.cancel_one(own):
                lot = next(lot for lot in self.lots if lot.number == spend.used[-1])
                spend.used.pop()
                if lot.ends <= self.now:
                    gone += 1
                    spend.ended += 1
                    self.system["expired"] += 1
                else:
                    lot.left += 1
                    usable += 1
        take_backs = [m for m in self.missed if m.spend is None and m.order is not None and m.order == spend.order]
        mine = Missed(0, "", spend.order)
        others = [m for m in self.missed if m not in take_backs]
        while usable and any(m.owed for m in others):
            self.repay_one(self.live()[0], others)
            usable -= 1
        while usable and self.cancel_one(take_backs):
            self.own_first(self.live(), mine)[0].left -= 1
            usable -= 1
        while gone and self.cancel_one(take_backs):
            spend.reversed += 1
            self.system["expired"] -= 1
            gone -= 1
        while usable and self.reverse_one(spend.order, by=-1):
            self.own_first(self.live(), mine)[0].left -= 1
            usable -= 1
        for missed in take_backs:
            while usable and missed.waits:
                missed.waits -= 1
                self.own_first(self.live(), missed)[0].left -= 1
                self.system["revoked"] += 1
                self.earned -= 1
                usable -= 1
