"""The ledger against a slow, obvious model: one point at a time, every rule spelled out, over all kinds of posting.

Three ledgers run side by side: one is given each posting by itself, one is given them in batches, one is the model.
"""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ledger.domain import (
    Activate,
    Award,
    Capture,
    Credit,
    Debit,
    Freeze,
    Gift,
    GiveBack,
    Hold,
    Merge,
    Policy,
    ProposalRejected,
    Release,
    Result,
    Revoke,
    ShortfallPolicy,
    Spend,
    TopUp,
    UndoMerge,
    Unfreeze,
    movement_id,
)
from testkit.exploring import examples

from .slow_merging import merge, undo_merge
from .slow_model import END_OF_TIME, GIFTS_A_DAY, GIVEN_A_DAY, START, Model, MParked

ORDERS = ("o1", "o2", None)
AWARDS = tuple(f"a{number}" for number in range(5))
AMOUNTS = st.integers(1, 9)
HOURS = st.integers(-1, 6)
SOON = 3
"""Postings after a merge in which it is not undone: something must have happened meanwhile."""
WHO = st.sampled_from(["m", "n"])
ANYBODYS = st.none() | WHO
"""Nearly always one's own."""
ALONE = 4
"""Up to so much a person credits or debits alone."""
FOR_LONG = timedelta(days=3_650)
"""A proposal stays open, by the database's own clock too."""


