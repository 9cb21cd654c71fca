"""Kills and freezes anywhere, every event twice and shuffled: nothing lost, nothing twice, nothing stuck."""

import pytest

from bench.chaos.run import run

KILLS = 30
"""Faults in the test suite; `make chaos KILLS=1000` does more."""


@pytest.mark.timeout(900)
async def test_survives_being_killed_anywhere() -> None:
    verdict, _ = await run(KILLS, seed=1)
    assert verdict.clean, str(verdict)
    assert verdict.orders > 100
    assert verdict.checkouts > verdict.spends > 0
    assert verdict.expired > 0
    assert verdict.merges > 10
    assert verdict.messages > 0
    assert verdict.webhooks >= verdict.spends
