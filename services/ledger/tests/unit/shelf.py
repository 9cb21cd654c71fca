"""A shelf of books: short hands to ask anything of them and to look at them, and what must hold whatever is asked."""

from datetime import datetime, timedelta
from itertools import count
from typing import Any

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
    Freeze,
    Gift,
    GiveBack,
    Hold,
    HoldState,
    LedgerError,
    Merge,
    Outcome,
    Posting,
    Release,
    Revoke,
    Spend,
    TopUp,
    UndoMerge,
    Unfreeze,
    approved,
    decide,
    movement_id,
    settle_due,
    settle_parked,
    settle_proposed,
)

from .kept_books import KeptBooks


class Shelf(KeptBooks):
    """One shop's books, with a short hand for its member m and one asset."""

    def __init__(self, policy: str = "forgive", **of: str) -> None:
        super().__init__(policy, **of)
        self._keys = count(1)

    # -- act

    def post(self, *postings: Posting) -> list[Outcome]:
        """Decide a batch now, keep what follows from it, check what must always hold."""
        decision = decide(self.load(postings), postings, self.now)
        self.save(decision)
        self.check(decision)
        return decision.outcomes

    def one(self, posting: Posting) -> Outcome:
        self.last = posting
        if isinstance(posting, Merge):
            self.last_merge = movement_id(posting)
        return self.post(posting)[0]

    def second_person(self, posting: Posting, *, by: str = "ben", declined: LedgerError | None = None) -> Outcome:
        """What a second person's decision on a proposal does."""
        asked = posting if declined else approved(posting, by)
        decision = settle_proposed(self.load([posting]), asked, self.now, declined)
        self.save(decision)
        self.check(decision)
        return self.outcomes[posting.id]

    def offer_again(self, posting: Posting) -> None:
        """What the sweep does with a posting that waits: its cause may be known by now."""
        decision = settle_parked(self.load([posting]), self.now)
        self.save(decision)
        self.check(decision)

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
        of_all = kind in (Freeze, Unfreeze, Merge, UndoMerge)  # of all assets, and entered with the points
        asset = "points" if of_all else self.asset
        return kind(**{"shop": self.shop, "member": "m", "asset": asset, "source": "test"} | content)

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

    def give(self, amount: int, to: str = "n", **content: Any) -> Outcome:
        return self.one(self.ask(Gift, amount=amount, to=to, **content))

    def merge(self, member: str = "n", into: str = "m", **content: Any) -> Outcome:
        return self.one(self.ask(Merge, member=member, into=into, **content))

    def undo(self, merge: str, member: str = "n", into: str = "m", **content: Any) -> Outcome:
        return self.one(self.ask(UndoMerge, member=member, into=into, merge=merge, **content))

    def freeze(self, **content: Any) -> Outcome:
        return self.one(self.ask(Freeze, **content))

    def unfreeze(self, **content: Any) -> Outcome:
        return self.one(self.ask(Unfreeze, **content))

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
