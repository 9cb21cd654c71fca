"""A first look: an award, its balance, its statement, its proof."""

import gc

from ledger.domain import Award, Lot, Spend
from ledger.usecases import Asked

from .conftest import SHOP, Ledger


async def test_an_award_is_in_the_balance_and_in_the_statement(ledger: Ledger) -> None:
    await ledger.award("m-1", 120, order="o-1", cause={"rule": "everything", "rule_version": 7})
    assert await ledger.buckets("m-1") == (120, 0, 0, 0)
    (entry,) = await ledger.entries("m-1")
    assert entry["kind"] == "award"
    assert entry["changes"]["available"] == 120
    assert entry["system"] == {"issued": -120}
    assert entry["cause"] == {"rule": "everything", "rule_version": 7}
    found = await ledger.check()
    assert found["accounts"] == 1
    assert found["entries"] == 1


async def test_a_batch_leaves_no_circles_for_the_collector(ledger: Ledger) -> None:
    """Accounts and lots know each other; while nobody looks for circles, memory must not grow batch by batch."""
    gc.collect()
    gc.disable()
    try:
        for number in range(3):
            award = Award(shop=SHOP, member="m-1", source="s", key=f"a-{number}", amount=5)
            spend = Spend(
                shop=SHOP, member="m-1", source="s", key=f"s-{number}", checkout=f"c-{number}", generation=1, amount=3
            )
            await ledger.settle([Asked(award), Asked(spend)])
        assert not [one for one in gc.get_objects() if isinstance(one, Lot)]
    finally:
        gc.enable()
