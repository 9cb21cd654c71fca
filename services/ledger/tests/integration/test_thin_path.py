"""A first look: an award, its balance, its statement, its proof."""

from .conftest import Ledger


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
