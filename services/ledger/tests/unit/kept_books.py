"""Books that are kept between batches as the store keeps them: it loads what `State` asks for, and nothing more."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ledger.domain import (
    Account,
    AccountKey,
    Activate,
    Award,
    Capture,
    Credit,
    Decision,
    Entry,
    Gift,
    GiftDay,
    GiveBack,
    Hold,
    HoldId,
    HoldRecord,
    HoldState,
    Lot,
    Member,
    MemberKey,
    Merge,
    MergedAccount,
    MovedLot,
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
    UndoMerge,
    chain_of,
)


class KeptBooks:
    """One shop's books in memory between batches; of one asset, where none is named."""

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
        self.members: dict[MemberKey, Member] = {}
        self.gift_days: dict[AccountKey, GiftDay] = {}
        self.merged: dict[tuple[str, AccountKey], MergedAccount] = {}
        self.log: list[Entry | Refusal] = []
        self.sums: dict[tuple[str, str], int] = {}

    def load(self, postings: Sequence[Posting], *, everyone: bool = False) -> State:
        """Copies of what `State` says is to be loaded, and nothing else."""
        state = State({self.shop: self.policy})
        asked = [*postings, *self._waiting_for(postings)]
        merging = [posting for posting in asked if isinstance(posting, Merge | UndoMerge)]
        for key in sorted(self._keys_of(state, asked) | (set(self.accounts) if everyone else set())):
            state.add_account(self._account(key))
            own = [posting for posting in asked if state.home_of(posting) == key]
            if everyone or merging or not self._is_enough(state.accounts[key], own):
                self._load_behind(state, state.accounts[key], asked, whole=bool(merging))
        self._load_foreign(state, asked)
        self._load_gift_days(state, asked)
        for posting in asked:
            if isinstance(posting, UndoMerge):
                self._load_merged(state, posting.merge)
            for posting_id in (posting.id, *([posting.award_id] if isinstance(posting, Revoke | Activate) else [])):
                if posting_id in self.outcomes:
                    state.outcomes[posting_id] = replace(self.outcomes[posting_id])
        for parked in self.parked:
            if parked.posting in asked:
                state.add_parked(replace(parked))
        return state

    def _waiting_for(self, postings: Sequence[Posting]) -> list[Posting]:
        """What waits for these postings on their own accounts is settled with them; on others it is found later."""
        keys = self._keys_of(State({self.shop: self.policy}), postings)
        causes = {cause for posting in postings for cause in _causes(posting)}
        return [
            parked.posting
            for parked in self.parked
            if parked.waits_for in causes
            and self.outcomes[parked.posting.id].account in keys
            and parked.posting not in postings
        ]

    def _load_gift_days(self, state: State, asked: Sequence[Posting]) -> None:
        giving = {state.home_of(posting) for posting in asked if isinstance(posting, Gift)}
        if any(isinstance(posting, Merge) for posting in asked):
            giving.update(state.accounts)
        for key in giving & self.gift_days.keys():
            state.gift_days[key] = replace(self.gift_days[key], account=state.accounts[key], changed=False)

    def _keys_of(self, state: State, asked: Sequence[Posting]) -> set[AccountKey]:
        """The accounts that postings are about, wherever their members are by now; and the members' records."""
        keys = {posting.account_key for posting in asked}
        keys |= {posting.receiver_key for posting in asked if isinstance(posting, Gift)}
        for posting in asked:
            if isinstance(posting, Merge | UndoMerge):
                keys |= self._merging_keys(posting)
        for key in set(keys):
            for member in chain_of(self.members, MemberKey(*key[:2])):
                state.members[member.key] = replace(member, changed=False)
            keys.add(state.home(key))
        return keys

    def _merging_keys(self, posting: Merge | UndoMerge) -> set[AccountKey]:
        """Of all assets that either has, both accounts."""
        both = (posting.member, posting.into)
        known = {*self.accounts, *(outcome.account for outcome in self.outcomes.values())}
        assets = {key.asset for key in known if key.member in both} | {posting.asset}
        return {AccountKey(self.shop, member, asset) for member in both for asset in assets}

    def _load_merged(self, state: State, merge: str) -> None:
        """What a merge moved, told by where the postings behind it were settled."""
        for (name, _), kept in self.merged.items():
            if name != merge:
                continue
            account, into = state.accounts[kept.account.key], state.accounts[kept.into.key]
            merged = replace(kept, account=account, into=into, holds=[], spends=[], shortfalls=[], lots=[])
            state.merged.append(merged)
            if kept.undone:
                continue
            family = self._family(account.key)

            merged.holds = [hold for hold in into.holds.values() if self._came(hold, family)]
            merged.spends = [spend for spend in into.spends if self._came(spend, family)]
            merged.shortfalls = [row for row in into.shortfalls if self._came(row, family)]
            merged.lots = [MovedLot(account.lots[was.number], into.lots[is_now.number]) for was, is_now in kept.lots]
            moved = {is_now.number for _, is_now in kept.lots}
            merged.expired = -sum(
                change.change
                for entry in self.entries(*into.key[1:])
                if entry.kind == "expire" and entry.seq > kept.number
                for change in entry.lots
                if change.lot in moved
            )

    def _family(self, key: AccountKey) -> set[AccountKey]:
        """An account, and those that were merged into it."""
        found = {key}
        for _ in self.members:
            found |= {
                AccountKey(self.shop, member.key.member, key.asset)
                for member in self.members.values()
                if AccountKey(self.shop, member.merged_into or "", key.asset) in found
            }
        return found

    def _account(self, key: AccountKey) -> Account:
        noted = MemberKey(*key[:2]) in self.members
        if key not in self.accounts:
            return Account(key=key, fresh=True, noted=noted)
        return replace(
            self.accounts[key],
            lots={}, queue=None, holds={}, shortfalls=[], spends=[], noted=noted, fresh=False, changed=False,
        )  # fmt: skip

    def _is_enough(self, account: Account, named: Sequence[Posting]) -> bool:
        due = account.next_due_at is not None and account.next_due_at <= self.now
        light = (Award, TopUp, Credit, Hold)
        return not due and account.debt == 0 and all(isinstance(posting, light) for posting in named)

    def _load_behind(self, state: State, account: Account, named: Sequence[Posting], *, whole: bool = False) -> None:
        key = account.key
        revoked, spend_ids, hold_ids = _named(named)
        awards = [lot for lot in self._lots(key) if lot.kind == "award" and _id(key, lot) in revoked]
        shortfalls = [r for r in self._shortfalls(key) if r.held or r.owed or r.written_off]
        orders = {lot.order for lot in awards} | {row.order for row in shortfalls}
        orders |= {self.spends[i].order for i in spend_ids if i in self.spends and self.spends[i].account.key == key}
        orders |= {posting.order for posting in named if state.home_of(posting) == key}
        orders -= {None}
        spend_ids |= {row.spend for row in shortfalls if row.spend is not None}
        spends = [
            s
            for s in self.spends.values()
            if s.account.key == key and (whole or s.id in spend_ids or s.order in orders)
        ]
        used = {use.lot for spend in spends for use in spend.uses}
        for lot in self._lots(key):
            if whole or lot.remaining or lot in awards or lot.number in used:
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
        """What postings name and their own accounts have not: whatever it is, it matters whose it is."""
        revoked, spend_ids, hold_ids = _named(asked)

        def whose(record: Any) -> Account:
            return state.accounts.get(record.account.key) or Account(key=record.account.key)

        for lot in self.lots.values():
            name = _id(lot.account.key, lot)
            if lot.kind == "award" and name in revoked and name not in state.awards:
                state.add_lot(replace(lot, account=whose(lot), fresh=False, changed=False))
        for hold in self.holds.values():
            if hold.id in hold_ids and hold.id not in state.holds:
                state.add_hold(replace(hold, account=whose(hold), fresh=False, changed=False))
        for spend in self.spends.values():
            if spend.id in spend_ids and spend.id not in state.spends:
                state.add_spend(replace(spend, account=whose(spend), fresh=False, changed=False))

    def _lots(self, key: AccountKey) -> list[Lot]:
        return [lot for lot in self.lots.values() if lot.account.key == key]

    def _shortfalls(self, key: AccountKey) -> list[Shortfall]:
        return [row for row in self.shortfalls.values() if row.account.key == key]

    def save(self, decision: Decision) -> None:
        """Every record once; new ones are new, known ones known, keys unique: what a database would insist on."""
        for merged in decision.merged:
            self._move(merged)
        self._put(self.accounts, decision.accounts, lambda account: account.key)
        self._put(self.lots, decision.lots, lambda lot: (lot.account.key, lot.number))
        self._put(self.holds, decision.holds, lambda hold: hold.id)
        self._put(self.spends, decision.spends, lambda spend: spend.id)
        self._put(self.shortfalls, decision.shortfalls, lambda row: (row.account.key, row.source, row.key))
        assert len({member.key for member in decision.members}) == len(decision.members)
        self.members.update((member.key, member) for member in decision.members)
        self.gift_days.update((day.account.key, day) for day in decision.gift_days)
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

    def _move(self, merged: MergedAccount) -> None:
        """All that a merge moves, by whose it is; or that moves back, by where its posting was settled."""
        source, target = merged.account, merged.into
        family = self._family(source.key)
        if merged.undone:
            source, target = target, source
        shortfalls = {(row.source, row.key): row for row in merged.shortfalls}
        moved = {hold.hold: hold for hold in merged.holds if hold.account is target}
        for hold in self.holds.values():
            if hold.account.key == source.key and (not merged.undone or self._came(hold, family)):
                hold.account = target
                hold.number = moved[hold.hold].number if hold.hold in moved else hold.number
        for spend in self.spends.values():
            if spend.account.key == source.key and (not merged.undone or self._came(spend, family)):
                spend.account = target
        for (key, *name), row in list(self.shortfalls.items()):
            if key == source.key and tuple(name) in shortfalls and shortfalls[tuple(name)].account is target:
                del self.shortfalls[key, *name]
                row.account, row.lot = target, shortfalls[tuple(name)].lot
                row.since_seq = shortfalls[tuple(name)].since_seq
                self.shortfalls[target.key, *name] = row
        for posting in [waiting.posting for waiting in (*self.parked, *self.proposals)]:
            outcome = self.outcomes[posting.id]
            if outcome.result not in (Result.PARKED, Result.PENDING_APPROVAL):
                continue
            named = AccountKey(self.shop, posting.member, source.key.asset)
            if outcome.account == source.key and (not merged.undone or named in family):
                outcome.account = target.key
        self.merged[merged.merge, merged.account.key] = merged

    def _came(self, record: Any, family: set[AccountKey]) -> bool:
        return self.outcomes[PostingId(self.shop, record.source, record.key)].account in family

    @staticmethod
    def _put(shelf: dict[Any, Any], records: Sequence[Any], key: Any) -> None:
        assert len({key(record) for record in records}) == len(records)
        for record in records:
            assert record.changed
            assert record.fresh == (key(record) not in shelf), record
            shelf[key(record)] = record

    def entries(self, member: str = "m", asset: str | None = None) -> list[Entry]:
        key = AccountKey(self.shop, member, asset or self.asset)
        return [row for row in self.log if isinstance(row, Entry) and row.account.key == key]


def _id(key: AccountKey, record: Any) -> PostingId:
    return PostingId(key.shop, record.source, record.key)


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
