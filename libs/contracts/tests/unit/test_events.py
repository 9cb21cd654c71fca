"""Events: what is published fits its schema, comes back as it was, and what is wrong is refused."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contracts import Event, Malformed, decode, encode, topics
from contracts.__main__ import ROOT, check
from contracts.documents import asyncapi, files, schema
from contracts.event import MAX_BODY_BYTES
from contracts.faults import causes
from contracts.orders import MAX_LINES, OrderPaid
from contracts.structs import as_struct
from contracts.topic import Topic

EVENTS = [(topic, event) for topic in topics.ALL for event in topic.events]
NAMES = [event.type for _, event in EVENTS]


@pytest.mark.parametrize(("topic", "event"), EVENTS, ids=NAMES)
def test_an_example_fits_its_schema(topic: Topic, event: type[Event]) -> None:
    validator = Draft202012Validator(schema(topic, event))
    validator.validate(json.loads(encode(event.example())))
    assert validator.schema["$id"] == f"urn:accrual:events:{topic.name}:{event.type}"


@pytest.mark.parametrize(("topic", "event"), EVENTS, ids=NAMES)
def test_an_event_comes_back_as_it_was(topic: Topic, event: type[Event]) -> None:
    example = event.example()
    assert decode(event, encode(example)) == as_struct(example)


@pytest.mark.parametrize(("topic", "event"), EVENTS, ids=NAMES)
def test_a_key_begins_with_the_shop(topic: Topic, event: type[Event]) -> None:
    example = event.example()
    assert example.key.split("/")[0] == example.shop


def test_types_and_topics_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert len({topic.name for topic in topics.ALL}) == len(topics.ALL)


def test_what_is_committed_is_what_the_code_says() -> None:
    assert check(ROOT, files()) == []


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()

    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            return [part["$ref"]] if "$ref" in part else [r for value in part.values() for r in references(value)]
        return [r for value in part for r in references(value)] if isinstance(part, list) else []

    for reference in references(document):
        target = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
    assert document["channels"]["postings"]["x-accrual-writers"] == ["rules", "redemption"]
    assert set(document["components"]["messages"]) == set(NAMES)


LINE = {"line": "1", "product": "apples", "quantity": 1, "unit_price": 1}


def _body(**changes: Any) -> bytes:
    body = json.loads(encode(OrderPaid.example()))
    body.update(changes)
    return json.dumps({name: value for name, value in body.items() if value is not ...}).encode()


def test_unknown_fields_are_ignored() -> None:
    assert decode(OrderPaid, _body(from_the_future={"a": [1]})) == as_struct(OrderPaid.example())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"revision": "3"}, "revision: Input should be a valid integer"),
        ({"revision": 3.0}, "revision: Input should be a valid integer"),
        ({"revision": True}, "revision: Input should be a valid integer"),
        ({"revision": 2**53 + 1}, "revision: Input should be less than or equal to 9007199254740992"),
        ({"test": 1}, "test: Input should be a valid boolean"),
        ({"currency": "eur"}, "currency: String should match pattern"),
        ({"currency": ...}, "currency: Field required"),
        ({"shop": ""}, "shop: String should have at least 1 character"),
        ({"shop": "corner grocer"}, "shop: String should match pattern"),
        ({"shop": "corner\n"}, "shop: String should match pattern"),
        ({"order": "x" * 65}, "order: String should have at most 64 characters"),
        ({"discount": -1}, "discount: Input should be greater than or equal to 0"),
        ({"discount": 10**14}, "discount: Input should be less than or equal to 10000000000000"),
        ({"rate": 1.1}, "rate: Input should be a valid string"),
        ({"rate": "1e3"}, "rate: String should match pattern"),
        ({"placed_at": "2026-03-02T09:30:00"}, "placed_at: Input should have timezone info"),
        ({"placed_at": 1772443800}, "placed_at: Input should be"),
        ({"placed_at": "0001-01-01T00:00:00+14:00"}, "placed_at: Input should be greater than or equal to 1970"),
        ({"placed_at": "9999-12-31T23:59:59-14:00"}, "placed_at: Input should be less than 2500"),
        ({"coupons": ["a\u0000b"]}, "coupons.0: String should match pattern"),
        ({"lines": [LINE] * (MAX_LINES + 1)}, "lines: Tuple should have at most 1000 items"),
        ({"refunds": [{"refund": "r-1", "at": "2026-03-02T09:30:00Z"}]}, "body: Value error, a refund names neither"),
        (
            {"refunds": [{"refund": "r-1", "at": "2026-03-02T09:30:00Z", "lines": [{"line": "9"}]}]},
            "body: Value error, a refund names a line that the order does not have",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_malformed_and_the_reason_says_where(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Malformed) as refused:
        decode(OrderPaid, _body(**changes))
    assert refused.value.reason.startswith(reason)


@pytest.mark.parametrize("body", [None, b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"shop": "\\ud800"}', b"[" * 100_000])
def test_bytes_that_are_no_event_are_malformed(body: bytes | None) -> None:
    with pytest.raises(Malformed):
        decode(OrderPaid, body)


def test_a_reason_names_the_item_at_fault_and_not_that_the_others_are_too_few() -> None:
    faults = [
        {"type": "extra_forbidden", "loc": ("cart", "lines", 0, "line"), "msg": "no such field"},
        {"type": "too_short", "loc": ("cart", "lines"), "msg": "not one item after validation"},
        {"type": "too_short", "loc": ("cart", "line"), "msg": "not one character"},
    ]
    assert causes(faults) == [faults[0], faults[2]]


@pytest.mark.parametrize("field", ["lines", "refunds", "tenders", "cancellations"])
def test_of_very_many_items_at_fault_the_first_is_told(field: str) -> None:
    body = json.loads(encode(OrderPaid.example()))
    with pytest.raises(Malformed) as refused:
        decode(OrderPaid, json.dumps({**body, field: [{}] * 100_000}).encode())
    told = refused.value.reason.split("; ")
    assert 2 <= len(told) <= 4
    assert all(fault.startswith(f"{field}.0.") for fault in told)


def test_the_reason_holds_no_value_of_the_message() -> None:
    with pytest.raises(Malformed) as refused:
        decode(OrderPaid, _body(member="ann@example.org", currency="secret"))
    assert "ann" not in refused.value.reason
    assert "secret" not in refused.value.reason


@pytest.mark.parametrize(
    "member", ["ann@example.org", "+34600123456", "600123456", "600-123-456", "34.600.123.456", "0600 123 456"]
)
def test_a_member_id_that_looks_like_an_address_or_a_phone_number_is_refused(member: str) -> None:
    with pytest.raises(Malformed):
        decode(OrderPaid, _body(member=member))
    assert not Draft202012Validator(schema(topics.ORDERS, OrderPaid)).is_valid(json.loads(_body(member=member)))


@pytest.mark.parametrize("member", ["m-2417", "12345678", "7016032198912", "a600123456", "600123456x", "C:99.1_b"])
def test_other_ids_are_taken(member: str) -> None:
    assert decode(OrderPaid, _body(member=member)).member == member


def test_an_oversize_body_is_malformed_and_is_never_written() -> None:
    with pytest.raises(Malformed, match="more than the 524288 allowed"):
        decode(OrderPaid, b" " * (MAX_BODY_BYTES + 1))
    example = OrderPaid.example()
    line = example.lines[0].model_copy(update={"tags": ("t" * 128,) * 50})
    with pytest.raises(Malformed, match="order-paid of"):
        encode(example.model_copy(update={"lines": (line,) * MAX_LINES}))


def test_two_lines_refunds_or_cancellations_never_share_an_id() -> None:
    body = json.loads(encode(OrderPaid.example()))
    cancellation = {"cancellation": "c-1", "at": "2026-03-02T10:00:00Z"}
    refund = {"refund": "r-1", "at": "2026-03-02T10:00:00Z", "amount": 1}
    for changes in (
        {"lines": body["lines"] + body["lines"]},
        {"cancellations": [cancellation, cancellation]},
        {"refunds": [refund, refund]},
    ):
        with pytest.raises(Malformed, match="share an id"):
            decode(OrderPaid, _body(**changes))


@pytest.mark.parametrize("topic", topics.ALL, ids=lambda topic: topic.name)
def test_no_topic_loses_what_it_acknowledged_or_deletes_by_another_clock_than_its_own(topic: Topic) -> None:
    told = topic.settings(topic.replication)
    assert (told["min.insync.replicas"], told["message.timestamp.type"]) == ("2", "LogAppendTime")
    assert topic.settings(1) == {**told, "min.insync.replicas": "1"}
    days = int(told["retention.ms"]) / 86_400_000
    assert days == (30 if topic.retention else -1 / 86_400_000)
    assert told["retention.bytes"] == "-1"
