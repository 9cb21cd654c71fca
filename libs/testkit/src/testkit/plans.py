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
    statement, *arguments = await _first(ask)
    explain = "EXPLAIN ANALYZE" if doing else "EXPLAIN"
    return _text(await driver.fetch(f"{explain} {statement}", *arguments))


async def plan_for_any(driver: Any, ask: Callable[[Any], Awaitable[Any]]) -> str:
    """The same, as a service has it: one plan whatever the values, which are written `$1` there. None of them may be
    an array."""
    statement, *arguments = await _first(ask)
    await driver.execute(f"PREPARE asked AS {statement}")
    values = [await driver.fetchval("SELECT quote_nullable($1::text)", str(value)) for value in arguments]
    return _text(await driver.fetch(f"EXPLAIN EXECUTE asked ({', '.join(values)})"))


async def _first(ask: Callable[[Any], Awaitable[Any]]) -> tuple[Any, ...]:
    catcher = _Catcher()
    try:
        await ask(catcher)
    except _Caught:
        return catcher.asked
    raise AssertionError("nothing was asked")


def _text(rows: Any) -> str:
    return "\n".join(row[0] for row in rows)
