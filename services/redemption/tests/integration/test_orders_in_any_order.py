"""The same comes of an order in whatever order its states arrive, and however many workers meet them at once."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from contracts.orders import Order, Refund, RefundLine, Tender
from contracts.structs import as_struct
from redemption.holding import Desk
from redemption.usecases import checkouts, orders
from redemption.usecases.states import SettleOrder
from testkit import wait_until

from .conftest import T0, Counter, effects, held, intending, order, refund

pytestmark = pytest.mark.usefixtures("ann_has_500")


async def test_two_workers_that_meet_a_new_order_at_once_spend_once(counter: Counter) -> None:
    await asyncio.gather(*(counter.tell(order(1)) for _ in range(8)))
    assert await counter.asked() == [("ann", "c-1/1/spend", 100)]


@asynccontextmanager
async def another_worker(counter: Counter, *states: Order) -> AsyncIterator[None]:
    """One that has settled these states and commits at the block's end."""
    async with counter.runtime.database.begin() as tx:
        outcome = await orders.settle(tx, [SettleOrder.of(as_struct(state)) for state in states])
        yield
        await counter.runtime.database.append(tx, outcome)


async def waits_for_another(counter: Counter) -> None:
    """Until a transaction waits for a lock that another holds."""

    async def somebody_waits() -> bool:
        return await counter.query(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple', 'advisory')"
        ) != [0]

    await wait_until(somebody_waits, what="a worker to wait for the other")


def plain(revision: int) -> Order:
    return order(revision, points=None)


@pytest.mark.parametrize(
    ("first", "second", "used"),
    [
        (order(1), plain(2), 0),
        (plain(2), order(1), 0),
        (order(2), plain(1), 100),
        (plain(1), order(2), 100),
        (plain(1), plain(2), 0),
        (plain(2), plain(1), 0),
    ],
)
@pytest.mark.parametrize("known", [None, plain(0), order(0)], ids=["new", "plain", "with_points"])
async def test_of_two_workers_at_one_order_the_newest_revision_decides(
    counter: Counter, known: Order | None, first: Order, second: Order, used: int
) -> None:
    """Whether it is new to both, or known with or without points; each beside an order of its own."""
    if known is not None:
        await counter.tell(known)
    async with another_worker(counter, order(1, order="o-0", points=None), first):
        telling = asyncio.create_task(counter.tell(second, order(1, order="o-2", points=None)))
        await waits_for_another(counter)
    assert await telling == [None, None]
    assert await counter.used() == used
    assert await counter.query("SELECT order_id, revision FROM order_state ORDER BY 1") == [
        ("o-0", 1),
        ("o-1", 2),
        ("o-2", 1),
    ]


async def test_an_order_and_a_hold_for_its_checkout_at_once_see_each_other(counter: Counter) -> None:
    """Else the order would be paid without the hold, and the hold stay: whoever comes second knows of the first."""
    async with another_worker(counter, order(1, checkout="c-1")):
        holding = asyncio.create_task(counter.hold("c-1", points=100))
        await waits_for_another(counter)
    assert (await holding).json()["code"] == "checkout_exists"
    assert counter.ledger.calls.count("hold") == 0


async def test_an_order_that_is_paid_while_its_checkout_is_being_held_uses_that_hold(counter: Counter) -> None:
    desk: Desk = counter.runtime.extras["desk"]
    async with counter.runtime.database.begin() as tx:
        (intent,) = (await checkouts.intend(tx, [intending("c-1", "ann", 100)])).answers
        telling = asyncio.create_task(counter.tell(order(1)))
        await waits_for_another(counter)
    await telling
    await desk.finish(intent)
    assert [effect["hold"] for effect in await effects(counter)] == [str(intent.hold)]


async def test_plain_orders_in_a_batch_with_others_are_only_counted(counter: Counter) -> None:
    """Told in one batch: new ones, older and newer states, one that had points and one that has them now."""
    await counter.tell(order(5, order="older", points=None), order(5, order="newer", points=None))
    await counter.tell(order(5, order="had-points", checkout=None))
    await counter.tell(
        order(1, order="new", points=None),
        order(4, order="older", points=None),
        order(6, order="newer", points=None),
        order(6, order="had-points", points=None),
        order(1, order="has-points", checkout=None, points=30),
    )
    found = await counter.query("SELECT order_id, revision, body IS NULL FROM order_state ORDER BY 1")
    assert found == [
        ("had-points", 6, False),
        ("has-points", 1, False),
        ("new", 1, True),
        ("newer", 6, True),
        ("older", 5, True),
    ]
    assert await used_by(counter, "had-points") == 0
    assert await used_by(counter, "has-points") == 30


