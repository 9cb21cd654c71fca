"""The glimpse of an order takes what its model takes and nothing else, however little of it is looked at."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts import Malformed, decode, encode, topics
from contracts.orders import Cancellation, OrderPaid, Tender
from contracts.structs import as_struct
from redemption.glimpse import ORDERS
from testkit.exploring import examples

GLIMPSED = ORDERS.types["order-paid"]

BODY = encode(OrderPaid.example())


def by_the_model(body: bytes) -> Any:
    """What the model makes of it; None where it does not take it."""
    try:
        return as_struct(GLIMPSED.__pydantic_validator__.validate_json(body))
    except ValidationError:
        return None


def glimpsed(body: bytes) -> Any:
    try:
        return decode(GLIMPSED, body)
    except Malformed:
        return None


def with_unknown(raw: bytes) -> bytes:
    """An order with a field that nobody knows, which holds this."""
    return BODY[:-1] + b',"more":' + raw + b"}"


IDS = (
    st.text("aB0159._:-", max_size=66)
    | st.text("a\n é")
    | st.sampled_from(["m-1", "123456789", "1-2.3:4_5-6789", "١٢٣", "x\n"])
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([-1, 0, 2**53, 2**53 + 1, 1.0, "1", float("nan"), float("inf"), 1e400])
    | st.floats()
    | IDS,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5) | IDS, children, max_size=3),
    max_leaves=8,
)
TENDERS = st.lists(
    VALUES | st.fixed_dictionaries({"kind": st.sampled_from(["points", "card", "Points", "", 1, None])}), max_size=3
)
FIELDS = {
    "shop": IDS | VALUES,
    "order": IDS | VALUES,
    "revision": st.integers(-1, 2**53 + 1) | VALUES,
    "test": st.booleans() | VALUES,
    "member": st.none() | IDS | VALUES,
    "tenders": TENDERS | VALUES,
    "cancellations": st.lists(st.just({}) | VALUES, max_size=2) | VALUES,
    "lines": VALUES,
}
ORDER = {"shop": "corner", "order": "o-1", "revision": 3, "member": "m-1", "tenders": [{"kind": "points", "amount": 1}]}
TOKENS = st.sampled_from(
    [*map(str.encode, '"\\{}[],:0-.e \n\0é'), b"\xff", b"\xed\xa0", b"\xef\xbb\xbf"]
) | st.sampled_from([b"\\ud800", b"\\u0000", b"\\q", b"NaN", b"null", b'"test":true,', b'"shop":1,', b"//"])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """JSON of an order with an odd field or two, and a few bytes put in or taken out anywhere."""
    odd = draw(st.sets(st.sampled_from(sorted(FIELDS)), max_size=2))
    document = ORDER | {name: draw(FIELDS[name]) for name in sorted(odd)}
    body = json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(body)))
        body = body[:place] + draw(TOKENS | st.just(b"")) + body[place + draw(st.integers(0, 2)) :]
    return body


@settings(max_examples=examples(500))
@given(bodies())
@example(BODY)
@example(with_unknown(b'"\xff"'))
@example(with_unknown(b'{"\xed\xa0\x80":1}'))
@example(with_unknown(b'"\\ud800"'))
@example(with_unknown(b"NaN"))
def test_the_glimpse_takes_what_the_model_takes(body: bytes) -> None:
    assert glimpsed(body) == by_the_model(body)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"shop": "no spaces"}, "shop: String should match pattern"),
        ({"order": "o" * 65}, "order: String should have at most 64 characters"),
        ({"order": "o-1\n"}, "order: String should match pattern"),
        ({"member": "0170-123456"}, "member: Value error, looks like a phone number"),
        ({"revision": -1}, "revision: Input should be greater than or equal to 0"),
        ({"revision": 2**53 + 1}, "revision: Input should be less than or equal to 9007199254740992"),
        ({"revision": 1.0}, "revision: Input should be a valid integer"),
        ({"test": None}, "test: Input should be a valid boolean"),
        ({"tenders": [{}]}, "tenders.0.kind: Field required"),
        ({"cancellations": [1]}, "cancellations.0: Input should be an object"),
    ],
)
def test_what_it_does_not_take_is_a_dead_letter_that_says_why(wrong: dict[str, Any], reason: str) -> None:
    body = json.dumps(ORDER | wrong).encode()
    with pytest.raises(Malformed) as malformed:
        decode(GLIMPSED, body)
    assert malformed.value.reason.startswith(reason)


def test_points_and_cancellations_matter() -> None:
    plain = OrderPaid.example()
    points = Tender(kind="points", amount=100, points=100)
    called_off = Cancellation(cancellation="x-1", at=plain.placed_at)
    for more in ({"tenders": (*plain.tenders, points)}, {"cancellations": (called_off,)}):
        glimpse = decode(GLIMPSED, encode(plain.model_copy(update=more)))
        assert glimpse.matters


def test_the_glimpse_knows_every_type_of_the_topic() -> None:
    assert set(ORDERS.types) == set(topics.ORDERS.types)
