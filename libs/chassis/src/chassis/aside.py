"""Setting a shop aside: a bug that only one shop's messages meet, or its records, does not stop everyone's.

Whose it is, is tried out: each shop's messages of the batch by themselves, and all of it rolled back. Those that fail
are quarantined if another shop's messages do not, or did not before; else the fault is taken to be ours: the consumer
stops.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import structlog

from chassis import waiting
from chassis.database import Database, with_lanes
from chassis.faults import is_bad_data, is_transient
from chassis.messages import EVERY_SHOP, Consumer, Message
from chassis.processing import lanes_of


class _RolledBack(Exception):
    """A trial went well; nothing of it is kept."""


async def shops_at_fault(
    database: Database, consumer: Consumer, messages: Sequence[Message], good: Collection[str]
) -> set[str]:
    """The shops whose messages fail by themselves with a bug; none where it may be anyone's. `good`: some of the shops
    whose messages were applied before."""
    by_shop: dict[str, list[Message]] = defaultdict(list)
    for message in messages:
        if message.command is not None and message.shop not in (waiting.NO_SHOP, EVERY_SHOP):
            by_shop[message.shop].append(message)
    failing = {shop for shop, its in by_shop.items() if await _fails(database, consumer, its)}
    return failing if failing < {*by_shop, *good} - {EVERY_SHOP} else set()


async def _fails(database: Database, consumer: Consumer, messages: Sequence[Message]) -> bool:
    async def once(lanes: set[int]) -> None:
        async with database.begin(lanes) as tx:
            await consumer.usecase(tx, [message.command for message in messages])
            raise _RolledBack

    try:
        await with_lanes(await lanes_of(database, consumer, messages), once)
    except _RolledBack:
        return False
    except Exception as error:
        if is_transient(error):
            raise
        return not is_bad_data(error)  # which is one message's, and told apart elsewhere
    return False


async def set_aside(database: Database, name: str, consumer: Consumer, shops: Iterable[str], bug: Exception) -> None:
    """Quarantine shops; `name` is the consumer's for the log."""
    reason = f"a bug: {type(bug).__name__}"
    async with database.begin() as tx:
        for shop in sorted(shops):
            await waiting.quarantine(tx.driver, consumer.name, shop, reason)
            structlog.get_logger().error("shop_quarantined", consumer=name, shop=shop, reason=reason, exc_info=bug)
