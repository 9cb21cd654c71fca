"""Checkouts over HTTP: quote, hold, release, and what a crash at the worst moment leaves."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from starlette.responses import JSONResponse

from redemption import jobs
from redemption.holding import Desk
from redemption.store import checkouts as store

from .conftest import SHOP, Counter, cart, order


@pytest.fixture(autouse=True)
async def _open(counter: Counter) -> None:
    await counter.configure()
    counter.ledger.available["ann"] = 500


async def finish(counter: Counter) -> None:
    """What the job does."""
    desk: Desk = counter.runtime.extras["desk"]
    await jobs.finishing(counter.settings, desk.ledger).run(counter.runtime.database, asyncio.Event())


async def nothing_is_recorded(counter: Counter) -> None:
    assert await counter.query("SELECT count(*) FROM checkout") == [0]
    assert counter.ledger.holds == {}
    assert counter.ledger.available["ann"] == 500


async def test_a_quote_says_how_many_points_may_be_used_and_what_they_are_worth(counter: Counter) -> None:
    answer = await counter.quote(cart=cart(320))
    assert answer.status_code == 200
    assert answer.json() == {
        "member": "ann",
        "points": 320,
        "worth": 320,
        "currency": "EUR",
        "available": 500,
        "step": 1,
        "limited_by": "order",
        "automatic": False,
        "reasons": [],
    }


async def test_a_quote_gives_its_reasons_when_none_may_be_used(counter: Counter) -> None:
    await counter.configure(minimum_purchase=1000, with_discount_codes=False)
    answer = await counter.quote(cart=cart(320, coupons=["SPRING"]))
    assert answer.json()["points"] == 0
    assert answer.json()["reasons"] == [
        {"code": "not_with_discount_codes", "facts": {}},
        {"code": "below_minimum_purchase", "facts": {"minimum": 1000, "purchase": 320}},
    ]


async def test_discounts_come_off_before_the_maximum_is_computed(counter: Counter) -> None:
    await counter.configure(maximum_share_percent="50")
    answer = await counter.quote(cart=cart(300, 300, discount=100, coupons=["SPRING"]))
    assert (answer.json()["points"], answer.json()["limited_by"]) == (250, "maximum_share")


async def test_the_quote_and_the_hold_say_the_same(counter: Counter) -> None:
    await counter.configure(step=50, maximum_share_percent="33.3")
    for values in ((1000,), (333, 333), (99,), (151,)):
        offered = (await counter.quote(cart=cart(*values))).json()
        held = await counter.hold(str(values[0]), cart=cart(*values))
        if offered["points"]:
            assert held.status_code == 201
            assert (held.json()["points"], held.json()["worth"]) == (offered["points"], offered["worth"])
        else:
            assert held.status_code == 409
            assert held.json()["reasons"] == offered["reasons"]


async def test_a_hold_reserves_the_points_until_its_time_is_over(counter: Counter) -> None:
    answer = await counter.hold(points=120)
    assert answer.status_code == 201
    body = answer.json()
    assert (body["checkout"], body["state"], body["points"], body["worth"]) == ("c-1", "held", 120, 120)
    (hold,) = counter.ledger.holds.values()
    assert (hold["member"], hold["amount"], hold["expires_at"][:16]) == ("ann", 120, body["expires_at"][:16])
    assert counter.ledger.available["ann"] == 380
    assert (await counter.state())["state"] == "held"


async def test_more_than_allowed_is_refused_with_the_maximum_and_nothing_changes(counter: Counter) -> None:
    answer = await counter.hold(points=501)
    assert answer.status_code == 409
    body = answer.json()
    assert (body["code"], body["maximum"], body["worth"], body["limited_by"]) == (
        "too_many_points",
        500,
        500,
        "balance",
    )
    await nothing_is_recorded(counter)


async def test_as_many_as_possible_is_cut(counter: Counter) -> None:
    assert (await counter.hold("c-1", points=700, at_most=True, cart=cart(200))).json()["points"] == 200
    assert (await counter.hold("c-2", cart=cart(5000))).json()["points"] == 300


async def test_every_refusal_of_a_hold_changes_nothing(counter: Counter) -> None:
    refused: list[tuple[dict[str, Any], int, str]] = [
        ({"points": 501}, 409, "too_many_points"),
        ({"points": 15}, 422, "not_whole_steps"),
        ({"cart": cart(5000, currency="JPY")}, 422, "currency_rate_missing"),
        ({"cart": cart(5000, channel="pos")}, 409, "points_not_usable"),
        ({"cart": cart()} | {"member": "bob"}, 409, "points_not_usable"),
        ({"points": 0}, 422, "invalid_request"),
        ({"member": "ann@example.com"}, 422, "invalid_request"),
    ]
    await counter.configure(step=10)
    for body, status, code in refused:
        answer = await counter.hold(**body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), body
        await nothing_is_recorded(counter)


async def test_a_write_needs_an_idempotency_key(counter: Counter) -> None:
    path = f"/v1/shops/{SHOP}/checkouts"
    answer = await counter.http.post(path, json={"member": "ann", "cart": cart()}, headers=counter.headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_missing")
    await nothing_is_recorded(counter)


async def test_the_same_key_gives_the_first_answer_again(counter: Counter) -> None:
    first = await counter.hold(points=120, key="k")
    await counter.call("POST", "checkouts/c-1/release")
    again = await counter.hold(points=120, key="k")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert counter.ledger.calls.count("hold") == 1


async def test_the_same_key_with_another_content_is_a_conflict(counter: Counter) -> None:
    await counter.hold(points=120, key="k")
    answer = await counter.hold(points=121, key="k")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert counter.ledger.available["ann"] == 380


async def test_twenty_at_once_under_one_key_hold_once(counter: Counter) -> None:
    answers = await asyncio.gather(*(counter.hold(points=120, key="k") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert counter.ledger.available["ann"] == 380
    assert len(counter.ledger.holds) == 1


async def test_what_the_same_key_holds_between_two_looks_is_the_answer(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    look: Any = store.standing
    others: list[Any] = []

    async def standing(*asked: Any) -> store.Standing:
        if not others:
            others.append(None)
            others[0] = await counter.hold(points=120, key="k")
        return await look(*asked)

    monkeypatch.setattr(store, "standing", standing)
    mine = await counter.hold(points=120, key="k")
    assert (others[0].status_code, mine.status_code, mine.text) == (201, 201, others[0].text)
    assert counter.ledger.available["ann"] == 380
    assert len(counter.ledger.holds) == 1


async def test_twenty_at_once_for_one_checkout_hold_once(counter: Counter) -> None:
    answers = await asyncio.gather(*(counter.hold(points=120, key=f"k-{n}") for n in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"checkout_exists"}
    assert counter.ledger.available["ann"] == 380


async def test_a_checkout_without_an_id_gets_one(counter: Counter) -> None:
    first = await counter.call("POST", "checkouts", {"member": "ann", "cart": cart(), "points": 10}, "k")
    again = await counter.call("POST", "checkouts", {"member": "ann", "cart": cart(), "points": 10}, "k")
    assert first.json() == again.json()
    assert (await counter.state(first.json()["checkout"]))["points"] == 10


async def test_points_that_went_elsewhere_meanwhile_are_not_promised(counter: Counter) -> None:
    def go_elsewhere() -> None:
        counter.ledger.available["ann"] = 80

    counter.ledger.before_hold = go_elsewhere
    exact = await counter.hold("c-1", points=120)
    assert (exact.status_code, exact.json()["code"], exact.json()["maximum"]) == (409, "too_many_points", 80)
    assert counter.ledger.available["ann"] == 80
    counter.ledger.available["ann"] = 500
    cut = await counter.hold("c-2")
    assert (cut.status_code, cut.json()["points"]) == (201, 80)


async def test_a_release_frees_the_points_and_can_be_repeated(counter: Counter) -> None:
    await counter.hold(points=120)
    for _ in range(2):
        answer = await counter.call("POST", "checkouts/c-1/release")
        assert (answer.status_code, answer.json()["state"]) == (200, "released")
        assert counter.ledger.available["ann"] == 500
    assert counter.ledger.calls.count("release") == 1


async def test_a_released_checkout_can_hold_again(counter: Counter) -> None:
    await counter.hold(points=120)
    await counter.call("POST", "checkouts/c-1/release")
    assert (await counter.hold(points=70)).status_code == 201
    assert counter.ledger.available["ann"] == 430
    assert (await counter.state())["points"] == 70


async def test_what_a_paid_order_has_used_cannot_be_released(counter: Counter) -> None:
    await counter.hold(points=100)
    (hold,) = counter.ledger.holds.values()
    hold["state"] = "captured"
    answer = await counter.call("POST", "checkouts/c-1/release")
    assert answer.status_code == 200  # the ledger's answer came first: what we knew is put right
    assert answer.json()["state"] == "captured"
    again = await counter.call("POST", "checkouts/c-1/release")
    assert (again.status_code, again.json()["code"]) == (409, "checkout_captured")


async def test_what_a_paid_order_has_asked_for_cannot_be_released_before_the_ledger_has_heard_of_it(
    counter: Counter,
) -> None:
    await counter.hold(points=100)
    await counter.tell(order(1))
    answer = await counter.call("POST", "checkouts/c-1/release", {})
    assert (answer.status_code, answer.json()["code"], answer.json()["order"]) == (409, "checkout_captured", "o-1")
    assert counter.ledger.calls.count("release") == 0
    assert (await counter.state())["state"] == "held"


async def test_a_release_that_is_told_again_leaves_a_newer_hold_alone(counter: Counter) -> None:
    await counter.hold(points=100)
    first = await counter.call("POST", "checkouts/c-1/release", {}, "release-1")
    await counter.hold(points=70)
    again = await counter.call("POST", "checkouts/c-1/release", {}, "release-1")
    assert again.json() == first.json()
    assert (await counter.state())["state"] == "held"
    assert counter.ledger.available["ann"] == 430


async def test_a_checkout_whose_other_attempt_is_refused_at_that_moment_is_tried_again(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row that was in the way of the insert is alive no more when it is looked for."""
    insert, collisions = store.insert_checkout, [True]

    async def colliding(*arguments: Any) -> bool:
        return False if collisions and collisions.pop() else await insert(*arguments)

    monkeypatch.setattr(store, "insert_checkout", colliding)
    assert (await counter.hold(points=100)).status_code == 201


