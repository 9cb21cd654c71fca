"""What events ask of this service."""

from collections.abc import Mapping
from typing import Final

from chassis import Consumer, Poison, Received
from chassis.messages import Mapper
from contracts import Event, topics
from contracts.orders import (
    Order,
    OrderCancelled,
    OrderChanged,
    OrderFulfilled,
    OrderPaid,
    OrderPlaced,
    OrderRefunded,
)
from contracts.programmes import ProgrammeChanged
from rules import store
from rules.orders import fault_of
from rules.usecases.configuring import known_from, take_over
from rules.usecases.settling import SettleOrder, settle_orders


def settle_order(order: Order, received: Received) -> SettleOrder:
    """Every order event carries the whole order; its type only says why it was sent."""
    fault = fault_of(order)
    if fault is not None:
        raise Poison(*fault)
    return SettleOrder(order, received.raw.value or b"", received.traceparent)


def know(event: ProgrammeChanged, _: Received) -> store.Programme:
    """A programme as we told it; news only where this database was put back to an earlier moment."""
    return known_from(event)


COMMANDS: Final[Mapping[type[Event], Mapper]] = {
    OrderPlaced: settle_order,
    OrderPaid: settle_order,
    OrderFulfilled: settle_order,
    OrderChanged: settle_order,
    OrderRefunded: settle_order,
    OrderCancelled: settle_order,
}

ORDERS: Final = Consumer(
    name="orders", topic=topics.ORDERS, commands=COMMANDS, usecase=settle_orders, known=store.known_shops
)

PROGRAMMES: Final = Consumer(
    name="programmes", topic=topics.PROGRAMMES, commands={ProgrammeChanged: know}, usecase=take_over
)
