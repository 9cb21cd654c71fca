"""Which state of an order holds: the newest revision alone, in whatever order the states arrive."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from chassis import Poison
from contracts import Malformed, decode, encode
from contracts.life import is_cancelled, merge, same_sale
from contracts.orders import Order, OrderChanged
from redemption.alarms import alarm
from redemption.domain.spending import Spend
from redemption.store.orders import Key, StoredOrder


@dataclass(slots=True)
class SettleOrder:
    """An order's state has been told. Its body is decoded when it is needed: most orders never see points."""

    key: Key
    revision: int
    matters: bool
    """Whether the state names points, or calls the order off."""
    body: bytes
    traceparent: str | None = None
    _order: Order | None = None

    @classmethod
    def of(cls, order: Order, traceparent: str | None = None) -> "SettleOrder":
        """The command for a whole order."""
        matters = uses_points(order) or bool(order.cancellations)
        return cls((order.shop, order.order), order.revision, matters, b"", traceparent, order)

    @property
    def order(self) -> Order:
        """The whole state."""
        if self._order is None:
            self._order = decode(OrderChanged, self.body)
        return self._order


@dataclass(slots=True)
class Case:
    """One order whose newest state has changed, and whether points were ever used for it."""

    order: Order
    traceparent: str | None
    stored: StoredOrder
    spends: list[Spend] = field(default_factory=list)

    @property
    def key(self) -> Key:
        return self.stored.key

    @property
    def is_paid(self) -> bool:
        return self.order.paid_at is not None and not is_cancelled(self.order)

    @property
    def checkouts(self) -> list[Key]:
        """The checkouts that points tenders name."""
        return [(self.order.shop, t.checkout) for t in self.order.tenders if t.kind == "points" and t.checkout]


def uses_points(order: Order) -> bool:
    """Whether points have paid for any part of the order."""
    return any(tender.kind == "points" and (tender.points or tender.amount) for tender in order.tenders)


@dataclass(slots=True)
class Folded:
    """What a batch of states comes to."""

    states: dict[Key, StoredOrder] = field(default_factory=dict)
    """All newest states that have changed. Of those that never saw points only the revision is kept."""
    newest: dict[Key, Case] = field(default_factory=dict)
    malformed: dict[int, Poison] = field(default_factory=dict)
    """By the place of their commands; states of the same order that can be read count."""

    @property
    def cases(self) -> list[Case]:
        """Orders whose points are to be settled."""
        return [case for case in self.newest.values() if case.stored.body is not None]

    @property
    def called_off(self) -> list[Case]:
        """Orders that may leave a hold behind: a checkout may have been made for one that names no points yet."""
        return [case for case in self.newest.values() if is_cancelled(case.order)]


def fold(commands: Mapping[int, SettleOrder], stored: Mapping[Key, StoredOrder]) -> Folded:
    """The newest state of each order, whatever the order of arrival; commands by their places."""
    folded = Folded()
    for place, command in commands.items():
        known = folded.states.get(command.key) or stored.get(command.key)
        if known is not None and command.revision < known.revision:
            continue
        plain = known is None or known.body is None
        if plain and not command.matters:  # by far the most: nothing but the revision counts
            if known is None or command.revision > known.revision:
                folded.states[command.key] = StoredOrder(*command.key, command.revision)
                folded.newest.pop(command.key, None)
            continue
        before = folded.newest.get(command.key)
        try:
            order = _newer(known, before.order if before else None, command.order)
            if order is None:
                continue
            body = encode(order) if uses_points(order) or not plain else None
        except Malformed as malformed:
            folded.malformed[place] = Poison("malformed", malformed.reason)
            continue
        rate = known.points_per_unit if known else None
        state = StoredOrder(*command.key, order.revision, body=body, points_per_unit=rate)
        folded.states[command.key] = state
        folded.newest[command.key] = Case(order, command.traceparent, state)
    return folded


def _newer(known: StoredOrder | None, folded: Order | None, order: Order) -> Order | None:
    """The state that holds from now on, or None when what is known holds already.

    Of one revision told with points and without, that with points holds, in either order: what was paid with points
    is never forgotten for a mistake. Where neither names points nothing of what is known was kept but its revision:
    that the order is called off holds, in either order, too.
    """
    if known is None or order.revision > known.revision:
        return order
    if known.body is None:
        return order if uses_points(order) or is_cancelled(order) else None
    before = folded or decode(OrderChanged, known.body)
    if uses_points(before) != uses_points(order):
        _alarm_sales_differ(order)
        return order if uses_points(order) else None
    merged = merge(before, order)
    if not same_sale(before, order):
        _alarm_sales_differ(order)
    return None if encode(merged) == encode(before) else merged


def _alarm_sales_differ(order: Order) -> None:
    alarm("revision_told_twice_with_different_sales", shop=order.shop, order=order.order, revision=order.revision)
