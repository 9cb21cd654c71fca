"""What orders do to points: spent once, given back in proportion."""

from fractions import Fraction

import pytest

from chassis import Poison
from contracts.money import half_up
from contracts.orders import Refund, Tender
from contracts.structs import as_struct
from redemption.usecases import orders
from redemption.usecases.states import SettleOrder

from .conftest import SHOP, Counter, effects, held, order, refund

pytestmark = pytest.mark.usefixtures("ann_has_500")


async def test_a_paid_order_spends_the_hold_of_the_checkout_that_its_tender_names(counter: Counter) -> None:
    hold = await held(counter)
    await counter.tell(order(1))
    assert await effects(counter) == [
        {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 100, "hold": hold}
    ]
    assert await counter.asked() == [("ann", "c-1/1/spend", 100)]


async def test_cross_channel(counter: Counter) -> None:
    """Earned anywhere, spent online or at the till: the same wallet is debited."""
    await counter.tell(order(1, order="till-1", channel="pos", checkout=None, points=30))
    await counter.tell(order(1, order="web-1", channel="online", checkout=None, points=40))
    assert [points for _, _, points in await counter.asked()] == [30, 40]


async def test_an_unpaid_order_spends_nothing_and_a_failed_payment_releases_nothing(counter: Counter) -> None:
    await held(counter)
    await counter.tell(order(1, paid=False), order(2, paid=False))
    assert await counter.asked() == []
    assert (await counter.state())["state"] == "held"
    assert (await counter.state())["order"] == "o-1"


async def test_cancelling_an_unpaid_order_releases_its_hold(counter: Counter) -> None:
    hold = await held(counter)
    await counter.tell(order(1, paid=False))
    await counter.tell(order(2, paid=False, cancelled=1))
    assert await effects(counter) == [{"kind": "release", "hold": hold}]


async def test_cancelling_finds_the_hold_by_the_order_that_the_checkout_was_made_for(counter: Counter) -> None:
    """An unpaid order may name no means of payment yet."""
    hold = await held(counter, order="o-1")
    await counter.tell(order(1, points=None, paid=False))
    assert await effects(counter) == []
    await counter.tell(order(2, paid=False, cancelled=1, points=None))
    assert await effects(counter) == [{"kind": "release", "hold": hold}]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_an_order_without_points_that_is_called_off_under_the_same_revision_releases_its_hold_too(
    counter: Counter, cancelled_first: bool, at_once: bool
) -> None:
    """A revision told twice is merged towards the later stage, whatever of it is kept."""
    hold = await held(counter, order="o-1")
    states = [order(1, points=None, paid=False), order(1, points=None, paid=False, cancelled=1)]
    states = states[::-1] if cancelled_first else states
    if at_once:
        await counter.tell(*states)
    else:
        for state in states:
            await counter.tell(state)
    assert await effects(counter) == [{"kind": "release", "hold": hold}]


async def test_redelivery_spends_once(counter: Counter) -> None:
    await held(counter)
    for _ in range(5):
        await counter.tell(order(1))
    await counter.tell(order(1), order(1))
    await counter.tell(order(2))
    assert await counter.asked() == [("ann", "c-1/1/spend", 100)]


async def test_late_paid(counter: Counter) -> None:
    """The hold has ended by the time the payment is processed: the whole tender is asked for all the same, and told."""
    hold = await held(counter)
    await counter.entry("time_out", 1, hold=hold)
    await counter.tell(order(1))
    assert await effects(counter) == [
        {"kind": "spend", "checkout": "c-1", "generation": 1, "amount": 100, "hold": hold}
    ]
    await counter.entry(
        "spend",
        2,
        posting="c-1/1/spend",
        changes={"available": -70, "held": 0, "pending": 0, "debt": -30},
        shortfall=30,
    )
    state = await counter.state()
    assert (state["state"], state["late"]) == ("captured", True)
    assert (state["captured"], state["shortfall"]) == (70, 30)


async def test_points_refund(counter: Counter) -> None:
    """All money comes back: all points used come back, and nothing more."""
    await held(counter, 150)
    await counter.tell(order(1, points=150, values=(7000,)))
    await counter.tell(order(2, points=150, values=(7000,), refunds=(refund(1, amount=6850),)))
    assert await counter.asked() == [("ann", "c-1/1/spend", 150), ("ann", "c-1/1/give_back/150", 150)]
    assert await counter.used() == 0


