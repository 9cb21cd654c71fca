"""States of orders become postings, once each, by the recorded version of the rules."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from contracts import encode
from contracts.orders import Order, Refund
from contracts.structs import as_struct
from rules.store import known_shops, standings
from rules.testing import PAID, PLACED, cancellation, line, order, refund
from rules.usecases.settling import SettleOrder, settle_orders
from testkit import wait_until
from testkit.plans import plan_of


def awards(postings: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(p["posting"], p["effect"]["amount"]) for p in postings if p["effect"]["kind"] == "award"]


async def test_an_order_becomes_an_award_that_names_rule_and_version(bench: Any) -> None:
    await bench.open_shop({"base": {"earn": {"points": "1", "per": 100}, "valid": {"months": 12}}})
    (posting,) = await bench.tell(order(10_000))
    assert posting == {
        "shop": "s",
        "member": "m",
        "source": "rules",
        "posting": "o/1/base/paid",
        "order": "o",
        "cause": {"rule": "base", "rule_version": 1},
        "effect": {"kind": "award", "amount": 100, "expires_at": "2027-03-02T23:00:00Z"},
    }


async def test_redelivery(bench: Any) -> None:
    await bench.open_shop()
    for _ in range(5):
        await bench.tell(order(10_000))
    assert await bench.tell(order(10_000), order(10_000)) == []
    assert await bench.left() == {"m": 100}


async def test_states_of_one_order_in_one_batch_are_settled_in_turn(bench: Any) -> None:
    await bench.open_shop()
    half = refund(1, amount=5000)
    asked = await bench.tell(
        order(10_000, paid_at=None), order(10_000, revision=2), order(10_000, revision=3, refunds=(half,))
    )
    assert [posting["effect"]["kind"] for posting in asked] == ["award", "revoke"]
    assert await bench.left() == {"m": 50}


async def test_refund_after_rule_change(bench: Any) -> None:
    await bench.open_shop()
    await bench.tell(order(5000))
    await bench.use({"base": {"earn": {"points": "2", "per": 100}}})
    await bench.tell(order(5000, revision=2, refunds=(refund(1, amount=5000),)))
    assert await bench.left() == {"m": 0}
    await bench.tell(order(5000, order="o2"))
    await bench.use({})
    await bench.tell(order(5000, order="o2", revision=2, refunds=(refund(1, amount=5000),)))
    assert await bench.left() == {"m": 0}


async def test_a_changed_order_is_decided_by_the_version_that_decided_it_first(bench: Any) -> None:
    await bench.open_shop()
    await bench.tell(order(5000))
    await bench.use({"base": {"earn": {"points": "2", "per": 100}}})
    (more,) = await bench.tell(order(8000, revision=2))
    assert (more["effect"]["amount"], more["cause"]["rule_version"]) == (30, 1)


async def test_placed_at_decides_which_version_holds(bench: Any) -> None:
    await bench.open_shop()
    version = await bench.use({"base": {"earn": {"points": "2", "per": 100}}})
    now = datetime.now(UTC)
    before, after = now - timedelta(days=1), now + timedelta(seconds=5)
    await bench.tell(order(1000, order="old", placed_at=before), order(1000, order="new", placed_at=after))
    assert [p["cause"]["rule_version"] for p in await bench.events("postings")] == [1, version]


async def test_stale_revision(bench: Any) -> None:
    await bench.open_shop()
    gone = (cancellation(),)
    paid_again = PAID + timedelta(days=20)
    await bench.tell(order(10_000, revision=3))
    await bench.tell(order(10_000, revision=4, cancellations=gone))
    assert await bench.left() == {"m": 0}
    assert await bench.tell(order(10_000, revision=3)) == []
    asked = await bench.tell(order(10_000, revision=5, cancellations=gone, paid_at=paid_again))
    assert awards(asked) == [("o/2/base/paid", 100)]


async def test_one_revision_with_two_states_is_merged_towards_the_later_stage(bench: Any) -> None:
    await bench.open_shop()
    refunded = order(10_000, revision=2, refunds=(refund(1, amount=4000),))
    await bench.tell(refunded)
    assert await bench.tell(order(10_000, revision=2, fulfilled_at=PAID + timedelta(days=1))) == []
    assert await bench.left() == {"m": 60}
    page = (await bench.call("GET", "orders/o/earnings")).json()
    assert (page["stage"], page["points"]) == ("refunded", 60)


async def test_a_guest_order_is_decided_and_kept_and_earns_once_a_member_is_linked(bench: Any) -> None:
    version = await bench.open_shop()
    assert await bench.tell(order(10_000, member=None)) == []
    page = (await bench.call("GET", "orders/o/earnings")).json()
    assert (page["member"], page["rule_set_version"], page["rules"][0]["points"]) == (None, version, 100)
    await bench.use({})
    await bench.tell(order(10_000, member="late", revision=2))
    assert await bench.left() == {"late": 100}


async def test_another_member_means_reversal_and_award_anew(bench: Any) -> None:
    await bench.open_shop()
    await bench.tell(order(10_000, member="a"))
    await bench.tell(order(10_000, member="b", revision=2))
    assert await bench.left() == {"a": 0, "b": 100}


async def test_a_test_order_moves_nothing(bench: Any) -> None:
    await bench.open_shop()
    assert await bench.tell(order(10_000, test=True)) == []


async def test_first_orders_earn_their_bonus_once(bench: Any) -> None:
    welcome = {"earn": {"points": "200", "each": "order"}, "when": {"first_order": True}}
    await bench.open_shop({"welcome": welcome})
    day = timedelta(days=1)
    # Both in one batch, the later one first; then an earlier one arrives late; then a next one.
    await bench.tell(
        order(100, order="second", placed_at=PLACED + day), order(100, order="third", placed_at=PLACED + 2 * day)
    )
    await bench.tell(order(100, order="first", placed_at=PLACED))
    await bench.tell(order(100, order="fourth", placed_at=PLACED + 3 * day))
    assert awards(await bench.events("postings")) == [("second/1/welcome/paid", 200)]


async def test_two_workers_at_once_give_one_first_order_bonus(bench: Any) -> None:
    welcome = {"earn": {"points": "200", "each": "order"}, "when": {"first_order": True}}
    await bench.open_shop({"welcome": welcome})
    database = bench.runtime.database

    def told(number: str) -> list[SettleOrder]:
        sold = order(1_000, order=number)
        return [SettleOrder(as_struct(sold), encode(sold))]

    async with database.begin() as tx:
        outcome = await settle_orders(tx, told("one"))
        await database.append(tx, outcome)
        other = asyncio.create_task(database.execute(settle_orders, told("two")))

        async def waits() -> bool:
            rows = await tx.driver.fetch("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            return bool(rows)

        await wait_until(waits, timeout_seconds=10, what="the second worker to wait for the first")
    await other
    assert awards(await bench.events("postings")) == [("one/1/welcome/paid", 200)]


async def test_a_reversed_order_was_no_first_order(bench: Any) -> None:
    welcome = {"earn": {"points": "200", "each": "order"}, "when": {"first_order": True}}
    await bench.open_shop({"welcome": welcome})
    await bench.tell(order(100, order="a"))
    await bench.tell(order(100, order="a", revision=2, cancellations=(cancellation(),)))
    await bench.tell(order(100, order="b", placed_at=PLACED + timedelta(days=30)))
    assert await bench.left() == {"m": 200}
    # What was judged once stays judged: a later state of the second order asks nothing more.
    assert await bench.tell(order(100, order="b", revision=2, placed_at=PLACED + timedelta(days=30))) == []


async def test_what_a_large_batch_leaves_aside_is_looked_up_and_not_gone_through_for_each_order(bench: Any) -> None:
    def ask(driver: Any) -> Any:
        return standings(SimpleNamespace(driver=driver), [("s", "o", "m", PLACED)], aside=["s/o"])

    async with bench.runtime.database.begin() as tx:
        await tx.driver.execute("SET LOCAL plan_cache_mode = force_generic_plan")  # as it becomes by the sixth time
        assert (await plan_of(tx.driver, ask)).count("hashed SubPlan") == 2


async def test_foreign_currency_earns_at_the_stored_rate(bench: Any) -> None:
    await bench.open_shop({"base": {"earn": {"points": "10", "per": 100}}})
    await bench.tell(order(1000, currency="JPY", rate="0.0062"))
    assert await bench.left() == {"m": 62}


async def test_two_states_of_one_revision_that_are_too_much_together_are_poison(bench: Any) -> None:
    """A thousand refunds is the most that an order may have; each of these two has 700 others."""
    await bench.open_shop()
    one, other = (
        order(10_000, refunds=tuple(Refund(refund=f"{name}{n}", at=PAID, amount=1) for n in range(700)))
        for name in ("a", "b")
    )
    assert [posting["effect"]["kind"] for posting in await bench.tell(one)] == ["award", "revoke"]
    (posting,) = await bench.tell(other, order(10_000, order="next"))
    assert posting["order"] == "next"
    assert [getattr(answer, "code", None) for answer in bench.answers] == ["malformed", None]
    assert await bench.tell(one) == []


async def test_what_can_never_be_decided_is_poison_and_the_rest_goes_on(bench: Any) -> None:
    await bench.open_shop({"base": {"earn": {"points": "1000000", "per": 1}}})
    await bench.tell(
        order(1, order="no-rate", currency="USD"),
        order(100, order="foreign-refund", refunds=(refund(1, amount=1, currency="USD"),)),
        order(line(1, 10_000_000, 100_000), order="too-many"),
        order(1, order="good"),
    )
    codes = [getattr(answer, "code", None) for answer in bench.answers]
    assert codes == ["rate_missing", "refund_currency", "points_out_of_range", None]
    assert await bench.left() == {"m": 1_000_000}
    assert (await bench.call("GET", "orders/no-rate/earnings")).status_code == 404


async def test_off_stops_earning_and_returns_go_on(bench: Any) -> None:
    await bench.open_shop()
    await bench.tell(order(10_000))
    await bench.call("PUT", "programme", {"on": False, "zone": "Europe/Madrid", "currency": "EUR"})
    now = datetime.now(UTC)
    assert await bench.tell(order(5000, order="while-off", placed_at=now)) == []
    await bench.tell(order(10_000, revision=2, refunds=(refund(1, amount=5000),)))
    await bench.call("PUT", "programme", {"on": True, "zone": "Europe/Madrid", "currency": "EUR"})
    assert await bench.tell(order(5000, order="while-off", revision=2, placed_at=now)) == []
    assert await bench.left() == {"m": 50}


async def test_orders_of_a_shop_wait_until_it_has_rules(bench: Any) -> None:
    async def known() -> set[str]:
        async with bench.runtime.database.begin() as tx:
            return await known_shops(tx, {"s", "nobody"})

    assert await known() == set()
    await bench.call("PUT", "programme", {"on": True, "zone": "UTC", "currency": "EUR"})
    assert await known() == set()
    await bench.use({})
    assert await known() == {"s"}


async def test_a_thousand_orders_in_one_batch(bench: Any) -> None:
    await bench.open_shop()
    orders: list[Order] = [order(100 * n, 50, order=f"o{n}", member=f"m{n % 7}") for n in range(1, 1001)]
    asked = await bench.tell(*orders)
    assert len(asked) == 1000
    assert sum((await bench.left()).values()) == sum(range(1, 1001))
    refunds = (refund(1, amount=1_000_000),)
    await bench.tell(*(state.model_copy(update={"revision": 2, "refunds": refunds}) for state in orders))
    assert not any((await bench.left()).values())


async def test_an_order_before_there_are_rules_is_decided_once_there_are(bench: Any) -> None:
    await bench.call("PUT", "programme", {"on": True, "zone": "UTC", "currency": "EUR"})
    assert await bench.tell(order(10_000)) == []
    await bench.use({"base": {"earn": {"points": "1", "per": 100}}})
    await bench.tell(order(10_000, revision=2))
    assert await bench.left() == {"m": 100}
