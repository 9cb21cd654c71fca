"""A shop as a YAML file: the same documents in words that merchants write, and back.

    earn: 1 per 1.00                    points per money, in the shop's currency; `in whole groups` may follow
    earn: 5 per unit                    or `50 per order`
    earn: {bands: [1 per 1.00 up to 1000.00, 1.5 per 1.00], marginal: true}
    multiply: 2                         or `{by: 1.5, of: [base]}`
    granted: 14 days after fulfilled    or `placed`, `paid`, `fulfilled`
    valid: 12 months to month end       or `90 days`, `12 months`, `end of month`, `end of year`,
                                        `until 2026-12-31`, `forever`
    when: {hours: 17:00-20:00, minimum: 50.00, weekdays: [sat, sun], from: 2026-11-27, until: 2026-11-30}

Numbers with a point are never binary fractions: the file is read with its digits.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml
from pydantic import ValidationError

from contracts.faults import causes
from contracts.money import decimals
from rules.documents import RuleSetDocument
from rules.domain.explanation import money as money_text
from rules.schemas import ProgrammeBody


class FileFault(Exception):
    """What is wrong with a file, and where."""


@dataclass(frozen=True, slots=True)
class ShopFile:
    """All that a file says."""

    shop: str
    programme: ProgrammeBody
    rules: RuleSetDocument
    using: dict[str, Any] | None
    """How points are used: redemption's settings, passed on as they are."""


_TOP: Final = ("shop", "programme", "defaults", "combine", "rules", "using")
_SCOPE_WORDS: Final = ("products", "categories", "brands", "tags")


def read(text: str) -> ShopFile:
    """A file's content, or `FileFault`."""
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 – a loader of plain strings, safer than the safe one
    except yaml.YAMLError as error:
        raise FileFault(f"not YAML: {error}") from error
    top = _mapping(content, "the file")
    unknown = set(top) - set(_TOP)
    if unknown:
        raise FileFault(f"unknown sections: {', '.join(sorted(map(str, unknown)))}")
    if not isinstance(top.get("shop"), str):
        raise FileFault("`shop` is missing")
    programme = _checked(ProgrammeBody.model_validate, _mapping(top.get("programme"), "programme"), "programme")
    digits = decimals(programme.currency)
    defaults = _mapping(top.get("defaults") or {}, "defaults")
    rules = {}
    for rule_id, rule in _mapping(top.get("rules") or {}, "rules").items():
        where = f"rules.{rule_id}"
        rules[str(rule_id)] = _rule({**defaults, **_mapping(rule, where)}, digits, where)
    document = {"rules": rules, "combine": top.get("combine", "most_specific")}
    using = top.get("using")
    return ShopFile(
        shop=top["shop"],
        programme=programme,
        rules=_checked(RuleSetDocument.model_validate, document, "rules"),
        using=None if using is None else _mapping(using, "using"),
    )


def write(shop: str, programme: ProgrammeBody, rules: RuleSetDocument, using: Mapping[str, Any] | None) -> str:
    """The file that says all this."""
    digits = decimals(programme.currency)
    document = rules.canonical()
    content: dict[str, Any] = {"shop": shop, "programme": programme.model_dump(mode="json")}
    if document["combine"] != "most_specific":
        content["combine"] = document["combine"]
    content["rules"] = {rule_id: _in_words(rule, digits) for rule_id, rule in document["rules"].items()}
    if using is not None:
        content["using"] = dict(using)
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


# -- words to documents


def _rule(rule: dict[str, Any], digits: int, where: str) -> dict[str, Any]:
    words: dict[str, Callable[[Any], Any]] = {
        "earn": lambda value: _earn(value, digits, f"{where}.earn"),
        "multiply": lambda value: value if isinstance(value, dict) else {"by": str(value)},
        "granted": lambda value: _granted(value, f"{where}.granted"),
        "valid": lambda value: _valid(value, f"{where}.valid"),
        "when": lambda value: _when(_mapping(value, f"{where}.when"), digits, f"{where}.when"),
        "match": lambda value: _scope(_mapping(value, f"{where}.match")),
        "exclude": lambda value: _scope(_mapping(value, f"{where}.exclude")),
        "basis": _listed,
    }
    made = {name: words[name](value) if name in words else value for name, value in rule.items()}
    multiply = made.get("multiply")
    if isinstance(multiply, dict):
        made["multiply"] = {**multiply, "by": str(multiply.get("by"))}
        if "of" in multiply:
            made["multiply"]["of"] = _listed(multiply["of"])
    return made


