"""Connections that only read: their plans, their time-outs, and a snapshot for what takes long."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from chassis.database import SESSION
from chassis.postgres import Server
from ledger.settings import LedgerSettings
from ledger.store import seals

Connect = Callable[..., Awaitable[asyncpg.Connection]]

IDLE_SECONDS = 60
"""After so long without reading on, the reader of an export is gone; the gateway too ends an answer that is silent."""


def reader(settings: LedgerSettings, server: Server) -> Connect:
    """How to make a connection that may only read. Its signature is what the driver's pool wants."""
    told = _told(settings)

    async def connect(_url: str | None = None, **options: Any) -> asyncpg.Connection:
        driver = await server.connect(server_settings=told, **options)
        try:
            # Not told at first: by that the driver judges whether a host takes writes, where the address asks for it.
            await driver.execute("SET default_transaction_read_only = on")
        except BaseException:
            driver.terminate()
            raise
        return driver

    return connect


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A connection in a transaction that sees one moment; it ends with the connection."""

    driver: asyncpg.Connection
    at: datetime
    """It sees all seals that were made until then."""


async def snapshot(settings: LedgerSettings, server: Server) -> Snapshot:
    """A snapshot for what takes long."""
    told = {
        **_told(settings),
        "idle_in_transaction_session_timeout": _ms(IDLE_SECONDS),
        "transaction_timeout": _ms(settings.export_seconds),
    }
    driver = await server.connect(server_settings=told)
    at = await seals.clock_between_seals(driver)
    await driver.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    return Snapshot(driver, at)


def _told(settings: LedgerSettings) -> dict[str, str]:
    return {
        "statement_timeout": _ms(settings.statement_timeout_seconds),
        "lock_timeout": _ms(settings.lock_timeout_seconds),
        **SESSION,
    }


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))
