"""Messages: what a record becomes, whatever it holds."""

from typing import Any

import pytest

from chassis import Consumer, Outcome, Poison
from chassis.messages import (
    HEADER_BYTES,
    HEADERS,
    KEPT_BYTES,
    Raw,
    Received,
    columns_of,
    headers_from_json,
    headers_to_json,
    read,
)
from chassis.packed import UNPACKABLE
from contracts import encode, topics
from contracts.activities import ActivityRecorded
from contracts.ledger import PointsChanged
from contracts.structs import as_struct

EVENT = ActivityRecorded.example()
KEY = EVENT.key.encode()


async def _nothing(tx: Any, commands: Any) -> Outcome:
    return Outcome()


def _keep(event: ActivityRecorded, received: Received) -> tuple[ActivityRecorded, Received]:
    return event, received


CONSUMER = Consumer("activities", topics.ACTIVITIES, {ActivityRecorded: _keep}, _nothing)


def _raw(value: bytes | None = None, *, key: bytes | None = KEY, **headers: bytes) -> Raw:
    return Raw("activities", 3, 17, key, tuple({"ce_type": b"activity-recorded", **headers}.items()), value)


def test_a_record_becomes_its_command_with_what_is_known_of_it() -> None:
    raw = _raw(encode(EVENT), ce_id=b"e-1", ce_source=b"/shop")
    message = read(CONSUMER, raw, "t")
    event, received = message.command
    assert event == as_struct(EVENT)
    assert (message.shop, message.dead) == (EVENT.shop, None)
    assert received == Received(raw, "t")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (_raw(None), "malformed"),
        (_raw(b"{"), "malformed"),
        (Raw("activities", 0, 0, KEY, (), encode(EVENT)), "type_missing"),
        (Raw("activities", 0, 0, KEY, (("ce_type", b"\xff"),), encode(EVENT)), "type_missing"),
        (Raw("activities", 0, 0, KEY, (("ce_type", b"order-paid"),), encode(EVENT)), "type_unknown"),
        (Raw("activities", 0, 0, None, ((UNPACKABLE, b"why"),), b"packed"), "unpackable"),
        (_raw(encode(EVENT), key=b"other/m-2417"), "wrong_shop"),
        (_raw(encode(EVENT), key=b"\xff\x00"), "wrong_shop"),
    ],
)
def test_what_can_never_work_is_dead_and_says_why(raw: Raw, code: str) -> None:
    message = read(CONSUMER, raw, None)
    assert message.dead is not None
    assert (message.dead.code, message.command) == (code, None)


def test_a_dead_message_is_its_keys_shops() -> None:
    assert read(CONSUMER, _raw(b"{", key=b"corner/m-1"), None).shop == "corner"
    assert read(CONSUMER, _raw(b"{", key=b"corner"), None).shop == "corner"
    for key in (None, b"", b"\x00\xff", b"a b/m-1", b"x" * 65):
        assert read(CONSUMER, _raw(b"{", key=key), None).shop == ""


def test_a_message_without_a_key_is_taken_by_its_body() -> None:
    assert read(CONSUMER, _raw(encode(EVENT), key=None), None).shop == EVENT.shop


def test_what_nobody_here_wants_is_passed_over() -> None:
    nobody = Consumer("activities", topics.ACTIVITIES, {}, _nothing)
    asks_nothing = Consumer("activities", topics.ACTIVITIES, {ActivityRecorded: lambda e, r: None}, _nothing)
    for consumer in (nobody, asks_nothing):
        assert not read(consumer, _raw(encode(EVENT)), None).wanted


def test_a_consumer_may_pass_records_over_before_their_bytes_are_read() -> None:
    holds = Consumer(
        "ledger",
        topics.LEDGER,
        {PointsChanged: _keep},
        _nothing,
        wants=lambda raw: raw.header("ce_subject") == "hold",
    )
    award = Raw("ledger", 0, 0, KEY, (("ce_type", b"points-changed"), ("ce_subject", b"award")), b"not even JSON")
    hold = Raw("ledger", 0, 1, KEY, (("ce_type", b"points-changed"), ("ce_subject", b"hold")), b"not even JSON")
    assert not read(holds, award, None).wanted
    assert read(holds, hold, None).dead is not None


def test_a_mapping_can_refuse_a_message() -> None:
    def refuse(event: ActivityRecorded, received: Received) -> None:
        raise Poison("unheard_of", "no such thing")

    message = read(
        Consumer("activities", topics.ACTIVITIES, {ActivityRecorded: refuse}, _nothing), _raw(encode(EVENT)), None
    )
    assert message.dead is not None
    assert message.dead.code == "unheard_of"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        (b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\x00", False),
        (b"x" * 100_000, False),
        (b"\xff", False),
    ],
)
def test_only_a_trace_context_that_is_one_is_stored_and_sent_on(given: bytes, taken: bool) -> None:
    assert _raw(b"", traceparent=given).traceparent == (given.decode() if taken else None)


def test_stored_headers_come_back_as_they_were() -> None:
    headers = (("a", b"\x00\xff\n"), ("a", b""), ("ü", "ü".encode()))
    assert headers_from_json(headers_to_json(headers)) == headers


def test_a_header_without_a_value_stops_nothing() -> None:
    headers = (("ce_type", b"activity-recorded"), ("traceparent", None), ("x", b"\xff"))
    raw = Raw("activities", 0, 0, KEY, headers, encode(EVENT))
    assert raw.traceparent is None
    assert read(CONSUMER, raw, None).command is not None
    typeless = read(CONSUMER, Raw("activities", 0, 0, KEY, (("ce_type", None),), encode(EVENT)), None)
    assert typeless.dead is not None
    assert typeless.dead.code == "type_missing"
    assert headers_from_json(headers_to_json(headers)) == headers


def test_what_is_stored_of_an_absurd_message_is_cut() -> None:
    headers = ((("n" * 5_000), b"v" * 5_000), *[("x", None)] * 99)
    columns = columns_of([Raw("activities", 0, 1, b"k" * 5_000, headers, b"b" * (KEPT_BYTES + 1))])
    (topic,), (partition,), (offset,), (key,), (kept,), (value,) = columns
    assert (topic, partition, offset, len(key), len(value)) == ("activities", 0, 1, HEADER_BYTES, KEPT_BYTES)
    (name, header), *others = headers_from_json(kept)
    assert (len(name), len(header or b""), others) == (HEADER_BYTES, HEADER_BYTES, [("x", None)] * (HEADERS - 1))


def test_what_is_stored_of_one_without_key_and_value_is_that() -> None:
    assert columns_of([Raw("activities", 0, 1, None, (), None), Raw("activities", 0, 2, b"", (), b"")])[3::2] == [
        [None, b""], [None, b""],
    ]  # fmt: skip
