"""Who may do what in the broker: rights that follow from the contracts, and passwords of those who have a name.

Services come by a door that asks for a name and password. The other one, for shop platforms on this machine, asks for
nothing: who comes by it may write what the contracts let publishers write, and read, but ask nothing of the ledger.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from contracts.topic import Topic
from local.paths import SERVICES

ADMIN: Final = "admin"
"""The broker itself, and who makes topics and rights: may do everything."""

USERS: Final = (ADMIN, *SERVICES)
"""Who has a name and a password."""

_EVERYBODY: Final = "User:*"
_NAMELESS: Final = "User:ANONYMOUS"
"""Kafka's name for who gives none."""

_PRINCIPALS: Final[Mapping[str, str]] = {"publishers": _NAMELESS, "anyone": _EVERYBODY}
"""Of the contracts' writers and readers, those that are no services."""

# Kafka's numbers.
_TOPIC, _GROUP = 2, 3
_LITERAL, _PREFIXED = 3, 4
_READ, _WRITE, _DESCRIBE = 3, 4, 8
_ALLOW: Final = 3


class Right(NamedTuple):
    """That somebody may do something, as Kafka keeps it; to read or write is to be told about as well."""

    resource: int
    name: str
    pattern: int
    principal: str
    operation: int


def rights(topics: Iterable[Topic]) -> list[Right]:
    """What the contracts say, and what is for whoever is on this machine: it may look, but join no service's group."""
    found = {
        Right(_TOPIC, topic.name, _LITERAL, _principal(who), operation)
        for topic in topics
        for operation, names in ((_WRITE, topic.writers), (_READ, topic.readers))
        for who in names
    }
    found |= {Right(_GROUP, f"{service}.", _PREFIXED, _principal(service), _READ) for service in SERVICES}
    found |= {
        Right(_TOPIC, "*", _LITERAL, _NAMELESS, _READ),
        Right(_GROUP, "*", _LITERAL, _NAMELESS, _DESCRIBE),
        Right(_GROUP, "console-consumer-", _PREFIXED, _NAMELESS, _READ),
    }
    return sorted(found)


async def grant(admin: AIOKafkaAdminClient, topics: Iterable[Topic]) -> None:
    """Give these rights; those that are there stay as they are."""
    for right in rights(topics):
        request = CreateAclsRequest(
            right.resource, right.name, right.pattern, right.principal, "*", right.operation, _ALLOW
        )
        answer = await admin._send_request(request)  # noqa: SLF001  # the client has no method for it
        for code, message in answer.creation_responses:
            if code:
                raise RuntimeError(f"Kafka refused {right}: {message or code}")


def named(user: str, password: str) -> dict[str, Any]:
    """How a client gives its name and password: arguments of aiokafka's clients."""
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": user,
        "sasl_plain_password": password,
    }


def _principal(who: str) -> str:
    return _PRINCIPALS.get(who, f"User:{who}")
