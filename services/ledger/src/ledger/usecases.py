"""What the ledger does: settle postings, apply what is due, learn programmes; the same for HTTP, Kafka and jobs."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import structlog

from chassis import Outcome as Result
from chassis import Transaction
from chassis.database import LaneKeys
from ledger import metrics
from ledger.domain import (
    Account,
    AccountKey,
    Decision,
    Entry,
    Gift,
    HoldId,
    HoldRecord,
    Merge,
    Outcome,
    Posting,
    PostingId,
    State,
    UndoMerge,
    decide,
    settle_due,
    settle_parked,
)
from ledger.domain.books import GIFT_POINTS_PER_DAY, GIFTS_PER_DAY
from ledger.store import loading_merges, memos, programmes, reading, saving_merges
from ledger.store.loading import load, load_whole, parked_of
from ledger.store.rows import json_text
from ledger.store.saving import Memo, save


@dataclass(frozen=True, slots=True)
class Asked:
    """A posting on its way in, with what is not part of it."""

    posting: Posting
    memo: Memo | None = None
    trace: str | None = None


def lane_key(asked: Asked) -> LaneKeys:
    """What must stay in order: all assets of a member share a lane; some postings concern two members."""
    posting = asked.posting
    other = _OTHER_MEMBER.get(type(posting))
    key = f"{posting.shop}/{posting.member}"
    return key if other is None else (key, f"{posting.shop}/{other(posting)}")


_OTHER_MEMBER: Final[Mapping[type[Posting], Callable[[Any], str]]] = {
    Gift: attrgetter("to"),
    Merge: attrgetter("into"),
    UndoMerge: attrgetter("into"),
}
"""Of postings that concern two members, the second."""


def member_key(asked: Asked) -> str:
    """The lane's key of the member that a posting names."""
    return f"{asked.posting.shop}/{asked.posting.member}"


@dataclass(slots=True)
class Settled:
    """What became of a posting, with what its asker may want to see of it."""

    outcome: Outcome
    entries: Sequence[Entry]
    """What it caused, in order; of a repeated posting, what it caused the first time."""
    account: Account
    hold: HoldRecord | None = None
    """The hold that it names, as it is now."""


async def post(tx: Transaction, asked: Sequence[Asked]) -> Result:
    """Settle postings in order of arrival and save what follows from them; refusals are outcomes too."""
    state, decision = await _post(tx, asked)
    return Result(answers=await _settled(tx, state, decision, [one.posting for one in asked]))


async def obey(tx: Transaction, asked: Sequence[Asked]) -> Result:
    """The same for askers that do not wait: an answer is the outcome alone."""
    _, decision = await _post(tx, asked)
    return Result(answers=decision.outcomes)


async def _post(tx: Transaction, asked: Sequence[Asked]) -> tuple[State, Decision]:
    postings = [one.posting for one in asked]
    loaded = await load(tx.driver, postings, tx.now, tx.lanes)
    decision = decide(loaded.state, postings, tx.now)
    await save(
        tx.driver,
        loaded,
        decision,
        lane_count=tx.lane_count,
        traces={one.posting.id: one.trace for one in asked if one.trace is not None},
        memos={one.posting.id: one.memo for one in asked if one.memo is not None},
    )
    _count(decision)
    return loaded.state, decision


def _count(decision: Decision) -> None:
    counts = Counter([(outcome.kind, outcome.result) for outcome in decision.decided])
    for (kind, result), number in counts.items():
        metrics.POSTINGS.labels(kind, result.value).inc(number)
    short = [outcome for outcome in decision.decided if outcome.kind == "spend" and outcome.facts.get("missing")]
    if short:
        metrics.SHORT_SPENDS.inc(len(short))


async def _settled(tx: Transaction, state: State, decision: Decision, postings: Sequence[Posting]) -> list[Settled]:
    fresh: dict[tuple[UUID, int], Entry] = {
        (row.account.id, row.seq): row for row in decision.log if isinstance(row, Entry)
    }
    answers = []
    earlier: dict[UUID, tuple[Account, int, int]] = {}
    for posting, outcome in zip(postings, decision.outcomes, strict=True):
        account = state.accounts.get(outcome.account) or await _account(tx, outcome.account)
        numbers = range(outcome.first_seq, outcome.last_seq + 1) if outcome.first_seq else range(0)
        entries = [entry for number in numbers if (entry := fresh.get((account.id, number)))]
        if len(entries) < len(numbers):
            _, first, last = earlier.get(account.id, (account, outcome.first_seq, outcome.last_seq))
            earlier[account.id] = (account, min(first, outcome.first_seq), max(last, outcome.last_seq))
        hold = getattr(posting, "hold", None)
        answers.append(
            Settled(outcome, entries, account, None if hold is None else state.holds.get(HoldId(posting.shop, hold)))
        )
    if earlier:
        found = await reading.entries_of(tx.driver, earlier)
        for answer in answers:
            outcome = answer.outcome
            if outcome.first_seq and not answer.entries:
                answer.entries = [
                    entry
                    for entry in found.get(answer.account.id, ())
                    if outcome.first_seq <= entry.seq <= outcome.last_seq
                ]
    return answers