@pytest.mark.parametrize("status", [400, 404, 409, 422])
async def test_an_answer_that_is_not_the_ledgers_own_settles_nothing(counter: Counter, status: int) -> None:
    """Such as that of a proxy which does not know the path: nothing is taken for refused, or for freed."""
    counter.ledger.answers_instead = JSONResponse({"detail": "Not Found"}, status)
    assert (await counter.hold(points=100, key="one")).status_code == 503
    counter.ledger.answers_instead = None
    assert (await counter.hold(points=100, key="one")).status_code == 201
    for wrong in ({"detail": "Not Found"}, {"code": "not_found"}):
        counter.ledger.answers_instead = JSONResponse(wrong, status)
        assert (await counter.call("POST", "checkouts/c-1/release", {})).status_code == 503
        assert (await counter.state())["state"] == "releasing"
    counter.ledger.answers_instead = None
    await finish(counter)
    assert (await counter.state())["state"] == "released"
    assert counter.ledger.available["ann"] == 500


@pytest.mark.parametrize("by", ["job", "request"])
async def test_a_hold_on_its_way_is_freed_when_its_order_is_called_off(counter: Counter, by: str) -> None:
    """The ledger refuses the release of a hold that it does not know yet, so it is asked again afterwards."""
    counter.ledger.loses_answers = True
    assert (await counter.hold(points=100, order="o-1", key="one")).status_code == 503
    await counter.tell(order(1, points=None, paid=False, cancelled=1))
    assert (await counter.state())["state"] == "releasing"
    counter.ledger.loses_answers = False
    if by == "job":
        await finish(counter)
    else:
        assert (await counter.hold(points=100, order="o-1", key="one")).json()["state"] == "released"
    assert (await counter.state())["state"] == "released"
    assert counter.ledger.available["ann"] == 500


