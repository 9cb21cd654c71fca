"""What is published of the contracts: JSON Schemas, examples, an AsyncAPI document and a page to read.

All of it is made from the topics' modules; `python -m contracts generate` writes it, nobody edits it.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from contracts.additive import COMMAND
from contracts.event import MAX_BODY_BYTES, Event, encode
from contracts.topic import Topic
from contracts.topics import ALL

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

SCHEMAS: Final = "libs/contracts/schemas"
EXAMPLES: Final = "libs/contracts/examples"
PAGE: Final = "docs/events.md"
ASYNCAPI: Final = "docs/asyncapi.json"

VERSION: Final = "1.0.0"
"""Of the contracts as a whole: the first number never changes, since an incompatible event is a new type."""

HEADERS: Final[Mapping[str, tuple[str, bool]]] = {
    "ce_type": ("The event's type; without it a message is a dead letter.", True),
    "ce_id": ("Unique per source. Our own writers always send it, publishers should.", False),
    "ce_source": ("Who sends, such as `/accrual/rules`.", False),
    "ce_specversion": ("`1.0`, of CloudEvents.", False),
    "ce_time": ("When it was recorded, ISO 8601 in UTC.", False),
    "ce_subject": ("Of points-changed and posting-refused: the kind of entry or posting, to pass over by.", False),
    "ce_lane": ("Set by our own writers: with the position, the event's place, by which a repeat is known.", False),
    "ce_position": ("Set by our own writers: grows by one per event of the source and lane.", False),
    "traceparent": ("W3C trace context; carried through to all that follows from the event.", False),
    "content-type": ("`application/json`.", False),
}
"""CloudEvents 1.0 in Kafka's binary mode: name → meaning, and whether a message must have it."""


def files() -> dict[str, str]:
    """Everything that is generated, by its path in the repository."""
    made = {}
    for topic in ALL:
        for event in topic.events:
            made[f"{SCHEMAS}/{topic.name}/{event.type}.json"] = _json(schema(topic, event))
            made[f"{EXAMPLES}/{event.type}.json"] = _json(json.loads(encode(event.example())))
    made[ASYNCAPI] = _json(asyncapi())
    made[PAGE] = page()
    return made


def schema(topic: Topic, event: type[Event]) -> dict[str, Any]:
    """An event's data as JSON Schema."""
    body = event.model_json_schema(mode="validation")
    mark = {COMMAND: True} if event.command else {}
    return {"$schema": DIALECT, "$id": f"urn:accrual:events:{topic.name}:{event.type}", **mark, **body}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 document: who says what to whom, where, with which key."""
    channels: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for topic in ALL:
        names = [event.type for event in topic.events]
        channels[topic.name] = {
            "address": topic.name,
            "title": topic.about,
            "description": f"Writers (an ACL of the broker): {', '.join(topic.writers)}. "
            f"Readers: {readers(topic)}. {retention(topic).capitalize()}.",
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
            "bindings": {
                "kafka": {
                    "topic": topic.name,
                    "partitions": topic.partitions,
                    "replicas": topic.replication,
                    "topicConfiguration": {
                        **topic.settings(topic.replication),
                        "cleanup.policy": ["compact" if topic.compacted else "delete"],
                        "retention.ms": -1 if topic.retention is None else int(topic.retention.total_seconds() * 1000),
                        "retention.bytes": -1,
                    },
                    "bindingVersion": "0.5.0",
                }
            },
            "x-accrual-writers": list(topic.writers),
            "x-accrual-readers": list(topic.readers),
        }
        for event in topic.events:
            messages[event.type] = _message(topic, event)
            schemas[event.type] = _bundled(schema(topic, event), event.type, schemas)
        for action, services in (("send", topic.writers), ("receive", topic.readers)):
            for service in services:
                operations[f"{service}.{action}.{topic.name}"] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{topic.name}"},
                    "tags": [{"name": service}],
                }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Accrual: events",
            "version": VERSION,
            "description": "Generated from libs/contracts by `python -m contracts generate`. "
            "CloudEvents 1.0 in Kafka's binary mode: attributes in headers, data as JSON. "
            f"A body has at most {MAX_BODY_BYTES} bytes. Fields that a reader does not know are ignored.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas,
            "messageTraits": {"cloudevent": {"headers": _headers()}},
        },
    }


def page() -> str:
    """`docs/events.md`."""
    return "\n".join(_page()) + "\n"


def retention(topic: Topic) -> str:
    """How long a topic's events stay, in words."""
    kept = "kept for ever" if topic.retention is None else f"kept for {topic.retention.days} days"
    return f"{kept}, only the newest of each key" if topic.compacted else kept


def readers(topic: Topic) -> str:
    """Who reads a topic, in words."""
    return ", ".join(topic.readers) or "nobody yet"