def lives(seed: int) -> list[Order]:
    """The states of one order's made-up life, each with its revision."""
    dice = random.Random(seed)
    name = f"life-{seed}"
    points = dice.choice([7, 100, 333])
    values = tuple(dice.choice([200, 1000, 2998]) for _ in range(dice.randint(1, 3)))
    refunds: tuple[Refund, ...] = ()
    states = [order(1, order=name, points=points, checkout=name, values=values, paid=False)]
    cancelled, again, paid = 0, False, False
    for revision in range(2, dice.randint(3, 8)):
        match dice.choice(["pay", "refund", "refund", "cancel", "change"]):
            case "pay":
                again, paid = cancelled > 0, True
            case "cancel" if paid:
                cancelled, again = cancelled + 1, False
            case "refund" if paid:
                parts = (RefundLine(line=str(dice.randrange(len(values))), quantity=1),)
                at = T0 + timedelta(days=revision)
                refunds = (*refunds, Refund(refund=f"r-{revision}", at=at, lines=parts))
            case "change":
                points = dice.choice([7, 50, 100])
        more: dict[str, Any] = {"refunds": refunds, "cancelled": cancelled, "again": again, "paid": paid}
        states.append(order(revision, order=name, points=points, checkout=name, values=values, **more))
    return states


async def used_by(counter: Counter, name: str) -> int:
    (points,) = await counter.query(
        "SELECT COALESCE(sum(points - given_back), 0)::bigint FROM spend WHERE order_id = $1", name
    )
    return int(points)


async def test_the_order_of_arrival_never_matters(counter: Counter) -> None:
    """Made-up lives, each told in order and shuffled with repeats: the points used at the end are the same."""
    for seed in range(40):
        dice = random.Random(1000 + seed)
        states = lives(seed)
        told = [state.model_copy(update={"order": f"{state.order}-told"}) for state in states]
        shuffled = [state.model_copy(update={"order": f"{state.order}-shuffled"}) for state in states * 2]
        dice.shuffle(shuffled)
        for state in told:
            await counter.tell(state)
        while shuffled:
            cut = dice.randint(1, 4)
            batch, shuffled = shuffled[:cut], shuffled[cut:]
            await counter.tell(*batch)
        alone = states[-1].model_copy(update={"order": f"{states[-1].order}-alone"})
        await counter.tell(alone)
        ends = {kind: await used_by(counter, f"life-{seed}-{kind}") for kind in ("told", "shuffled", "alone")}
        assert len(set(ends.values())) == 1, (seed, ends)


async def test_a_revision_told_twice_is_merged_towards_the_later_stage_in_either_order(counter: Counter) -> None:
    refunded = order(1, refunds=(refund(1, line="0", quantity=1),))
    cancelled = order(1, cancelled=1)
    for number, (states, used) in enumerate(
        itertools.chain(
            ((pair, 50) for pair in itertools.permutations([order(1), refunded])),
            ((pair, 0) for pair in itertools.permutations([refunded, cancelled])),
            ((pair, 0) for pair in itertools.permutations([order(1), cancelled, refunded])),
        )
    ):
        name = f"merged-{number}"
        for state in states:
            await counter.tell(
                state.model_copy(
                    update={
                        "order": name,
                        "tenders": (Tender(kind="points", amount=100, points=100),),
                    }
                )
            )
        assert await used_by(counter, name) == used, number


async def test_the_ledgers_answers_are_told(counter: Counter) -> None:
    hold = await held(counter)
    await counter.tell(order(1))
    await counter.entry("hold", 1, hold=hold)
    taken = {"held": -100}
    await counter.entry("spend", 2, posting="c-1/1/spend", hold=hold, checkout="c-1", changes=taken)
    state = await counter.state()
    assert (state["state"], state["captured"], state["late"], state["order"]) == ("captured", 100, False, "o-1")
    await counter.tell(order(2, refunds=(refund(1, line="0", quantity=1),)))
    await counter.entry("give_back", 3, posting="c-1/1/give_back/50")
    assert (await counter.state())["returned"] == 50


async def test_a_whole_batch_is_settled_together(counter: Counter) -> None:
    states = [order(1, order=f"o-{n}", member=f"m-{n % 7}", checkout=None, points=n + 1) for n in range(200)]
    await counter.tell(*states, *states[:50])
    assert await counter.used() == sum(range(1, 201))
    assert len(await counter.asked()) == 200
