"""What is told over HTTP of a hold that was free already when it was to be released."""

import json

import pytest

from ledger.api.holds import _hold_answer
from ledger.domain import HoldId
from ledger.usecases import Settled


@pytest.mark.parametrize(("how", "state"), [("release", "released"), ("time_out", "expired")])
def test_releasing_a_hold_that_is_free_already_tells_how_it_ended(shelf, how, state):
    shelf.award(100)
    shelf.hold("h", 60, expires_at="03-01")
    if how == "release":
        shelf.release("h")
    else:
        shelf.at("03-02")
    outcome = shelf.release("h")
    settled = Settled(outcome, [], shelf.account(), shelf.holds[HoldId("shop", "h")])
    told = json.loads(_hold_answer(settled, status=200).body)
    assert (told["state"], told["captured"], told["released"], told["expiring"]) == (state, 0, 60, 0)
    assert told["balance"] == {"available": 100, "pending": 0, "held": 0, "debt": 0}
