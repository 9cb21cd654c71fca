"""The contracts' topics in a broker, made with the settings that the contracts give them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from contracts.topic import Topic
from contracts.topics import ALL
from local import access

_EXISTS: Final = 36
_UNKNOWN: Final = 3


async def ensure(
    brokers: Mapping[str, Any], topics: Sequence[Topic] = ALL, *, replication: int = 1, guarded: bool = False
) -> None:
    """Make the topics that are missing; those that exist are left as they are. Where brokers ask who does what
    (`guarded`), give the rights that go with them. `brokers`: arguments of aiokafka's clients."""
    admin = AIOKafkaAdminClient(**brokers)
    await admin.start()
    try:
        await _create(admin, topics, replication=replication)
        if guarded:
            await access.grant(admin, topics)
    finally:
        await admin.close()


async def recreate(bootstrap_servers: str, topics: Sequence[Topic] = ALL, *, partitions: int | None = None) -> None:
    """Empty topics under their own names: what was in them is gone. For tests."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        present = set(await admin.list_topics())
        doomed = [topic.name for topic in topics if topic.name in present]
        if doomed:
            _check(await admin.delete_topics(doomed), allowed=_UNKNOWN)
        # A deletion is done a moment after it is answered; until then the name is taken.
        for _ in range(200):
            if not set(doomed) & set(await admin.list_topics()):
                break
            await asyncio.sleep(0.02)
        await _create(admin, topics, replication=1, partitions=partitions)
    finally:
        await admin.close()


async def _create(
    admin: AIOKafkaAdminClient, topics: Sequence[Topic], *, replication: int, partitions: int | None = None
) -> None:
    new = []
    for topic in topics:
        copies = min(replication, topic.replication)
        configs = topic.settings(copies)
        new.append(NewTopic(topic.name, partitions or topic.partitions, copies, topic_configs=configs))
    _check(await admin.create_topics(new), allowed=_EXISTS)


def _check(response: Any, *, allowed: int) -> None:
    # The admin client does not raise: every answer carries its own code.
    errors = getattr(response, "topic_errors", None) or response.topic_error_codes
    failed = [answer for answer in errors if answer[1] not in (0, allowed)]
    if failed:
        raise RuntimeError(f"Kafka refused: {failed}")
