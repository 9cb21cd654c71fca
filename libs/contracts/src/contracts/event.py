"""What every event is: a frozen model with a type, a shop and a key, and how it becomes bytes and comes back."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Self

import msgspec
from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, StringConstraints, ValidationError

from contracts.faults import FirstFaults, causes
from contracts.structs import CONTROL_FREE, as_struct, may_differ, struct_of

MAX_ID_LENGTH = 64
"""Characters. Long enough for any platform's ids and for our UUIDs with a prefix, short enough to index."""

MAX_MINOR_UNITS = 10**13
"""Minor units of a currency in one amount. A sum of a thousand of them times any rate still fits 64 bits."""

MAX_POINTS = 10**13
"""Points in one posting, for the same reason."""

MAX_BODY_BYTES = 512 * 1024
"""Bytes of one event. An order of 1,000 lines takes about 300 KiB; Kafka's own limit is 1 MiB."""

_SEPARATORS = re.compile(r"[-.:_]")


def _not_a_phone_number(value: str) -> str:
    """Refuse what looks like a phone number: 9 to 12 digits once separators are taken away.

    Shorter and longer numbers are ids of common platforms. E-mail addresses and a leading plus sign are already
    outside the alphabet of ids.
    """
    digits = _SEPARATORS.sub("", value)
    if digits.isdigit() and 9 <= len(digits) <= 12:
        raise ValueError("looks like a phone number; use an opaque id, personal data never travels in events")
    return value


OpaqueId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:\-]*$", min_length=1, max_length=MAX_ID_LENGTH)
]
"""An id that means nothing outside the system that made it: 1 to 64 of `A-Z a-z 0-9 . _ : -`."""

MemberId = Annotated[
    OpaqueId,
    AfterValidator(_not_a_phone_number),
    # The same rule in the published schema.
    Field(json_schema_extra={"not": {"pattern": r"^[-.:_]*([0-9][-.:_]*){9,12}$"}}),
]
"""The shop's own opaque id of a member."""

PostingKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:/\-]+$", min_length=1, max_length=256)]
"""A natural key built from opaque ids, such as `order/generation/rule/trigger`."""

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
"""ISO 4217."""

Money = Annotated[int, Field(ge=0, le=MAX_MINOR_UNITS)]
"""Minor units of the currency that stands beside it."""

Points = Annotated[int, Field(ge=0, le=MAX_POINTS)]
"""Whole points."""

PositivePoints = Annotated[Points, Field(ge=1)]
"""At least one point."""

Instant = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(2500, 1, 1, tzinfo=UTC))]
"""A point in time with its offset, written as ISO 8601; in years in which no sum of dates can overflow."""

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""The number of a version or generation; from 1."""

Text = Annotated[str, StringConstraints(pattern=CONTROL_FREE, max_length=1_024)]
"""Words without control characters: some of them cannot be stored."""


class Model(FirstFaults):
    """A part of an event. Strict: a number in quotes is a mistake. Unknown fields may come from a newer writer."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", ser_json_timedelta="iso8601")


class Event(Model):
    """A fact in the past tense, about one shop."""

    type: ClassVar[str]
    """The CloudEvents type, such as `order-paid`; an incompatible change is a new one, `order-paid.v2`."""
    command: ClassVar[bool] = False
    """Asked of the one service that obeys it, which is brought up to date before those that ask."""

    shop: OpaqueId = Field(description="The merchant that the event belongs to.")

    @property
    def key(self) -> str:
        """The Kafka key: what must stay in order shares it."""
        return self.shop

    @classmethod
    def example(cls) -> Self:
        """A plausible event, for the documents and for tests."""
        raise NotImplementedError(cls.__name__)


class Malformed(Exception):
    """Bytes that are not an event of the type they claim. `reason` says where and why, without the offending values."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def encode(event: Event) -> bytes:
    """An event's data as compact JSON, without absent optional fields. `Malformed` if it is more than readers take."""
    body: bytes = (
        _encoder.encode(event)
        if isinstance(event, msgspec.Struct)
        else event.__pydantic_serializer__.to_json(event, exclude_none=True)
    )
    if len(body) > MAX_BODY_BYTES:
        raise Malformed(f"{event.type} of {len(body)} bytes, more than the {MAX_BODY_BYTES} allowed")
    return body


def decode(event_class: type[Event], body: bytes | None) -> Any:
    """The event that the bytes hold, as the struct of its class, or `Malformed`."""
    if body is None:
        raise Malformed("empty body")
    if len(body) > MAX_BODY_BYTES:
        raise Malformed(f"{len(body)} bytes, more than the {MAX_BODY_BYTES} allowed")
    if not may_differ(body):
        try:
            if not body.isascii():
                body.decode()  # what a struct passes over is not checked to be UTF-8
            return _decoder(event_class)(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            pass  # the model says what is wrong with it, or understands it after all
    try:
        return as_struct(event_class.__pydantic_validator__.validate_json(body))
    except ValidationError as error:
        raise Malformed(_summary(error)) from error


_encoder = msgspec.json.Encoder()


@cache
def _decoder(event_class: type[Event]) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(struct_of(event_class)).decode


def _summary(error: ValidationError) -> str:
    """The first faults by place and kind. Values are left out: a dead letter's reason must hold no personal data."""
    found = causes(error.errors(include_url=False, include_context=False, include_input=False))
    faults = [f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}" for fault in found[:5]]
    more = len(found) - len(faults)
    return "; ".join(faults) + (f"; and {more} more" if more > 0 else "")
