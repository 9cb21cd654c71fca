"""First orders within a batch: whoever an order is given to on the way, where it stands has been asked."""

from collections.abc import Sequence
from typing import Any

import pytest

from contracts import encode
from contracts.orders import Order
from rules import store
from rules.domain.rule import Conditions
from rules.store import Activation, Compiled, Deciding, Standing
from rules.testing import PLACED, one_per_unit, order, rule_set
from rules.usecases.settling import SettleOrder, _Desk

TX: Any = None
DECIDING = {"s": Deciding(on=True, currency="EUR", timeline=[Activation(1, PLACED, PLACED)], pauses=())}
SETS = {("s", 1): Compiled(rule_set(one_per_unit("first", conditions=Conditions(first_order=True))), "EUR")}


def _told(*orders: Order) -> list[SettleOrder]:
    return [SettleOrder(each, encode(each)) for each in orders]


async def _settle(desk: _Desk, commands: Sequence[SettleOrder]) -> list[tuple[str, str]]:
    await desk._ask_standings(TX, commands)
    asked = [posting for command in commands for posting in desk.settle(command)]
    return [(posting.member, type(posting.effect).__name__) for posting in asked]


@pytest.fixture(autouse=True)
def nothing_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """No order of anybody is in the database, and nobody else is at work."""

    async def first_of_all(_: Any, asked: Sequence[Any], **__: Any) -> dict[Any, Standing]:
        return {(shop, number, member): Standing(earlier=False, bonus_held=False) for shop, number, member, _ in asked}

    async def alone(_: Any, members: Any) -> None: ...

    monkeypatch.setattr(store, "standings", first_of_all)
    monkeypatch.setattr(store, "lock_members", alone)


async def test_an_order_given_away_in_a_batch_is_no_longer_before_the_next_one_of_its_member() -> None:
    desk = _Desk(DECIDING, {}, SETS)
    told = _told(order(1_000), order(1_000, revision=2, member="n"), order(1_000, order="later"))
    assert await _settle(desk, told) == [("m", "Award"), ("m", "Revoke"), ("n", "Award"), ("m", "Award")]


async def test_an_order_that_is_given_to_another_member_and_back_in_one_batch() -> None:
    desk = _Desk(DECIDING, {}, SETS)
    assert await _settle(desk, _told(order(1_000))) == [("m", "Award")]
    stored = _Desk(DECIDING, dict(desk.changed), SETS)
    given_back = _told(order(1_000, revision=2, member="n"), order(1_000, revision=3))
    assert await _settle(stored, given_back) == [("m", "Revoke"), ("n", "Award"), ("n", "Revoke"), ("m", "Award")]
    (page,) = stored.changed.values()
    assert (page.member, page.revision, page.first_order) == ("m", 3, True)
