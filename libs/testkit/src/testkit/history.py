"""Whether what concurrent callers of the ledger saw can have happened: one operation after the other, on each account.

Callers write down when they asked, when they were answered, and what they were told; the ledger's own history says
in which order it claims that it all happened. With that order given the question, hard in general, is easy: each
entry is of one call and within its time, its balances follow from those before, and whoever only looked (a read, a
refusal) has a moment within its time at which it was so.
"""

import heapq
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from math import inf
from typing import Any, Final, Literal, NamedTuple

BY_TIME: Final = "ledger"
"""The source of entries that nobody asked for: what fell due."""

HELD_KINDS: Final = {"hold": "hold", "capture": "capture", "release": "release", "gift_out": "gift"}
"""Entries, and what was asked for, of which the answer tells the balance after it, and no entries."""

GIVEN: Final = "gift_in"
"""The entry of a gift in the other account."""

FREEZING: Final = {"freeze": True, "unfreeze": False}
"""Entries, and what was asked for, that say whether a member is frozen from then on."""

FROZEN: Final = "account_frozen"
"""The refusal of what a frozen member asks for."""

ANEW: Final = frozenset({"hold", "spend", "gift"})
"""What is refused then, if it was only ever asked for as something new."""


class Buckets(NamedTuple):
    """An account's four sums."""

    available: int = 0
    pending: int = 0
    held: int = 0
    debt: int = 0
    """At or below zero."""


@dataclass(frozen=True, slots=True)
class Line:
    """One entry, as an answer or the statement tells it."""

    seq: int
    kind: str
    source: str
    posting: str
    """The key of what was asked."""
    changes: Buckets
    others: int
    """The system accounts on the other side, together."""
    after: Buckets
    hash: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller was told of a posting."""

    result: Literal["posted", "held", "unchanged", "parked", "refused"]
    """held: of a hold, its capture or its release, whose answers do not tell whether there was anything to move; and of
    a gift."""
    repeated: bool = False
    lines: tuple[Line, ...] = ()
    after: Buckets | None = None
    """Of `held`: of a gift, the giver's."""
    code: str = ""
    """Of a refusal."""
    available: int | None = None
    """Of a refusal for lack of points: what there was."""


@dataclass(frozen=True, slots=True)
class Call:
    """A posting asked for, once."""

    account: str
    key: str
    kind: str
    invoked_at: float
    """By one clock for all callers, in seconds."""
    answered_at: float = inf
    answer: Answer | None = None
    """None where it is not known what became of it: no answer, half of one, or that something went wrong. Somebody must
    ask again under the same key, sooner or later."""
    is_late: bool = False
    """It tells what has happened already (a paid order's spend), which the ledger books of frozen members too."""


@dataclass(frozen=True, slots=True)
class Read:
    """A balance that was read."""

    account: str
    invoked_at: float
    answered_at: float
    seq: int
    after: Buckets


class Finding(NamedTuple):
    """What cannot have happened."""

    what: Literal["lost", "duplicated", "disordered"]
    says: str


def check(calls: Iterable[Call], reads: Iterable[Read], statements: Mapping[str, Sequence[Line]]) -> list[Finding]:
    """Everything that contradicts itself; `statements` has each account's entries, oldest first, read when all was calm
    and every call whose end is not known had been asked again."""
    findings = [finding for account, lines in statements.items() for finding in _books(account, lines)]
    findings += _gifts(statements)
    postings: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        postings[call.key].append(call)
    by_account: dict[str, list[_Posting]] = defaultdict(list)
    gifts: dict[str, _Posting] = {}
    for key, asked in postings.items():
        posting = _Posting(key, asked)
        findings += posting.contradictions()
        if posting.kind == "gift":
            gifts[key] = posting
        by_account[posting.account].append(posting)
    looks: dict[str, list[Read]] = defaultdict(list)
    for read in reads:
        looks[read.account].append(read)
    for account in sorted(statements.keys() | by_account.keys() | looks.keys()):
        told = _Told(account, statements.get(account, ()), by_account[account], looks[account], gifts)
        findings += told.contradictions()
    return findings


