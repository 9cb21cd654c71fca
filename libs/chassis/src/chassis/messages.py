"""From a Kafka record to a command: headers, type, bytes, mapping; and what is wrong with those that cannot be one."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from chassis.database import LaneKeys, Transaction, UseCase
from chassis.outcome import Poison
from chassis.packed import UNPACKABLE
from contracts import Event, Malformed, Topic, decode

HEADER_BYTES = 4_096
"""Bytes of a key, and of a header's name and value, that are kept; the rest of an absurd one helps nobody."""

HEADERS = 64
"""Headers of a message that are kept."""

KEPT_BYTES = 1024 * 1024
"""Bytes of a message's value that are kept: twice what an event may have, and all that a broker takes unpacked."""

GATHER_MS = 30
"""While messages keep coming Kafka holds them so long for more: a transaction costs the same for one as for a hundred,
and what a relay sends at once arrives in several parts."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

EVERY_SHOP = "*"
"""What an event about all shops names as its shop; it waits for no shop to be known."""

_SHOP_IN_KEY = re.compile(rb"([A-Za-z0-9._:\-]{1,64}|[*])(?:/|$)")


class Raw(NamedTuple):
    """A record as it came, which is also what is stored of one that waits or is dead."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    """Kafka lets a header have no value, too."""
    value: bytes | None

    def header(self, name: str) -> str | None:
        """A header as text; None when it is absent, has no value or is not UTF-8."""
        for header, value in self.headers:
            if header == name:
                if value is None:
                    return None
                try:
                    return value.decode()
                except UnicodeDecodeError:
                    return None
        return None

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context; None when there is none or it is not one, since it is stored and sent on."""
        given = self.header("traceparent")
        return given if given and _TRACEPARENT.fullmatch(given) else None

    @property
    def shop(self) -> str:
        """The shop by the key's word, for messages that tell nothing else; empty when even the key does not."""
        named = _SHOP_IN_KEY.match(self.key or b"")
        return named[1].decode("ascii") if named else ""


class Received(NamedTuple):
    """What a command may want to know of its message besides the event."""

    raw: Raw
    traceparent: str | None
    """The trace to go on with: the message's own, or that of the span that applies it."""


Mapper = Callable[[Any, Received], Any]
"""An event to the command that it is for this service; None when it asks nothing of it."""


@dataclass(frozen=True)
class Consumer:
    """What a service listens to: a topic, what its events ask of the service, and the use case that does it."""

    name: str
    """Unique in the service; the consumer group is `<service>.<name>`."""
    topic: Topic
    commands: Mapping[type[Event], Mapper]
    """Types of the topic that are not here are passed over; types that the topic does not have are dead letters."""
    usecase: UseCase
    lane_key: Callable[[Any], LaneKeys] | None = None
    """By which key, or keys, a command's lanes are taken first of all; None when the use case needs no lanes at its
    begin."""
    known: Callable[[Transaction, set[str]], Awaitable[set[str]]] | None = None
    """Which of these shops are known; messages of the others wait. None when nothing needs to be known."""
    wants: Callable[[Raw], bool] | None = None
    """Passes records over by their headers, before anything else is looked at; None: every record is read."""
    gather_ms: int = GATHER_MS
    """How long messages that keep coming are held for more; longer where nobody waits for what comes of them."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Messages kept for later."""

    count: int
    age_seconds: float
    """Of the oldest; 0 when there is none."""


@dataclass(slots=True)
class Message:
    """One record on its way: either it has a command, or it is dead, or nobody here wants it."""

    raw: Raw
    shop: str
    command: Any = None
    dead: Poison | None = None
    traceparent: str | None = None

    @property
    def wanted(self) -> bool:
        """Whether there is anything to do at all."""
        return self.dead is not None or self.command is not None

    def kill(self, poison: Poison) -> None:
        """Nothing can be done with it: a dead letter, whatever it asked for."""
        self.command, self.dead = None, poison


def read(consumer: Consumer, raw: Raw, traceparent: str | None) -> Message:
    """Turn a record into a message. Never raises for what the record holds."""
    message = Message(raw, shop=raw.shop, traceparent=traceparent)
    try:
        message.shop, message.command = _command(consumer, raw, message.shop, traceparent)
    except Poison as poison:
        message.dead = poison
    except Malformed as malformed:
        message.dead = Poison("malformed", malformed.reason)
    return message


def _command(consumer: Consumer, raw: Raw, shop: str, traceparent: str | None) -> tuple[str, Any]:
    """The event's shop and command; `shop`: the key's word."""
    kind = raw.header("ce_type")
    if kind is None:
        if (why := raw.header(UNPACKABLE)) is not None:
            raise Poison("unpackable", why)
        raise Poison("type_missing", "no CloudEvents type in header ce_type")
    event_class = consumer.topic.types.get(kind)
    if event_class is None:
        raise Poison("type_unknown", f"topic {raw.topic} has no such type")
    mapper = consumer.commands.get(event_class)
    if mapper is None or (consumer.wants is not None and not consumer.wants(raw)):
        return shop, None
    event = decode(event_class, raw.value)
    if raw.key is not None and shop != event.shop:
        raise Poison("wrong_shop", "the key names another shop than the event")
    return event.shop, mapper(event, Received(raw, traceparent))


def headers_to_json(headers: Sequence[tuple[str, bytes | None]]) -> str:
    """Headers as JSON, bytes as Latin-1 so that a value of usual size comes back as it was."""
    return json.dumps(
        [
            [name[:HEADER_BYTES], None if value is None else value[:HEADER_BYTES].decode("latin-1")]
            for name, value in headers[:HEADERS]
        ]
    )


def headers_from_json(stored: str) -> tuple[tuple[str, bytes | None], ...]:
    """The headers that `headers_to_json` stored."""
    return tuple((name, None if value is None else value.encode("latin-1")) for name, value in json.loads(stored))


def raw_from_row(row: Mapping[str, Any]) -> Raw:
    """A stored record; `row` has its columns by name."""
    return Raw(
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        key=row["key"],
        headers=headers_from_json(row["headers"]),
        value=row["value"],
    )


def columns_of(raws: Sequence[Raw]) -> list[list[Any]]:
    """Stored columns of records, for `unnest`: topic, partition, offset, key, headers, value. What is absurdly large is
    cut, since a row or a statement that is too large would be tried for ever."""
    return [
        [raw.topic for raw in raws],
        [raw.partition for raw in raws],
        [raw.offset for raw in raws],
        [raw.key and raw.key[:HEADER_BYTES] for raw in raws],
        [headers_to_json(raw.headers) for raw in raws],
        [raw.value and raw.value[:KEPT_BYTES] for raw in raws],
    ]
