"""What each line of an order comes to: discounts and points spread over the lines, with tax and without.

Taxes and discounts are the shop's own figures; nothing here computes them. An order-wide discount is spread over the
lines in proportion to their value, and so is the money that points and vouchers paid; what finds no room on the lines
was paid for shipping.
"""

from collections.abc import Sequence
from typing import NamedTuple

from contracts.money import spread, spread_up_to
from contracts.orders import Order


class Amounts(NamedTuple):
    """Minor units of the order's currency, one per line and in their order; shipping stands beside them."""

    values: Sequence[int]
    """Quantity × unit price, as the shop quotes prices."""
    taxes: Sequence[int]
    """The line's tax, never above its price where prices include it."""
    net: Sequence[int]
    """After the line's own and its share of the order-wide discounts, without tax."""
    payable: Sequence[int]
    """The same with tax: what is to be paid for the line by any means."""
    points: Sequence[int]
    """The part of `payable` that points paid."""
    vouchers: Sequence[int]
    """The part of `payable` that vouchers paid."""
    shipping_net: int
    """Shipping without tax."""
    shipping_payable: int
    """Shipping with tax."""
    shipping_points: int
    """The part of shipping that points paid: what was more than the lines."""
    shipping_vouchers: int
    """The part of shipping that vouchers paid."""

    @property
    def charges(self) -> list[int]:
        """Each line's charge: its price after discounts with tax, less what points paid. Refunds are so measured."""
        return [payable - points for payable, points in zip(self.payable, self.points, strict=True)]

    @property
    def shipping_charge(self) -> int:
        """Shipping's charge, likewise."""
        return self.shipping_payable - self.shipping_points

    def points_shares(self, points: int) -> list[int]:
        """A number of points over the lines, and shipping as the last, in proportion to the money they paid there.

        Where that money is nothing, in proportion to what the lines are worth.
        """
        paid = [*self.points, self.shipping_points]
        return spread(points, paid if any(paid) else [*self.payable, self.shipping_payable])


def amounts(order: Order) -> Amounts:
    """Spread what is the whole order's over its lines."""
    lines = order.lines
    values = [line.quantity * line.unit_price for line in lines]
    own = [line.discount for line in lines]
    discounted = [max(value - off, 0) for value, off in zip(values, own, strict=True)] if any(own) else values
    if order.discount:
        shares, _ = spread_up_to(order.discount, discounted)
        discounted = [price - share for price, share in zip(discounted, shares, strict=True)]
    if order.prices_include_tax:
        taxes = [min(line.tax, price) for line, price in zip(lines, discounted, strict=True)]
        net = [price - tax for price, tax in zip(discounted, taxes, strict=True)]
        payable = discounted
        shipping_payable = order.shipping
        shipping_net = max(order.shipping - order.shipping_tax, 0)
    else:
        taxes = [line.tax for line in lines]
        net = discounted
        payable = [price + tax for price, tax in zip(net, taxes, strict=True)] if any(taxes) else net
        shipping_net = order.shipping
        shipping_payable = order.shipping + order.shipping_tax
    points = vouchers = [0] * len(lines)
    shipping_points = shipping_vouchers = 0
    paid_by_points = sum([tender.amount for tender in order.tenders if tender.kind == "points"])
    if paid_by_points:
        points, more = spread_up_to(paid_by_points, payable)
        shipping_points = min(more, shipping_payable)
    paid_by_vouchers = sum([tender.amount for tender in order.tenders if tender.kind == "voucher"])
    if paid_by_vouchers:
        room = [price - share for price, share in zip(payable, points, strict=True)]
        vouchers, more = spread_up_to(paid_by_vouchers, room)
        shipping_vouchers = min(more, shipping_payable - shipping_points)
    return Amounts(
        values,
        taxes,
        net,
        payable,
        points,
        vouchers,
        shipping_net,
        shipping_payable,
        shipping_points,
        shipping_vouchers,
    )