def _books(account: str, lines: Sequence[Line]) -> Iterable[Finding]:
    """Numbers without gaps, balances that follow from each other, sums of zero, nothing below zero."""
    before = Buckets()
    for number, line in enumerate(lines, 1):
        place = f"{account} #{line.seq} ({line.kind} {line.posting})"
        if line.seq != number:
            yield Finding("lost" if line.seq > number else "duplicated", f"{place} stands at place {number}")
            return
        if Buckets(*map(sum, zip(before, line.changes, strict=True))) != line.after:
            yield Finding("lost", f"{place}: {before} and {line.changes} are not {line.after}")
        if sum(line.changes) + line.others:
            yield Finding("lost", f"{place}: the changes do not sum to zero")
        if min(line.after[:3]) < 0 or line.after.debt > 0:
            yield Finding("duplicated", f"{place}: more was taken than there was: {line.after}")
        before = line.after


def _gifts(statements: Mapping[str, Sequence[Line]]) -> Iterable[Finding]:
    """What one account gave, another one got, once."""
    given: dict[str, list[int]] = defaultdict(list)
    got: dict[str, list[int]] = defaultdict(list)
    for lines in statements.values():
        for line in lines:
            if line.kind == GIVEN:
                got[line.posting].append(sum(line.changes))
            elif HELD_KINDS.get(line.kind) == "gift":
                given[line.posting].append(-sum(line.changes))
    for key in sorted(given.keys() | got.keys()):
        if given[key] != got[key] or len(got[key]) != 1:
            what: Literal["lost", "duplicated"] = "lost" if sum(got[key]) < sum(given[key]) else "duplicated"
            yield Finding(what, f"gift {key}: given {given[key]}, got {got[key]}")


@dataclass(slots=True)
class _Posting:
    """All calls under one key: they are one operation, however often it was asked for."""

    key: str
    calls: list[Call]
    account: str = field(init=False)
    kind: str = field(init=False)
    invoked_at: float = field(init=False)
    answered_at: float = field(init=False)
    """The first time that anybody knew its end; what waits for its cause has none."""
    answer: Answer | None = field(init=False)

    def __post_init__(self) -> None:
        ended = sorted(
            (call for call in self.calls if call.answer is not None and call.answer.result != "parked"),
            key=lambda call: call.answered_at,
        )
        self.account, self.kind = self.calls[0].account, self.calls[0].kind
        self.invoked_at = min(call.invoked_at for call in self.calls)
        self.answered_at = ended[0].answered_at if ended else inf
        self.answer = ended[0].answer if ended else None

    def contradictions(self) -> Iterable[Finding]:
        """One answer, given anew at most once."""
        answers = [call.answer for call in self.calls if call.answer is not None]
        if self.answer is None:
            says = "still waits for its cause" if answers else "was never answered, and nobody asked again"
            yield Finding("lost", f"{self.account} {self.key} {says}")
        if sum(1 for answer in answers if answer.result != "refused" and not answer.repeated) > 1:
            yield Finding("duplicated", f"{self.account} {self.key} was done anew more than once")
        ends = {replace(answer, repeated=False) for answer in answers if answer.result != "parked"}
        if len(ends) > 1 and not (self.kind == "release" and all(end.result == "held" for end in ends)):
            # A release that finds its hold over tells the balance of its own moment.
            yield Finding("disordered", f"{self.account} {self.key} was answered differently: {sorted(map(str, ends))}")


