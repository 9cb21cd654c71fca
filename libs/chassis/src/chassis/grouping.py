"""Grouping: concurrent single calls share a transaction, or a read.

While one group is in flight, calls collect; then all that wait go together, so a read never joins a query that began
before it was asked for. The group runs in a task of its own, never in a request's: a caller that goes away takes nobody
with it.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from chassis.faults import is_bad_data, is_transient
from chassis.outcome import answer_or_raise
from chassis.problems import Overloaded

GROUP_SIZE = 512
"""Commands of one group at most; at a thousand a second none comes near it."""

GATHERED = 8
"""A group of so many waits for no more: what many share is cheap already."""

QUEUE_SIZE = 4_096
"""Commands that may wait; beyond it callers are told to come back."""


class Group:
    """Does for many concurrent callers at once what each of them asks for alone."""

    def __init__(
        self, together: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]], *, gather_seconds: float = 0.0
    ) -> None:
        """`together` gives an answer for each command, in order; an exception among them is its caller's alone.

        `gather_seconds` is for what costs much the first time and little for each more: so long after a group that had
        company a small one waits for more. Whoever calls alone never waits.
        """
        self._together = together
        self._gather_seconds = gather_seconds
        self._company_until = 0.0
        """By the loop's clock: until then a small group waits."""
        self._waiting: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, command: Any) -> Any:
        """The command's answer, once its group is done; raises its refusal."""
        if len(self._waiting) >= QUEUE_SIZE:
            raise Overloaded
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, future))
        if self._task is None or self._task.done():
            # In a context of its own: the group is not a part of the trace of whoever happened to come first.
            self._task = asyncio.create_task(self._run(), context=contextvars.Context())
        return answer_or_raise(await future)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if len(self._waiting) < GATHERED and (early := self._company_until - loop.time()) > 0:
                await asyncio.sleep(early)
            group = [self._waiting.popleft() for _ in range(min(GROUP_SIZE, len(self._waiting)))]
            await self._answer(group)
            if len(group) + len(self._waiting) > 1:
                self._company_until = loop.time() + self._gather_seconds

    async def _answer(self, group: Sequence[tuple[Any, asyncio.Future[Any]]]) -> None:
        """All of the group at once; one that a member breaks is halved until the member stands alone."""
        try:
            answers = await self._together([command for command, _ in group])
            answered = list(zip(group, answers, strict=True))
        except Exception as error:  # noqa: BLE001  # it is raised to the callers, who wait for nothing else
            if len(group) > 1 and (is_bad_data(error) or not is_transient(error)):
                middle = len(group) // 2
                await self._answer(group[:middle])
                await self._answer(group[middle:])
                return
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in answered:
            if not future.done():  # its caller has gone away
                future.set_result(answer)
