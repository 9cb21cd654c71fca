"""Figures of this service, besides those of the chassis."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import Counter

STATES = Counter(
    "rules_order_states_total", "States of orders by what came of them: settled, repeat, stale, merged.", ["outcome"]
)
CONFLICTS = Counter(
    "rules_conflicting_states_total",
    "Two states with one revision that differ in what was sold; the publisher contradicts itself. Alarm on any.",
)
AWARDED_POINTS: Final = "awarded points"
REVOCATIONS: Final = "revocations"

AWARDED = Counter("rules_awarded_points_total", "Points asked of the ledger as awards.")
REVOKED = Counter("rules_revocations_total", "Take-backs asked of the ledger.")


def count(outcomes: Mapping[str, int]) -> None:
    """Add what a batch came to: outcomes of states by name, and what was asked of the ledger."""
    for outcome, number in outcomes.items():
        if outcome == AWARDED_POINTS:
            AWARDED.inc(number)
        elif outcome == REVOCATIONS:
            REVOKED.inc(number)
        else:
            STATES.labels(outcome).inc(number)