async def test_a_checkout_that_a_paid_order_has_named_takes_no_hold(counter: Counter) -> None:
    await counter.tell(order(1, checkout="c-7"))
    answer = await counter.hold("c-7")
    assert (answer.status_code, answer.json()["code"]) == (409, "checkout_exists")
    await nothing_is_recorded(counter)


async def test_an_unknown_checkout_is_not_found(counter: Counter) -> None:
    for method, path in (("GET", "checkouts/c-9"), ("POST", "checkouts/c-9/release")):
        answer = await counter.call(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "checkout_not_found")


async def test_a_ledger_that_is_down_is_said_and_the_same_request_goes_on_later(counter: Counter) -> None:
    counter.ledger.is_down = True
    answer = await counter.hold(points=120, key="k")
    assert (answer.status_code, answer.json()["code"]) == (503, "ledger_unavailable")
    await nothing_is_recorded(counter)
    counter.ledger.is_down = False
    assert (await counter.hold(points=120, key="k")).json()["state"] == "held"


async def test_a_crash_after_the_ledger_has_answered_leaves_nothing_in_the_dark(counter: Counter) -> None:
    """The hold is there, its answer was lost: the same request finds it, and holds nothing twice."""
    counter.ledger.loses_answers = True
    lost = await counter.hold(points=120, key="k")
    assert (lost.status_code, lost.json()["code"]) == (503, "ledger_unavailable")
    assert (await counter.state())["state"] == "intended"
    assert counter.ledger.available["ann"] == 380
    counter.ledger.loses_answers = False
    again = await counter.hold(points=120, key="k")
    assert (again.status_code, again.json()["state"], counter.ledger.available["ann"]) == (201, "held", 380)


