"""The broker of docker-compose.yml: Kafka itself takes its settings, and it asks who writes."""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ClusterAuthorizationFailedError, TopicAuthorizationFailedError

from contracts import topics
from local import access, child
from local import topics as made
from local.paths import ROOT
from testkit import wait_until
from testkit.servers import broker_with

TOLD: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["kafka"][
    "environment"
]


def default(value: str) -> str:
    """What stands for a variable that is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Addresses: for services, and for publishers. The image makes properties of the variables as is done here."""
    folder = tmp_path_factory.mktemp("broker")
    services, outside, controller = (child.free_port() for _ in range(3))
    properties = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): default(value)
        for name, value in TOLD.items()
        if name != "KAFKA_HEAP_OPTS"
    }
    properties |= {
        "listeners": f"SERVICES://127.0.0.1:{services},CONTROLLER://127.0.0.1:{controller},OUTSIDE://127.0.0.1:{outside}",
        "advertised.listeners": f"SERVICES://127.0.0.1:{services},OUTSIDE://127.0.0.1:{outside}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "log.dirs": str(folder / "data"),
    }
    with broker_with(properties, folder, ports=[services, outside], format_with=[]):
        yield f"127.0.0.1:{services}", f"127.0.0.1:{outside}"


async def test_it_starts_gets_its_topics_and_rights_and_asks_who_writes(doors: tuple[str, str]) -> None:
    services, outside = doors
    admin = {"bootstrap_servers": services, **access.named("admin", "development-admin")}
    await made.ensure(admin, guarded=True)
    await made.ensure(admin, guarded=True)  # as each start does
    rules = {"bootstrap_servers": services, **access.named("rules", "development-rules")}
    await wait_until(lambda: _may_begin(rules), what="the rights to be in force")
    async with AIOKafkaProducer(**rules, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(topics.POSTINGS.name, b"{}", key=b"demo/anna")
    async with AIOKafkaProducer(bootstrap_servers=outside, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(topics.ORDERS.name, b"{}", key=b"demo/o-1")
    ledger = {"bootstrap_servers": services, **access.named("ledger", "development-ledger")}
    for brokers in ({"bootstrap_servers": outside}, ledger):
        async with AIOKafkaProducer(**brokers, acks="all", enable_idempotence=False) as producer:
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(topics.POSTINGS.name, b"{}", key=b"demo/anna")


async def _may_begin(brokers: dict[str, Any]) -> bool:
    """Rights that were given are in force a moment later."""
    producer = AIOKafkaProducer(**brokers, acks="all", enable_idempotence=True)
    try:
        await producer.start()
    except ClusterAuthorizationFailedError:
        return False
    finally:
        await producer.stop()
    return True
