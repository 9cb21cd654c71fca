"""Money as integers: decimals of currencies, rounding, and spreading an amount so that the shares add up to it."""

from collections.abc import Sequence
from typing import Final

_NO_DECIMALS: Final = frozenset(
    "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split()  # noqa: SIM905 – reads as the list it is
)
_THREE_DECIMALS: Final = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
_FOUR_DECIMALS: Final = frozenset({"CLF", "UYW"})


def decimals(currency: str) -> int:
    """How many digits the minor unit of an ISO 4217 currency has behind the point."""
    if currency in _NO_DECIMALS:
        return 0
    if currency in _THREE_DECIMALS:
        return 3
    return 4 if currency in _FOUR_DECIMALS else 2


def half_up(numerator: int, denominator: int) -> int:
    """A fraction that is not negative, rounded to the nearest whole; a half goes up."""
    return (2 * numerator + denominator) // (2 * denominator)


def spread(amount: int, weights: Sequence[int]) -> list[int]:
    """Shares of an amount in proportion to weights by largest remainder; they always add up to the amount.

    Ties go to the earlier weight. Where all weigh nothing the shares are equal. No share is above its weight unless
    the amount is above their sum.
    """
    if not weights:
        return []
    total = sum(weights)
    if total == 0:
        weights, total = [1] * len(weights), len(weights)
    shares = [amount * weight // total for weight in weights]
    missing = amount - sum(shares)
    if missing:
        remainders = [amount * weight % total for weight in weights]
        for index in sorted(range(len(weights)), key=remainders.__getitem__, reverse=True)[:missing]:
            shares[index] += 1
    return shares


def spread_up_to(amount: int, room: Sequence[int]) -> tuple[list[int], int]:
    """Shares of an amount in proportion to the room that each has, none above it; and what found no room."""
    total = sum(room)
    if amount >= total:
        return list(room), amount - total
    return spread(amount, room), 0
