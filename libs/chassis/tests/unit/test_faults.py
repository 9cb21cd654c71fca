"""Which faults are worth another try, which are one message's, which are ours; and what HTTP tells of them."""

import asyncio
import json
from dataclasses import dataclass

import asyncpg
import pytest
import uvloop

from chassis.faults import is_bad_data, is_key_violation, is_transient
from chassis.problems import Overloaded, answer_to, facts_of

NOT_A_VALUE = asyncpg.exceptions._base.DataError("value out of int32 range")
"""What the driver itself refuses to send."""


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DeadlockDetectedError("…"),
        asyncpg.SerializationError("…"),
        asyncpg.LockNotAvailableError("…"),
        asyncpg.QueryCanceledError("…"),
        asyncpg.CannotConnectNowError("…"),
        asyncpg.AdminShutdownError("…"),
        asyncpg.TooManyConnectionsError("…"),
        asyncpg.DiskFullError("…"),
        asyncpg.ReadOnlySQLTransactionError("…"),
        asyncpg.ConnectionDoesNotExistError("…"),
        asyncpg.InvalidCachedStatementError("…"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        asyncpg.UniqueViolationError("…"),
        ConnectionRefusedError(),
        TimeoutError(),
    ],
)
def test_a_transient_fault_is_tried_again(error: Exception) -> None:
    assert is_transient(error)


def test_a_connection_that_ended_in_the_moment_in_which_it_was_written_to_is_tried_again() -> None:
    """A client stopped for good that asked a broker which had just been killed; said by services' loop, not by ours."""

    async def write_behind_the_end() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()
        await writer.wait_closed()
        server.close()
        writer.write(b"a request")

    with pytest.raises(RuntimeError, match="the handler is closed") as told:
        uvloop.run(write_behind_the_end())
    assert is_transient(told.value)
    assert not is_transient(RuntimeError("a bug"))


@pytest.mark.parametrize(
    "error", [asyncpg.NumericValueOutOfRangeError("…"), asyncpg.CharacterNotInRepertoireError("…"), NOT_A_VALUE]
)
def test_a_value_that_cannot_be_stored_is_one_messages_fault_and_not_tried_again(error: Exception) -> None:
    assert is_bad_data(error)
    assert not is_transient(error)


@pytest.mark.parametrize(
    "error", [asyncpg.UndefinedColumnError("…"), asyncpg.InsufficientPrivilegeError("…"), KeyError("x")]
)
def test_a_bug_is_neither(error: Exception) -> None:
    assert not is_transient(error)
    assert not is_bad_data(error)


def test_a_key_that_is_there_already_is_a_race_first_and_bad_data_then() -> None:
    error = asyncpg.UniqueViolationError("…")
    assert is_key_violation(error)
    assert is_transient(error)
    assert is_bad_data(error)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Overloaded(), 429, "overloaded"),
        (ConnectionRefusedError(), 503, "unavailable"),
        (NOT_A_VALUE, 422, "invalid_request"),
        (asyncpg.CharacterNotInRepertoireError("…"), 422, "invalid_request"),
        (KeyError("a secret"), 500, "internal_error"),
        (asyncpg.CheckViolationError("a secret"), 500, "internal_error"),
    ],
)
def test_http_tells_what_to_do_and_nothing_of_what_is_inside(error: Exception, status: int, code: str) -> None:
    response = answer_to(error)
    body = json.loads(response.body)
    assert (response.status_code, body["code"], body["status"]) == (status, code, status)
    assert response.media_type == "application/problem+json"
    assert "secret" not in bytes(response.body).decode()
    assert ("retry-after" in response.headers) == (status in (429, 503))


def test_a_refusals_facts_are_its_fields() -> None:
    @dataclass
    class InsufficientPoints(Exception):
        available: int
        asked: int

    assert facts_of(InsufficientPoints(40, 100)) == {"available": 40, "asked": 100}
