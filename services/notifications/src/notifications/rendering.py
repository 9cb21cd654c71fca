"""Words: how a message's facts become a subject, a text and an HTML body, in templates that shops may edit.

A shop's template is code from outside. It is bounded by what it may say rather than by a stopwatch: variables, tests,
comparisons, filters of our own choosing and text; no loops, no assignments, no calls, no macros, no includes. So the
work is linear in the template's length, which is limited, and nothing it writes can reach Python. Jinja's sandbox and a
limit on the output stand behind that as a second defence.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from importlib import resources
from typing import Any, Final
from zoneinfo import ZoneInfo

import yaml
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notifications.domain import Facts, Scenario, Settings, TemplateInvalid, last_day

MAX_SUBJECT = 300
MAX_TEXT = 16 * 1024
MAX_HTML = 64 * 1024
"""Characters of a template's parts."""

MAX_OUTPUT = 256 * 1024
"""Characters that one part may become."""

MAX_DEPTH = 40
"""Levels of a template's tree."""

MAX_NODES = 2_000
"""Places in a template's tree. Ours have about 100; compiling this many takes a fifth of a second."""

FALLBACK_LANGUAGE: Final = "en"

LANGUAGES: Final = ("en", "es")
"""Languages whose words come with the service."""


@dataclass(frozen=True, slots=True)
class Template:
    """The words of one scenario in one language, with placeholders."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """The words of one message."""

    subject: str
    text: str
    html: str


ALLOWED_NODES: Final = (
    nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.CondExpr,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Add, nodes.Sub, nodes.Neg, nodes.Concat,
    nodes.Filter, nodes.Test, nodes.Template,
)  # fmt: skip
"""All else of Jinja is refused. `*`, `**` and `%` are missing on purpose: they make long strings out of short ones."""

ALLOWED_FILTERS: Final = frozenset({"number", "date", "default", "upper", "lower", "capitalize", "trim", "e", "escape"})
ALLOWED_TESTS: Final = frozenset({"none", "defined", "eq", "ne", "gt", "ge", "lt", "le", "true", "false"})

VARIABLES: Final = frozenset(
    {
        "shop", "member", "name", "points_name", "points", "change", "available", "pending", "held", "owed",
        "order", "checkout", "reason", "rule", "shortfall", "at", "activates_on", "expires_on", "lead_days",
    }
)  # fmt: skip
"""What a template may name; the README explains each."""


def _environment(*, autoescape: bool) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, cache_size=0
    )
    environment.globals.clear()
    environment.filters = {name: each for name, each in environment.filters.items() if name in ALLOWED_FILTERS}
    environment.filters |= {"number": _number, "date": _date}
    environment.tests = {name: each for name, each in environment.tests.items() if name in ALLOWED_TESTS}
    return environment


# --- numbers and dates in the reader's language ------------------------------------------------------------------

GROUPING: Final = {"en": ",", "es": ".", "de": ".", "it": ".", "pt": ".", "nl": "."}
"""Between thousands; a narrow no-break space where we do not know better."""

MONTHS: Final = {
    "en": (
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ),
    "es": (
        *("enero", "febrero", "marzo", "abril", "mayo", "junio"),
        *("julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"),
    ),
}


def _number(value: int, language: str = FALLBACK_LANGUAGE) -> str:
    return f"{int(value):,}".replace(",", GROUPING.get(_base(language), "\N{NARROW NO-BREAK SPACE}"))


def _date(value: date, language: str = FALLBACK_LANGUAGE) -> str:
    months = MONTHS.get(_base(language))
    if months is None:
        return f"{value:%Y-%m-%d}"
    month = months[value.month - 1]
    return f"{value.day} de {month} de {value.year}" if _base(language) == "es" else f"{value.day} {month} {value.year}"


class _Number(int):
    """An integer that is written in the reader's language wherever a template puts it, and still compares as one."""

    language = FALLBACK_LANGUAGE

    def __str__(self) -> str:
        return _number(self, self.language)

    def __html__(self) -> str:
        return str(self)


class _Day(date):
    language = FALLBACK_LANGUAGE

    def __str__(self) -> str:
        return _date(self, self.language)

    def __html__(self) -> str:
        return str(self)


# --- templates ---------------------------------------------------------------------------------------------------

_TEXT: Final = _environment(autoescape=False)
_HTML: Final = _environment(autoescape=True)


