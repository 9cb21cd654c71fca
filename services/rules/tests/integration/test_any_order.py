"""Orders as they really come: states of several, shuffled, repeated, many at a time; what is stored ends the same."""

import asyncio
import json
from collections import Counter
from itertools import count
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from contracts import encode
from contracts.orders import Order
from contracts.structs import as_struct
from rules.testing import Books
from rules.usecases.settling import SettleOrder, settle_orders
from testkit.exploring import examples

from ..unit.test_settlement import RULES, lives  # noqa: TID252  # the same orders

SAME_RULES: Final = {
    "base": {"earn": {"points": "1.5", "per": 100}},
    "dairy": {
        "earn": {"points": "7", "each": "unit"},
        "match": {"categories": ["dairy"]},
        "granted": {"on": "placed"},
    },
    "late": {"earn": {"points": "3", "per": 700}, "granted": {"on": "fulfilled"}, "stack": True},
    "double-p2": {"multiply": {"by": "2"}, "match": {"products": ["p2"]}},
}
"""`RULES`, as a shop gives them."""

_stories = count(1)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Order], list[list[Order]]]:
    """The newest states of some orders, and batches in which all their states arrive, at least once each."""
    story = next(_stories)
    orders = [
        [
            state.model_copy(
                update={"order": f"{story}-{number}", "member": state.member and f"{state.member}-{story}"}
            )
            for state in draw(lives())
        ]
        for number in range(draw(st.integers(1, 3)))
    ]
    states = [state for life in orders for state in life]
    arriving = draw(st.permutations(states)) + draw(st.lists(st.sampled_from(states), max_size=4))
    batches: list[list[Order]] = [[]]
    for state in arriving:
        batches[-1].append(state)
        if draw(st.booleans()):
            batches.append([])
    return [life[-1] for life in orders], [batch for batch in batches if batch]


@pytest.mark.hypothesis
async def test_whatever_comes_in_whatever_batches_members_keep_what_the_newest_states_say(bench: Any) -> None:
    await bench.open_shop(SAME_RULES, zone=RULES.zone.key)
    loop = asyncio.get_running_loop()

    async def settle(batch: list[Order]) -> None:
        commands = [SettleOrder(as_struct(state), encode(state)) for state in batch]
        assert set(await bench.runtime.database.execute(settle_orders, commands)) == {None}

    async def kept(orders: list[str]) -> Counter[str]:
        """By member, as a ledger would count it; every take-back names an award, and raises its total."""
        async with bench.runtime.database.begin() as tx:
            rows = await tx.driver.fetch("SELECT body FROM outbox WHERE topic = 'postings' ORDER BY lane, position")
        awards: dict[str, Any] = {}
        taken: Counter[str] = Counter()
        for posting in (json.loads(row["body"]) for row in rows):
            effect = posting["effect"]
            if posting["order"] not in orders:
                continue
            if effect["kind"] == "award":
                assert posting["posting"] not in awards
                awards[posting["posting"]] = posting
            else:
                assert taken[effect["award"]] < effect["total"] <= awards[effect["award"]]["effect"]["amount"]
                taken[effect["award"]] = effect["total"]
        left: Counter[str] = Counter()
        for key, posting in awards.items():
            left[posting["member"]] += posting["effect"]["amount"] - taken[key]
        return +left

    @limits(max_examples=examples(60))
    @given(deliveries())
    def tell(delivered: tuple[list[Order], list[list[Order]]]) -> None:
        newest, batches = delivered
        for batch in batches:
            asyncio.run_coroutine_threadsafe(settle(batch), loop).result(60)
        wanted: Counter[str] = Counter()
        for state in newest:
            books = Books(RULES)
            books.see(state)
            wanted.update(books.left)
        assert asyncio.run_coroutine_threadsafe(kept([state.order for state in newest]), loop).result(60) == +wanted

    await asyncio.to_thread(tell)
