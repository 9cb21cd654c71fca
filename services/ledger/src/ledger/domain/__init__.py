"""The ledger's rules: `decide(state, postings, now)` and the nouns it speaks of. Imports only the standard library."""

from ledger.domain.assets import ASSETS, POINTS, STORED_VALUE
from ledger.domain.books import (
    GENESIS,
    Account,
    HoldRecord,
    HoldState,
    Lot,
    Policy,
    Shortfall,
    ShortfallPolicy,
    SpendRecord,
    State,
    Use,
)
from ledger.domain.decide import decide, settle_due, settle_parked, settle_proposed
from ledger.domain.errors import (
    REFUSALS,
    AlreadySpent,
    AmountOutOfRange,
    AssetNotSpendable,
    AssetNotToppedUp,
    AwardNotWaiting,
    CaptureExceedsHold,
    CurrencyMismatch,
    DatesOutOfOrder,
    HoldExists,
    HoldNotFound,
    HoldNotOpen,
    InsufficientPoints,
    KeyConflict,
    LedgerError,
    OfAnotherMember,
    OwnProposal,
    ProposalExpired,
    ProposalNotFound,
    ProposalNotOpen,
    ProposalRejected,
    TotalExceedsAward,
)
from ledger.domain.hashing import content_hash, entry_hash, memo_commitment
from ledger.domain.outcomes import Decision, Entry, LotChange, Outcome, Parked, Proposal, Refusal, Result
from ledger.domain.postings import (
    MAX_AMOUNT,
    AccountKey,
    Activate,
    Award,
    Capture,
    Credit,
    Debit,
    GiveBack,
    Hold,
    HoldId,
    Posting,
    PostingId,
    Release,
    Revoke,
    Spend,
    SpendId,
    TopUp,
)
from ledger.domain.proposals import approved

__all__ = [
    "ASSETS", "GENESIS", "MAX_AMOUNT", "POINTS", "REFUSALS", "STORED_VALUE", "Account", "AccountKey", "Activate",
    "AlreadySpent", "AmountOutOfRange", "AssetNotSpendable", "AssetNotToppedUp", "Award", "AwardNotWaiting",
    "Capture", "CaptureExceedsHold", "Credit", "CurrencyMismatch", "DatesOutOfOrder", "Debit", "Decision", "Entry",
    "GiveBack", "Hold", "HoldExists", "HoldId", "HoldNotFound", "HoldNotOpen", "HoldRecord", "HoldState",
    "InsufficientPoints", "KeyConflict", "LedgerError", "Lot", "LotChange", "OfAnotherMember", "Outcome",
    "OwnProposal", "Parked", "Policy", "Posting", "PostingId", "Proposal", "ProposalExpired", "ProposalNotFound",
    "ProposalNotOpen", "ProposalRejected", "Refusal", "Release", "Result", "Revoke", "Shortfall", "ShortfallPolicy",
    "Spend", "SpendId", "SpendRecord", "State", "TopUp", "TotalExceedsAward", "Use", "approved", "content_hash",
    "decide", "entry_hash", "memo_commitment", "settle_due", "settle_parked", "settle_proposed",
]  # fmt: skip
