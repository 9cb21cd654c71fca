"""From an order as it was told to the state that the domain decides on."""

from datetime import datetime
from fractions import Fraction

from contracts.amounts import amounts
from contracts.event import MAX_MINOR_UNITS
from contracts.life import generation, is_cancelled
from contracts.money import decimals
from contracts.orders import Order
from contracts.returns import returned_fractions
from rules.domain.errors import RateMissing
from rules.domain.order import SAME_CURRENCY, Conversion, State

FIRST_YEAR, LAST_YEAR = 1970, 2200
"""Calendars of zones are certain in between; an instant outside is a publisher's mistake."""


def state_of(order: Order, currency: str) -> State:
    """Everything that follows from the state alone. `currency`: the shop's."""
    sums = amounts(order)
    cancelled = is_cancelled(order)
    returned = returned_fractions(order, sums) if order.refunds or cancelled else None
    return State(order, sums, returned, generation(order), cancelled, conversion(order.currency, order.rate, currency))


def conversion(currency: str, rate: str | None, into: str) -> Conversion:
    """Minor units of the shop's currency for one of the order's, at the rate stored with the order."""
    if currency == into:
        return SAME_CURRENCY
    if rate is None:
        raise RateMissing(currency)
    exact = Fraction(rate) * Fraction(10) ** (decimals(into) - decimals(currency))
    return Conversion(exact.numerator, exact.denominator)


def fault_of(order: Order) -> tuple[str, str] | None:
    """Code and reason of what no calendar or counter can hold, or None."""
    instants: list[datetime | None] = [order.placed_at, order.paid_at, order.fulfilled_at]
    instants += [refund.at for refund in order.refunds]
    for cancellation in order.cancellations:
        instants += [cancellation.at, cancellation.paid_at]
    if any(at is not None and not FIRST_YEAR <= at.year <= LAST_YEAR for at in instants):
        return "instant_out_of_range", f"an instant lies outside the years {FIRST_YEAR} to {LAST_YEAR}"
    if sum([line.quantity * line.unit_price + line.tax for line in order.lines]) + order.shipping > MAX_MINOR_UNITS:
        return "amount_out_of_range", f"the order comes to more than {MAX_MINOR_UNITS} minor units"
    return None