def _page() -> Iterator[str]:
    yield "<!-- Generated from libs/contracts by `python -m contracts generate`; do not edit. -->"
    yield "# Events\n"
    yield (
        "CloudEvents 1.0 in Kafka's binary mode: attributes in headers, data as JSON in the body, at most"
        f" {MAX_BODY_BYTES // 1024} KiB.\nFields that a reader does not know are ignored; numbers are never text."
        "\nCompatible changes add optional fields. Anything else is a new type, beside the old one for a while.\n"
    )
    yield "| header | | meaning |\n|---|---|---|"
    for name, (meaning, required) in HEADERS.items():
        yield f"| `{name}` | {'required' if required else ''} | {meaning} |"
    yield "\n| topic | key | events | written by | read by | partitions | copies | kept |"
    yield "|---|---|---|---|---|---|---|---|"
    for topic in ALL:
        events = ", ".join(f"[{event.type}](#{event.type})" for event in topic.events)
        cells = (
            f"[`{topic.name}`](#topic-{topic.name})", topic.key, events, ", ".join(topic.writers),
            readers(topic), topic.partitions, topic.replication, retention(topic),
        )  # fmt: skip
        yield "| " + " | ".join(str(cell) for cell in cells) + " |"
    yield (
        "\nHow long an event stays is counted from when Kafka took it (`message.timestamp.type=LogAppendTime`)."
        " With three copies it is\nacknowledged when two have it (`min.insync.replicas=2`). Bodies count unpacked:"
        " publishers may compress with any of Kafka's codecs."
    )
    yield (
        "\nEach of our own events comes at least once, in order; what comes again has the same place and id, and may"
        " stand behind newer ones.\nA reader of the topic `ledger` that meets a `seq` above the next has missed some:"
        " they are to be had with `after_seq` of a statement."
    )
    yield "\nWriters are an ACL of the broker: whoever may write `postings` mints points."
    for topic in ALL:
        yield f"\n## Topic `{topic.name}`\n\n{topic.about} Key: {topic.key}."
        shown: dict[str, str] = {}
        for event in topic.events:
            yield f"\n### {event.type}\n\n{_first_line(event.__doc__)}\n"
            yield (
                f"[Schema](../{SCHEMAS}/{topic.name}/{event.type}.json) · [example](../{EXAMPLES}/{event.type}.json)\n"
            )
            table = "\n".join(_fields(schema(topic, event)))
            if table in shown:
                yield f"The same fields as [{shown[table]}](#{shown[table]})."
                continue
            shown[table] = event.type
            yield table
            yield "\n```json\n" + _json(json.loads(encode(event.example()))).rstrip() + "\n```"


def _fields(body: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A table row for each field, nested ones under their path."""
    if not prefix:
        yield "| field | kind | | meaning |\n|---|---|---|---|"
    yield from _rows(body, body, prefix)


def _rows(part: Mapping[str, Any], root: Mapping[str, Any], prefix: str) -> Iterator[str]:
    required = part.get("required", ())
    for name, field in part.get("properties", {}).items():
        path = f"{prefix}{name}"
        kind, children, suffix = _kind(field, root)
        meaning = field.get("description", "")
        default = field.get("default")
        note = "required" if name in required else "" if default in (None, [], {}) else f"default `{_word(default)}`"
        yield f"| `{path}` | {kind} | {note} | {meaning} |"
        for child in children:
            yield from _rows(child, root, f"{path}{suffix}.")


def _kind(field: Mapping[str, Any], root: Mapping[str, Any]) -> tuple[str, list[Mapping[str, Any]], str]:
    """What a field is in words, the objects inside it, and how their paths begin."""
    if "$ref" in field:
        return _kind(root["$defs"][field["$ref"].removeprefix("#/$defs/")], root)
    variants = [variant for variant in field.get("anyOf", field.get("oneOf", ())) if variant.get("type") != "null"]
    if len(variants) == 1:
        return _kind(variants[0], root)
    if variants:
        objects = [root["$defs"][v["$ref"].removeprefix("#/$defs/")] for v in variants if "$ref" in v]
        if objects:
            return "one of, by `kind`", objects, ""
        return " or ".join(_kind(variant, root)[0] for variant in variants), [], ""
    if field.get("type") == "array":
        inner, children, _ = _kind(field.get("items", {}), root)
        return f"list of {inner}", children, "[]"
    if "const" in field:
        return f"`{_word(field['const'])}`", [], ""
    if "enum" in field:
        return " / ".join(f"`{value}`" for value in field["enum"]), [], ""
    if field.get("properties"):
        return "object", [field], ""
    return _scalar(field), [], ""


def _scalar(field: Mapping[str, Any]) -> str:
    if field.get("format") == "date-time":
        return "instant"
    bounds = [f"{sign} {field[word]}" for word, sign in (("minimum", "≥"), ("maximum", "≤")) if word in field]
    bounds += [f"{field[word]} characters {at}" for word, at in (("maxLength", "at most"),) if word in field]
    pattern = [f"`{field['pattern']}`".replace("|", "\\|")] if "pattern" in field else []
    return ", ".join([str(field.get("type", "anything")), *pattern, *bounds])


def _message(topic: Topic, event: type[Event]) -> dict[str, Any]:
    return {
        "name": event.type,
        "title": _first_line(event.__doc__),
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudevent"}],
        "payload": {"$ref": f"#/components/schemas/{event.type}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": "0.5.0"}},
        "examples": [
            {
                "name": event.type,
                "headers": {"ce_specversion": "1.0", "ce_type": event.type},
                "payload": json.loads(encode(event.example())),
            }
        ],
    }


def _headers() -> dict[str, Any]:
    return {
        "type": "object",
        "required": [name for name, (_, required) in HEADERS.items() if required],
        "properties": {name: {"type": "string", "description": meaning} for name, (meaning, _) in HEADERS.items()},
    }


def _bundled(body: dict[str, Any], name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema with its parts moved beside it, since AsyncAPI keeps all of them in one place."""
    parts = body.pop("$defs", {})
    body.pop("$id")
    body.pop("$schema")
    text = json.dumps(body)
    for part, part_schema in parts.items():
        schemas[f"{name}.{part}"] = json.loads(_moved(json.dumps(part_schema), name, parts))
    bundled: dict[str, Any] = json.loads(_moved(text, name, parts))
    return bundled


def _moved(text: str, name: str, parts: Mapping[str, Any]) -> str:
    for part in parts:
        text = text.replace(f'"#/$defs/{part}"', f'"#/components/schemas/{name}.{part}"')
    return text


def _word(value: Any) -> str:
    return json.dumps(value).strip('"')


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