@dataclass(slots=True)
class _Told:
    """One account: its statement beside what its callers were told."""

    account: str
    lines: Sequence[Line]
    postings: list[_Posting]
    reads: list[Read]
    gifts: Mapping[str, _Posting]
    """Of all accounts, by key: one that came here was asked of another."""
    _of: dict[int, _Posting] = field(default_factory=dict)
    """Whose entry a number is."""
    _held: dict[tuple[str, str], int] = field(default_factory=dict)
    """Entries of holds by key and kind."""

    def __post_init__(self) -> None:
        self._held = {(line.posting, HELD_KINDS[line.kind]): line.seq for line in self.lines if line.kind in HELD_KINDS}

    def contradictions(self) -> list[Finding]:
        findings = [finding for posting in self.postings for finding in self._claim(posting)]
        findings += self._unclaimed()
        findings += self._overtaken()
        findings += self._taken_while_frozen()
        findings += self._unseen()
        return findings

    def _claim(self, posting: _Posting) -> Iterable[Finding]:
        """What was told is in the statement as it was told, and belongs to nobody else."""
        answer = posting.answer
        if answer is None:
            return
        if answer.result == "held":
            yield from self._claim_held(posting, answer)
            return
        if answer.result == "posted" and not answer.lines and posting.kind != "revoke":  # which may wait for a hold
            yield Finding("lost", f"{self._name(posting)} was posted without entries")
        for line in answer.lines:
            kept = self.lines[line.seq - 1] if line.seq <= len(self.lines) else None
            if kept != line:
                yield Finding("lost", f"{self._name(posting)}: told {line}, kept {kept}")
            yield from self._take(line.seq, posting)

    def _claim_held(self, posting: _Posting, answer: Answer) -> Iterable[Finding]:
        own = self._held.get((posting.key, posting.kind))
        if own is None:
            if posting.kind != "release":
                yield Finding("lost", f"{self._name(posting)} was answered and is not there")
            return
        yield from self._take(own, posting)
        # What ended or was taken back with a hold follows in entries of its own; the answer tells the last of them.
        afters = {self.lines[own - 1].after}
        for line in self.lines[own:]:
            if line.source != BY_TIME and line.kind != "revoke":
                break
            afters.add(line.after)
        if answer.after not in afters:
            yield Finding("lost", f"{self._name(posting)}: told {answer.after}, kept {self.lines[own - 1].after}")

    def _take(self, seq: int, posting: _Posting) -> Iterable[Finding]:
        other = self._of.setdefault(seq, posting)
        if other is not posting:
            yield Finding("duplicated", f"{self.account} #{seq} was told to {other.key} and to {posting.key}")

    def _unclaimed(self) -> Iterable[Finding]:
        """Entries that no answer told: only time's, gifts that came, and those of take-backs that waited."""
        known = {posting.key: posting for posting in self.postings}
        for line in self.lines:
            if line.seq in self._of or line.source == BY_TIME:
                continue
            gift = self.gifts.get(line.posting) if line.kind == GIVEN else None
            if gift is not None and gift.answer is not None and gift.answer.result == "held":
                self._of[line.seq] = gift
                continue
            posting = known.get(line.posting)
            waited = line.kind == "revoke" and posting is not None and posting.kind == "revoke"
            if not (
                waited and posting is not None and posting.answer is not None and posting.answer.result == "posted"
            ):
                yield Finding("duplicated", f"{self.account} #{line.seq} ({line.kind} {line.posting}): nobody was told")

    def _overtaken(self) -> Iterable[Finding]:
        """Who was answered before another one asked has the lower number."""
        latest = -inf
        by: _Posting | None = None
        for seq in sorted(self._of):
            posting = self._of[seq]
            if by is not None and posting is not by and posting.answered_at < latest:
                yield Finding(
                    "disordered",
                    f"{self._name(posting)} #{seq} was answered before {by.key} was asked, which has a lower number",
                )
            if posting.invoked_at > latest:
                latest, by = posting.invoked_at, posting

    def _taken_while_frozen(self) -> Iterable[Finding]:
        for frozen, line in zip(self._frozen(), self.lines, strict=False):
            posting = self._of.get(line.seq)
            anew = posting is not None and posting.kind in ANEW and not any(call.is_late for call in posting.calls)
            if frozen and anew and line.kind != GIVEN:
                yield Finding("disordered", f"{self.account} #{line.seq} ({line.kind} {line.posting}) while frozen")

    def _frozen(self) -> list[bool]:
        """Whether it is frozen behind each number, from none on."""
        return list(accumulate(self.lines, lambda frozen, line: FREEZING.get(line.kind, frozen), initial=False))

    def _unseen(self) -> Iterable[Finding]:
        """Whatever was only seen has a moment within its time at which it was so, and none goes back in time."""
        looks = [_Look(read.invoked_at, read.answered_at, f"read at {read.seq}", [read.seq]) for read in self.reads]
        at_available: dict[int, list[int]] = defaultdict(list)
        for seq, after in enumerate([Buckets(), *(line.after for line in self.lines)]):
            at_available[after.available].append(seq)
        at_frozen: dict[bool, list[int]] = {True: [], False: []}
        for seq, frozen in enumerate(self._frozen()):
            at_frozen[frozen].append(seq)
        for posting in self.postings:
            answer = posting.answer
            if answer is None:
                continue
            if answer.available is not None:
                allowed, what = at_available[answer.available], f"refusal with {answer.available} available"
            elif answer.code == FROZEN:
                allowed, what = at_frozen[True], "refusal of a frozen member"
            elif answer.result == "unchanged" and posting.kind in FREEZING:
                allowed, what = at_frozen[FREEZING[posting.kind]], "answer that it was so already"
            else:
                continue
            looks.append(_Look(posting.invoked_at, posting.answered_at, f"{what} ({posting.key})", allowed))
        yield from self._as_kept()
        asked = [self._of[line.seq].invoked_at if line.seq in self._of else -inf for line in self.lines]
        known = [self._of[line.seq].answered_at if line.seq in self._of else inf for line in self.lines]
        # Of the first n entries: the latest that was asked for; of those behind them: the first whose end was known.
        latest = list(accumulate(asked, max, initial=-inf))
        first = list(accumulate(reversed(known), min, initial=inf))[::-1]
        yield from _moments(self.account, looks, first, latest)

    def _as_kept(self) -> Iterable[Finding]:
        for read in self.reads:
            if read.seq > len(self.lines):
                yield Finding("lost", f"{self.account}: {read} is beyond the last entry")
                continue
            kept = self.lines[read.seq - 1].after if read.seq else Buckets()
            due = read.seq < len(self.lines) and self.lines[read.seq].source == BY_TIME  # reads subtract what is due
            if kept != read.after and not due:
                yield Finding("disordered", f"{self.account}: {read}, kept {kept}")

    def _name(self, posting: _Posting) -> str:
        return f"{self.account} {posting.kind} {posting.key}"


