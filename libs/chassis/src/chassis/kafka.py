"""Kafka as the chassis needs it: how its brokers are reached, and what aiokafka does not tell: the end of a connection,
where a log was cut off, a topic's identity."""

from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, for_code
from aiokafka.helpers import create_ssl_context
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from chassis.settings import ServiceSettings


def brokers(settings: ServiceSettings) -> dict[str, Any]:
    """Where the brokers are and who we are to them: arguments of aiokafka's clients."""
    told: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": settings.kafka_security,
    }
    if settings.kafka_security.endswith("SSL"):
        told["ssl_context"] = create_ssl_context(cafile=settings.kafka_ca_file)
    if settings.kafka_security.startswith("SASL"):
        assert settings.kafka_password is not None, "the settings say so"
        told |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_user,
            "sasl_plain_password": settings.kafka_password.get_secret_value(),
        }
    return told


def hold_fetches(kafka: AIOKafkaConsumer, *, wait_ms: int, min_bytes: int) -> None:
    """From the next fetch on, Kafka holds one until there are so many bytes, but no longer than this."""
    fetcher = kafka._fetcher  # noqa: SLF001  # it reads them for each request; the consumer takes them only once
    fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes = wait_ms, min_bytes  # noqa: SLF001


def tell_of_ends(client: AIOKafkaClient, told: Callable[[], None]) -> None:
    """Tell when a connection has ended, before another one takes its place: a broker that comes back from a loss of
    power may have less than it had, and a client goes on with it as if nothing had been."""
    closed = client._on_connection_closed  # noqa: SLF001  # asked for as each connection is made

    def ended(*about: Any) -> None:
        told()
        closed(*about)

    client._on_connection_closed = ended  # noqa: SLF001


async def cut_off(
    kafka: AIOKafkaConsumer, known: Mapping[TopicPartition, tuple[int, int]], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Where partitions go on that lost their end, with the power of their broker, after it was known: `known` is the
    offset behind what was there, and the latest time of it in milliseconds. The first record that is later stands at or
    behind that offset in a log that is whole; before it, what was there is gone, and what came since begins there."""
    later = await kafka.offsets_for_times({tp: latest + 1 for tp, (_, latest) in known.items()})
    goes_on = {tp: ends[tp] if found is None else found.offset for tp, found in later.items()}
    return {tp: offset for tp, offset in goes_on.items() if offset < known[tp][0]}


async def topic_ids(kafka: AIOKafkaConsumer, topics: Iterable[str]) -> dict[str, UUID]:
    """The ids of topics: a topic that was deleted and made anew under its name has another one."""
    client = kafka._client  # noqa: SLF001  # its connections and versions; the consumer offers no request of this kind
    node = client.get_random_node()
    if node is None:
        raise KafkaConnectionError("no broker is known")
    answer = await client.send(node, _MetadataRequest(sorted(set(topics))))
    ids = {}
    for error_code, name, topic_id, *_ in answer.topics:
        if error_code:
            raise for_code(error_code)(name)
        ids[name] = topic_id
    return ids


class _Uuid(AbstractType[UUID]):  # type: ignore[misc]  # aiokafka ships no types
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


_NAME = CompactString("utf-8")

NO = False
"""Make no topics that are missing, tell no rights."""


class _MetadataResponse(Response):  # type: ignore[misc]
    """Version 12, Kafka 3.0 and later."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("node_id", Int32), ("host", _NAME), ("port", Int32), ("rack", _NAME), ("tags", TaggedFields)),
        ),
        ("cluster_id", _NAME),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _NAME),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequestV12(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _NAME), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestV12]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataRequestV12]) -> Any:
        return request_struct_class([(UUID(int=0), name, {}) for name in self._topics], NO, NO, {})
