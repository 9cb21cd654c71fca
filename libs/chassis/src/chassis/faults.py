"""Faults of the database and of the way to it: which pass, and which are one message's own."""

import asyncpg


def sqlstate_of(error: BaseException) -> str | None:
    """PostgreSQL's code of an error; None for others."""
    state: str | None = getattr(error, "sqlstate", None)
    return state


_KEY_VIOLATIONS = frozenset({"23505", "23503"})

_READ_ONLY = "25006"

_TRANSIENT_STATES = frozenset({"55P03", "25P03", "25P04", _READ_ONLY, "57014"}) | _KEY_VIOLATIONS
"""Lock, idle, transaction and statement time-outs, a server that has just become a replica, and races for a key."""

_TRANSIENT_CLASSES = ("08", "40", "53", "57P", "58")
"""Connection lost, serialization or deadlock, out of resources, shut down or starting up, trouble of the system."""


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed a little later."""
    state = sqlstate_of(error)
    if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError):
        return True  # a migration ran beside us; the driver has forgotten its plans by now
    if state is not None:
        return state in _TRANSIENT_STATES or state.startswith(_TRANSIENT_CLASSES)
    if isinstance(error, asyncpg.InternalClientError) or _is_written_behind_its_end(error):
        return True  # a connection that ended in the moment in which it was asked; the next one is good
    return isinstance(error, OSError | TimeoutError) or (
        isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError)
    )


def _is_written_behind_its_end(error: BaseException) -> bool:
    """Whether a client, of the database or of Kafka, wrote to a connection that had ended before it knew. asyncio's own
    loops only warn of it; uvloop raises, and has no class of its own for it."""
    return isinstance(error, RuntimeError) and str(error).endswith("; the handler is closed")


def is_read_only(error: BaseException) -> bool:
    """Whether the server takes no writes: a replica, or what has become one."""
    return sqlstate_of(error) == _READ_ONLY


def is_key_violation(error: BaseException) -> bool:
    """Whether a row of that key is there already, or one that it names is not: a race, until it comes back."""
    return sqlstate_of(error) in _KEY_VIOLATIONS


def is_bad_data(error: BaseException) -> bool:
    """Whether one message's own values may be the fault: data exceptions and violated constraints."""
    state = sqlstate_of(error)
    if state is not None:
        return state.startswith(("22", "23"))
    # The driver refuses by itself what no column of that type can hold.
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


def is_unstorable(error: BaseException) -> bool:
    """Whether a value that was given is one that no column can hold, such as a number too large or a NUL character."""
    return is_bad_data(error) and not is_constraint_violation(error)


def is_constraint_violation(error: BaseException) -> bool:
    """Whether a row would break a rule of its table."""
    return (sqlstate_of(error) or "").startswith("23")