async def test_a_job_finishes_holds_that_a_crash_left(counter: Counter) -> None:
    counter.ledger.loses_answers = True
    await counter.hold("c-1", points=120, key="k")
    await finish(counter)
    assert (await counter.state())["state"] == "intended"
    counter.ledger.loses_answers = False
    await finish(counter)
    assert (await counter.state())["state"] == "held"
    assert counter.ledger.available["ann"] == 380
    again = await counter.hold("c-1", points=120, key="k")
    assert (again.status_code, again.json()["state"]) == (201, "held")


async def test_a_hold_that_could_not_be_placed_within_its_time_is_over(counter: Counter) -> None:
    """And stands in nobody's way: neither of other checkouts that the job finishes, nor of the same one again."""
    counter.ledger.loses_answers = True
    await counter.hold("c-1", points=120, key="k-1")
    await counter.hold("c-2", points=70, key="k-2")
    counter.ledger.answers.clear()  # as if the ledger had never heard of them
    counter.ledger.holds.clear()
    counter.ledger.loses_answers = False
    await counter.query("UPDATE checkout SET expires_at = created_at WHERE checkout = 'c-1'")
    await finish(counter)
    state = await counter.state("c-1")
    assert (state["state"], state["refusal"]) == ("refused", "dates_out_of_order")
    assert (await counter.state("c-2"))["state"] == "held"
    assert (await counter.hold("c-1", points=60)).status_code == 201


async def test_a_job_finishes_releases_that_a_crash_left(counter: Counter) -> None:
    await counter.hold(points=120)
    counter.ledger.loses_answers = True
    lost = await counter.call("POST", "checkouts/c-1/release", key="r")
    assert (lost.status_code, lost.json()["code"]) == (503, "ledger_unavailable")
    assert (await counter.state())["state"] == "releasing"
    counter.ledger.loses_answers = False
    await finish(counter)
    assert (await counter.state())["state"] == "released"
    assert counter.ledger.available["ann"] == 500
    assert (await counter.call("POST", "checkouts/c-1/release", key="r")).json()["state"] == "released"


async def test_a_hold_that_the_ledgers_event_told_first_is_answered_as_held(counter: Counter) -> None:
    counter.ledger.loses_answers = True
    await counter.hold(points=120, key="k")
    (hold,) = counter.ledger.holds
    await counter.entry("hold", 1, hold=hold)
    assert (await counter.state())["state"] == "held"
    counter.ledger.loses_answers = False
    assert (await counter.hold(points=120, key="k")).json()["state"] == "held"


