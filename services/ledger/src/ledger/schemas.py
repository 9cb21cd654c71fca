"""What the ledger's HTTP API takes and gives."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.event import Instant, MemberId, OpaqueId, Points, PostingKey
from contracts.postings import Activate, Asset, Award, Cause, Credit, Debit, GiveBack, Revoke, Spend, TopUp

OWN_FIELDS = ("activates_on", "approver", "proposer")
"""Of a cause: what the ledger itself writes, and nobody asks for."""

MAX_POSTINGS = 1_000
"""Postings in one call: one transaction's worth, well under a second."""

MAX_MEMBERS = 1_000
"""Members in one lookup."""


PositivePoints = Annotated[Points, Field(ge=1)]


class Asked(BaseModel):
    """A part of a request: strict, and a misspelt field is a mistake."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Answered(BaseModel):
    """A part of an answer. No defaults: what is left out by mistake must fail here, not at the caller."""

    model_config = ConfigDict(frozen=True)


# -- postings


class AskedPosting(Asked):
    """One posting asked for; `key` names it for ever, per shop and client."""

    key: PostingKey = Field(
        description="Asking again with the same content gives the first answer; other content: 409."
    )
    member: MemberId
    asset: Asset = "points"
    order: OpaqueId | None = None
    cause: Cause = Cause()
    effect: Annotated[
        Award | TopUp | Activate | Revoke | Spend | GiveBack | Credit | Debit, Field(discriminator="kind")
    ]

    @model_validator(mode="after")
    def _operators_are_named(self) -> "AskedPosting":
        if self.effect.kind in ("credit", "debit") and (self.cause.operator is None or self.cause.reason is None):
            raise ValueError("a manual credit or debit names its operator and its reason in `cause`")
        return self

    @model_validator(mode="after")
    def _the_ledgers_own_is_not_asked_for(self) -> "AskedPosting":
        given = [name for name in OWN_FIELDS if getattr(self.cause, name) is not None]
        if given:
            raise ValueError(f"{', '.join(given)} of a cause is the ledger's own to write")
        return self


class AskedPostings(Asked):
    """One to a thousand postings; each is settled by itself, in this order."""

    postings: list[AskedPosting] = Field(min_length=1, max_length=MAX_POSTINGS)


class BucketSums(Answered):
    """A member's four sums. `debt` is at or below zero."""

    available: int
    pending: int
    held: int
    debt: int


class LotMoved(Answered):
    """What an entry did to one lot."""

    lot: str
    change: int
    remaining: int
    activates_at: datetime
    expires_at: datetime | None


class Posted(Answered):
    """One movement, as the statement shows it and as an outcome names it."""

    type: Literal["entry"] = "entry"
    seq: int = Field(description="Grows by one per entry of the account, without gaps.")
    kind: str
    at: datetime = Field(description="When it took effect; balances as of a time go by it.")
    recorded_at: datetime
    source: str = Field(description="Who asked; `ledger` for what fell due by itself.")
    posting: str = Field(description="The key of what was asked.")
    order: str | None
    hold: str | None
    checkout: str | None
    cause: dict[str, Any]
    memo: str | None
    changes: BucketSums
    system: dict[str, int] = Field(description="System accounts on the other side; with the changes they sum to zero.")
    before: BucketSums
    after: BucketSums
    lots: list[LotMoved]
    shortfall: int = Field(description="Points that could not be taken: written off or owed.")
    hash: str


class Stated(Posted):
    """One movement in the statement."""

    position: int = Field(description="Where it stands in its lane of the log, header `ce_position` of its event.")


class Refused(Answered):
    """A posting that the ledger refused; nothing changed."""

    type: Literal["refusal"] = "refusal"
    kind: str
    at: datetime
    source: str
    posting: str
    order: str | None
    hold: str | None
    checkout: str | None
    code: str
    detail: str
    facts: dict[str, int | str]


class SettledPosting(Answered):
    """What became of one posting."""

    key: str
    outcome: Literal["posted", "unchanged", "parked", "pending_approval", "refused", "conflict"] = Field(
        description="unchanged: there was nothing (more) to move. parked: waits for its cause. pending_approval: it is"
        " a proposal that waits for a second person. conflict: the key was used for other content before."
    )
    repeated: bool = Field(description="Asked before; this is the first answer again.")
    entries: list[Posted]
    proposal: str | None = Field(description="The proposal that it is while it waits for a second person.")
    refusal: dict[str, Any] | None = Field(description="The problem of a refused posting, as RFC 9457 has it.")


class SettledPostings(Answered):
    """One outcome per posting, in the order asked."""

    outcomes: list[SettledPosting]


# -- proposals


class AskedDecision(Asked):
    """Why it is approved or rejected."""

    reason: OpaqueId | None = Field(default=None, description="A code, such as `too_much`; told with the proposal.")


