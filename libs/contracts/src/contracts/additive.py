"""Whether a schema may take the place of a published one: only optional fields may have been added.

Old readers must accept what new writers say, and new readers what old writers said. A reader ignores fields that it
does not know, and nothing else: so all that a document is checked by must stay as it was, wider or narrower alike.
Words about it may change. Any other change is a new type beside the old one.

A command is an event that only one service obeys, which is brought up to date before those that ask. So nobody's reader
of before meets what is new: a command's closed lists (values, kinds) may grow.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

COMMAND: Final = "x-command"
"""Marks the schema of a command."""

_WORDS: Final = frozenset(
    {"$schema", "$id", "$defs", "$comment", "title", "description", "examples", "deprecated", COMMAND}
)
"""Said to people; no document is accepted or refused by them."""

_KEYED: Final = frozenset({"properties", "patternProperties"})
_NESTED: Final = frozenset({"items", "additionalProperties", "propertyNames", "not"})
_LISTED: Final = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """What of the change from `old` to `new` is not additive, each by its place; empty when it may be published."""
    return list(_compare("", old, new, old, new))


def _compare(at: str, old: Any, new: Any, old_root: Schema, new_root: Schema) -> Iterator[str]:
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    place = at or "the event"
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        if old != new:
            yield f"{place}: was {old}, is {new}"
        return
    yield from _required(place, old, new)
    passed = {"required", "const", "enum"} if _has_grown(old, new, new_root) else {"required"}
    for word in sorted((set(old) | set(new)) - _WORDS - passed):
        if word == "discriminator":
            continue  # a hint for tools; the variants themselves are compared
        if word in _KEYED:
            yield from _properties(at, old.get(word, {}), new.get(word, {}), old_root, new_root)
        elif word in _NESTED and word in old and word in new:
            yield from _compare(f"{at}[]" if word == "items" else at, old[word], new[word], old_root, new_root)
        elif word in _LISTED and word in old and word in new:
            yield from _variants(place, at, old[word], new[word], old_root, new_root)
        elif word == "default" and _says_the_same(old.get(word), new):
            continue
        elif old.get(word) != new.get(word):
            yield f"{place}: {word} was {old.get(word, 'absent')}, is {new.get(word, 'absent')}"


def _has_grown(old: Schema, new: Schema, new_root: Schema) -> bool:
    """Whether a command's closed list of values has all that it had, and perhaps more."""
    before, after = _values(old), _values(new)
    return COMMAND in new_root and bool(before) and all(value in after for value in before)


def _says_the_same(before: Any, new: Schema) -> bool:
    """Whether a part's default is what it was, but for fields that are new, which have their own."""
    after, fields = new.get("default"), new.get("properties", {})
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return bool(before == after)
    added = {name: value for name, value in after.items() if name not in before}
    return {**before, **added} == after and all(
        name in fields and fields[name].get("default") == value for name, value in added.items()
    )


def _values(schema: Schema) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _required(place: str, old: Schema, new: Schema) -> Iterator[str]:
    before, after = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(after - before):
        yield f"{place}: {name} has become required; writers of before leave it out"
    for name in sorted(before - after):
        if name in new.get("properties", {}):
            yield f"{place}: {name} has become optional; readers of before insist on it"


def _properties(at: str, old: Schema, new: Schema, old_root: Schema, new_root: Schema) -> Iterator[str]:
    for name, schema in old.items():
        path = f"{at}.{name}" if at else name
        if name not in new:
            yield f"{path}: the field is gone"
        else:
            yield from _compare(path, schema, new[name], old_root, new_root)


def _variants(place: str, at: str, old: list[Any], new: list[Any], old_root: Schema, new_root: Schema) -> Iterator[str]:
    """Variants by their names where they have some, else by their order."""
    before, after = _by_name(old, old_root), _by_name(new, new_root)
    for name, schema in before.items():
        if name not in after:
            yield f"{place}: {name} is gone"
        else:
            yield from _compare(at, schema, after[name], old_root, new_root)
    for name in after:
        if name not in before and COMMAND not in new_root:
            yield f"{place}: {name} is new; readers of before refuse it"


def _by_name(variants: list[Any], root: Schema) -> dict[str, Any]:
    named = {}
    for number, variant in enumerate(variants):
        schema = _resolved(variant, root)
        kind = schema.get("properties", {}).get("kind", {}).get("const")
        named[f"kind {kind}" if kind else f"variant {schema.get('type', number)}"] = variant
    return named


def _resolved(schema: Any, root: Schema) -> Any:
    """The schema behind a `$ref`; what stands beside the reference counts too."""
    while isinstance(schema, Mapping) and "$ref" in schema:
        target = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        schema = {**target, **{word: value for word, value in schema.items() if word != "$ref"}}
    return schema
