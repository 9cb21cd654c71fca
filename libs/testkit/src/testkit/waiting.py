"""Waiting for a condition instead of sleeping for a while."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

Value = TypeVar("Value")


@overload
async def wait_until(
    condition: Callable[[], Awaitable[Value]],
    *,
    timeout_seconds: float = ...,
    what: str = ...,
    every_seconds: float = ...,
) -> Value: ...
@overload
async def wait_until(
    condition: Callable[[], Value], *, timeout_seconds: float = ..., what: str = ..., every_seconds: float = ...
) -> Value: ...


async def wait_until(
    condition: Callable[[], Any],
    *,
    timeout_seconds: float = 15.0,
    what: str = "",
    every_seconds: float = 0.02,
) -> Any:
    """Ask again and again until the condition's answer is true, and return that answer.

    An AssertionError that the condition raises counts as "not yet", so a condition may be written with `assert`; the
    last one is told when time is up.
    """
    deadline = time.monotonic() + timeout_seconds
    reason: object = None
    while True:
        try:
            answer = condition()
            value = await answer if inspect.isawaitable(answer) else answer
        except AssertionError as error:
            reason = error
        else:
            if value:
                return value
            reason = f"the last answer was {value!r}"
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_seconds} s for {what or condition}: {reason}")
        await asyncio.sleep(every_seconds)