class _Look(NamedTuple):
    """Something that was seen, and behind which entries it can have been."""

    invoked_at: float
    answered_at: float
    name: str
    allowed: Sequence[int]
    """Ascending."""


def _moments(
    account: str, looks: Iterable[_Look], first: Sequence[float], latest: Sequence[float]
) -> Iterable[Finding]:
    """Give each look the earliest moment that it can have: whoever comes after it has the more to choose from."""
    ended: list[tuple[float, int]] = []
    """(answered at, moment) of looks that may still be under way."""
    floor = 0
    for look in sorted(looks):
        while ended and ended[0][0] < look.invoked_at:
            floor = max(floor, heapq.heappop(ended)[1])
        # Not before an entry whose end was known when it began, not after one asked for when it was over.
        earliest = max(floor, bisect_left(first, look.invoked_at))
        place = bisect_left(look.allowed, earliest)
        if place == len(look.allowed) or latest[min(look.allowed[place], len(latest) - 1)] > look.answered_at:
            yield Finding("disordered", f"{account}: {look.name} has no moment between its question and its answer")
            continue
        heapq.heappush(ended, (look.answered_at, look.allowed[place]))


# -- what the ledger says, over HTTP


def buckets_of(document: Mapping[str, Any]) -> Buckets:
    """Four sums."""
    return Buckets(*(document[name] for name in Buckets._fields))


def line_of(document: Mapping[str, Any]) -> Line:
    """An entry of an outcome or of a statement."""
    return Line(
        seq=document["seq"],
        kind=document["kind"],
        source=document["source"],
        posting=document["posting"],
        changes=buckets_of(document["changes"]),
        others=sum(document["system"].values()),
        after=buckets_of(document["after"]),
        hash=document["hash"],
    )


def answer_of(status: int, document: Mapping[str, Any]) -> Answer | None:
    """The answer to one posting, a hold, its capture or release, a gift; None where nobody knows what became of it."""
    if status >= 500 or status == 429:
        return None
    if status >= 400:
        return _refused(document)
    if "outcomes" in document:
        (outcome,) = document["outcomes"]
        return outcome_of(outcome)
    if "frozen" in document:
        lines = () if document["entry"] is None else (line_of(document["entry"]),)
        return Answer(document["outcome"], repeated=document["repeated"], lines=lines)
    return Answer("held", repeated=document["repeated"], after=buckets_of(document["balance"]))


def outcome_of(document: Mapping[str, Any]) -> Answer:
    """What became of one posting of several."""
    if document["refusal"] is not None:
        return _refused(document["refusal"])
    lines = tuple(line_of(entry) for entry in document["entries"])
    return Answer(document["outcome"], repeated=document["repeated"], lines=lines)


def _refused(problem: Mapping[str, Any]) -> Answer:
    return Answer("refused", code=problem["code"], available=problem.get("available"))


def read_of(account: str, invoked_at: float, answered_at: float, document: Mapping[str, Any]) -> Read:
    """A member's only asset."""
    (balance,) = document["balances"]
    return Read(account, invoked_at, answered_at, balance["seq"], buckets_of(balance))
