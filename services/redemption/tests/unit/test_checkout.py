"""How a checkout stands after what the ledger has told, in whatever order it is told twice."""

import pytest

from redemption.domain.checkout import State, after_entry


@pytest.mark.parametrize(
    ("state", "kind", "after"),
    [
        (State.INTENDED, "hold", State.HELD),
        (State.HELD, "release", State.RELEASED),
        (State.HELD, "time_out", State.EXPIRED),
        (State.RELEASING, "release", State.RELEASED),
        (State.HELD, "spend", State.CAPTURED),
        (State.EXPIRED, "spend", State.CAPTURED),
        (State.RELEASED, "spend", State.CAPTURED),
        (State.CAPTURED, "give_back", State.CAPTURED),
        (State.CAPTURED, "release", State.CAPTURED),
        (State.RELEASED, "hold", State.RELEASED),
        (State.EXPIRED, "hold", State.EXPIRED),
        (State.RELEASING, "hold", State.RELEASING),
        (State.HELD, "award", State.HELD),
    ],
)
def test_a_payment_always_counts_and_nothing_that_is_closed_opens_again(state: State, kind: str, after: State) -> None:
    assert after_entry(state, kind) is after
