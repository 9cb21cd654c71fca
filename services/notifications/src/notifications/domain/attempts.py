"""When to try again what could not be delivered."""

from datetime import datetime, timedelta

BACK_OFF: tuple[timedelta, ...] = (
    timedelta(seconds=1),
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Pauses after the first, second, … failure; the last one repeats. Short at first, since most faults are."""


def next_attempt(
    *, attempts: int, since: datetime, now: datetime, give_up_after: timedelta, spread: float
) -> datetime | None:
    """When to try again after the n-th failure; None when that would be too late to be of use.

    `spread` in 0…1 lengthens the pause by up to a tenth, so that what failed together does not return together.
    """
    pause = BACK_OFF[min(attempts, len(BACK_OFF)) - 1]
    at = now + pause * (1 + spread / 10)
    return at if at - since <= give_up_after else None
