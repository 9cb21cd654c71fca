"""Programmes, drafts, versions, earnings and previews over HTTP."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from rules.api import PROBLEMS
from rules.domain import errors
from rules.testing import order, refund

BASE = {"earn": {"points": "1", "per": 100}}
PROGRAMME = {"on": True, "zone": "Europe/Madrid", "currency": "EUR"}


def test_every_refusal_has_a_status() -> None:
    def all_of(kind: type[Exception]) -> set[type[Exception]]:
        return {kind, *(found for sub in kind.__subclasses__() for found in all_of(sub))}

    assert all_of(errors.RulesError) - {errors.RulesError} == set(PROBLEMS)


async def test_a_programme_is_told_to_all_services_whole_once_per_change(bench: Any) -> None:
    first = await bench.call("PUT", "programme", PROGRAMME)
    await bench.call("PUT", "programme", PROGRAMME)
    second = await bench.call("PUT", "programme", {**PROGRAMME, "shortfall": "debt"})
    assert (first.json()["revision"], second.json()["revision"]) == (1, 2)
    assert [(e["revision"], e["shortfall"], e["on"]) for e in await bench.events("programmes")] == [
        (1, "forgive", True),
        (2, "debt", True),
    ]
    assert (await bench.call("GET", "programme")).json() == second.json()


async def test_thresholds_of_approval_are_told_by_asset(bench: Any) -> None:
    await bench.call("PUT", "programme", PROGRAMME)
    above = {"points": 1_000, "stored_value": 0}
    changed = await bench.call("PUT", "programme", {**PROGRAMME, "approval_above": above})
    assert (changed.json()["revision"], changed.json()["approval_above"]) == (2, above)
    assert (await bench.call("GET", "programme")).json()["approval_above"] == above
    assert (await bench.call("PUT", "programme", {**PROGRAMME, "approval_above": above})).json()["revision"] == 2
    for bad in ({"gold": 1}, {"points": -1}, {"points": "1"}, {"points": 1.5}, {"points": 10**30}, [], 5):
        refused = await bench.call("PUT", "programme", {**PROGRAMME, "approval_above": bad})
        assert refused.status_code == 422, bad
    assert (await bench.call("PUT", "programme", PROGRAMME)).json()["approval_above"] == {}
    told = [event["approval_above"] for event in await bench.events("programmes")]
    assert [{asset: amount for asset, amount in one.items() if amount is not None} for one in told] == [{}, above, {}]


async def test_a_currency_cannot_change_once_there_are_rules_in_it(bench: Any) -> None:
    await bench.call("PUT", "programme", {**PROGRAMME, "currency": "USD"})
    await bench.open_shop()
    refused = await bench.call("PUT", "programme", {**PROGRAMME, "currency": "JPY"})
    assert (refused.status_code, refused.json()["code"], refused.json()["currency"]) == (409, "currency_fixed", "EUR")
    assert (await bench.call("GET", "programme")).json()["currency"] == "EUR"
    assert len(await bench.events("programmes")) == 2


async def test_drafts_become_a_version_that_goes_from_draft_to_scheduled_to_active_to_retired(bench: Any) -> None:
    await bench.call("PUT", "programme", PROGRAMME)
    await bench.call("PUT", "rules/base", BASE)
    await bench.call("PUT", "rules/gone", BASE)
    assert (await bench.call("GET", "rules/base")).json()["document"] == BASE
    assert (await bench.call("DELETE", "rules/gone")).status_code == 204
    assert (await bench.call("DELETE", "rules/gone")).json()["code"] == "rule_not_found"
    made = (await bench.call("POST", "rule-sets", {"note": "the first"})).json()
    assert (made["version"], made["state"], made["since"], made["document"]["rules"]) == (
        1,
        "draft",
        None,
        {"base": BASE},
    )
    later = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    assert (await bench.call("POST", "rule-sets/1/activate", {"from": later})).json()["state"] == "scheduled"
    assert (await bench.call("GET", "rule-sets/active")).status_code == 404
    assert (await bench.call("POST", "rule-sets/1/activate")).json()["state"] == "active"
    await bench.use({})
    active = (await bench.call("GET", "rule-sets/active")).json()
    assert (active["version"], active["state"], active["document"]["rules"]) == (2, "active", {})
    first = (await bench.call("GET", "rule-sets/1")).json()
    assert (first["state"], first["note"], first["document"]) == ("retired", "the first", made["document"])
    listed = (await bench.call("GET", "rule-sets?limit=1")).json()
    assert [(s["version"], s["state"]) for s in listed["rule_sets"]] == [(2, "active")]
    rest = (await bench.call("GET", f"rule-sets?after={listed['next']}")).json()
    assert ([(s["version"], s["state"]) for s in rest["rule_sets"]], rest["next"]) == ([(1, "retired")], None)


async def test_making_the_same_version_again_makes_none(bench: Any) -> None:
    version = await bench.open_shop()
    assert await bench.use({"base": {"title": "One point per unit", **BASE}}) == version


async def test_diff_and_roll_back(bench: Any) -> None:
    await bench.open_shop({"base": BASE, "old": BASE})
    await bench.use({"base": {"earn": {"points": "2", "per": 100}}, "new": BASE})
    changes = (await bench.call("GET", "rule-sets/2/diff?against=1")).json()["changes"]
    assert [(change["rule"], change["change"]) for change in changes] == [
        ("base", "changed"),
        ("new", "added"),
        ("old", "removed"),
    ]
    assert changes[0]["before"]["earn"]["points"] == "1"
    rolled = (await bench.call("POST", "rule-sets/rollback")).json()
    assert (rolled["version"], rolled["state"]) == (1, "active")
    assert (await bench.call("GET", "rule-sets/2/diff")).json()["against"] == 1
    other = await bench.call("PUT", "programme", PROGRAMME, shop="other")
    assert other.status_code == 200
    refused = await bench.call("POST", "rule-sets/rollback", shop="other")
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_roll_back_to")


async def test_earnings_explain_every_rule_with_the_arithmetic(bench: Any) -> None:
    rules = {
        "base": {"title": "Base", **BASE, "granted": {"on": "paid", "after_days": 14}},
        "half-more": {"multiply": {"by": "1.5"}},
        "big": {"earn": {"points": "50", "each": "order"}, "when": {"minimum": 10_000}},
        "fish": {"earn": {"points": "5", "each": "unit"}, "match": {"categories": ["fish"]}},
    }
    await bench.open_shop(rules)
    await bench.tell(order(1999))
    await bench.tell(order(1999, revision=2, refunds=(refund(1, amount=1000),)))
    page = (await bench.call("GET", "orders/o/earnings")).json()
    (award,) = page["awards"]
    assert (award["award"], award["points"], award["taken_back"], award["left"]) == ("o/1/base/paid", 29, 15, 14)
    assert (award["promotions"], award["activates_at"]) == (["half-more"], "2026-03-16T09:05:00Z")
    assert (page["points"], page["stage"], page["revision"]) == (14, "refunded", 2)
    assert {rule["rule"]: (rule["fired"], rule["reason"], rule["points"]) for rule in page["rules"]} == {
        "base": (True, "gave points", 29),
        "half-more": (True, "multiplied points", None),
        "big": (False, "the order is below its minimum", 0),
        "fish": (False, "no line of the order is in its scope", 0),
    }
    told = next(rule["arithmetic"] for rule in page["rules"] if rule["rule"] == "base")
    assert told == "19.99 EUR × 1 per 1.00 × 1.5 (half-more) = 29.985, rounded down: 29"


async def test_a_preview_tells_what_a_cart_would_earn_and_stores_nothing(bench: Any) -> None:
    welcome = {"earn": {"points": "200", "each": "order"}, "when": {"first_order": True}}
    await bench.open_shop({"base": {**BASE, "granted": {"on": "fulfilled", "after_days": 7}}, "welcome": welcome})
    cart = {"lines": [{"product": "p1", "unit_price": 12_000}]}
    anonymous = (await bench.call("POST", "earnings/preview", cart)).json()
    assert anonymous["points"] == 120
    assert anonymous["awards"][0]["granted_on"] == "fulfilled"
    assert anonymous["awards"][0]["usable_after_days"] == 7
    newcomer = (await bench.call("POST", "earnings/preview", {**cart, "member": "m"})).json()
    assert newcomer["points"] == 320
    await bench.tell(order(100))
    assert (await bench.call("POST", "earnings/preview", {**cart, "member": "m"})).json()["points"] == 120
    assert len(await bench.events("postings")) == 1


async def test_a_preview_may_be_of_a_draft_and_as_of_a_time(bench: Any) -> None:
    await bench.open_shop({"base": {**BASE, "when": {"until": "2026-03-01"}}})
    draft = (await bench.call("POST", "rule-sets", {"rules": {"base": {"earn": {"points": "3", "per": 100}}}})).json()
    cart = {"lines": [{"product": "p1", "unit_price": 1000}], "at": "2026-02-28T12:00:00Z"}
    assert (await bench.call("POST", "earnings/preview", cart)).json()["points"] == 10
    assert (await bench.call("POST", "earnings/preview", {**cart, "at": "2026-03-01T00:00:00Z"})).json()["points"] == 0
    assert (await bench.call("POST", "earnings/preview", {**cart, "version": draft["version"]})).json()["points"] == 30
    missing = await bench.call("POST", "earnings/preview", {**cart, "version": 99})
    assert (missing.status_code, missing.json()["code"]) == (404, "rule_set_not_found")


async def test_a_preview_says_that_earning_is_off(bench: Any) -> None:
    await bench.open_shop()
    cart = {"lines": [{"product": "p1", "unit_price": 1000}]}
    told = []
    for on in (True, False, True):
        await bench.call("PUT", "programme", {**PROGRAMME, "on": on})
        found = (await bench.call("POST", "earnings/preview", cart)).json()
        told.append((found["points"], found["earning_off"], [award["points"] for award in found["awards"]]))
    assert told == [(10, False, [10]), (0, True, [10]), (10, False, [10])]


async def test_a_preview_in_another_currency_needs_its_rate(bench: Any) -> None:
    await bench.open_shop()
    cart = {"lines": [{"product": "p1", "unit_price": 1000}], "currency": "JPY"}
    refused = await bench.call("POST", "earnings/preview", cart)
    assert (refused.status_code, refused.json()["code"]) == (422, "rate_missing")
    assert (await bench.call("POST", "earnings/preview", {**cart, "rate": "0.0062"})).json()["points"] == 6


async def test_a_shop_without_a_programme_is_not_found(bench: Any) -> None:
    calls = [
        ("GET", "programme", None),
        ("GET", "rules", None),
        ("GET", "rules/a", None),
        ("PUT", "rules/a", BASE),
        ("GET", "rule-sets", None),
        ("POST", "rule-sets", {}),
        ("POST", "rule-sets/1/activate", {}),
        ("POST", "rule-sets/rollback", None),
        ("GET", "rule-sets/1/diff", None),
        ("GET", "orders/o/earnings", None),
        ("POST", "earnings/preview", {"lines": [{"product": "p", "unit_price": 1}]}),
    ]
    for method, path, body in calls:
        answer = await bench.call(method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (404, "shop_not_found"), path


async def test_bad_input_is_refused_and_nothing_has_changed(bench: Any) -> None:
    await bench.open_shop()
    bad = [
        ("PUT", "programme", {**PROGRAMME, "zone": "Mars/Olympus"}),
        ("PUT", "programme", {**PROGRAMME, "on": "yes"}),
        ("PUT", "rules/a", {"earn": {"points": 1.5, "per": 100}}),
        ("PUT", "rules/a", {}),
        ("POST", "rule-sets", {"rules": {"a": {"multiply": {"by": "2", "of": ["b"]}}}}),
        ("POST", "rule-sets/1/activate", {"from": "2026-01-01T00:00:00"}),
        ("POST", "earnings/preview", {"lines": []}),
        ("POST", "earnings/preview", {"lines": [{"product": "p", "unit_price": 10**13, "quantity": 1000}]}),
    ]
    for method, path, body in bad:
        answer = await bench.call(method, path, body)
        assert answer.status_code == 422, (path, body, answer.text)
    drafts = (await bench.call("GET", "rules")).json()["rules"]
    assert [draft["rule"] for draft in drafts] == ["base"]
    assert len((await bench.call("GET", "rule-sets")).json()["rule_sets"]) == 1
    assert len(await bench.events("programmes")) == 1


async def test_the_same_key_gives_the_same_answer_and_another_content_a_conflict(bench: Any) -> None:
    await bench.call("PUT", "programme", PROGRAMME)
    key = {"Idempotency-Key": "one"}
    first = await bench.call("POST", "rule-sets", {"rules": {"base": BASE}}, **key)
    again = await bench.call("POST", "rule-sets", {"rules": {"base": BASE}}, **key)
    other = await bench.call("POST", "rule-sets", {"rules": {}}, **key)
    assert (first.json(), other.status_code) == (again.json(), 409)


async def test_programmes_set_at_the_same_time_have_revisions_of_their_own(bench: Any) -> None:
    await asyncio.gather(
        *(bench.call("PUT", "programme", {**PROGRAMME, "hold_minutes": minutes}) for minutes in range(1, 9))
    )
    assert sorted(event["revision"] for event in await bench.events("programmes")) == list(range(1, 9))


async def test_versions_made_at_the_same_time_have_numbers_of_their_own(bench: Any) -> None:
    await bench.call("PUT", "programme", PROGRAMME)
    made = await asyncio.gather(*(bench.call("POST", "rule-sets", {"rules": {f"r{n}": BASE}}) for n in range(8)))
    assert sorted(answer.json()["version"] for answer in made) == list(range(1, 9))