def check(template: Template, scenario: Scenario) -> None:
    """Refuse a template that could not be used for every message of its scenario: says which part, where and why."""
    for part, source, most in _parts(template):
        if len(source) > most:
            raise TemplateInvalid(part, 0, f"{len(source)} characters, more than the {most} allowed")
        environment = _HTML if part == "html" else _TEXT
        try:
            tree = environment.parse(source)
        except TemplateSyntaxError as error:
            raise TemplateInvalid(part, error.lineno, error.message or "not a template") from error
        except (RecursionError, ValueError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else "holds an impossible number"
            raise TemplateInvalid(part, 0, reason) from error
        _only_allowed(part, tree)
    if not template.subject.strip() or not template.text.strip():
        raise TemplateInvalid("subject" if not template.subject.strip() else "text", 0, "must not be empty")
    for sample in samples(scenario):
        render(template, sample)


def _parts(template: Template) -> tuple[tuple[str, str, int], ...]:
    return (
        ("subject", template.subject, MAX_SUBJECT),
        ("text", template.text, MAX_TEXT),
        ("html", template.html, MAX_HTML),
    )


def _only_allowed(part: str, tree: nodes.Template) -> None:
    for node in _walk(part, tree):
        if isinstance(node, nodes.Keyword | nodes.Pair) or not isinstance(node, ALLOWED_NODES):
            raise TemplateInvalid(part, node.lineno, f"{type(node).__name__} is not allowed in a template")
        if isinstance(node, nodes.Name) and node.name not in VARIABLES:
            raise TemplateInvalid(part, node.lineno, f"unknown variable {node.name[:40]!r}")
        if isinstance(node, nodes.Filter) and node.name not in ALLOWED_FILTERS:
            raise TemplateInvalid(part, node.lineno, f"unknown filter {node.name[:40]!r}")
        if isinstance(node, nodes.Test) and node.name not in ALLOWED_TESTS:
            raise TemplateInvalid(part, node.lineno, f"unknown test {node.name[:40]!r}")


def _walk(part: str, tree: nodes.Template) -> Iterator[nodes.Node]:
    """Every node, level by level: Jinja's own walk, and its compiler, recurse on whatever depth they get."""
    level: list[nodes.Node] = [tree]
    count = 0
    for _ in range(MAX_DEPTH):
        count += len(level)
        if count > MAX_NODES:
            raise TemplateInvalid(part, level[0].lineno, f"more than {MAX_NODES} placeholders, tests and texts")
        yield from level
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return
    raise TemplateInvalid(part, level[0].lineno, "nested too deeply")


def render(template: Template, context: Mapping[str, Any]) -> Rendered:
    """The words of a message. Raises `TemplateInvalid` where a text does not fit its facts."""
    subject, text, html = _compiled(template)
    words = {}
    for part, compiled in (("subject", subject), ("text", text), ("html", html)):
        try:
            words[part] = _bounded(part, compiled, context)
        except TemplateInvalid:
            raise
        except (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError, AttributeError) as error:
            raise TemplateInvalid(part, 0, str(error)[:200] or type(error).__name__) from error
    # A header is one line, whatever the facts hold.
    return Rendered(" ".join(words["subject"].split()), words["text"].strip() + "\n", words["html"].strip())


def _bounded(part: str, compiled: Any, context: Mapping[str, Any]) -> str:
    pieces: list[str] = []
    length = 0
    for piece in compiled.generate(context):
        length += len(piece)
        if length > MAX_OUTPUT:
            raise TemplateInvalid(part, 0, f"becomes more than {MAX_OUTPUT} characters")
        pieces.append(piece)
    return "".join(pieces)


@lru_cache(maxsize=512)
def _compiled(template: Template) -> tuple[Any, Any, Any]:
    try:
        return (
            _TEXT.from_string(template.subject),
            _TEXT.from_string(template.text),
            _HTML.from_string(template.html),
        )
    except (TemplateError, RecursionError, SyntaxError) as error:
        raise TemplateInvalid("text", 0, str(error)[:200]) from error


# --- what a template is told -------------------------------------------------------------------------------------


def context(
    *, settings: Settings, member: str, name: str | None, language: str, at: datetime, facts: Facts
) -> dict[str, Any]:
    """A message's facts as a template sees them: numbers in the reader's language, days in the shop's zone."""
    number = type("Number", (_Number,), {"language": language})
    day = type("Day", (_Day,), {"language": language})

    def on(value: date | None) -> date | None:
        return None if value is None else day(value.year, value.month, value.day)

    zone = ZoneInfo(settings.zone)
    return {
        "shop": settings.shop,
        "member": member,
        "name": name or "",
        "points_name": settings.points_name,
        "points": number(facts.points),
        "change": number(facts.change),
        "available": number(facts.available),
        "pending": number(facts.pending),
        "held": number(facts.held),
        "owed": number(facts.owed),
        "order": facts.order,
        "checkout": facts.checkout,
        "reason": facts.reason,
        "rule": facts.rule,
        "shortfall": number(facts.shortfall),
        "at": on(at.astimezone(zone).date()),
        "activates_on": on(None if facts.activates_at is None else facts.activates_at.astimezone(zone).date()),
        "expires_on": on(None if facts.expires_at is None else last_day(facts.expires_at, settings.zone)),
        "lead_days": None if facts.lead_days is None else number(facts.lead_days),
    }


def samples(scenario: Scenario) -> tuple[dict[str, Any], ...]:
    """The fullest and the barest facts that a message of the scenario can have: a template must do with both."""
    at = datetime.fromisoformat("2026-03-02T09:32:01+00:00")
    ends = datetime.fromisoformat("2027-03-02T00:00:00+00:00")
    full = Facts(
        points=1234, change=1234, available=56789, pending=10, held=20, owed=30, order="10042", checkout="c-1",
        reason="refund", rule="everything-earns", shortfall=5, activates_at=at, expires_at=ends, lead_days=7,
    )  # fmt: skip
    bare = Facts(
        points=1,
        change=-1,
        available=0,
        activates_at=at if scenario is Scenario.POINTS_PENDING else None,
        expires_at=ends if scenario is Scenario.POINTS_EXPIRING else None,
        lead_days=0 if scenario is Scenario.POINTS_EXPIRING else None,
    )
    return tuple(
        context(settings=Settings(shop="corner-grocer"), member="m-2417", name=name, language="en", at=at, facts=facts)
        for facts, name in ((full, "Ana <b> & Co"), (bare, None))
    )


# --- words that come with the service ----------------------------------------------------------------------------


@lru_cache(maxsize=1)
def builtin() -> Mapping[tuple[Scenario, str], Template]:
    """The texts that hold where a shop has none of its own, for every scenario in every one of our languages."""
    folder = resources.files("notifications").joinpath("templates")
    frame = folder.joinpath("frame.html").read_text("utf-8")
    found: dict[tuple[Scenario, str], Template] = {}
    for language in LANGUAGES:
        words = yaml.safe_load(folder.joinpath(f"{language}.yaml").read_text("utf-8"))
        closing = words.pop("closing")
        for scenario in Scenario:
            subject, body = words[scenario]["subject"], words[scenario]["body"]
            found[scenario, language] = Template(
                subject=subject, text=f"{body}\n{closing}", html=_framed(frame, subject, body, closing)
            )
    return found


def _framed(frame: str, subject: str, body: str, closing: str) -> str:
    """The plain text as HTML: paragraphs are separated by empty lines; tags of the template language pass unchanged."""
    paragraphs = "\n".join(
        f"<p>{_breaks(paragraph.strip())}</p>" for paragraph in re.split(r"\n{2,}", body) if paragraph.strip()
    )
    return (
        frame.replace("[[subject]]", subject)
        .replace("[[body]]", paragraphs)
        .replace("[[closing]]", _breaks(closing.strip()))
    )


def _breaks(paragraph: str) -> str:
    return paragraph.replace("\n", "<br>\n")


def candidates(language: str | None, settings: Settings) -> list[str]:
    """Languages to look for words in, best first: the reader's, its base, the shop's, its base, ours."""
    wanted = [language or settings.language, settings.language, FALLBACK_LANGUAGE]
    ordered = [each for tag in wanted for each in (tag, _base(tag))]
    return list(dict.fromkeys(ordered))


def choose(
    own: Mapping[tuple[Scenario, str], Template], scenario: Scenario, languages: list[str]
) -> tuple[Template, str]:
    """The words to use and their language. A language outweighs whose words they are: a reader must understand them."""
    for language in languages:
        template = own.get((scenario, language)) or builtin().get((scenario, language))
        if template is not None:
            return template, language
    return builtin()[scenario, FALLBACK_LANGUAGE], FALLBACK_LANGUAGE


def _base(language: str) -> str:
    return language.split("-", 1)[0]
