"""How much of each line of an order has come back, as exact fractions, cumulative over all its returns.

A return names lines and quantities, an amount of money, or both. A line's fraction is the money returned ÷ its charge;
by quantity where no money was charged or none is named. Money below the charges of the lines that it names is spread
over those lines, money above them goes to shipping and then over all charges that are left; money without lines is
spread over all charges left, shipping counting as a line. A cancellation is a return of all that is left.
"""

from collections.abc import Sequence
from fractions import Fraction

from contracts.amounts import Amounts, amounts
from contracts.life import current_refunds, is_cancelled
from contracts.money import half_up, spread
from contracts.orders import Order, Refund

NOTHING = Fraction(0)
WHOLE = Fraction(1)


class ForeignRefund(Exception):
    """A refund is in another currency than its order; such a state can never be applied."""


def returned_fractions(order: Order, of: Amounts | None = None) -> list[Fraction]:
    """The returned fraction of each line, in their order, and of shipping as the last. `of`: its amounts if at hand."""
    if any(refund.currency not in (None, order.currency) for refund in order.refunds):
        raise ForeignRefund
    count = len(order.lines) + 1
    if is_cancelled(order):
        return [WHOLE] * count
    refunds = current_refunds(order) if order.refunds else []
    if not refunds:
        return [NOTHING] * count
    sums = of or amounts(order)
    returned = _Returned([*sums.charges, sums.shipping_charge], [*(line.quantity for line in order.lines), 1])
    places = {line.line: place for place, line in enumerate(order.lines)}
    for refund in refunds:
        _apply(refund, returned, places)
    return returned.fractions()


def returned_share(shares: Sequence[int], fractions: Sequence[Fraction]) -> int:
    """What of a number that is split over the lines has come back so far in all: half_up(Σ share × fraction)."""
    exact = sum((share * fraction for share, fraction in zip(shares, fractions, strict=True) if share), NOTHING)
    return half_up(exact.numerator, exact.denominator)


def _apply(refund: Refund, returned: "_Returned", places: dict[str, int]) -> None:
    if refund.lines and refund.amount is None:
        _apply_lines(refund, returned, places)
    elif refund.lines:
        _apply_lines_worth(refund, refund.amount or 0, returned, places)
    elif refund.amount is not None:
        returned.add_money_anywhere(refund.amount)


def _apply_lines(refund: Refund, returned: "_Returned", places: dict[str, int]) -> None:
    """Lines without money in all: each says itself what came back of it."""
    for part in refund.lines:
        place = places[part.line]
        if part.amount is not None and returned.charges[place]:
            returned.add_money(place, part.amount)
        else:
            returned.add_pieces(place, part.quantity)


def _apply_lines_worth(refund: Refund, amount: int, returned: "_Returned", places: dict[str, int]) -> None:
    """Lines beside money in all: what the lines are worth says where it goes."""
    named: dict[int, int] = {}
    for part in refund.lines:
        place = places[part.line]
        if not returned.charges[place]:
            returned.add_pieces(place, part.quantity)
            continue
        wanted = returned.worth(place, part.quantity) if part.amount is None else part.amount
        # A line may be named twice; what is left of it is only there once.
        named[place] = min(named.get(place, 0) + wanted, returned.money_left(place))
    worth = sum(named.values())
    moneys = list(named.values()) if amount >= worth else spread(amount, list(named.values()))
    for place, money in zip(named, moneys, strict=True):
        returned.add_money(place, money)
    if amount > worth:
        rest = amount - worth
        shipping = min(rest, returned.money_left(-1))
        returned.add_money(-1, shipping)
        if rest > shipping:
            returned.add_money_anywhere(rest - shipping)


class _Returned:
    """What has come back of each line so far, in exact units: a line of charge C and quantity Q is C × Q of them.

    So a piece is C units and a minor unit of money is Q, both whole. A line without a charge has Q units.
    """

    def __init__(self, charges: Sequence[int], quantities: Sequence[int]) -> None:
        self.charges = charges
        self._quantities = quantities
        self._whole = [(charge or 1) * quantity for charge, quantity in zip(charges, quantities, strict=True)]
        self._units = [0] * len(charges)
        self._all = False

    def fractions(self) -> list[Fraction]:
        """The returned fraction of each."""
        if self._all:
            return [WHOLE] * len(self._whole)
        return [
            Fraction(units, whole) if units else NOTHING for units, whole in zip(self._units, self._whole, strict=True)
        ]

    def add_pieces(self, place: int, quantity: int | None) -> None:
        """So many pieces of a line; None: all that is left of it."""
        self._add(place, self._whole[place] if quantity is None else quantity * (self.charges[place] or 1))

    def add_money(self, place: int, amount: int) -> None:
        """So much money for a line; where none was charged, none can come back."""
        if self.charges[place]:
            self._add(place, amount * self._quantities[place])

    def add_money_anywhere(self, amount: int) -> None:
        """Money over all charges left; when it is all of them, all of the order has come back."""
        left = [self.money_left(place) for place in range(len(self.charges))]
        if amount >= sum(left) or amount >= self._exactly_left():
            self._all = True
            self._units = list(self._whole)
            return
        for place, share in enumerate(spread(amount, left)):
            if share:
                self.add_money(place, share)

    def worth(self, place: int, quantity: int | None) -> int:
        """The charge of so many pieces, by cumulative share so that parts add up to the line; None: of the rest."""
        if quantity is None:
            return self.money_left(place)
        charge, pieces, units = self.charges[place], self._quantities[place], self._units[place]
        after = min(units + quantity * charge, self._whole[place])
        return half_up(after, pieces) - half_up(units, pieces)

    def money_left(self, place: int) -> int:
        """The charge that is left of a line, a begun minor unit counting whole."""
        if not self.charges[place]:
            return 0
        return -((self._units[place] - self._whole[place]) // self._quantities[place])

    def _exactly_left(self) -> Fraction:
        places = range(len(self.charges))
        left = (Fraction(self._whole[p] - self._units[p], self._quantities[p]) for p in places if self.charges[p])
        return sum(left, NOTHING)

    def _add(self, place: int, units: int) -> None:
        self._units[place] = min(self._units[place] + units, self._whole[place])
