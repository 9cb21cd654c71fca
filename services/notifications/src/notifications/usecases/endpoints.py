"""Where a shop listens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from chassis import Outcome, Transaction
from notifications import store, webhooks
from notifications.domain import EndpointNotFound, Scenario, TooManyEndpoints
from notifications.store import EndpointRow
from notifications.usecases.shops import OfShop, known_shop


@dataclass(frozen=True, slots=True)
class PutEndpoint:
    shop: str
    endpoint: str
    url: str
    scenarios: frozenset[Scenario] | None
    enabled: bool
    most: int


async def put_endpoint(tx: Transaction, commands: Sequence[PutEndpoint]) -> Outcome:
    """Keep where a shop listens. A new endpoint gets a secret of its own; enabling one again forgives its failures."""
    (command,) = commands
    await known_shop(tx, command.shop)
    before = await store.endpoint(tx, command.shop, command.endpoint)
    if before is None:
        if len((await store.endpoints(tx, [command.shop])).get(command.shop, ())) >= command.most:
            return Outcome([TooManyEndpoints(command.most)])
        before = EndpointRow(
            shop=command.shop,
            endpoint=command.endpoint,
            url=command.url,
            scenarios=command.scenarios,
            enabled=command.enabled,
            disabled_reason=None,
            secret=webhooks.new_secret(),
            previous_secret=None,
            previous_until=None,
            failures=0,
            failing_since=None,
            held_until=None,
            created_at=tx.now,
            updated_at=tx.now,
        )
    row = replace(
        before,
        url=command.url,
        scenarios=command.scenarios,
        enabled=command.enabled,
        disabled_reason=None if command.enabled else "switched off",
        failures=0,
        failing_since=None,
        held_until=None,
        updated_at=tx.now,
    )
    await store.save_endpoint(tx, row)
    return Outcome([row])


async def list_endpoints(tx: Transaction, commands: Sequence[OfShop]) -> Outcome:
    """Where a shop listens."""
    found = await store.endpoints(tx, [command.shop for command in commands])
    return Outcome([found.get(command.shop, []) for command in commands])


@dataclass(frozen=True, slots=True)
class OfEndpoint:
    shop: str
    endpoint: str


async def get_endpoint(tx: Transaction, commands: Sequence[OfEndpoint]) -> Outcome:
    """One endpoint."""
    return Outcome(
        [await store.endpoint(tx, each.shop, each.endpoint) or EndpointNotFound(each.endpoint) for each in commands]
    )


async def delete_endpoint(tx: Transaction, commands: Sequence[OfEndpoint]) -> Outcome:
    """Listen there no more; what still waits for it is dropped."""
    for command in commands:
        await store.delete_endpoint(tx, command.shop, command.endpoint)
    return Outcome([None] * len(commands))


@dataclass(frozen=True, slots=True)
class RotateSecret:
    shop: str
    endpoint: str
    keep: timedelta
    """How long signatures by the old secret go beside those by the new one."""


async def rotate_secret(tx: Transaction, commands: Sequence[RotateSecret]) -> Outcome:
    """A new secret; the old one signs too, for a while, so that the receiver can change over in peace."""
    (command,) = commands
    row = await store.endpoint(tx, command.shop, command.endpoint)
    if row is None:
        return Outcome([EndpointNotFound(command.endpoint)])
    rotated = replace(
        row,
        secret=webhooks.new_secret(),
        previous_secret=row.secret,
        previous_until=tx.now + command.keep,
        updated_at=tx.now,
    )
    await store.save_endpoint(tx, rotated)
    return Outcome([rotated])
