"""A shelf that keeps the books between batches, as the store does: it loads what `State` asks for, and nothing more."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from ledger.domain import (
    ASSETS,
    GENESIS,
    Account,
    AccountKey,
    Activate,
    Award,
    Capture,
    Credit,
    Debit,
    Decision,
    Entry,
    GiveBack,
    Hold,
    HoldId,
    HoldRecord,
    HoldState,
    Lot,
    Outcome,
    Parked,
    Policy,
    Posting,
    PostingId,
    Proposal,
    Refusal,
    Release,
    Result,
    Revoke,
    Shortfall,
    ShortfallPolicy,
    Spend,
    SpendId,
    SpendRecord,
    State,
    TopUp,
    decide,
    settle_due,
)

settings.register_profile(
    "exact", derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("exact")


class Shelf:
    """One shop's books in memory, with a short hand for its member m and one asset."""

    def __init__(self, policy: str = "forgive", *, shop: str = "shop", asset: str = "points") -> None:
        self.shop = shop
        self.asset = asset
        self.policy = Policy(ShortfallPolicy(policy), currency="EUR")
        self.now = datetime(2026, 2, 1, 12, tzinfo=UTC)
        self.accounts: dict[AccountKey, Account] = {}
        self.lots: dict[tuple[AccountKey, int], Lot] = {}
        self.holds: dict[HoldId, HoldRecord] = {}
        self.spends: dict[SpendId, SpendRecord] = {}
        self.shortfalls: dict[tuple[AccountKey, str, str], Shortfall] = {}
        self.outcomes: dict[PostingId, Outcome] = {}
        self.parked: list[Parked] = []
        self.proposals: list[Proposal] = []
        self.log: list[Entry | Refusal] = []
        self.sums: dict[tuple[str, str], int] = {}
        self._keys = count(1)

    # -- load and save

    def load(self, postings: Sequence[Posting], *, everyone: bool = False) -> State:
        """Copies of what `State` says is to be loaded, and nothing else."""
        state = State({self.shop: self.policy})
        asked = list(postings)
        for posting in asked:  # what waits for these is settled with them: named as well
            for parked in self.parked:
                if parked.posting not in asked and parked.waits_for in _causes(posting):
                    asked.append(parked.posting)
        keys = {posting.account_key for posting in asked} | (set(self.accounts) if everyone else set())
        for key in sorted(keys):
            state.add_account(self._account(key))
            own = [posting for posting in asked if posting.account_key == key]
            if everyone or not self._only_credited(state.accounts[key], own):
                self._load_behind(state, state.accounts[key], asked)
        self._load_foreign(state, asked)
        for posting in asked:
            for posting_id in (posting.id, *([posting.award_id] if isinstance(posting, Revoke | Activate) else [])):
                if posting_id in self.outcomes:
                    state.outcomes[posting_id] = replace(self.outcomes[posting_id])
        for parked in self.parked:
            if parked.posting in asked:
                state.add_parked(replace(parked))
        return state

    def _account(self, key: AccountKey) -> Account:
        if key not in self.accounts:
            return Account(key=key, fresh=True)
        return replace(
            self.accounts[key], lots={}, queue=None, holds={}, shortfalls=[], spends=[], fresh=False, changed=False
        )

    def _only_credited(self, account: Account, named: Sequence[Posting]) -> bool:
        due = account.next_due_at is not None and account.next_due_at <= self.now
        return not due and account.debt == 0 and all(isinstance(posting, Award | TopUp | Credit) for posting in named)

    def _load_behind(self, state: State, account: Account, named: Sequence[Posting]) -> None:
        key = account.key
        revoked, spend_ids, hold_ids = _named(named)
        awards = [lot for lot in self._lots(key) if PostingId(key.shop, lot.source, lot.key) in revoked]
        shortfalls = [r for r in self._shortfalls(key) if r.held or r.owed or r.written_off]
        orders = {lot.order for lot in awards} | {row.order for row in shortfalls}
        orders |= {self.spends[i].order for i in spend_ids if i in self.spends and self.spends[i].account.key == key}
        orders |= {posting.order for posting in named if posting.account_key == key}
        orders -= {None}
        spend_ids |= {row.spend for row in shortfalls if row.spend is not None}
        spends = [s for s in self.spends.values() if s.account.key == key and (s.id in spend_ids or s.order in orders)]
        used = {use.lot for spend in spends for use in spend.uses}
        for lot in self._lots(key):
            if lot.remaining or lot in awards or lot.number in used:
                state.add_lot(replace(lot, account=account, fresh=False, changed=False, dated=False))
        for hold in self.holds.values():
            if hold.account.key == key and (hold.state is HoldState.OPEN or hold.id in hold_ids):
                state.add_hold(replace(hold, account=account, fresh=False, changed=False))
        for spend in spends:
            uses = [replace(use) for use in spend.uses]
            state.add_spend(replace(spend, account=account, uses=uses, fresh=False, changed=False))
        for row in shortfalls:
            state.add_shortfall(replace(row, account=account, fresh=False, changed=False))

    def _load_foreign(self, state: State, asked: Sequence[Posting]) -> None:
        """What postings name of accounts that are not loaded: only whose it is matters."""
        revoked, spend_ids, hold_ids = _named(asked)
        for lot in self.lots.values():
            if lot.account.key not in state.accounts and PostingId(self.shop, lot.source, lot.key) in revoked:
                state.add_lot(replace(lot, account=Account(key=lot.account.key)))
        for hold in self.holds.values():
            if hold.account.key not in state.accounts and hold.id in hold_ids:
                state.add_hold(replace(hold, account=Account(key=hold.account.key)))
        for spend in self.spends.values():
            if spend.account.key not in state.accounts and spend.id in spend_ids:
                state.add_spend(replace(spend, account=Account(key=spend.account.key)))

    def _lots(self, key: AccountKey) -> list[Lot]:
        return [lot for lot in self.lots.values() if lot.account.key == key]

    def _shortfalls(self, key: AccountKey) -> list[Shortfall]:
        return [row for row in self.shortfalls.values() if row.account.key == key]

    def save(self, decision: Decision) -> None:
        """Every record once; new ones are new, known ones known, keys unique: what a database would insist on."""
        self._put(self.accounts, decision.accounts, lambda account: account.key)
        self._put(self.lots, decision.lots, lambda lot: (lot.account.key, lot.number))
        self._put(self.holds, decision.holds, lambda hold: hold.id)
        self._put(self.spends, decision.spends, lambda spend: spend.id)
        self._put(self.shortfalls, decision.shortfalls, lambda row: (row.account.key, row.source, row.key))
        for outcome in decision.decided:
            assert outcome.id not in self.outcomes
            self.outcomes[outcome.id] = outcome
        for outcome in decision.settled:
            assert self.outcomes[outcome.id].result in (Result.PARKED, Result.PENDING_APPROVAL)
            self.outcomes[outcome.id] = outcome
        gone = [parked.posting for parked in decision.unparked]
        self.parked = [parked for parked in self.parked if parked.posting not in gone]
        self.parked += [replace(parked, fresh=False) for parked in decision.parked]
        self.proposals += decision.proposals
        self.log += decision.log
        for (_, asset, name), amount in decision.system.items():
            self.sums[asset, name] = self.sums.get((asset, name), 0) + amount

    @staticmethod
    def _put(shelf: dict[Any, Any], records: Sequence[Any], key: Any) -> None:
        assert len({key(record) for record in records}) == len(records)
        for record in records:
            assert record.changed
            assert record.fresh == (key(record) not in shelf), record
            shelf[key(record)] = record

    # -- act

    def post(self, *postings: Posting) -> list[Outcome]:
        """Decide a batch now, keep what follows from it, check what must always hold."""
        decision = decide(self.load(postings), postings, self.now)
        self.save(decision)
        self.check(decision)
        return decision.outcomes

    def one(self, posting: Posting) -> Outcome:
        return self.post(posting)[0]

    def job(self) -> Decision:
        """What the job does: everything due, of everyone."""
        decision = settle_due(self.load((), everyone=True), self.now)
        self.save(decision)
        self.check(decision)
        return decision

    def at(self, text: str) -> "Shelf":
        """Move the clock to an instant of 2026 (UTC), such as `03-01` or `02-28 10:30`."""
        day, _, time = text.partition(" ")
        self.now = datetime.fromisoformat(f"2026-{day}T{time or '00:00'}:00+00:00")
        return self

    def later(self, **by: int) -> "Shelf":
        self.now += timedelta(**by)
        return self

    # -- short hands; every posting gets a key of its own unless it is given one

    def ask(self, kind: type[Posting], **content: Any) -> Any:
        content.setdefault("key", f"k{next(self._keys)}")
        for name in ("expires_at", "activates_at"):
            if isinstance(content.get(name), str):
                content[name] = datetime.fromisoformat(f"2026-{content[name]}T00:00:00+00:00")
        return kind(**{"shop": self.shop, "member": "m", "asset": self.asset, "source": "test"} | content)

    def award(self, amount: int, **content: Any) -> Outcome:
        return self.one(self.ask(Award, amount=amount, **content))

    def top_up(self, amount: int, *, currency: str = "EUR", **content: Any) -> Outcome:
        return self.one(self.ask(TopUp, amount=amount, currency=currency, **content))

    def credit(self, amount: int, **content: Any) -> Outcome:
        return self.one(self.ask(Credit, amount=amount, **content))

    def debit(self, amount: int, **content: Any) -> Outcome:
        return self.one(self.ask(Debit, amount=amount, **content))

    def revoke(self, award: str, total: int, **content: Any) -> Outcome:
        return self.one(self.ask(Revoke, award=award, total=total, **content))

    def activate(self, award: str, **content: Any) -> Outcome:
        return self.one(self.ask(Activate, award=award, **content))

    def hold(self, hold: str, amount: int, expires_at: str = "12-31", **content: Any) -> Outcome:
        return self.one(self.ask(Hold, hold=hold, amount=amount, expires_at=expires_at, **content))

    def capture(self, hold: str, amount: int | None = None, **content: Any) -> Outcome:
        return self.one(self.ask(Capture, hold=hold, amount=amount, **content))

    def release(self, hold: str, **content: Any) -> Outcome:
        return self.one(self.ask(Release, hold=hold, **content))

    def spend(self, amount: int, checkout: str = "c", generation: int = 1, **content: Any) -> Outcome:
        return self.one(self.ask(Spend, checkout=checkout, generation=generation, amount=amount, **content))

    def give_back(self, total: int, checkout: str = "c", generation: int = 1, **content: Any) -> Outcome:
        return self.one(self.ask(GiveBack, checkout=checkout, generation=generation, total=total, **content))

    # -- look

    def account(self, member: str = "m") -> Account:
        """As a reader sees it: what is due is subtracted, whether a job has run or not. Nothing is saved."""
        key = AccountKey(self.shop, member, self.asset)
        state = self.load((), everyone=True)
        settle_due(state, self.now)
        return state.accounts.get(key) or Account(key=key)

    def buckets(self, member: str = "m") -> tuple[int, int, int, int]:
        account = self.account(member)
        return account.available, account.pending, account.held, account.debt

    @property
    def available(self) -> int:
        return self.account().available

    @property
    def system(self) -> dict[str, int]:
        return {name: amount for (asset, name), amount in self.sums.items() if asset == self.asset}

    def entries(self, member: str = "m", asset: str | None = None) -> list[Entry]:
        key = AccountKey(self.shop, member, asset or self.asset)
        return [row for row in self.log if isinstance(row, Entry) and row.account.key == key]

    @property
    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.entries()]

    def lots_of(self, entry: Entry) -> list[tuple[int, int]]:
        return [(change.lot, change.change) for change in entry.lots]

    # -- what must hold whatever was asked

    def check(self, decision: Decision) -> None:
        for row in decision.log:
            if isinstance(row, Entry):
                total = row.available + row.pending + row.held + row.debt + sum(amount for _, amount in row.system)
                assert total == 0, row
                assert min(row.available_after, row.pending_after, row.held_after, -row.debt_after) >= 0, row
        for account in decision.accounts:
            self.check_account(account)
        totals = dict.fromkeys(ASSETS, 0)
        for (asset, _), amount in self.sums.items():
            totals[asset] += amount
        for account in self.accounts.values():
            totals[account.key.asset] += account.available + account.pending + account.held + account.debt
        assert not any(totals.values()), totals

    def check_account(self, account: Account) -> None:
        lots = self._lots(account.key)
        holds = [h for h in self.holds.values() if h.account.key == account.key and h.state is HoldState.OPEN]
        rows = self._shortfalls(account.key)
        assert account.available == 0 or account.debt == 0, "available beside debt"
        assert account.held == sum(hold.amount for hold in holds)
        assert account.pending == sum(lot.remaining for lot in lots if lot.pending)
        assert account.available + account.held == sum(lot.remaining for lot in lots if not lot.pending)
        assert -account.debt == sum(row.owed for row in rows)
        assert sum(row.held for row in rows) <= account.held
        for lot in lots:
            assert not (lot.ended and lot.remaining and not holds), "an ended lot is kept for nobody"
        for spend in self.spends.values():
            if spend.account.key == account.key:
                assert 0 <= spend.reversed <= spend.ended <= spend.given_back <= spend.amount
        self.check_replay(account)

    def check_replay(self, account: Account) -> None:
        """Entries alone give the balances: no gap, the chain unbroken, time never backwards."""
        sums = {"available": 0, "pending": 0, "held": 0, "debt": 0}
        before = GENESIS
        at = None
        entries = self.entries(account.key.member, account.key.asset)
        for number, entry in enumerate(entries, 1):
            assert entry.seq == number
            assert entry.previous_hash == before
            assert at is None or entry.at >= at
            before, at = entry.hash, entry.at
            sums = {name: total + getattr(entry, name) for name, total in sums.items()}
            assert sums == {name: getattr(entry, f"{name}_after") for name in sums}
        assert sums == {name: getattr(account, name) for name in sums}
        assert (account.hash, account.last_at, account.seq) == (before, at, len(entries))


def _named(postings: Sequence[Posting]) -> tuple[set[PostingId], set[SpendId], set[HoldId]]:
    awards = {posting.award_id for posting in postings if isinstance(posting, Revoke | Activate)}
    spends = {posting.spend_id for posting in postings if isinstance(posting, Spend | GiveBack | Capture)}
    holds = {posting.hold_id for posting in postings if isinstance(posting, Hold | Capture | Release)}
    holds |= {HoldId(p.shop, p.hold) for p in postings if isinstance(p, Spend) and p.hold is not None}
    return awards, spends, holds


def _causes(posting: Posting) -> list[PostingId | SpendId]:
    match posting:
        case Award() | TopUp() | Credit():
            return [posting.id]
        case Spend() | Capture():
            return [posting.spend_id]
        case _:
            return []


@pytest.fixture
def shelf() -> Shelf:
    """Books of a shop that forgives."""
    return Shelf()


@pytest.fixture
def books() -> type[Shelf]:
    """Makes books of a shop with a policy: `books("debt")`."""
    return Shelf
