"""Why the ledger refuses: small nouns that hold the facts.

LedgerError
├── InsufficientPoints   a hold or debit asks for more than is available
├── AmountOutOfRange     an amount or total is not a number of points
├── DatesOutOfOrder      points would be gone before they are usable, or a hold over before it is placed
├── TotalExceedsAward    more is to be taken back than was awarded
├── AwardNotWaiting      it waits for no event: its dates were given with it
├── OfAnotherMember      the award, hold or spend belongs to another account
├── HoldExists           the hold's id is taken
├── HoldNotFound
├── HoldNotOpen          it was captured, released or timed out
├── CaptureExceedsHold
├── AlreadySpent         that checkout and generation was debited otherwise
├── AssetNotSpendable    growth is never held, spent or given
├── AssetNotToppedUp     money is paid in for stored value only
├── CurrencyMismatch     stored value is of the shop's currency
├── ProposalNotFound
├── ProposalNotOpen      it was approved, rejected or has expired
├── ApprovalNeeded       a line of a file cannot be proposed
├── OwnProposal          who proposes does not approve
├── ProposalRejected     a second person has said no to the posting
├── ProposalExpired      nobody has said anything in time
├── AssetNotGiven        members give points to each other, nothing else
├── GiftToOneself
├── GiftLimitReached     of one day, in gifts or in points
├── MergeWithItself
├── MemberMerged         the member was merged into another
├── MergeNotFound
├── MergeUndone          the merge was undone before
├── AccountFrozen        nothing new may take the member's points
└── KeyConflict          the key was used before with other content
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar


class LedgerError(Exception):
    """A refusal; `code` is stable, the attributes are its facts."""

    code: ClassVar[str]

    @property
    def facts(self) -> dict[str, int | str]:
        return {fact.name: getattr(self, fact.name) for fact in fields(self)}  # type: ignore[arg-type]  # all are dataclasses

    @property
    def detail(self) -> str:
        return str(self)


@dataclass(eq=False)
class InsufficientPoints(LedgerError):
    code: ClassVar[str] = "insufficient_points"
    available: int
    asked: int

    def __str__(self) -> str:
        return f"{self.asked} asked, {self.available} available"


@dataclass(eq=False)
class AmountOutOfRange(LedgerError):
    code: ClassVar[str] = "amount_out_of_range"
    amount: int
    maximum: int

    def __str__(self) -> str:
        return f"{self.amount} is not within 1 and {self.maximum}"


@dataclass(eq=False)
class DatesOutOfOrder(LedgerError):
    code: ClassVar[str] = "dates_out_of_order"
    starts_at: str
    expires_at: str

    def __str__(self) -> str:
        return f"expires at {self.expires_at}, not after {self.starts_at}"


@dataclass(eq=False)
class TotalExceedsAward(LedgerError):
    code: ClassVar[str] = "total_exceeds_award"
    total: int
    awarded: int

    def __str__(self) -> str:
        return f"{self.total} to take back of an award of {self.awarded}"


@dataclass(eq=False)
class AwardNotWaiting(LedgerError):
    code: ClassVar[str] = "award_not_waiting"
    award: str

    def __str__(self) -> str:
        return f"{self.award} waits for no event"


@dataclass(eq=False)
class OfAnotherMember(LedgerError):
    code: ClassVar[str] = "of_another_member"
    named: str

    def __str__(self) -> str:
        return f"{self.named} belongs to another member's account"


@dataclass(eq=False)
class HoldExists(LedgerError):
    code: ClassVar[str] = "hold_exists"
    hold: str

    def __str__(self) -> str:
        return f"hold {self.hold} was placed before"


@dataclass(eq=False)
class HoldNotFound(LedgerError):
    code: ClassVar[str] = "hold_not_found"
    hold: str

    def __str__(self) -> str:
        return f"no hold {self.hold}"


@dataclass(eq=False)
class HoldNotOpen(LedgerError):
    code: ClassVar[str] = "hold_not_open"
    hold: str
    state: str

    def __str__(self) -> str:
        return f"hold {self.hold} is {self.state}"


@dataclass(eq=False)
class CaptureExceedsHold(LedgerError):
    code: ClassVar[str] = "capture_exceeds_hold"
    amount: int
    held: int

    def __str__(self) -> str:
        return f"{self.amount} to capture of a hold of {self.held}"


@dataclass(eq=False)
class AlreadySpent(LedgerError):
    code: ClassVar[str] = "already_spent"
    checkout: str
    generation: int
    tender: int

    def __str__(self) -> str:
        return f"generation {self.generation} of checkout {self.checkout} was debited before, for {self.tender}"


@dataclass(eq=False)
class AssetNotSpendable(LedgerError):
    code: ClassVar[str] = "asset_not_spendable"
    asset: str

    def __str__(self) -> str:
        return f"{self.asset} is never held, spent or given"


@dataclass(eq=False)
class AssetNotToppedUp(LedgerError):
    code: ClassVar[str] = "asset_not_topped_up"
    asset: str

    def __str__(self) -> str:
        return f"money is paid in for stored value, not for {self.asset}"


@dataclass(eq=False)
class CurrencyMismatch(LedgerError):
    code: ClassVar[str] = "currency_mismatch"
    currency: str
    of_shop: str
    """Empty while the ledger has not learnt it."""

    def __str__(self) -> str:
        return f"{self.currency} was paid, the shop's currency is {self.of_shop or 'not known yet'}"


@dataclass(eq=False)
class ProposalNotFound(LedgerError):
    code: ClassVar[str] = "proposal_not_found"
    proposal: str

    def __str__(self) -> str:
        return f"no proposal {self.proposal}"


@dataclass(eq=False)
class ProposalNotOpen(LedgerError):
    code: ClassVar[str] = "proposal_not_open"
    proposal: str
    state: str

    def __str__(self) -> str:
        return f"proposal {self.proposal} is {self.state}"


@dataclass(eq=False)
class ApprovalNeeded(LedgerError):
    code: ClassVar[str] = "approval_needed"
    requested: int

    def __str__(self) -> str:
        return (
            f"{self.requested} is more than one person may move alone: ask for it as a posting, which a second approves"
        )


@dataclass(eq=False)
class OwnProposal(LedgerError):
    code: ClassVar[str] = "own_proposal"
    approver: str

    def __str__(self) -> str:
        return f"{self.approver} has proposed it: another person approves"


@dataclass(eq=False)
class ProposalRejected(LedgerError):
    code: ClassVar[str] = "proposal_rejected"
    rejected_by: str

    def __str__(self) -> str:
        return f"{self.rejected_by} has rejected it"


@dataclass(eq=False)
class ProposalExpired(LedgerError):
    code: ClassVar[str] = "proposal_expired"
    expired_at: str

    def __str__(self) -> str:
        return f"nobody approved it until {self.expired_at}"


@dataclass(eq=False)
class AssetNotGiven(LedgerError):
    code: ClassVar[str] = "asset_not_given"
    asset: str

    def __str__(self) -> str:
        return f"members do not give {self.asset} to each other"


@dataclass(eq=False)
class GiftToOneself(LedgerError):
    code: ClassVar[str] = "gift_to_oneself"
    member: str

    def __str__(self) -> str:
        return f"member {self.member} is the giver"


@dataclass(eq=False)
class GiftLimitReached(LedgerError):
    code: ClassVar[str] = "gift_limit_reached"
    limit: str
    """Which of the programme's settings it is."""
    maximum: int
    given: int
    """So far that day."""
    asked: int
    day: str

    def __str__(self) -> str:
        return f"{self.limit} is {self.maximum}: {self.given} given on {self.day}, {self.asked} more asked"


