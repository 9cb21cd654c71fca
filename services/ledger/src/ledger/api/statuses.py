"""Which HTTP status each of the domain's refusals is, and how a refusal among other outcomes is told."""

from collections.abc import Mapping
from typing import Any, Final

from ledger.domain import (
    AccountFrozen,
    AlreadySpent,
    AmountOutOfRange,
    ApprovalNeeded,
    AssetNotGiven,
    AssetNotSpendable,
    AssetNotToppedUp,
    AwardNotWaiting,
    CaptureExceedsHold,
    CurrencyMismatch,
    DatesOutOfOrder,
    GiftLimitReached,
    GiftToOneself,
    HoldExists,
    HoldNotFound,
    HoldNotOpen,
    InsufficientPoints,
    KeyConflict,
    LedgerError,
    MemberMerged,
    MergeNotFound,
    MergeUndone,
    MergeWithItself,
    OfAnotherMember,
    OwnProposal,
    ProposalExpired,
    ProposalNotFound,
    ProposalNotOpen,
    ProposalRejected,
    TotalExceedsAward,
)

STATUSES: Final[Mapping[type[Exception], int]] = {
    InsufficientPoints: 409,
    AmountOutOfRange: 422,
    DatesOutOfOrder: 422,
    TotalExceedsAward: 409,
    AwardNotWaiting: 409,
    OfAnotherMember: 409,
    HoldExists: 409,
    HoldNotFound: 404,
    HoldNotOpen: 409,
    CaptureExceedsHold: 409,
    AlreadySpent: 409,
    AssetNotSpendable: 409,
    AssetNotToppedUp: 422,
    CurrencyMismatch: 422,
    ProposalNotFound: 404,
    ProposalNotOpen: 409,
    ApprovalNeeded: 403,
    OwnProposal: 403,
    ProposalRejected: 409,
    ProposalExpired: 409,
    AssetNotGiven: 422,
    GiftToOneself: 422,
    GiftLimitReached: 409,
    MergeWithItself: 422,
    MemberMerged: 409,
    MergeNotFound: 404,
    MergeUndone: 409,
    AccountFrozen: 409,
    KeyConflict: 409,
}


def problem_of(error: LedgerError) -> dict[str, Any]:
    """A refusal as the problem that it would have been alone."""
    return {
        "type": f"urn:accrual:problem:{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": STATUSES[type(error)],
        "detail": error.detail,
        "code": error.code,
        **error.facts,
    }