class Proposal(Answered):
    """A manual credit or debit above the shop's threshold, and what became of it."""

    proposal: str
    state: Literal["open", "approved", "rejected", "expired"]
    key: str = Field(description="The posting's.")
    member: str
    asset: str
    order: str | None
    kind: Literal["credit", "debit"]
    amount: int
    activates_at: datetime | None
    expires_at: datetime | None = Field(description="Of a credit's points.")
    cause: dict[str, Any]
    memo: str | None
    proposed_by: str = Field(description="The subject of the token that asked.")
    proposed_at: datetime
    open_until: datetime = Field(description="First instant at which nobody can approve it any more.")
    decided_at: datetime | None
    decided_by: str | None = Field(description="The subject of the other token; null while open, and when it expired.")
    reason: str | None
    outcome: Literal["pending_approval", "posted", "unchanged", "refused"] = Field(description="The posting's, now.")
    seq: int | None = Field(description="The entry in the member's statement; null where nothing was posted.")
    refusal: dict[str, Any] | None = Field(description="The problem of a refused posting, as RFC 9457 has it.")


class Proposals(Answered):
    """A page of them, newest first."""

    proposals: list[Proposal]
    next: int | None = Field(description="Give as `after` for the next page; null on the last.")


# -- holds


class AskedHold(Asked):
    """Points to reserve for a checkout."""

    hold: OpaqueId = Field(description="The caller's id of the hold, unique in the shop.")
    member: MemberId
    asset: Asset = "points"
    amount: PositivePoints
    at_most: bool = Field(default=False, description="Cut to what is available instead of refusing.")
    expires_at: Instant
    order: OpaqueId | None = None


class AskedCapture(Asked):
    """How much of a hold to debit."""

    amount: PositivePoints | None = Field(default=None, description="Absent: all of it. The rest is freed.")
    order: OpaqueId | None = None


class SettledHold(Answered):
    """A hold after what was asked."""

    hold: str
    member: str
    asset: str
    state: Literal["open", "captured", "released", "expired"]
    amount: int = Field(description="Points reserved.")
    captured: int
    released: int
    expiring: int = Field(description="Of the released points, those whose lots have ended: they are gone at once.")
    expires_at: datetime
    balance: BucketSums
    repeated: bool


# -- members


class AskedByOperator(Asked):
    """Who does it to a member, and why; kept in the history for ever, so codes, not words."""

    operator: OpaqueId
    reason: OpaqueId = Field(description="A code such as `lost_card` or `fraud`.")


class FrozenMember(Answered):
    """A member that was frozen, or let go again."""

    member: str
    frozen: bool
    outcome: Literal["posted", "unchanged"] = Field(description="unchanged: it was so already.")
    repeated: bool = Field(description="Asked before; this is the first answer again.")
    entry: Posted | None = Field(description="The entry that says so; it moves nothing. Null where nothing changed.")


# -- gifts


class AskedGift(Asked):
    """Points to give; no words go with them, since what happened is kept for ever."""

    to: MemberId = Field(description="The member that gets them.")
    amount: PositivePoints
    asset: Asset = "points"


class Gift(Answered):
    """Points that were given."""

    gift: str = Field(description="Its id, which the entries of both members name in their cause.")
    member: str
    to: str
    asset: str
    amount: int
    balance: BucketSums = Field(description="The giver's, after it.")
    repeated: bool = Field(description="Asked before; this is the first answer again.")


# -- merges


class AskedMerge(AskedByOperator):
    """Whom to merge a member into, who does it, and why."""

    into: MemberId


class MovedPoints(Answered):
    """Of one asset, what a merge moved. `debt` is at or below zero."""

    asset: str
    available: int
    pending: int
    held: int
    debt: int


class ReturnedPoints(MovedPoints):
    """Of one asset, what moved back, and what did not."""

    missing: int = Field(description="Points that came and did not go back: spent meanwhile, or expired.")
    expired: int = Field(description="Of the missing ones, those that have expired.")


class MergedMembers(Answered):
    """A merge: its id is what undoes it."""

    merge: str
    member: str
    into: str
    moved: list[MovedPoints]
    repeated: bool = Field(description="Asked before; this is the first answer again.")


class UndoneMerge(Answered):
    """A merge that was undone."""

    merge: str
    member: str
    into: str
    returned: list[ReturnedPoints]
    repeated: bool = Field(description="Asked before; this is the first answer again.")


# -- balances


class Due(Answered):
    """Points that become usable, or are gone, at an instant."""

    at: datetime
    amount: int


class Balance(Answered):
    """One asset of a member."""

    asset: str
    currency: str | None = Field(description="Of stored value, whose amounts are in its minor units; else null.")
    available: int
    pending: int
    held: int
    debt: int
    lifetime_earned: int = Field(description="Awarded and topped up, less what was taken back.")
    lifetime_spent: int
    next_expiries: list[Due]
    next_activations: list[Due]
    seq: int = Field(description="Entries so far; 0 for a member the ledger has not seen.")


