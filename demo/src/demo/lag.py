"""Whether everything has gone through: every service has read its topics to their ends, and nothing new comes."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts import topics

GROUPS: Final = {
    "rules.orders": topics.ORDERS.name,
    "redemption.orders": topics.ORDERS.name,
    "ledger.postings": topics.POSTINGS.name,
    "redemption.ledger": topics.LEDGER.name,
    "notifications.ledger": topics.LEDGER.name,
}
"""Consumer groups and what they read."""


class Lag:
    """How far each service is behind, as Kafka knows it."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
        self._kafka = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)

    async def __aenter__(self) -> Self:
        await self._admin.start()
        await self._kafka.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._kafka.stop()
        await self._admin.close()

    async def behind(self) -> dict[str, int]:
        """Messages that each group has not read yet."""
        ends = await self.ends()
        behind = {}
        for group, topic in GROUPS.items():
            read: dict[Any, Any] = await self._admin.list_consumer_group_offsets(group)
            offsets = {partition: max(found.offset, 0) for partition, found in read.items()}
            behind[group] = sum(
                max(end - offsets.get(partition, 0), 0) for partition, end in ends.items() if partition.topic == topic
            )
        return behind

    async def ends(self) -> dict[TopicPartition, int]:
        """How long each partition is."""
        partitions = await partitions_of(self._kafka, sorted(set(GROUPS.values())))
        ends: dict[TopicPartition, int] = await self._kafka.end_offsets(partitions)
        return ends


async def partitions_of(kafka: Any, names: Sequence[str]) -> list[TopicPartition]:
    """All partitions of some topics, whoever reads them."""
    cluster = await kafka._client.fetch_all_metadata()  # noqa: SLF001 - the consumer itself tells of its own topics only
    return [
        TopicPartition(name, number) for name in names for number in sorted(cluster.partitions_for_topic(name) or ())
    ]