class SideBySide(RuleBasedStateMachine):
    """Ask anything in any order of two members; whatever happens, all three agree to the point and to the lot.

    Awards, holds and spends are named after their member; what takes back or activates may name the other's.
    """

    shelves: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []
        self.batch: list[Any] = []
        self.awards: dict[str, str] = {}
        self.holds: list[tuple[str, str]] = []
        self.spends: list[tuple[Any, str]] = []
        self.proposed: list[Any] = []
        self.frozen = {"m": False, "n": False}
        self.merged: Any = None

    @initialize(policy=st.sampled_from(["forgive", "debt"]), stocked=st.booleans())
    def open(self, policy: str, stocked: bool) -> None:
        self.single, self.batched = self.shelves(policy), self.shelves(policy)
        self.models = {"m": Model(policy), "n": Model(policy)}
        self.now = self.single.now = self.batched.now = START
        self.single.policy = self.batched.policy = Policy(
            ShortfallPolicy(policy),
            zone="America/New_York",
            currency="EUR",
            gifts_per_day=GIFTS_A_DAY,
            gift_points_per_day=GIVEN_A_DAY,
            approval_above={self.single.asset: ALONE},
        )
        for who in self.models if stocked else ():  # so that even a short story has something to tell
            self.award(who, "a0", 6, "o1", None, 5, 0)
            self.award(who, "a1", 4, None, 2, 8, 0)
            self.award(who, "a2", 3, "o2", None, None, 1)
            self.hold(who, 5, at_most=False, hours=7)
            self.spend(who, None, 2, "o1", 1, over_http=False)

    def ask(self, kind: Any, **content: Any) -> Any:
        posting = self.single.ask(kind, **content)
        # What waits for another member's is seen when both are in a batch, else by the sweep: none, while there is any.
        alone = any(parked.posting.member != parked.owner for parked in self.parked)
        if alone:
            self.flush()
        self.asked.append(posting)
        self.batch.append(posting)
        self.single.one(posting)
        if alone:
            self.flush()
        return posting

    @property
    def parked(self) -> list[MParked]:
        """In order of arrival."""
        found = [parked for model in self.models.values() for parked in model.parked]
        return sorted(found, key=lambda parked: self.asked.index(parked.posting))

    def known(self, cause: Any) -> bool:
        return any(model.knows(cause) for model in self.models.values())

    def came(self, who: str, cause: Any) -> None:
        """An award, or what may have been a spend, was asked for: what waits for it on that account goes on."""
        if self.known(cause):
            self.home(who).settle_waiting_for(cause)

    def about(self, cause: Any, act: str, content: tuple[Any, ...], posting: Any) -> None:
        """What needs a cause is done, is refused since that is another member's, or waits."""
        home = self.home(posting.member)
        if home.knows(cause):
            getattr(home, act)(*content)
            return
        home.due()
        if self.known(cause):
            self.refused_as_anothers(posting)
        else:
            home.parked.append(MParked(cause, act, content, posting))

    def home(self, member: str) -> Model:
        """Where a member's points are; it knows whether the member, under this name, is frozen."""
        merged_into = self.merged[1] if self.merged and self.merged[0] == member else member
        model: Model = self.models[merged_into]
        model.frozen = self.frozen[member] or self.frozen[merged_into]
        return model

    def hour(self, hours: int | None) -> datetime | None:
        return None if hours is None else self.now + timedelta(hours=hours)

    @rule(
        who=WHO,
        award=st.sampled_from(AWARDS),
        amount=AMOUNTS,
        order=st.sampled_from(ORDERS),
        starts=st.none() | st.just("event") | st.integers(1, 3),
        ends=st.none() | HOURS,
        priority=st.integers(0, 1),
    )
    def award(self, who: str, award: str, amount: int, order: Any, starts: Any, ends: Any, priority: int) -> None:
        award = f"{who}-{award}"
        if award in self.awards:
            return
        self.awards[award] = who
        if starts == "event":
            cause = '{"activates_on":"fulfilled"}'
            waiting = {"amount": amount, "order": order, "priority": priority, "cause": cause}
            self.ask(Award, member=who, key=award, activates_on="fulfilled", **waiting)
            self.home(who).award(award, amount, order, starts, None, priority)
            self.came(who, award)
            return
        starts_at, expires_at = self.hour(starts), self.hour(ends)
        if starts is not None and ends is not None and ends <= starts:
            expires_at = starts_at + timedelta(hours=1)
        content = {
            "amount": amount,
            "order": order,
            "activates_at": starts_at,
            "expires_at": expires_at,
            "priority": priority,
        }
        self.ask(Award, member=who, key=award, **content)
        self.home(who).award(award, amount, order, starts_at, expires_at, priority)
        self.came(who, award)

    @rule(who=WHO, amount=AMOUNTS, ends=st.none() | HOURS)
    def top_up(self, who: str, amount: int, ends: Any) -> None:
        posting = self.ask(TopUp, member=who, amount=amount, currency="EUR", expires_at=self.hour(ends))
        if self.single.asset == "stored_value":
            self.home(who).credit("cash", amount, None, None, self.hour(ends), 0, None)
            self.home(who).earned += amount
        else:
            self.home(who).due()
            assert self.single.outcomes[posting.id].error.code == "asset_not_topped_up"

    @rule(who=WHO, amount=AMOUNTS, ends=st.none() | HOURS)
    def credit(self, who: str, amount: int, ends: Any) -> None:
        self.ask(Credit, member=who, amount=amount, expires_at=self.hour(ends))
        self.home(who).credit("adjusted", amount, None, None, self.hour(ends), 0, None)

    @rule(who=WHO, amount=AMOUNTS)
    def debit(self, who: str, amount: int) -> None:
        self.ask(Debit, member=who, amount=amount)
        self.home(who).debit(amount)

    @rule(who=WHO, amount=AMOUNTS, kind=st.sampled_from([Credit, Debit]))
    def propose(self, who: str, amount: int, kind: Any) -> None:
        cause = '{"operator":"ana","reason":"goodwill"}'
        posting = self.ask(kind, member=who, amount=amount, cause=cause, approval_within=FOR_LONG)
        if amount > ALONE:
            assert self.single.outcomes[posting.id].result is Result.PENDING_APPROVAL
            self.home(who).due()
            self.proposed.append(posting)
        else:
            self.adjust(posting)

    @precondition(lambda self: self.proposed)
    @rule(pick=st.integers(0, 99), declined=st.booleans())
    def second_person(self, pick: int, declined: bool) -> None:
        self.flush()
        posting = self.proposed.pop(pick % len(self.proposed))
        for shelf in (self.single, self.batched):
            shelf.second_person(posting, declined=ProposalRejected("ben") if declined else None)
        if declined:
            self.home(posting.member).due()
        else:
            self.adjust(posting)

    def adjust(self, posting: Any) -> None:
        if isinstance(posting, Credit):
            self.home(posting.member).credit("adjusted", posting.amount, None, None, None, 0, None)
        else:
            self.home(posting.member).debit(posting.amount)

    @rule(who=WHO, amount=AMOUNTS, at_most=st.booleans(), hours=st.integers(1, 5))
    def hold(self, who: str, amount: int, at_most: bool, hours: int) -> None:
        name = f"{who}-h{len(self.holds)}"
        self.ask(Hold, member=who, hold=name, amount=amount, at_most=at_most, expires_at=self.hour(hours))
        if self.home(who).hold(name, amount, at_most, self.hour(hours)):
            self.holds.append((name, who))

    @precondition(lambda self: self.holds)
    @rule(pick=st.integers(0, 99), amount=st.none() | AMOUNTS)
    def capture(self, pick: int, amount: int | None) -> None:
        name, who = self.holds[pick % len(self.holds)]
        posting = self.ask(Capture, member=who, hold=name, amount=amount)
        self.home(who).capture(name, amount, posting.key)
        self.came(who, (name, 1))
        self.spends.append(((name, 1), who))

    @precondition(lambda self: self.holds)
    @rule(pick=st.integers(0, 99))
    def release(self, pick: int) -> None:
        name, who = self.holds[pick % len(self.holds)]
        self.ask(Release, member=who, hold=name)
        self.home(who).release(name)

    @rule(
        who=WHO,
        pick=st.none() | st.integers(0, 99),
        amount=AMOUNTS,
        order=st.sampled_from(ORDERS),
        generation=st.integers(1, 2),
        over_http=st.booleans(),
    )
    def spend(self, who: str, pick: Any, amount: int, order: Any, generation: int, over_http: bool) -> None:
        hold, who = self.holds[pick % len(self.holds)] if pick is not None and self.holds else (None, who)
        is_new = over_http and hold is None
        spend = (f"{who}-c{len(self.spends)}", generation)
        posting = self.ask(
            Spend,
            member=who,
            checkout=spend[0],
            generation=generation,
            amount=amount,
            hold=hold,
            order=order,
            is_new=is_new,
        )
        self.home(who).spend(spend, amount, hold, order, posting.key, is_new=is_new)
        self.came(who, spend)
        self.spends.append((spend, who))

    @rule(who=WHO, whose=ANYBODYS, award=st.sampled_from(AWARDS), total=st.integers(0, 9))
    def revoke(self, who: str, whose: str | None, award: str, total: int) -> None:
        award = f"{whose or who}-{award}"
        posting = self.ask(Revoke, member=who, award=award, total=total)
        self.about(award, "revoke", (award, total, posting.key), posting)

    @rule(who=WHO, whose=ANYBODYS, award=st.sampled_from(AWARDS), ends=st.none() | HOURS)
    def activate(self, who: str, whose: str | None, award: str, ends: Any) -> None:
        award, expires_at = f"{whose or who}-{award}", self.hour(ends)
        posting = self.ask(Activate, member=who, award=award, expires_at=expires_at)
        self.about(award, "activate", (award, expires_at), posting)

    @precondition(lambda self: self.spends)
    @rule(who=ANYBODYS, pick=st.integers(0, 99), total=st.integers(0, 10))
    def give_back(self, who: str | None, pick: int, total: int) -> None:
        spend, spender = self.spends[pick % len(self.spends)]
        self.return_of(spend, who or spender, total)

    @rule(who=WHO, whose=ANYBODYS, generation=st.integers(1, 2), total=st.integers(0, 10))
    def give_back_of_the_next(self, who: str, whose: str | None, generation: int, total: int) -> None:
        self.return_of((f"{whose or who}-c{len(self.spends)}", generation), who, total)

    def return_of(self, spend: Any, who: str, total: int) -> None:
        posting = self.ask(GiveBack, member=who, checkout=spend[0], generation=spend[1], total=total)
        self.about(spend, "give_back", (spend, total), posting)

    @precondition(lambda self: self.parked)
    @rule()
    def sweep(self) -> None:
        self.flush()
        for parked in self.parked:
            home = self.home(parked.posting.member)
            for shelf in (self.single, self.batched):
                shelf.offer_again(parked.posting)
            if self.known(parked.cause):
                home.settle(parked)
                if not home.knows(parked.cause):
                    self.refused_as_anothers(parked.posting)

    def refused_as_anothers(self, posting: Any) -> None:
        """What was done while the members were one stays where it was done."""
        self.home(posting.member).due()
        assert self.single.outcomes[posting.id].error.code == "of_another_member"

    @rule(amount=AMOUNTS, back=st.booleans())
    def give(self, amount: int, back: bool) -> None:
        giver, to = ("n", "m") if back else ("m", "n")
        self.ask(Gift, member=giver, to=to, amount=amount)
        if self.merged or self.single.asset != "points":
            return  # to oneself; or nothing that is given
        self.home(giver).give(self.models[to], amount)

    @rule(who=WHO, frozen=st.booleans())
    def freeze(self, who: str, frozen: bool) -> None:
        self.ask(Freeze if frozen else Unfreeze, member=who)
        self.models[who].due()
        self.frozen[who] = frozen

    @precondition(lambda self: not self.merged and self.asked)
    @rule(back=st.booleans())
    def merge(self, back: bool) -> None:
        self.flush()
        old, into = ("m", "n") if back else ("n", "m")
        posting = self.ask(Merge, member=old, into=into)
        kept = merge(self.models[old], self.models[into], posting.key)
        self.merged = (old, into, movement_id(posting), kept, len(self.asked))
        self.flush()

    @precondition(lambda self: self.merged and len(self.asked) > self.merged[4] + SOON)
    @rule()
    def undo(self) -> None:
        self.flush()
        old, into, merge, kept, _ = self.merged
        self.ask(UndoMerge, member=old, into=into, merge=merge)
        self.merged = None
        undo_merge(self.models[old], self.models[into], kept)
        for parked in [parked for parked in self.models[into].parked if parked.posting.member == old]:
            self.models[into].parked.remove(parked)
            self.models[old].parked.append(parked)
        self.flush()

    @precondition(lambda self: self.asked)
    @rule(pick=st.integers(0, 999))
    def repeat(self, pick: int) -> None:
        posting = self.asked[pick % len(self.asked)]
        alone = isinstance(posting, Merge | UndoMerge)
        if alone:
            self.flush()
        rows = len(self.single.log)
        assert self.single.one(posting).repeated
        assert len(self.single.log) == rows
        self.batch.append(posting)
        if alone:
            self.flush()

    @rule(hours=st.integers(1, 4), job=st.booleans())
    def time_passes(self, hours: int, job: bool) -> None:
        self.flush()
        self.now = self.single.now = self.batched.now = self.hour(hours)
        if job:
            self.single.job()
            self.batched.job()
        for model in self.models.values():
            model.advance(self.now)

    def flush(self) -> None:
        if self.batch:
            self.batched.post(*self.batch)
            self.batch = []

    @invariant()
    def all_agree(self) -> None:
        if not hasattr(self, "models"):
            return
        for member, model in self.models.items():
            self.agree(self.single.account(member), model)

    @staticmethod
    def agree(seen: Any, model: Model) -> None:
        assert (seen.available, seen.pending, seen.held, seen.debt) == (
            model.available, model.pending, model.held, model.debt,
        )  # fmt: skip
        assert (seen.earned, seen.spent) == (model.earned, model.spent)
        left = sorted((lot.priority, lot.expires_at or END_OF_TIME, lot.remaining) for lot in seen.lots.values())
        assert [lot for lot in left if lot[2]] == sorted(
            (lot.priority, lot.ends, lot.left) for lot in model.lots if lot.left
        )

    def teardown(self) -> None:
        if not hasattr(self, "models"):
            return
        self.flush()
        self.single.job()
        self.batched.job()
        for member in self.models:
            assert [(e.kind, e.at, e.hash) for e in self.single.entries(member)] == [
                (e.kind, e.at, e.hash) for e in self.batched.entries(member)
            ]
        one, other = self.models.values()
        assert {name: sum_ for name, sum_ in self.single.system.items() if sum_} == {
            name: sum_ for name in {*one.system, *other.system} if (sum_ := one.system[name] + other.system[name])
        }
        assert self.single.sums == self.batched.sums
        assert {key: (o.result, o.facts) for key, o in self.single.outcomes.items()} == {
            key: (o.result, o.facts) for key, o in self.batched.outcomes.items()
        }


@pytest.mark.hypothesis
@pytest.mark.parametrize(("steps", "asset"), [(12, "points"), (40, "points"), (12, "stored_value"), (12, "passes")])
def test_all_operations_agree_with_the_slow_model(books, steps, asset):
    class Machine(SideBySide):
        shelves = staticmethod(partial(books, asset=asset))

    usual = {(12, "points"): 250, (40, "points"): 150}.get((steps, asset), 60)
    story = settings(max_examples=examples(usual), stateful_step_count=steps)
    run_state_machine_as_test(Machine, settings=story)