_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PER_MONEY = re.compile(rf"({_NUMBER})(?: points?)? per ({_NUMBER})( in whole groups)?")
_PER_EACH = re.compile(rf"({_NUMBER})(?: points?)? per (unit|order)")
_BAND = re.compile(rf"({_NUMBER})(?: points?)? per ({_NUMBER})(?: up to ({_NUMBER}))?")
_DELAY = re.compile(r"([0-9]+) days? after (placed|paid|fulfilled)")
_VALID: Final[tuple[tuple[re.Pattern[str], Callable[[str], dict[str, Any]]], ...]] = (
    (re.compile(r"forever()"), lambda _: {}),
    (re.compile(r"([0-9]+) days?"), lambda count: {"days": int(count)}),
    (re.compile(r"([0-9]+) months? to month end"), lambda count: {"months": int(count), "to_month_end": True}),
    (re.compile(r"([0-9]+) months?"), lambda count: {"months": int(count)}),
    (re.compile(r"end of (month|year)"), lambda unit: {"end_of": unit}),
    (re.compile(r"until ([0-9-]+)"), lambda day: {"until": day}),
)


def _earn(value: Any, digits: int, where: str) -> Any:
    if isinstance(value, dict):
        if not isinstance(value.get("bands"), list):
            return value
        return {**value, "bands": [_band(band, digits, where) for band in value["bands"]]}
    per_money = _PER_MONEY.fullmatch(str(value))
    if per_money:
        points, per, whole = per_money.groups()
        return {"points": points, "per": _minor(per, digits, where), "whole_groups": whole is not None}
    per_each = _PER_EACH.fullmatch(str(value))
    if per_each:
        return {"points": per_each[1], "each": per_each[2]}
    raise FileFault(f"{where}: `{value}` is not like `1 per 1.00`, `5 per unit` or `50 per order`")


def _band(value: Any, digits: int, where: str) -> Any:
    if isinstance(value, dict):
        return value
    band = _BAND.fullmatch(str(value))
    if not band:
        raise FileFault(f"{where}: `{value}` is not like `1 per 1.00 up to 1000.00`")
    points, per, up_to = band.groups()
    made: dict[str, Any] = {"points": points, "per": _minor(per, digits, where)}
    return made if up_to is None else {**made, "up_to": _minor(up_to, digits, where)}


def _granted(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return value
    delay = _DELAY.fullmatch(str(value))
    if delay:
        return {"on": delay[2], "after_days": int(delay[1])}
    if value in ("placed", "paid", "fulfilled"):
        return {"on": value}
    raise FileFault(f"{where}: `{value}` is not like `paid` or `14 days after fulfilled`")


def _valid(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return value
    for pattern, made in _VALID:
        found = pattern.fullmatch(str(value))
        if found:
            return made(found[1])
    raise FileFault(f"{where}: `{value}` is not like `90 days`, `12 months to month end`, `end of year` or `forever`")


def _when(value: dict[str, Any], digits: int, where: str) -> dict[str, Any]:
    made = dict(value)
    if "minimum" in made:
        made["minimum"] = _minor(str(made["minimum"]), digits, f"{where}.minimum")
    if isinstance(made.get("hours"), str):
        since, _, until = made["hours"].partition("-")
        made["hours"] = {"from": since.strip(), "until": until.strip()}
    for name in ("weekdays", "channels"):
        if name in made:
            made[name] = _listed(made[name])
    if isinstance(made.get("coupons"), list):
        made["coupons"] = [str(code) for code in made["coupons"]]
    return made


def _scope(value: dict[str, Any]) -> dict[str, Any]:
    return {name: [str(w) for w in _listed(word)] if name in _SCOPE_WORDS else word for name, word in value.items()}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _minor(amount: str, digits: int, where: str) -> int:
    whole, _, rest = amount.partition(".")
    if not re.fullmatch(_NUMBER, amount) or len(rest) > digits:
        raise FileFault(f"{where}: `{amount}` is not an amount with at most {digits} decimals")
    return int(whole + rest.ljust(digits, "0"))


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FileFault(f"{where}: expected names with values")
    return value


def _checked(validate: Callable[[Any], Any], value: Any, where: str) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in (where, *fault['loc']))}: {fault['msg']}"
            for fault in causes(error.errors())
        ]
        raise FileFault("\n".join(faults)) from error