async def _account(tx: Transaction, key: AccountKey) -> Account:
    """The account of a repeated posting's first answer, if it is another one by now."""
    account = await reading.account_by_key(tx.driver, key)
    assert account is not None, "what was answered has an account"
    return account


async def merge(tx: Transaction, asked: Sequence[Asked]) -> Result:
    """Merge members, or undo it: one of it in a transaction, which reads and moves whole accounts."""
    (one,) = asked
    assert isinstance(one.posting, Merge | UndoMerge), "nothing else moves whole accounts"
    loaded = await loading_merges.load(tx.driver, one.posting, tx.lanes)
    decision = decide(loaded.state, [one.posting], tx.now)
    await saving_merges.save(tx.driver, decision.merged)
    traces = {} if one.trace is None else {one.posting.id: one.trace}
    await save(tx.driver, loaded, decision, lane_count=tx.lane_count, traces=traces)
    _count(decision)
    return Result(answers=decision.outcomes)


async def bring_up_to_date(tx: Transaction, account_ids: Sequence[UUID]) -> Result:
    """Apply what is due on accounts of the lanes that are held. What was applied meanwhile is not due any more."""
    loaded = await load_whole(tx.driver, account_ids, tx.lanes)
    decision = settle_due(loaded.state, tx.now)
    await save(tx.driver, loaded, decision, lane_count=tx.lane_count)
    return Result(answers=[len(decision.log)])


async def offer_again(tx: Transaction, account_id: UUID, key: tuple[str, str, str]) -> bool:
    """Look at a parked posting again: its cause may be known by now, or be another member's. Whether it is settled."""
    by_id = {row.posting.id: row.posting for row in await parked_of(tx.driver, [account_id])}
    posting = by_id.get(PostingId(*key))
    if posting is None:
        return True
    loaded = await load(tx.driver, [posting], tx.now, tx.lanes)
    decision = settle_parked(loaded.state, tx.now)
    await save(tx.driver, loaded, decision, lane_count=tx.lane_count)
    return any(parked.posting.id == posting.id for parked in decision.unparked)


@dataclass(frozen=True, slots=True)
class LearnProgramme:
    """A shop's settings, as far as the ledger cares."""

    shop: str
    revision: int
    shortfall: str
    zone: str
    currency: str
    approval_above: Mapping[str, int] = field(default_factory=dict)
    """By asset."""
    gifts_per_day: int = GIFTS_PER_DAY
    gift_points_per_day: int = GIFT_POINTS_PER_DAY


async def learn_programmes(tx: Transaction, programmes_told: Sequence[LearnProgramme]) -> Result:
    """Keep the newest settings of each shop. Stored value that is there stays of the currency it was paid in."""
    newest: dict[str, LearnProgramme] = {}
    for told in programmes_told:
        if told.shop not in newest or told.revision > newest[told.shop].revision:
            newest[told.shop] = told
    kept = await programmes.save(
        tx.driver,
        [
            (
                told.shop,
                told.revision,
                told.shortfall,
                told.zone,
                told.currency,
                json_text(told.approval_above),
                told.gifts_per_day,
                told.gift_points_per_day,
            )
            for _, told in sorted(newest.items())
        ],
    )
    for shop, currency in kept.items():
        if currency != newest[shop].currency:
            structlog.get_logger().error("currency_kept", shop=shop, currency=currency, told=newest[shop].currency)
    return Result()


@dataclass(frozen=True, slots=True)
class EraseMemo:
    """Erase the memo of a posting, refused or not."""

    shop: str
    source: str
    key: str


async def erase_memos(tx: Transaction, asked: Sequence[EraseMemo]) -> Result:
    """Whether there is such a posting, for each; whether it had a memo (left) makes no difference."""
    return Result(answers=[await memos.erase(tx.driver, one.shop, one.source, one.key) for one in asked])
