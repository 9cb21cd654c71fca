"""The one way in which messages take effect: live from Kafka, from a queue, or replayed from the dead letters."""

from collections.abc import Sequence

from chassis import deadletters
from chassis.database import Database, Transaction
from chassis.messages import Consumer, Message
from chassis.outcome import Poison


async def process(database: Database, tx: Transaction, consumer: Consumer, messages: Sequence[Message]) -> None:
    """Apply messages in order: effects, dead letters and outgoing events, all in the open transaction."""
    live = [message for message in messages if message.command is not None]
    if live:
        outcome = await consumer.usecase(tx, [message.command for message in live])
        for message, answer in zip(live, outcome.answers, strict=False):  # a use case nobody waits for gives no answers
            message.dead = answer if isinstance(answer, Poison) else None  # an earlier try may have said otherwise
        await database.append(tx, outcome)
    await deadletters.store(tx.driver, consumer.name, [message for message in messages if message.dead is not None])


async def lanes_of(database: Database, consumer: Consumer, messages: Sequence[Message]) -> set[int]:
    """The lanes that these messages' commands need at the transaction's begin."""
    if consumer.lane_key is None:
        return set()
    return await database.lanes_of(consumer.lane_key(m.command) for m in messages if m.command is not None)
