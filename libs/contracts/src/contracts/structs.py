"""The same contracts as structs, for reading and writing events at a fifth of the models' cost.

The models are the contract: they make the schemas, and they say what is wrong with a body. Here a msgspec struct is
derived from each of them, field by field with the same names, defaults and bounds, so that nothing is said twice. What
a struct takes a model takes too, with the same values (a test holds them against each other on mangled bodies); what
it does not take is given to the model, which decides.
"""

import re
from collections.abc import Callable
from datetime import datetime
from functools import cache
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin

import annotated_types
import msgspec
from pydantic import AfterValidator, AwareDatetime, BaseModel, StringConstraints
from pydantic.fields import FieldInfo

M = TypeVar("M", bound=BaseModel)

REMEMBERED: Final = 65_536
"""Strings that each check remembers as good: a shop's products and members come again and again."""

CONTROL_FREE: Final = r"^[^\x00-\x1f\x7f]*$"
"""The pattern of words. It is not checked string by string: see `may_differ`."""

_FINE_INSTANT: Final = re.compile(rb":[0-9]{2}\.[0-9]{7}")
"""The struct would round it, the model cuts it off."""

_ESCAPED_CONTROL: Final = re.compile(rb"\\(?:u00[01]|u007[fF]|[bfnrt])")

Validator = Callable[[Any], Any]
"""Raises ValueError for a value that the contract does not take."""


class Check(NamedTuple):
    """What a decoder cannot check of a field."""

    shape: str
    """What of the field is checked: `one` value, a value that is `maybe` there, or `each` of a tuple."""
    validator: Validator
    remembers: bool
    """Whether values that were good are remembered: for strings, which come again."""


def may_differ(body: bytes) -> bool:
    """Whether struct and model might take a body differently: for a string with control characters (raw ones are no
    JSON but for DEL, so they can only be escaped), or for an instant finer than a microsecond."""
    return (
        b"\x7f" in body
        or (b"\\" in body and _ESCAPED_CONTROL.search(body) is not None)
        or (b"." in body and _FINE_INSTANT.search(body) is not None)
    )


def struct_of(model: type[M]) -> type[M]:
    """The struct of a model: made and read like it, but a value given to it is checked by its decoder only.

    It has the model's properties, and `type` or `kind` where the model has them. To the type checker it is the model.
    """
    return cast("type[M]", _struct_of(model))


@cache
def _struct_of(model: type[BaseModel]) -> type[msgspec.Struct]:
    tag = _tag_of(model)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    checks: list[tuple[str, Check]] = []
    for name, told in model.model_fields.items():
        if tag is not None and name == _TAG_FIELD:
            continue
        kind, found = _translated(told.annotation, told.metadata)
        checks += [(name, check) for check in found]
        fields.append((name, kind) if told.is_required() else (name, kind, _default(told)))
    space: dict[str, Any] = {
        name: value
        for parent in reversed(model.__mro__)
        for name, value in vars(parent).items()
        if _belongs(parent, value)
    }
    if tag is not None:
        space[_TAG_FIELD] = tag
    elif isinstance(getattr(model, "type", None), str):
        space["type"] = model.type  # type: ignore[attr-defined]  # an event's
    validators = [found.func for found in model.__pydantic_decorators__.model_validators.values()]
    if checks or validators:
        space["__post_init__"] = _post_init(checks, validators)
    return msgspec.defstruct(
        model.__name__,
        fields,
        namespace=space,
        module=model.__module__,
        tag=tag,
        tag_field=None if tag is None else _TAG_FIELD,
        frozen=True,
        kw_only=True,
        omit_defaults=True,
        gc=False,  # trees of values: no cycle can come of them, so the collector need not walk them
    )


def as_struct(value: M) -> M:
    """A model as its struct."""
    return msgspec.convert(value, struct_of(type(value)), from_attributes=True)


_TAG_FIELD: Final = "kind"
"""What members of a union are told apart by."""


def _tag_of(model: type[BaseModel]) -> str | None:
    kind = model.model_fields.get(_TAG_FIELD)
    if kind is None or get_origin(kind.annotation) is not Literal or len(get_args(kind.annotation)) != 1:
        return None
    return str(get_args(kind.annotation)[0])


def _belongs(parent: type, value: Any) -> bool:
    return parent is not BaseModel and issubclass(parent, BaseModel) and isinstance(value, property)


def _default(told: FieldInfo) -> Any:
    value = told.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return struct_of(type(value))()
    return msgspec.field(default_factory=dict) if value == {} else value


# -- types, their bounds, and what a decoder cannot check

Translated = tuple[Any, list[Check]]
"""The struct's type of a field, and what is checked afterwards."""