# -- documents to words


def _in_words(rule: Mapping[str, Any], digits: int) -> dict[str, Any]:
    words: dict[str, Callable[[Any], Any]] = {
        "earn": lambda earn: _earn_words(earn, digits),
        "multiply": _multiply_words,
        "granted": _granted_words,
        "valid": _valid_words,
        "when": lambda when: _when_words(when, digits),
    }
    return {name: words[name](value) if name in words else value for name, value in rule.items()}


def _earn_words(earn: Mapping[str, Any], digits: int) -> Any:
    if "bands" in earn:
        return {**earn, "bands": [_band_words(band, digits) for band in earn["bands"]]}
    if "per" in earn:
        whole = " in whole groups" if earn.get("whole_groups") else ""
        return f"{earn['points']} per {money_text(earn['per'], digits)}{whole}"
    return f"{earn['points']} per {earn['each']}"


def _band_words(band: Mapping[str, Any], digits: int) -> str:
    words = f"{band['points']} per {money_text(band['per'], digits)}"
    return f"{words} up to {money_text(band['up_to'], digits)}" if "up_to" in band else words


def _granted_words(granted: Mapping[str, Any]) -> str:
    on = granted.get("on", "paid")
    days = granted.get("after_days", 0)
    return f"{days} day{'' if days == 1 else 's'} after {on}" if days else on


def _valid_words(valid: Mapping[str, Any]) -> str:
    if "days" in valid:
        return f"{valid['days']} days"
    if "months" in valid:
        return f"{valid['months']} months" + (" to month end" if valid.get("to_month_end") else "")
    return f"end of {valid['end_of']}" if "end_of" in valid else f"until {valid['until']}"


def _when_words(when: Mapping[str, Any], digits: int) -> dict[str, Any]:
    made = dict(when)
    if "minimum" in made:
        made["minimum"] = money_text(made["minimum"], digits)
    if "hours" in made:
        made["hours"] = f"{made['hours']['from']}-{made['hours']['until']}"
    return made


def _multiply_words(multiply: Mapping[str, Any]) -> Any:
    by = _plain(multiply["by"])
    return {**multiply, "by": by} if "of" in multiply else by


def _plain(number: str) -> int | str:
    return int(number) if number.isdigit() else number


# -- YAML with plain scalars: only null, true, false and whole numbers are not text


class _Loader(yaml.SafeLoader):
    """So `on` is a name, `1.50` keeps its digits and `2026-11-28` is not turned into something else."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A name that stands twice is a mistake, not the last one."""
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"`{name}` stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Short lists on one line."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 – the base class's signature
        """Nothing is written by reference."""
        return True


_RESOLVERS: Final[tuple[tuple[str, str, str], ...]] = (
    ("tag:yaml.org,2002:null", r"^(?:~|null|)$", "~n"),
    ("tag:yaml.org,2002:bool", r"^(?:true|false)$", "tf"),
    ("tag:yaml.org,2002:int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
)

for _class in (_Loader, _Dumper):
    _class.yaml_implicit_resolvers = {}
    for _tag, _pattern, _first in _RESOLVERS:
        _class.add_implicit_resolver(_tag, re.compile(_pattern), [*_first, *([""] if "null" in _tag else [])])


def _represent_list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    flat = not any(isinstance(item, dict | list) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flat)


_Dumper.add_representer(list, _represent_list)
