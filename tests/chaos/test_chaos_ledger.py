"""The ledger alone, hurt wherever it can be: every answer fits one history, told once, with nothing left behind."""

import pytest

from bench.chaos.ledger.run import run

KILLS = 20
"""Faults in the test suite; `make chaos-ledger` does two thousand."""
OPERATIONS = 3_000
USUAL = {
    "award", "revoke", "credit", "debit", "activate", "hold", "capture", "release", "spend", "give_back", "gift_out",
    "gift_in",
}  # fmt: skip


@pytest.mark.timeout(600)
async def test_the_ledger_survives_being_hurt_anywhere() -> None:
    verdict, _ = await run(KILLS, operations=OPERATIONS, seed=7)
    assert verdict.clean, str(verdict)
    assert verdict.operations >= OPERATIONS
    assert verdict.entries > OPERATIONS / 10
    assert verdict.kinds.keys() >= USUAL
