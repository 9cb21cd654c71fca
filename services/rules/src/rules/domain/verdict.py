"""Why each rule gave what it gave, or gave nothing: one letter per rule, so that it can be stored with every order."""

from enum import StrEnum


class Verdict(StrEnum):
    """What came of one rule for one order. The letters are stored; they never change their meaning."""

    FIRED = "f"
    OUTSIDE_WINDOW = "w"
    WRONG_WEEKDAY = "d"
    WRONG_HOUR = "h"
    WRONG_CHANNEL = "c"
    COUPON_CONDITION = "k"
    NOT_FIRST_ORDER = "o"
    BELOW_MINIMUM = "m"
    NOTHING_IN_SCOPE = "n"
    OUTRANKED = "r"
    SILENCED = "s"
    NO_POINTS = "z"
    NOTHING_TO_MULTIPLY = "x"


REASONS = {
    Verdict.FIRED: "gave points",
    Verdict.OUTSIDE_WINDOW: "the order was placed outside its window",
    Verdict.WRONG_WEEKDAY: "the order was placed on another day of the week",
    Verdict.WRONG_HOUR: "the order was placed outside its hours",
    Verdict.WRONG_CHANNEL: "it is for another channel",
    Verdict.COUPON_CONDITION: "its condition on coupons is not met",
    Verdict.NOT_FIRST_ORDER: "it is for a first order only",
    Verdict.BELOW_MINIMUM: "the order is below its minimum",
    Verdict.NOTHING_IN_SCOPE: "no line of the order is in its scope",
    Verdict.OUTRANKED: "other rules claimed all of its lines",
    Verdict.SILENCED: "an exclusive rule won alone on all of its lines",
    Verdict.NO_POINTS: "it came to less than one point",
    Verdict.NOTHING_TO_MULTIPLY: "no rule that it multiplies gave points on its lines",
}
"""What each verdict means, for people."""
