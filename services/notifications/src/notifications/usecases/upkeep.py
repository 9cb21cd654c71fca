"""What is done on time besides sending: forgetting and measuring."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from chassis import Outcome, Transaction
from notifications import measures, store


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete what is older than that."""

    age: timedelta
    limit: int


async def forget(tx: Transaction, commands: Sequence[Forget]) -> Outcome:
    """Delete a batch of old messages; how many."""
    (command,) = commands
    return Outcome([await store.forget_old(tx, tx.now - command.age, command.limit)])


async def measure(tx: Transaction, _: Sequence[None]) -> Outcome:
    """How much waits and what needs a person, as metrics."""
    for channel, backlog in (await store.backlog(tx)).items():
        measures.WAITING.labels(channel.value).set(backlog.waiting)
        measures.OLDEST.labels(channel.value).set(backlog.oldest_seconds)
        measures.DEAD.labels(channel.value).set(backlog.dead)
    return Outcome()
