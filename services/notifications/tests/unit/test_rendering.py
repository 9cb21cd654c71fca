"""Words: ours fit every message, a shop's are refused unless they do, and none can do harm."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications import rendering
from notifications.domain import Facts, Scenario, Settings, TemplateInvalid
from notifications.rendering import LANGUAGES, Template, builtin, candidates, check, choose, context, render, samples

AT = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
SETTINGS = Settings("corner", zone="Europe/Madrid", points_name="stars")


def words(template: Template, *, language: str = "en", name: str | None = None, **facts: object) -> rendering.Rendered:
    told = Facts(**({"points": 5, "change": 5, "available": 5} | facts))  # type: ignore[arg-type]
    return render(template, context(settings=SETTINGS, member="m-1", name=name, language=language, at=AT, facts=told))


def plain(text: str) -> Template:
    return Template("Subject", text, "")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("scenario", list(Scenario))
def test_our_words_fit_every_scenario(scenario: Scenario, language: str) -> None:
    template = builtin()[scenario, language]
    check(template, scenario)
    for sample in samples(scenario):
        made = render(template, sample)
        assert made.subject
        assert made.text
        assert "{{" not in made.subject + made.text + made.html
        assert "None" not in made.subject + made.text + made.html


def test_numbers_and_days_are_written_in_the_readers_language_and_the_shops_zone() -> None:
    template = plain("{{ points }} {{ points_name }} until {{ expires_on }}, {{ at }}")
    ends = datetime(2027, 2, 28, 23, tzinfo=UTC)  # midnight in Madrid
    assert (
        words(template, points=1234567, expires_at=ends).text
        == "1,234,567 stars until 28 February 2027, 3 March 2026\n"
    )
    assert (
        words(template, language="es", points=1234567, expires_at=ends).text
        == "1.234.567 stars until 28 de febrero de 2027, 3 de marzo de 2026\n"
    )
    assert (
        words(template, language="fi", points=1234, expires_at=ends).text
        == "1\u202f234 stars until 2027-02-28, 2026-03-03\n"
    )


def test_numbers_still_compare() -> None:
    assert words(plain("{% if points > 4 and owed == 0 %}yes{% else %}no{% endif %}")).text == "yes\n"


def test_a_name_cannot_become_html_or_another_header() -> None:
    template = Template("Hi {{ name }}", "Hi {{ name }}", "<p>Hi {{ name }}</p>")
    made = words(template, name="<script>\r\nBcc: x@example.com")
    assert made.subject == "Hi <script> Bcc: x@example.com"
    assert made.html == "<p>Hi &lt;script&gt;\r\nBcc: x@example.com</p>"


HARMFUL = {
    "loop": "{% for each in shop %}{% endfor %}",
    "assignment": "{% set a = 1 %}",
    "class": "{{ ''.__class__ }}",
    "attribute": "{{ shop.upper }}",
    "item": "{{ shop[0] }}",
    "call": "{{ shop() }}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "times": "{{ 'a' * 1000000000 }}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "format filter": "{{ 'x'|format }}",
    "join filter": "{{ shop|join(shop) }}",
    "filter's argument": "{{ shop|default(value=1) }}",
    "test": "{{ shop is iterable }}",
    "macro": "{% macro x() %}{% endmacro %}",
    "include": "{% include 'x' %}",
    "extends": "{% extends 'x' %}",
    "import": "{% import 'x' as y %}",
    "filter block": "{% filter upper %}x{% endfilter %}",
    "list": "{{ [1] }}",
    "dictionary": "{{ {} }}",
    "unknown variable": "{{ email }}",
    "unknown filter": "{{ points|safe }}",
    "syntax": "{{ points",
    "depth": "{{ " + "(" * 100 + "1" + ")" * 100 + " + 1" * 60 + " }}",
    "much depth": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "deep ifs": "{% if points %}" * 200 + "x" + "{% endif %}" * 200,
    "elses": "{% if points %}" + "{% elif points %}" * 990 + "{% endif %}",
    "long number": "{{ " + "9" * 5000 + " }}",
    "type": "{{ points + shop }}",
    "compares nothing": "{{ lead_days > 2 }}",
    "length": "x" * (rendering.MAX_TEXT + 1),
    "empty": " \n ",
}


@pytest.mark.parametrize("text", HARMFUL.values(), ids=HARMFUL.keys())
def test_a_template_that_may_do_harm_or_fail_is_refused(text: str) -> None:
    with pytest.raises(TemplateInvalid) as refused:
        check(plain(text), Scenario.POINTS_EARNED)
    assert refused.value.part == "text"
    assert refused.value.reason


def test_a_very_long_template_is_done_in_no_time() -> None:
    text = "{% if points == 1 %}" + "{% elif points == 2 %}" * 300 + "{% endif %}."
    check(plain(text), Scenario.POINTS_EARNED)
    assert words(plain(text)).text == ".\n"


def test_a_refusal_names_the_part_and_the_line() -> None:
    with pytest.raises(TemplateInvalid) as refused:
        check(Template("Subject", "text", "<p>\n<b>\n{{ nonsense }}"), Scenario.POINTS_EARNED)
    assert (refused.value.part, refused.value.line, refused.value.reason) == ("html", 3, "unknown variable 'nonsense'")


def test_output_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "MAX_OUTPUT", 10)
    with pytest.raises(TemplateInvalid, match="more than 10 characters"):
        words(plain("{{ points }}" * 11))


@given(st.text(alphabet="{}%#|()[].'\"~+-*/ abpoints\n_0123456789iflsend", max_size=200))
def test_any_text_is_either_rendered_or_refused(text: str) -> None:
    try:
        check(plain(text), Scenario.POINTS_EARNED)
    except TemplateInvalid:
        return
    render(plain(text), samples(Scenario.POINTS_EARNED)[0])


def test_a_reader_gets_the_nearest_language_there_is() -> None:
    own = {(Scenario.POINTS_EARNED, "de"): plain("Hallo")}
    spanish = replace(SETTINGS, language="es")
    assert candidates("de-AT", spanish) == ["de-AT", "de", "es", "en"]
    assert choose(own, Scenario.POINTS_EARNED, candidates("de-AT", spanish)) == (plain("Hallo"), "de")
    assert choose(own, Scenario.POINTS_USED, candidates("de-AT", spanish))[1] == "es"
    assert choose(own, Scenario.POINTS_USED, candidates("fr", SETTINGS))[1] == "en"
    assert choose({}, Scenario.POINTS_USED, candidates(None, spanish))[1] == "es"


def test_a_shops_own_words_go_before_ours() -> None:
    own = {(Scenario.POINTS_EARNED, "en"): plain("Own")}
    assert choose(own, Scenario.POINTS_EARNED, ["en"]) == (plain("Own"), "en")