async def test_hold_timeout_is_told_and_the_checkout_is_free_again(counter: Counter) -> None:
    await counter.hold(points=100)
    (hold,) = counter.ledger.holds
    await counter.entry("hold", 1, hold=hold)
    await counter.entry("time_out", 2, hold=hold)
    await counter.entry("hold", 1, hold=hold)  # an old event again
    await counter.entry("time_out", 2, hold=hold)
    assert (await counter.state())["state"] == "expired"
    assert (await counter.hold(points=50)).status_code == 201


async def test_a_hold_that_a_merge_has_moved_ends_by_an_entry_of_another_account(counter: Counter) -> None:
    """Each account numbers its entries anew, so a later one may have the smaller number."""
    await counter.hold(points=100)
    (hold,) = counter.ledger.holds
    await counter.entry("hold", 50, hold=hold)
    await counter.entry("release", 7, hold=hold, member="bob", account="another")
    assert (await counter.state())["state"] == "released"


async def test_a_ledger_that_was_restored_is_followed_in_its_new_epoch(counter: Counter) -> None:
    """What a backup lacks is told again under lower numbers; nothing of the epoch before counts any more."""
    await counter.hold(points=100)
    (hold,) = counter.ledger.holds
    await counter.entry("hold", 40, hold=hold)
    await counter.entry("time_out", 7, hold=hold, epoch=2)
    assert (await counter.state())["state"] == "expired"
    await counter.entry("hold", 41, hold=hold)
    await counter.entry("capture", 41, hold=hold)
    assert (await counter.state())["state"] == "expired"


async def test_a_hold_that_a_restore_has_lost_is_free_when_it_is_released(counter: Counter) -> None:
    await counter.hold(points=100)
    counter.ledger.holds.clear()
    answer = await counter.call("POST", "checkouts/c-1/release")
    assert (answer.status_code, answer.json()["state"]) == (200, "released")
    assert (await counter.hold(points=50)).status_code == 201


async def test_entries_of_other_holds_are_none_of_our_business(counter: Counter) -> None:
    await counter.hold(points=100)
    await counter.entry("release", 5, hold=str(uuid4()))
    await counter.entry("release", 6, hold="till-hold-1", source="till")
    assert (await counter.state())["state"] == "held"


async def test_the_one_click_stop_ends_use_and_nothing_else(counter: Counter) -> None:
    await counter.hold("c-1", points=100)
    stopped = await counter.call("PUT", "redemption/switch", {"on": False})
    assert (stopped.status_code, stopped.json()["on"]) == (200, False)
    assert (await counter.quote()).json()["reasons"] == [{"code": "using_stopped", "facts": {}}]
    refused = await counter.hold("c-2", points=100)
    assert (refused.status_code, refused.json()["code"]) == (409, "points_not_usable")
    await counter.configure()  # an apply of the settings does not undo the stop
    assert (await counter.quote()).json()["points"] == 0
    await counter.tell(order(1))
    assert await counter.used() == 100
    await counter.call("PUT", "redemption/switch", {"on": True})
    assert (await counter.quote()).json()["points"] == 400


async def test_settings_are_stored_whole_and_unchanged_ones_keep_their_revision(counter: Counter) -> None:
    first = (await counter.call("GET", "redemption/settings")).json()
    await counter.configure()
    assert (await counter.call("GET", "redemption/settings")).json() == first
    await counter.configure(step=10, excluded={"categories": ["books"]})
    changed = (await counter.call("GET", "redemption/settings")).json()
    assert changed["revision"] == first["revision"] + 1
    assert (changed["online"]["step"], changed["online"]["excluded"]["categories"]) == (10, ["books"])
    assert changed["pos"] is None


@pytest.mark.parametrize(
    "online",
    [
        {"points_per_unit": "0"},
        {"points_per_unit": "1e2"},
        {"points_per_unit": "100", "step": 0},
        {"points_per_unit": "100", "step": True},
        {"points_per_unit": "100", "maximum_share_percent": "100.1"},
        {"points_per_unit": "100", "minimum_purchase": -1},
        {"points_per_unit": "100", "misspelt": 1},
        {},
    ],
)
async def test_settings_that_make_no_sense_are_refused(counter: Counter, online: dict[str, Any]) -> None:
    before = (await counter.call("GET", "redemption/settings")).json()
    answer = await counter.call("PUT", "redemption/settings", {"online": online})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert (await counter.call("GET", "redemption/settings")).json() == before