async def test_points_paid_part(counter: Counter) -> None:
    """100.00 with 30.00 paid by points: half of the goods back is half of the points back."""
    await counter.tell(order(1, points=3000, values=(10_000,)))
    await counter.tell(order(2, points=3000, values=(10_000,), refunds=(refund(1, line="0", quantity=1),)))
    assert await counter.used() == 1500
    assert (await counter.asked())[-1] == ("ann", "c-1/1/give_back/1500", 1500)


@pytest.mark.parametrize("splits", [(1, 1), (3, 5, 92), (33, 33, 34), (50, 50), (99,), (7, 11, 13, 17, 19, 23)])
async def test_partial_refunds(counter: Counter, splits: tuple[int, ...]) -> None:
    """Any split of money into returns gives back half_up of the whole so far, and at the end all of it."""
    refunds: tuple[Refund, ...] = ()
    charge = 4987
    await counter.tell(order(1, points=13, values=(5000,)))
    for number, share in enumerate(splits):
        refunds += (refund(number + 1, amount=charge * share // 100),)
        await counter.tell(order(number + 2, points=13, values=(5000,), refunds=refunds))
        back = Fraction(sum(r.amount or 0 for r in refunds) * 13, charge)
        assert await counter.used() == 13 - half_up(back.numerator, back.denominator)
    rest = charge - sum(r.amount or 0 for r in refunds)
    await counter.tell(
        order(99, points=13, values=(5000,), refunds=(*refunds, refund(50, amount=rest or None, line="0")))
    )
    assert await counter.used() == 0


async def test_a_cancelled_order_gives_all_back_and_a_later_payment_spends_again_once(counter: Counter) -> None:
    """stale_revision, the redemption side."""
    await held(counter)
    await counter.tell(order(3))
    await counter.tell(order(4, cancelled=1))
    await counter.tell(order(3))
    assert await counter.used() == 0
    await counter.tell(order(5, cancelled=1, again=True))
    assert await counter.asked() == [
        ("ann", "c-1/1/spend", 100),
        ("ann", "c-1/1/give_back/100", 100),
        ("ann", "c-1/2/spend", 100),
    ]


async def test_refunds_any_order(counter: Counter) -> None:
    """A later state that overtakes an earlier one decides alone."""
    one, two = refund(1, amount=980), refund(2, amount=1960)
    await counter.tell(order(1, points=100, refunds=()))
    await counter.tell(order(3, points=100, refunds=(one, two)))
    await counter.tell(order(2, points=100, refunds=(one,)))
    assert await counter.used() == 40


async def test_tender_and_hold_differ_the_smaller_is_captured_and_the_difference_recorded(counter: Counter) -> None:
    await held(counter, 100, "c-1")
    await held(counter, 100, "c-2")
    await counter.tell(order(1, points=130, checkout="c-1"))
    await counter.tell(order(1, order="o-2", points=60, checkout="c-2"))
    assert [points for _, _, points in await counter.asked()] == [100, 60]
    assert (await counter.state("c-1"))["difference"] == 30
    assert (await counter.state("c-2"))["difference"] == -40


async def test_the_difference_of_an_order_that_is_paid_again_is_not_told_twice(counter: Counter) -> None:
    await held(counter, 100)
    await counter.tell(order(1, points=130))
    await counter.tell(order(2, points=130, cancelled=1))
    await counter.tell(order(3, points=130, cancelled=1, again=True))
    assert (await counter.state())["difference"] == 30


async def test_a_tender_without_points_is_counted_at_the_rate_of_its_hold(counter: Counter) -> None:
    await held(counter, 100)
    await counter.configure(points_per_unit="7")
    await counter.tell(order(1, tenders=(Tender(kind="points", amount=40, checkout="c-1"),)))
    assert await counter.asked() == [("ann", "c-1/1/spend", 40)]


async def test_a_tender_that_names_nothing_is_counted_at_one_rate_for_ever(counter: Counter) -> None:
    await counter.configure(points_per_unit="50")
    tenders = (Tender(kind="points", amount=1001),)
    await counter.tell(order(1, tenders=tenders))
    assert await counter.used() == 501
    await counter.configure(points_per_unit="500")
    await counter.tell(order(2, tenders=tenders))
    assert await counter.used() == 501


async def test_a_tender_that_nobody_can_count_is_a_dead_letter_and_changes_nothing(counter: Counter) -> None:
    await counter.call("PUT", "redemption/settings", {})
    tenders = (Tender(kind="points", amount=1001),)
    (answer,) = await counter.tell(order(1, tenders=tenders))
    assert isinstance(answer, Poison)
    assert answer.code == "points_unknown"
    assert await counter.asked() == []
    assert await counter.query("SELECT count(*) FROM order_state") == [0]
    await counter.configure(points_per_unit="100")
    assert await counter.tell(order(1, tenders=tenders)) == [None]
    assert await counter.used() == 1001


async def test_several_points_tenders_are_each_spent_from_their_own_hold(counter: Counter) -> None:
    await held(counter, 100, "c-1")
    await held(counter, 50, "c-2")
    tenders = (
        Tender(kind="points", amount=100, points=100, checkout="c-1"),
        Tender(kind="points", amount=50, points=50, checkout="c-2"),
        Tender(kind="points", amount=10, points=10),
        Tender(kind="card", amount=4840),
    )
    await counter.tell(order(1, tenders=tenders))
    assert sorted(points for _, _, points in await counter.asked()) == [10, 50, 100]
    await counter.tell(order(2, tenders=tenders, refunds=(refund(1, line="0", quantity=1),)))
    assert await counter.used() == 80


async def test_the_member_who_held_the_points_pays_for_a_guests_order(counter: Counter) -> None:
    await held(counter)
    await counter.tell(order(1, member=None))
    assert await counter.asked() == [("ann", "c-1/1/spend", 100)]


async def test_an_order_of_nobody_spends_once_a_member_is_linked(counter: Counter) -> None:
    await counter.tell(order(1, member=None, checkout=None))
    assert await counter.asked() == []
    await counter.tell(order(2, member="bob", checkout=None))
    assert [(member, points) for member, _, points in await counter.asked()] == [("bob", 100)]


async def test_two_orders_that_name_one_checkout_are_both_paid_for_and_the_hold_is_used_once(counter: Counter) -> None:
    hold = await held(counter)
    await counter.tell(order(1, points=60), order(1, order="o-2", points=40))
    asked = await effects(counter)
    assert sorted((effect["amount"], effect.get("hold")) for effect in asked) == [(40, None), (60, hold)]
    assert len({effect["checkout"] for effect in asked}) == 2


async def test_an_order_that_is_paid_keeps_its_hold_when_another_that_named_it_is_called_off(counter: Counter) -> None:
    await held(counter)
    await counter.tell(order(1, order="tried", paid=False))
    await counter.tell(order(1, order="paid"))
    await counter.tell(order(2, order="tried", paid=False, cancelled=1))
    assert await counter.asked() == [("ann", "c-1/1/spend", 100)]


async def test_a_state_that_cannot_be_read_takes_no_other_with_it(counter: Counter) -> None:
    """Points were used before, so a state without them is read after all; only then it is seen to be wrong."""
    await counter.tell(order(1))
    broken = SettleOrder((SHOP, "o-1"), 3, matters=False, body=b"{}")
    answers = await counter.runtime.database.execute(
        orders.settle, [SettleOrder.of(as_struct(order(2, points=70))), broken]
    )
    assert answers[0] is None
    assert isinstance(answers[1], Poison)
    assert await counter.used() == 70


async def test_orders_that_never_saw_points_are_only_counted(counter: Counter) -> None:
    await counter.tell(order(1, points=None), order(2, points=None), order(1, order="o-2", points=None))
    assert await counter.asked() == []
    assert await counter.query("SELECT order_id, revision, body FROM order_state ORDER BY 1") == [
        ("o-1", 2, None),
        ("o-2", 1, None),
    ]


async def test_points_that_a_change_takes_off_the_order_come_back(counter: Counter) -> None:
    await counter.tell(order(1))
    await counter.tell(order(2, points=None))
    assert await counter.used() == 0
    await counter.tell(order(3, points=70))
    assert await counter.used() == 70


async def test_an_older_state_with_points_does_not_undo_a_newer_one_without(counter: Counter) -> None:
    await counter.tell(order(2, points=None))
    await counter.tell(order(1))
    assert await counter.asked() == []
