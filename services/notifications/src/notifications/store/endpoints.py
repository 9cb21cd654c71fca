"""Webhook endpoints, with their secrets."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from chassis import Transaction
from notifications.domain import Endpoint, Scenario


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """A webhook endpoint with all that there is to know."""

    shop: str
    endpoint: str
    url: str
    scenarios: frozenset[Scenario] | None
    enabled: bool
    disabled_reason: str | None
    secret: str
    previous_secret: str | None
    previous_until: datetime | None
    failures: int
    failing_since: datetime | None
    held_until: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def audience(self) -> Endpoint:
        return Endpoint(self.endpoint, self.scenarios, self.enabled)

    def signing_secrets(self, now: datetime) -> list[str]:
        """The present secret, and the one before while it is still good."""
        previous = self.previous_secret if self.previous_until is not None and now < self.previous_until else None
        return [self.secret, *([previous] if previous else [])]


_ENDPOINT = (
    "shop, endpoint, url, scenarios, enabled, disabled_reason, secret, previous_secret, previous_until, failures,"
    " failing_since, held_until, created_at, updated_at"
)


async def endpoints(tx: Transaction, shops: Collection[str]) -> dict[str, list[EndpointRow]]:
    """The endpoints of these shops."""
    rows = await tx.driver.fetch(
        f"SELECT {_ENDPOINT} FROM endpoint WHERE shop = ANY($1::text[]) ORDER BY shop, endpoint",  # noqa: S608
        sorted(set(shops)),
    )
    by_shop: dict[str, list[EndpointRow]] = {}
    for row in rows:
        by_shop.setdefault(row["shop"], []).append(_endpoint(row))
    return by_shop


async def endpoint(tx: Transaction, shop: str, name: str) -> EndpointRow | None:
    """One endpoint, locked."""
    row = await tx.driver.fetchrow(
        f"SELECT {_ENDPOINT} FROM endpoint WHERE shop = $1 AND endpoint = $2 FOR UPDATE",  # noqa: S608
        shop,
        name,
    )
    return None if row is None else _endpoint(row)


def _endpoint(row: asyncpg.Record) -> EndpointRow:
    values = dict(row)
    if values["scenarios"] is not None:
        values["scenarios"] = frozenset(Scenario(each) for each in values["scenarios"])
    return EndpointRow(**values)


async def save_endpoint(tx: Transaction, row: EndpointRow) -> None:
    """Keep an endpoint as it now is."""
    values = {field: getattr(row, field) for field in EndpointRow.__slots__}
    values["scenarios"] = None if row.scenarios is None else sorted(row.scenarios)
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    excluded = ", ".join(f"excluded.{name}" for name in values)
    await tx.driver.execute(
        f"INSERT INTO endpoint ({', '.join(values)}) VALUES ({places})"  # noqa: S608 - names of our own columns
        f" ON CONFLICT (shop, endpoint) DO UPDATE SET ({', '.join(values)}) = ({excluded})",
        *values.values(),
    )


async def delete_endpoint(tx: Transaction, shop: str, name: str) -> bool:
    """Forget an endpoint; what waits for it is dropped when its turn comes."""
    status = await tx.driver.execute("DELETE FROM endpoint WHERE shop = $1 AND endpoint = $2", shop, name)
    return str(status) == "DELETE 1"


async def hold_streams(tx: Transaction, shop: str, name: str, until: datetime) -> None:
    """Let what waits for an endpoint wait longer; what is on its way now is left alone."""
    await tx.driver.execute(
        "UPDATE stream SET next_at = $3 WHERE stream IN (SELECT stream FROM stream WHERE shop = $1 AND endpoint = $2"
        ' AND next_at < $3 AND lease IS NULL ORDER BY member COLLATE "C" FOR UPDATE)',
        shop,
        name,
        until,
    )