class MemberBalances(Answered):
    """All assets of a member: points always, others where there was ever anything of them."""

    member: str
    as_of: datetime
    frozen: bool = Field(
        description="Whether nothing new may take the member's points; now, also where `as_of` is past."
    )
    merged_into: str | None = Field(
        description="The member that has the points now, if they were merged; now, also where `as_of` is past."
    )
    balances: list[Balance]


class AskedMembers(Asked):
    """Whose balances to look up."""

    members: list[MemberId] = Field(min_length=1, max_length=MAX_MEMBERS)


class ManyBalances(Answered):
    """One per member, in the order asked."""

    members: list[MemberBalances]


# -- statement


class Statement(Answered):
    """A page of a member's movements and refusals, newest first (oldest first with `after_seq`)."""

    entries: list[Annotated[Stated | Refused, Field(discriminator="type")]]
    next: str | None = Field(description="Give as `after` for the next page; null on the last.")
    merged_into: str | None = Field(description="The member whose statement goes on with what came of this one's.")


# -- files of postings


class AcceptedImport(Answered):
    """A file that was taken in; what becomes of it is told by its id."""

    id: UUID
    kind: Literal["credit", "debit", "opening"]
    dry_run: bool
    operator: str
    sha256: str = Field(description="Of the file as it came in, in hexadecimal.")
    bytes: int
    lines: int = Field(description="Without the header and blank lines.")
    received_at: datetime


class Import(AcceptedImport):
    """How far an import is, and what became of its lines."""

    state: Literal["checking", "checked", "running", "done", "cancelled", "failed"] = Field(
        description="checked: a dry run is over; `run` posts its lines. failed: a fault of ours; `run` goes on."
    )
    tried: bool = Field(description="Whether the numbers are those of a dry run: what would be posted now.")
    worked: int = Field(description="Lines that were looked at so far.")
    posted: int
    repeated: int = Field(description="Posted before: by the same file, or under the line's own key.")
    refused: int
    invalid: int = Field(description="Lines that can never be posted as they are.")
    points_credited: int
    points_debited: int
    started_at: datetime | None
    finished_at: datetime | None
    dropped_at: datetime | None = Field(description="When the lines were dropped; their numbers stay.")


class Imports(Answered):
    """A page of a shop's imports, newest first."""

    imports: list[Import]
    next: str | None = Field(description="Give as `after` for the next page; null on the last.")


# -- checks


class CheckedAsset(Answered):
    """The sums of one asset over the shop; members and system add up to zero."""

    members: int = Field(description="All buckets of all members together.")
    system: dict[str, int] = Field(description="What stands on the other side, by system account.")


class CheckedLedger(Answered):
    """What must hold of a shop's books, computed now; of the accounts of this page where it counts accounts."""

    sum_of_accounts: int = Field(
        description="All members' buckets and all system accounts together, each asset's sum without its sign; always"
        " 0."
    )
    system: dict[str, int] = Field(description="System accounts of the asset points.")
    assets: dict[str, CheckedAsset] = Field(description="The same for every asset of which the shop has accounts.")
    accounts: int
    entries: int
    replay_mismatches: int = Field(description="Accounts whose buckets are not the sum of their entries.")
    seq_gaps: int = Field(description="Accounts with a missing or repeated entry number.")
    book_mismatches: int = Field(description="Accounts whose lots, holds or shortfalls do not add up to their buckets.")
    chain_breaks: int | None = Field(description="Accounts with a broken hash chain; null when not asked for.")
    parked: int
    oldest_parked_at: datetime | None
    mismatched_members: list[str] = Field(description="The first few concerned.")
    next: str | None = Field(description="Give as `after` for the next page; null when all accounts were looked at.")


# -- proofs


class Seal(Answered):
    """A range of a lane's positions, over all shops, as it was signed and published."""

    ledger: str
    epoch: int
    lane: int
    number: int
    first: int
    last: int
    at: datetime
    shops: int
    previous: str
    root: str
    public_key: str
    next_public_key: str | None = Field(default=None, description="Only where a seal hands over to another key.")
    signature: str


class ShopInSeal(Answered):
    """What a seal holds of the shop."""

    count: int = Field(description="Entries and refusals in the range.")
    total: int = Field(description="Entries and refusals of the shop in the lane so far.")
    root: str
    places: str
    index: int
    path: list[str]


class Proof(Answered):
    """The way from an entry's bytes up to a signed seal; all hashes in hex."""

    format: Literal["accrual-ledger-proof"]
    version: Literal[1]
    entry: Posted = Field(description="What `bytes` say, to read.")
    lane: int
    position: int
    previous_hash: str = Field(description="Of the account's entry before it; zeros before the first.")
    hash: str
    bytes: str = Field(description="What is hashed, behind a tag and the hash before it.")
    index: int = Field(description="Of the entry among the shop's rows in the seal.")
    path: list[str]
    shop_in_seal: ShopInSeal
    seal: Seal
