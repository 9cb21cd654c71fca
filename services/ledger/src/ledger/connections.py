"""Connections that only read: their plans, their time-outs, and a snapshot for what takes long."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from chassis.database import SESSION
from ledger.settings import LedgerSettings
from ledger.store import seals

IDLE_SECONDS = 60
"""After so long without reading on, the reader of an export is gone; the gateway too ends an answer that is silent."""


def reading_settings(settings: LedgerSettings) -> dict[str, str]:
    """What a connection for reads tells the server."""
    return {
        "statement_timeout": _ms(settings.statement_timeout_seconds),
        "lock_timeout": _ms(settings.lock_timeout_seconds),
        "default_transaction_read_only": "on",
        **SESSION,
        # Every statement here reads by key, whatever the key: making a plan costs more than running it.
        "plan_cache_mode": "force_generic_plan",
    }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A connection in a transaction that sees one moment; it ends with the connection."""

    driver: asyncpg.Connection
    at: datetime
    """It sees all seals that were made until then."""


async def snapshot(settings: LedgerSettings) -> Snapshot:
    """A snapshot for what takes long."""
    told = {
        **reading_settings(settings),
        "idle_in_transaction_session_timeout": _ms(IDLE_SECONDS),
        "transaction_timeout": _ms(settings.export_seconds),
    }
    driver: asyncpg.Connection = await asyncpg.connect(settings.database_url.get_secret_value(), server_settings=told)
    at = await seals.clock_between_seals(driver)
    await driver.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    return Snapshot(driver, at)


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))
