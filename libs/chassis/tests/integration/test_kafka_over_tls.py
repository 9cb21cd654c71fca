"""A broker that shows a certificate and asks for a name, as those of a real cluster do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from chassis.kafka import brokers, topic_ids
from chassis.settings import ServiceSettings
from contracts import topics
from local import child
from local import topics as made
from testkit.certificates import certificates
from testkit.probe import settings_of_nobody
from testkit.servers import broker_with


class Door(NamedTuple):
    """A broker's address, and who signed for it."""

    address: str
    authority: Path

    def settings(self, **changes: Any) -> ServiceSettings:
        told = {
            "kafka_bootstrap_servers": self.address, "kafka_security": "SASL_SSL", "kafka_user": "ledger",
            "kafka_password": "secret", "kafka_ca_file": self.authority,
        }  # fmt: skip
        return settings_of_nobody(**{**told, **changes})


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("broker")
    port, controller = child.free_port(), child.free_port()
    authority, shown = certificates(folder)
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"DOOR://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"DOOR://127.0.0.1:{port}",
        "listener.security.protocol.map": "DOOR:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "DOOR",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "listener.name.door.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.door.scram-sha-512.sasl.jaas.config": f'{scram} required username="ledger" password="secret";',
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(shown),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority),
        "offsets.topic.replication.factor": "1",
        "log.dirs": str(folder / "data"),
    }
    named = ["--standalone", "--add-scram", "SCRAM-SHA-512=[name=ledger,password=secret]"]
    with broker_with(properties, folder, ports=[port], format_with=named):
        yield Door(f"127.0.0.1:{port}", authority)


async def test_a_service_writes_and_reads_there(door: Door) -> None:
    told = brokers(door.settings())
    await made.ensure(told, [topics.POSTINGS])
    async with AIOKafkaProducer(**told, acks="all", enable_idempotence=True) as producer:
        sent = await producer.send_and_wait(topics.POSTINGS.name, b"{}", key=b"demo/anna")
    async with AIOKafkaConsumer(**told, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topics.POSTINGS.name, sent.partition)])
        record = await consumer.getone()
        assert set(await topic_ids(consumer, [topics.POSTINGS.name])) == {topics.POSTINGS.name}
    assert (record.key, record.value, record.offset) == (b"demo/anna", b"{}", sent.offset)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"kafka_ca_file": None}, KafkaConnectionError),
        ({"kafka_password": "guessed"}, KafkaError),
        ({"kafka_user": "rules"}, KafkaError),
        ({"kafka_sasl_mechanism": "PLAIN"}, KafkaError),
    ],
    ids=["an authority that nobody knows", "another password", "another name", "another mechanism"],
)
async def test_whoever_is_not_who_the_other_expects_is_refused(
    door: Door, changes: dict[str, Any], refusal: type[Exception]
) -> None:
    producer = AIOKafkaProducer(**brokers(door.settings(**changes)))
    with pytest.raises(refusal):
        await producer.start()
    await producer.stop()
