"""Who may write what to Kafka: exactly what the contracts say, so nobody mints points past the rules."""

import uuid
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError, TopicAuthorizationFailedError

from chassis.consumer import leave
from contracts import topics
from contracts.topic import Topic
from local.paths import SERVICES
from testkit.system import System

NAMELESS: Final = "publishers"
"""Whoever is on this machine and gives no name."""


def brokers(system: System, who: str) -> dict[str, Any]:
    return {"bootstrap_servers": system.bootstrap_servers} if who == NAMELESS else system.brokers(who)


async def ends(system: System, topic: Topic) -> dict[int, int]:
    kafka = AIOKafkaConsumer(bootstrap_servers=system.bootstrap_servers)
    try:
        await kafka.start()
        found = await kafka.end_offsets([TopicPartition(topic.name, number) for number in range(topic.partitions)])
        return {partition.partition: end for partition, end in found.items()}
    finally:
        await leave(kafka)


@pytest.mark.parametrize("who", [NAMELESS, *SERVICES])
@pytest.mark.parametrize("topic", topics.ALL, ids=lambda topic: topic.name)
async def test_a_topic_is_written_by_those_whom_its_contract_names_and_nobody_else(
    system: System, who: str, topic: Topic
) -> None:
    if who in topic.writers:
        async with AIOKafkaProducer(**brokers(system, who), acks="all", enable_idempotence=True) as producer:
            assert await producer.partitions_for(topic.name) == set(range(topic.partitions))
        return
    before = await ends(system, topic)
    # Without idempotence: asking for a producer's id would be refused first.
    async with AIOKafkaProducer(**brokers(system, who), acks="all", enable_idempotence=False) as producer:
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(topic.name, key=b"demo/anna", value=b"{}")
    if topic is topics.SEALS or topic is topics.LEDGER:
        return  # the ledger itself goes on writing
    assert await ends(system, topic) == before


async def test_nobody_without_a_name_takes_part_in_a_services_group(system: System) -> None:
    """It would be given partitions, and nobody would work on them."""
    kafka = AIOKafkaConsumer(
        topics.POSTINGS.name, bootstrap_servers=system.bootstrap_servers, group_id="ledger.postings"
    )
    try:
        with pytest.raises(GroupAuthorizationFailedError):
            await kafka.start()
    finally:
        await kafka.stop()


async def test_a_wrong_password_opens_no_door(system: System) -> None:
    told = {**system.brokers("rules"), "sasl_plain_password": uuid.uuid4().hex}
    producer = AIOKafkaProducer(**told)
    try:
        with pytest.raises(KafkaConnectionError):
            await producer.start()
    finally:
        await producer.stop()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_refused_nothing_that_it_asks_for(system: System, service: str) -> None:
    assert "AuthorizationFailed" not in system.log(service).read_text()
