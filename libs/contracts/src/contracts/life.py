"""An order's life as a state: its stage, its generation, and which of two states holds."""

from enum import IntEnum
from operator import attrgetter
from typing import Any

from contracts.event import Malformed, encode
from contracts.orders import MAX_CANCELLATIONS, MAX_REFUNDS, Cancellation, Order, Refund


class Stage(IntEnum):
    """How far an order has come; of two states with one revision the later stage holds."""

    PLACED = 1
    PAID = 2
    FULFILLED = 3
    REFUNDED = 4
    """Something has come back; it may be only a part."""
    CANCELLED = 5


def generation(order: Order) -> int:
    """Which payment of the order this is: one more than the cancellations after a payment."""
    return 1 + sum(cancellation.paid_at is not None for cancellation in order.cancellations)


def is_cancelled(order: Order) -> bool:
    """Whether the newest cancellation still holds: the order has not been paid since."""
    if not order.cancellations:
        return False
    return order.paid_at is None or max(c.at for c in order.cancellations) >= order.paid_at


def current_refunds(order: Order) -> list[Refund]:
    """The refunds of the present generation, oldest first: after a cancellation, those since the later payment."""
    refunds = [r for r in order.refunds if not order.cancellations or order.paid_at is None or r.at >= order.paid_at]
    return sorted(refunds, key=attrgetter("at", "refund"))


def stage(order: Order) -> Stage:
    """The stage that the state itself tells; the event's type is not asked."""
    if is_cancelled(order):
        return Stage.CANCELLED
    if order.refunds and current_refunds(order):
        return Stage.REFUNDED
    if order.fulfilled_at is not None:
        return Stage.FULFILLED
    return Stage.PLACED if order.paid_at is None else Stage.PAID


def same_state(one: Order, other: Order) -> bool:
    """Whether two events carry the same state, whatever their types say."""
    return _fields(one) == _fields(other)


def same_sale(one: Order, other: Order) -> bool:
    """Whether they differ in nothing but how far the order has come."""
    return _sale(one) == _sale(other)


def merge(one: Order, other: Order) -> Order:
    """The state that holds of two with the same revision: the later stage, with all that only the other one knows of.

    It is the same in whatever order they come. Of two that are equally late and differ in what was sold, the one that
    is later in the alphabet holds: either is a guess, and the alarm that the caller raises says so. `Malformed` if both
    together are more than one state may hold.
    """
    first, second = sorted((one, other), key=lambda order: (stage(order), encode(order)), reverse=True)
    lines = {line.line for line in first.lines}
    refunds: dict[str, Refund] = {
        refund.refund: refund for refund in second.refunds if all(part.line in lines for part in refund.lines)
    }
    refunds.update({refund.refund: refund for refund in first.refunds})
    cancellations: dict[str, Cancellation] = {c.cancellation: c for c in (*second.cancellations, *first.cancellations)}
    if len(refunds) > MAX_REFUNDS or len(cancellations) > MAX_CANCELLATIONS:
        raise Malformed("two states of one revision have more refunds or cancellations together than an order may have")
    changes = {
        "paid_at": first.paid_at or second.paid_at,
        "fulfilled_at": first.fulfilled_at or second.fulfilled_at,
        "refunds": tuple(sorted(refunds.values(), key=attrgetter("at", "refund"))),
        "cancellations": tuple(sorted(cancellations.values(), key=attrgetter("at", "cancellation"))),
    }
    return type(first)(**{**_fields(first), **changes})


_LIFE = ("paid_at", "fulfilled_at", "refunds", "cancellations")


def _sale(order: Order) -> dict[str, object]:
    return {field: value for field, value in _fields(order).items() if field not in _LIFE}


def _fields(order: Order) -> dict[str, Any]:
    return {field: getattr(order, field) for field in Order.model_fields}
