"""Structs and models are one contract: what a struct takes the model takes too, with the same values."""

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts import Event, Malformed, decode, encode, topics
from contracts.orders import Cancellation, Line, Order, OrderRefunded, Refund, RefundLine, Tender
from contracts.postings import Activate, Award, Capture, Cause, Credit, Hold, PostingRequested, TopUp
from contracts.structs import as_struct, may_differ, struct_of
from testkit.exploring import examples

EVENTS = [event for topic in topics.ALL for event in topic.events]

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
RICH = OrderRefunded(
    shop="corner-grocer",
    order="10042",
    revision=9,
    member="m-2417",
    channel="pos",
    currency="EUR",
    rate="1.25",
    prices_include_tax=True,
    lines=(
        Line(line="1", sku="S", product="p", categories=("a", "ü"), brand="b", tags=("t",), quantity=2, unit_price=5),
        Line(line="2", product="q", quantity=1, unit_price=0, discount=1, tax=1, gift_card=True, reward=True),
    ),
    discount=1,
    shipping=2,
    shipping_tax=1,
    coupons=("C",),
    tenders=(Tender(kind="points", amount=1, points=3, checkout="c-1"), Tender(kind="cash", amount=9)),
    placed_at=AT,
    paid_at=AT,
    fulfilled_at=AT,
    refunds=(Refund(refund="r", at=AT, currency="EUR", amount=1, lines=(RefundLine(line="1", quantity=1, amount=1),)),),
    cancellations=(Cancellation(cancellation="c", at=AT, paid_at=AT),),
)
SEEDS: list[Event] = [
    RICH,
    *(event.example() for event in EVENTS),
    *(
        PostingRequested.example().model_copy(update={"effect": effect})
        for effect in (
            Hold(hold="h-1", amount=4, at_most=True, expires_at=AT),
            Capture(hold="h-1"),
            Activate(award="a/1", expires_at=AT, award_source="rules"),
            Award(amount=5, activates_on="fulfilled"),
            Credit(amount=5, activates_at=AT),
            TopUp(amount=5, currency="EUR", expires_at=AT),
        )
    ),
]

STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 2**53, 2**53 + 1, 10**13, 10**13 + 1, 10**30, 0.0, 1.5, "", " ", "a", "x" * 65,
    "x" * 129, "x" * 1_025, "a/b", "a\n", "a\u0000", "a\u007f", "é", "600123456", "m.1", "1", "eur", "EUR", "01", "1.0",
    "2026-03-02T09:30:00Z", "2026-03-02 09:30:00+02:00", "2026-03-02T09:30:00", "2026-03-02", "1969-12-31T23:59:59Z",
    "2500-01-01T00:00:00Z", "2026-03-02T09:30:00.9999999Z",
    "points", "award", "revoke", [], [1], ["a"], ["a", "a"], ["a\u0001"], {},
    {"kind": "award"}, [{}],
]  # fmt: skip
"""Values that some field takes and others do not."""


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, part in inner for place in _places(part, (*path, name)))]


@st.composite
def _mangled(draw: st.DrawFn) -> tuple[type[Event], bytes]:
    """A good body with some of its parts replaced, dropped, doubled or added to."""
    seed = draw(st.sampled_from(SEEDS))
    body = json.loads(encode(seed))
    for _ in range(draw(st.integers(0, 3))):
        *path, last = draw(st.sampled_from([place for place in _places(body) if place] or [("shop",)]))
        holder = body
        for step in path:
            holder = holder[step]
        what = draw(st.sampled_from(("replace", "replace", "drop", "add", "double")))
        if what == "drop":
            del holder[last]
        elif what == "double" and isinstance(holder, list):
            holder.append(holder[last])
        elif what == "add" and isinstance(holder, dict):
            holder[draw(st.sampled_from(("unknown", "member", "sku", "amount", "expires_at")))] = deepcopy(
                draw(_values)
            )
        else:
            holder[last] = deepcopy(draw(_values))
    written = json.dumps(body, ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from(((",", ":"), None))))
    return type(seed), written.encode()


_values = st.one_of(st.sampled_from(STRANGE), st.text(max_size=6), st.integers(-3, 10**14))


@settings(max_examples=examples(4_000), deadline=None)
@given(_mangled())
def test_what_a_struct_takes_the_model_takes_with_the_same_values(mangled: tuple[type[Event], bytes]) -> None:
    event, body = mangled
    try:
        taken = msgspec.json.decode(body, type=struct_of(event))
    except msgspec.MsgspecError:
        taken = None
    try:
        model = event.model_validate_json(body)
    except ValidationError:
        model = None
    if taken is not None and not may_differ(body):
        assert model is not None, body
        assert taken == as_struct(model)
    if model is None:
        with pytest.raises(Malformed):
            decode(event, body)
    else:
        assert decode(event, body) == as_struct(model)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.type)
def test_a_struct_is_written_as_its_model_reads_it_and_has_its_key_and_type(seed: Event) -> None:
    struct = as_struct(seed)
    assert type(seed).model_validate_json(encode(struct)) == seed
    assert (struct.key, struct.type) == (seed.key, seed.type)


@pytest.mark.parametrize("escaped", ["\\u0000", "\\u001f", "\\u007F", "\\n", "\\t", "\x7f"])
def test_words_with_control_characters_are_refused_however_they_are_written(escaped: str) -> None:
    body = encode(RICH).replace(b'"C"', f'"C{escaped}"'.encode())
    with pytest.raises(Malformed, match=r"coupons\.0: String should match pattern"):
        decode(OrderRefunded, body)


@pytest.mark.parametrize("escaped", ["\\u00fc", "\\/", "\\\\", "\\\\n", '\\"'])
def test_other_escapes_in_words_are_taken(escaped: str) -> None:
    order = decode(OrderRefunded, encode(RICH).replace(b'"C"', f'"C{escaped}"'.encode()))
    assert order.coupons == (json.loads(f'"C{escaped}"'),)


@pytest.mark.parametrize("raw", [b'"\xff"', b'"\xed\xa0\x80"', b'{"\xff": 1}'])
def test_what_is_passed_over_must_be_utf_8_too(raw: bytes) -> None:
    with pytest.raises(Malformed):
        decode(type(RICH), encode(RICH)[:-1] + b',"more":' + raw + b"}")
    assert decode(type(RICH), encode(RICH)[:-1] + b',"more":"\xc3\xa9"}') == as_struct(RICH)


def test_what_only_the_model_understands_is_taken_as_the_struct_all_the_same() -> None:
    body = encode(RICH).replace(b'"placed_at":"2026-03-02T09:30:00Z"', b'"placed_at":"2026-03-02T09:30Z"')
    assert decode(OrderRefunded, body) == as_struct(RICH)


def test_an_effect_is_told_by_its_kind() -> None:
    posting = decode(PostingRequested, encode(PostingRequested.example()))
    assert (posting.effect.kind, posting.effect.amount, posting.cause) == (
        "award", 11, struct_of(Cause)(rule="everything-earns", rule_version=7),
    )  # fmt: skip


def test_structs_are_made_once_and_cannot_be_changed() -> None:
    assert struct_of(Order) is struct_of(Order)
    with pytest.raises(AttributeError):
        as_struct(RICH).revision = 1  # type: ignore[misc]
