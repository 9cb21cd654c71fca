"""The four assets, and which kinds of posting each takes: one table by name."""

from collections.abc import Mapping
from typing import Final

from ledger.domain.errors import AssetNotGiven, AssetNotSpendable, AssetNotToppedUp
from ledger.domain.postings import Gift, Posting

POINTS: Final = "points"
STORED_VALUE: Final = "stored_value"
"""Money, in minor units of the shop's currency."""
GROWTH: Final = "growth"
"""Qualifying points for levels: they come, end and are taken back, and nobody ever uses them."""
PASSES: Final = "passes"
"""Times cards: uses that are left."""

ASSETS: Final = (POINTS, STORED_VALUE, GROWTH, PASSES)

_ALL: Final = frozenset(ASSETS)
SPENDABLE: Final = _ALL - {GROWTH}

ASSETS_OF: Final[Mapping[str, frozenset[str]]] = {
    "award": _ALL,
    "top_up": frozenset({STORED_VALUE}),
    "credit": _ALL,
    "debit": _ALL,
    "revoke": _ALL,
    "activate": _ALL,
    "hold": SPENDABLE,
    "capture": SPENDABLE,
    "release": SPENDABLE,
    "spend": SPENDABLE,
    "give_back": SPENDABLE,
    "gift": frozenset({POINTS}),
    # These are about all of a member, and entered with its points.
    "freeze": frozenset({POINTS}),
    "unfreeze": frozenset({POINTS}),
    "merge": frozenset({POINTS}),
    "undo_merge": frozenset({POINTS}),
}
"""By kind of posting. One that is not named moves what can be used, and nothing else."""

OWED: Final = SPENDABLE
"""What a member can owe. Growth is forgiven whatever the shop's policy: owing it would keep a member from a level for
points that had ended long before."""


def takes(posting: Posting) -> bool:
    """Whether the posting's asset takes its kind."""
    return posting.asset in ASSETS_OF.get(posting.kind, SPENDABLE)


def check_asset(posting: Posting) -> None:
    """Refuse a posting of a kind that its asset does not take."""
    if not takes(posting):
        if posting.kind == Gift.kind:
            raise AssetNotGiven(posting.asset)
        if posting.asset in SPENDABLE:
            raise AssetNotToppedUp(posting.asset)
        raise AssetNotSpendable(posting.asset)
