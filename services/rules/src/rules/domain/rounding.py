"""Rounding of exact points to whole ones: once per award, with the mode that its rule names."""

from enum import StrEnum


class Rounding(StrEnum):
    """How a fraction of a point is settled."""

    FLOOR = "floor"
    HALF_UP = "half_up"
    HALF_EVEN = "half_even"
    CEIL = "ceil"


def rounded(numerator: int, denominator: int, mode: Rounding) -> int:
    """A fraction that is not negative as a whole number."""
    whole, rest = divmod(numerator, denominator)
    if not rest or mode is Rounding.FLOOR:
        return whole
    if mode is Rounding.CEIL:
        return whole + 1
    twice = 2 * rest
    if twice == denominator:
        return whole + 1 if mode is Rounding.HALF_UP else whole + whole % 2
    return whole + (twice > denominator)
