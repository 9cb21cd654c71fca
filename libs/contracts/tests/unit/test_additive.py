"""Additive: which changes to a published schema pass, and which must be a new type."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.__main__ import check, generate
from contracts.additive import breaking_changes
from contracts.documents import files, schema
from contracts.orders import OrderPaid
from contracts.postings import PostingRequested
from contracts.topics import ORDERS, POSTINGS

Change = Callable[[dict[str, Any]], object]


def _line(order: dict[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = order["$defs"]["Line"]
    return line


BREAKING: dict[str, tuple[Change, str]] = {
    "a field is gone": (lambda s: s["properties"].pop("rate"), "rate: the field is gone"),
    "a field of a part is gone": (lambda s: _line(s)["properties"].pop("sku"), "lines[].sku: the field is gone"),
    "a field has another name": (
        lambda s: s["properties"].update(exchange_rate=s["properties"].pop("rate")),
        "rate: the field is gone",
    ),
    "a field has another type": (
        lambda s: s["properties"]["revision"].update(type="string"),
        "revision: type was integer, is string",
    ),
    "a new field is required": (
        lambda s: (s["properties"].update(till={"type": "string"}), s["required"].append("till")),
        "the event: till has become required; writers of before leave it out",
    ),
    "a field becomes required": (
        lambda s: s["required"].append("member"),
        "the event: member has become required; writers of before leave it out",
    ),
    "a field becomes optional": (
        lambda s: s["required"].remove("currency"),
        "the event: currency has become optional; readers of before insist on it",
    ),
    "fewer values": (
        lambda s: s["properties"]["channel"]["enum"].remove("pos"),
        "channel: enum was ['online', 'pos'], is ['online']",
    ),
    "more values": (
        lambda s: s["properties"]["channel"]["enum"].append("kiosk"),
        "channel: enum was ['online', 'pos'], is ['online', 'pos', 'kiosk']",
    ),
    "a lower maximum": (
        lambda s: _line(s)["properties"]["quantity"].update(maximum=10),
        "lines[].quantity: maximum was 1000000, is 10",
    ),
    "a higher maximum": (
        lambda s: _line(s)["properties"]["quantity"].update(maximum=10**7),
        "lines[].quantity: maximum was 1000000, is 10000000",
    ),
    "a bound where none was": (
        lambda s: s["properties"]["prices_include_tax"].update(const=True),
        "prices_include_tax: const was absent, is True",
    ),
    "a bound is gone": (
        lambda s: s["properties"]["lines"].pop("maxItems"),
        "lines: maxItems was 1000, is absent",
    ),
    "another pattern": (
        lambda s: s["properties"]["currency"].update(pattern="^[a-z]{3}$"),
        "currency: pattern was ^[A-Z]{3}$, is ^[a-z]{3}$",
    ),
    "absence means something else": (
        lambda s: s["properties"]["channel"].update(default="pos"),
        "channel: default was online, is pos",
    ),
    "null is refused": (
        lambda s: s["properties"].update(rate=s["properties"]["rate"]["anyOf"][0] | {"default": None}),
        "rate: anyOf was",
    ),
    "unknown fields are refused": (
        lambda s: s.update(additionalProperties=False),
        "the event: additionalProperties was absent, is False",
    ),
}


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_is_named_by_its_place(name: str) -> None:
    change, expected = BREAKING[name]
    old = schema(ORDERS, OrderPaid)
    new = copy.deepcopy(old)
    change(new)
    told = breaking_changes(old, new)[0]
    assert told.startswith(expected)


def test_a_variant_that_is_gone_or_new_is_a_breaking_change() -> None:
    old = schema(POSTINGS, PostingRequested)
    del old["x-command"]
    new = copy.deepcopy(old)
    gone = new["properties"]["effect"]["oneOf"].pop(0)
    assert gone == {"$ref": "#/$defs/Award"}
    assert breaking_changes(old, new) == ["effect: kind award is gone"]
    assert breaking_changes(new, old) == ["effect: kind award is new; readers of before refuse it"]


def test_the_default_of_a_part_may_grow_by_fields_at_their_own_defaults() -> None:
    new = schema(POSTINGS, PostingRequested)
    old = copy.deepcopy(new)
    del old["properties"]["cause"]["default"]["activates_on"]
    del old["$defs"]["Cause"]["properties"]["activates_on"]
    assert breaking_changes(old, new) == []
    assert len(breaking_changes(new, old)) == 2
    other = copy.deepcopy(new)
    other["properties"]["cause"]["default"]["activates_on"] = "paid"
    assert len(breaking_changes(old, other)) == 1
    other = copy.deepcopy(new)
    other["properties"]["cause"]["default"]["rule"] = "r"
    assert len(breaking_changes(old, other)) == 1


def test_a_commands_closed_lists_may_grow_and_nothing_else_of_it() -> None:
    new = schema(POSTINGS, PostingRequested)
    assert new["x-command"] is True
    old = copy.deepcopy(new)
    old["properties"]["effect"]["oneOf"].pop(0)
    old["properties"]["asset"].pop("enum")
    old["properties"]["asset"]["const"] = "points"
    assert breaking_changes(old, new) == []
    assert breaking_changes(new, old) == [
        "asset: const was absent, is points",
        "asset: enum was ['points', 'stored_value', 'growth', 'passes'], is absent",
        "effect: kind award is gone",
    ]
    narrower = copy.deepcopy(new)
    narrower["$defs"]["Award"]["properties"]["amount"]["maximum"] = 10
    assert breaking_changes(new, narrower) == ["effect.amount: maximum was 10000000000000, is 10"]


ALLOWED: dict[str, Change] = {
    "nothing": lambda s: None,
    "an optional field": lambda s: s["properties"].update(till={"type": "string", "maxLength": 64}),
    "an optional field of a part": lambda s: _line(s)["properties"].update(weight={"type": "integer"}),
    "other words": lambda s: s["properties"]["currency"].update(description="ISO 4217, three letters", title="C"),
    "an example": lambda s: s.update(examples=[{}]),
    "a part has another name": lambda s: (
        s["$defs"].update(OrderLine=s["$defs"].pop("Line")),
        s["properties"]["lines"]["items"].update({"$ref": "#/$defs/OrderLine"}),
    ),
    "required in another order": lambda s: s["required"].reverse(),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_an_additive_change_passes(name: str) -> None:
    old = schema(ORDERS, OrderPaid)
    new = copy.deepcopy(old)
    ALLOWED[name](new)
    assert breaking_changes(old, new) == []


PATH = "libs/contracts/schemas/orders/order-paid.json"
OPTIONAL = '"properties": {\n    "till": {"type": "string"},'


def test_generate_refuses_to_break_what_is_published_and_writes_nothing(tmp_path: Path) -> None:
    made = files()
    assert generate(tmp_path, made) == []
    changed = {**made, PATH: made[PATH].replace('"maximum": 1000000,', '"maximum": 10,')}
    (first, *_) = generate(tmp_path, changed)
    assert first.startswith(f"{PATH}: lines[].quantity: maximum was 1000000, is 10")
    assert (tmp_path / PATH).read_text() == made[PATH]
    assert generate(tmp_path, changed, unpublished=["order-paid"]) == []
    assert (tmp_path / PATH).read_text() == changed[PATH]


def test_generate_refuses_to_drop_a_published_type(tmp_path: Path) -> None:
    made = files()
    assert generate(tmp_path, made) == []
    without = {path: text for path, text in made.items() if path != PATH}
    assert generate(tmp_path, without) == [f"{PATH}: a published type is gone; keep it until nobody reads it"]
    assert (tmp_path / PATH).exists()


def test_generate_adds_an_optional_field(tmp_path: Path) -> None:
    made = files()
    assert generate(tmp_path, made) == []
    wider = {**made, PATH: made[PATH].replace('"properties": {', OPTIONAL, 1)}
    assert generate(tmp_path, wider) == []
    assert (tmp_path / PATH).read_text() == wider[PATH]


def test_check_fails_when_what_is_committed_is_not_what_the_code_says(tmp_path: Path) -> None:
    made = files()
    generate(tmp_path, made)
    assert check(tmp_path, made) == []
    (tmp_path / PATH).write_text(made[PATH] + " ")
    (tmp_path / "docs/events.md").unlink()
    (tmp_path / "libs/contracts/examples/order-lost.json").write_text("{}")
    assert check(tmp_path, made) == [
        f"{PATH}: not what the code says; run `python -m contracts generate`",
        "docs/events.md: missing; run `python -m contracts generate`",
        "libs/contracts/examples/order-lost.json: nothing in the code says it",
    ]


def test_check_against_an_earlier_checkout_names_what_breaks_even_when_all_was_generated_anew(tmp_path: Path) -> None:
    made = files()
    published, now = tmp_path / "published", tmp_path / "now"
    generate(published, made)
    changed = {**made, PATH: made[PATH].replace('"maximum": 1000000,', '"maximum": 10,')}
    generate(now, changed)
    assert check(now, changed) == []
    assert check(now, changed, published)[0].startswith(f"{PATH}: lines[].quantity: maximum was 1000000, is 10")