def _translated(annotation: Any, metadata: list[Any]) -> Translated:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _translated(arguments[0], [*_flat(arguments[1:]), *metadata])
    if origin in (Union, UnionType):
        return _union(arguments, metadata)
    if origin is tuple:
        item, checks = _translated(arguments[0], [])
        return _bounded(GenericAlias(tuple, (item, ...)), metadata), [check._replace(shape="each") for check in checks]
    if origin is dict:
        return GenericAlias(dict, arguments), []
    if annotation is AwareDatetime:
        return Annotated[datetime, msgspec.Meta(tz=True)], [Check("one", _within(metadata), remembers=False)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return struct_of(annotation), []
    if annotation in (str, int, bool) or origin is Literal:
        return _bounded(annotation, metadata), [
            Check("one", validator, remembers=True) for validator in _of_strings(metadata)
        ]
    raise TypeError(f"no struct has a field of {annotation}")


def _union(arguments: tuple[Any, ...], metadata: list[Any]) -> Translated:
    """What bounds the whole bounds each part; where there is more than one but None, nothing does."""
    kinds, checks = [], []
    for argument in arguments:
        if argument is NoneType:
            kinds.append(NoneType)
            continue
        kind, found = _translated(argument, metadata)
        kinds.append(kind)
        checks += [check._replace(shape="maybe") for check in found]
    return Union[tuple(kinds)], checks  # noqa: UP007  # made of as many as there are


def _flat(metadata: tuple[Any, ...]) -> list[Any]:
    """Bounds that stand in a `Field(…)` inside of an annotation count like all others."""
    return [part for told in metadata for part in (told.metadata if isinstance(told, FieldInfo) else [told])]


def _bounded(kind: Any, metadata: list[Any]) -> Any:
    """The type with the bounds that a decoder checks: of numbers by value, of strings and tuples by length."""
    bounds: dict[str, int] = {}

    def tighten(name: str, value: Any, tighter: Callable[[int, int], int]) -> None:
        if value is not None:
            bounds[name] = tighter(bounds[name], value) if name in bounds else value

    for told in metadata:
        match told:
            case annotated_types.Ge(ge=value):
                tighten("ge", value, max)
            case annotated_types.Le(le=value):
                tighten("le", value, min)
            case annotated_types.MinLen(min_length=value):
                tighten("min_length", value, max)
            case annotated_types.MaxLen(max_length=value):
                tighten("max_length", value, min)
            case StringConstraints():
                tighten("min_length", told.min_length, max)
                tighten("max_length", told.max_length, min)
            case AfterValidator():
                pass  # checked afterwards
            case _:
                raise TypeError(f"no struct can be bound by {told}")
    return Annotated[kind, msgspec.Meta(**cast("Any", bounds))] if bounds else kind


def _of_strings(metadata: list[Any]) -> list[Validator]:
    validators: list[Validator] = []
    for told in metadata:
        if isinstance(told, StringConstraints) and told.pattern not in (None, CONTROL_FREE):
            validators.append(_matches(str(told.pattern)))
        elif isinstance(told, AfterValidator):
            validators.append(cast("Validator", told.func))
    return validators


@cache
def _matches(pattern: str) -> Validator:
    # Anchored at both ends; `$` alone would take a line feed behind it, which the model's engine does not.
    matches = re.compile(pattern).fullmatch

    def check(value: str) -> None:
        if matches(value) is None:
            raise ValueError(f"does not match {pattern}")

    return check


def _within(metadata: list[Any]) -> Validator:
    since: Any = next(told.ge for told in metadata if isinstance(told, annotated_types.Ge))
    until: Any = next(told.lt for told in metadata if isinstance(told, annotated_types.Lt))

    def check(value: datetime) -> None:
        if not since <= value < until:
            raise ValueError("outside of the years that are taken")

    return check


_SHAPES: Final = {
    ("one", False): "    check{n}(self.{name})\n",
    ("maybe", False): "    if self.{name} is not None:\n        check{n}(self.{name})\n",
    ("one", True): "    if self.{name} not in good{n}:\n        keep(good{n}, self.{name}, check{n})\n",
    ("maybe", True): "    if self.{name} not in good{n}:\n        keep(good{n}, self.{name}, check{n})\n",
    ("each", True): "    for value in self.{name}:\n        if value not in good{n}:\n"
    "            keep(good{n}, value, check{n})\n",
}

_good: Final[dict[Validator, set[str | None]]] = {}
"""What each validator has found good, and None, which is never checked."""


def _keep(good: set[str | None], value: str, validator: Validator) -> None:
    """Check a value, and remember it."""
    validator(value)
    if len(good) >= REMEMBERED:
        good.clear()
        good.add(None)
    good.add(value)


def _post_init(checks: list[tuple[str, Check]], validators: list[Validator]) -> Callable[[Any], None]:
    """One function of straight lines: it runs for every line of every order."""
    space: dict[str, Any] = {"keep": _keep}
    source = "def __post_init__(self):\n"
    for n, (name, check) in enumerate(checks):
        space[f"check{n}"] = check.validator
        space[f"good{n}"] = _good.setdefault(check.validator, {None})
        source += _SHAPES[check.shape, check.remembers].format(name=name, n=n)
    for n, validator in enumerate(validators, start=len(checks)):
        space[f"check{n}"] = validator
        source += f"    check{n}(self)\n"
    exec(source, space)  # noqa: S102  # made of the names of our own fields, as dataclasses are
    return cast("Callable[[Any], None]", space["__post_init__"])
