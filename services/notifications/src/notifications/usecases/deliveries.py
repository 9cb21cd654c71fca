"""What became of a shop's deliveries, and making them again."""

from collections.abc import Sequence
from dataclasses import dataclass

from chassis import Outcome, Transaction
from notifications import store
from notifications.domain import Channel, DeliveryNotFound, DeliveryNotReplayable


@dataclass(frozen=True, slots=True)
class ListDeliveries:
    shop: str
    state: str | None = None
    channel: Channel | None = None
    endpoint: str | None = None
    member: str | None = None
    delivery: str | None = None
    before: int | None = None
    limit: int = 50


async def list_deliveries(tx: Transaction, commands: Sequence[ListDeliveries]) -> Outcome:
    """A shop's deliveries, newest first."""
    (command,) = commands
    return Outcome(
        [
            await store.deliveries(
                tx,
                command.shop,
                state=command.state,
                channel=command.channel,
                endpoint=command.endpoint,
                member=command.member,
                delivery=command.delivery,
                before=command.before,
                limit=command.limit,
            )
        ]
    )


@dataclass(frozen=True, slots=True)
class ReplayDelivery:
    shop: str
    delivery: str


async def replay_delivery(tx: Transaction, commands: Sequence[ReplayDelivery]) -> Outcome:
    """Make a delivery again, with its old id, whatever became of it before."""
    (command,) = commands
    state = await store.replay(tx, command.shop, command.delivery)
    if state is None:
        return Outcome([DeliveryNotFound(command.delivery)])
    if state == "waiting":
        return Outcome([DeliveryNotReplayable(command.delivery)])
    return Outcome([command.delivery])


@dataclass(frozen=True, slots=True)
class ReplayDead:
    shop: str
    channel: Channel | None
    endpoint: str | None
    limit: int


async def replay_dead(tx: Transaction, commands: Sequence[ReplayDead]) -> Outcome:
    """Make a shop's dead deliveries again; how many."""
    (command,) = commands
    count = await store.replay_dead(
        tx, command.shop, channel=command.channel, endpoint=command.endpoint, limit=command.limit
    )
    return Outcome([count])
