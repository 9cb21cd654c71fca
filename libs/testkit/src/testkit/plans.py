"""How Postgres goes about a statement: what must stay cheap however large a table is reads it by an index."""

from collections.abc import Awaitable, Callable
from typing import Any


class _Caught(Exception):
    pass


class _Catcher:
    """A driver that keeps the statement it is asked, and goes no further."""

    def __init__(self) -> None:
        self.asked: tuple[Any, ...] = ()

    async def _catch(self, *asked: Any) -> Any:
        self.asked = asked
        raise _Caught

    execute = fetch = fetchrow = fetchval = _catch


async def plan_of(driver: Any, ask: Callable[[Any], Awaitable[Any]], *, doing: bool = False) -> str:
    """The plan of the first statement that `ask(driver)` would give to this driver. `doing`: it is done, and the plan
    tells how many rows were read."""
    catcher = _Catcher()
    try:
        await ask(catcher)
    except _Caught:
        statement, *arguments = catcher.asked
        explain = "EXPLAIN ANALYZE" if doing else "EXPLAIN"
        return "\n".join(row[0] for row in await driver.fetch(f"{explain} {statement}", *arguments))
    raise AssertionError("nothing was asked")