@dataclass(eq=False)
class MergeWithItself(LedgerError):
    code: ClassVar[str] = "merge_with_itself"
    member: str

    def __str__(self) -> str:
        return f"member {self.member} cannot be merged with itself"


@dataclass(eq=False)
class MemberMerged(LedgerError):
    code: ClassVar[str] = "member_merged"
    member: str
    into: str

    def __str__(self) -> str:
        return f"member {self.member} was merged into {self.into}"


@dataclass(eq=False)
class MergeNotFound(LedgerError):
    code: ClassVar[str] = "merge_not_found"
    merge: str

    def __str__(self) -> str:
        return f"no merge {self.merge}"


@dataclass(eq=False)
class MergeUndone(LedgerError):
    code: ClassVar[str] = "merge_undone"
    merge: str

    def __str__(self) -> str:
        return f"merge {self.merge} was undone before"


@dataclass(eq=False)
class AccountFrozen(LedgerError):
    code: ClassVar[str] = "account_frozen"
    member: str

    def __str__(self) -> str:
        return f"member {self.member} is frozen"


@dataclass(eq=False)
class KeyConflict(LedgerError):
    code: ClassVar[str] = "idempotency_conflict"
    key: str

    def __str__(self) -> str:
        return f"key {self.key} was used before with other content"


REFUSALS: Mapping[str, type[LedgerError]] = {
    error.code: error
    for error in (
        InsufficientPoints, AmountOutOfRange, DatesOutOfOrder, TotalExceedsAward, AwardNotWaiting, OfAnotherMember,
        HoldExists, HoldNotFound, HoldNotOpen, CaptureExceedsHold, AlreadySpent, AssetNotSpendable, AssetNotToppedUp,
        CurrencyMismatch, ApprovalNeeded, ProposalNotFound, ProposalNotOpen, OwnProposal, ProposalRejected,
        ProposalExpired, AssetNotGiven, GiftToOneself, GiftLimitReached, MergeWithItself, MemberMerged,
        MergeNotFound, MergeUndone, AccountFrozen, KeyConflict,
    )
}  # fmt: skip
"""By code: how a stored refusal becomes the error again, `REFUSALS[code](**facts)`."""
