"""The same stories as in memory, told to the database as well: what is loaded and saved is what is decided on."""

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import count, cycle
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from accrual_verify import export as verifier
from chassis.database import Database, LaneKeys, UseCase, with_lanes
from chassis.lanes import lane_of
from ledger import approving, usecases
from ledger.approving import DecideProposal
from ledger.domain import Account, AccountKey, Decision, LedgerError, Merge, Outcome, Posting, UndoMerge
from ledger.moving import import_shop
from ledger.store import checking, past, rows
from ledger.store.log import proposal_id
from ledger.usecases import Asked, LearnProgramme
from local.databases import ServiceDatabase
from testkit.exploring import examples
from testkit.tokens import Tokens

from ..unit.shelf import Shelf  # noqa: TID252  # the same stories
from ..unit.test_model import SideBySide  # noqa: TID252
from .conftest import Ledger, ledger_of
from .test_moving import history, living

ASSIGNED: Final = {"account", "fresh", "changed", "dated", "noted", "id", "queue"}
"""Fields of records that say how they were come by, or are compared by themselves."""

BUCKETS: Final = ("available", "pending", "held", "debt")


class Stored(Shelf):
    """Books of which every batch is also settled by the database, with the same clock, and then compared."""

    def __init__(self, policy: str, *, shop: str, asset: str, database: Database, loop: AbstractEventLoop) -> None:
        super().__init__(policy, shop=shop, asset=asset)
        self.database = database
        self.loop = loop
        self.learned: Any = None

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def post(self, *postings: Posting) -> list[Outcome]:
        outcomes = super().post(*postings)
        stored = self.wait(self.settle(postings))
        assert [facts_of(outcome) for outcome in stored] == [facts_of(outcome) for outcome in outcomes]
        self.compare()
        return outcomes

    def second_person(self, posting: Posting, *, by: str = "ben", declined: LedgerError | None = None) -> Outcome:
        outcome = super().second_person(posting, by=by, declined=declined)
        told = DecideProposal(self.shop, posting.member, UUID(proposal_id(posting.id)), declined is None, by)
        self.wait(self.do(approving.decide_proposals, [told], approving.lane_key))
        self.compare()
        return outcome

    def offer_again(self, posting: Posting) -> None:
        super().offer_again(posting)
        self.wait(self.sweep(posting))
        self.compare()

    def save(self, decision: Decision) -> None:
        super().save(decision)
        for outcome in decision.decided:  # refused or parked, its account is stored all the same
            self.accounts.setdefault(outcome.account, Account(key=outcome.account))

    def job(self) -> Decision:
        decision = super().job()
        self.wait(self.bring_up_to_date())
        self.compare()
        self.wait(self.audit())
        return decision

    # -- the database's side

    async def settle(self, postings: Sequence[Posting]) -> Sequence[Outcome]:
        await self.learn()
        usecase = usecases.merge if isinstance(postings[0], Merge | UndoMerge) else usecases.obey
        return await self.do(usecase, [Asked(posting) for posting in postings], usecases.lane_key)

    async def do(self, usecase: UseCase, commands: Sequence[Any], lane_key: Callable[[Any], LaneKeys]) -> Sequence[Any]:
        async def once(lanes: set[int]) -> Sequence[Any]:
            async with self.database.begin(lanes) as tx:
                return (await usecase(replace(tx, now=self.now), commands)).answers

        return await with_lanes(await self.database.lanes_of(map(lane_key, commands)), once)

    async def sweep(self, posting: Posting) -> None:
        async with self.database.begin(range(await self.database.lane_count())) as tx:
            account_id = await tx.driver.fetchval(
                "SELECT account_id FROM parked WHERE (shop, source, key) = ($1, $2, $3)", *posting.id
            )
            await usecases.offer_again(replace(tx, now=self.now), account_id, posting.id)

    async def bring_up_to_date(self) -> None:
        async with self.database.begin(range(await self.database.lane_count())) as tx:
            found = await tx.driver.fetch("SELECT id FROM account WHERE shop = $1 ORDER BY member, asset", self.shop)
            await usecases.bring_up_to_date(replace(tx, now=self.now), [row["id"] for row in found])

    async def learn(self) -> None:
        """What the shop's policy is by now."""
        if self.learned == self.policy:
            return
        self.learned, policy = self.policy, self.policy
        told = LearnProgramme(
            shop=self.shop,
            revision=1,
            shortfall=policy.shortfall.value,
            zone=policy.zone,
            currency=policy.currency or "EUR",
            gifts_per_day=policy.gifts_per_day,
            gift_points_per_day=policy.gift_points_per_day,
            approval_above=policy.approval_above,
        )
        await self.database.execute(usecases.learn_programmes, [told])

    # -- the comparison

    def compare(self) -> None:
        """All of both sides' books of the shop."""
        stored = self.wait(self.read())
        assert stored.pop("entries") == {
            (entry.account.key, entry.seq): (entry.kind, entry.at, entry.hash)
            for key in self.accounts
            for entry in self.entries(*key[1:])
        }
        mine = {
            "accounts": self.accounts,
            "lots": self.lots,
            "holds": self.holds,
            "spends": self.spends,
            "shortfalls": self.shortfalls,
            "outcomes": self.outcomes,
        }
        for name, records in mine.items():
            assert stored[name] == {key: facts_of(record) for key, record in records.items()}, name
        assert stored["parked"] == sorted(parked.posting.id for parked in self.parked)

    async def read(self) -> dict[str, Any]:
        async with self.database.begin() as tx:
            ask = partial(self.ask_rows, tx.driver)
            accounts = {row[0]: rows.account_of(row) for row in await ask(rows.ACCOUNT_COLUMNS, "account AS a")}
            joined = " JOIN account AS a ON a.id = account_id"
            lots = [rows.lot_of(row, accounts[row[0]]) for row in await ask(rows.LOT_COLUMNS, "lot AS l" + joined)]
            holds = [rows.hold_of(row, accounts[row[0]]) for row in await ask(rows.HOLD_COLUMNS, "hold AS h" + joined)]
            spends = [
                rows.spend_of(row, accounts[row[0]]) for row in await ask(rows.SPEND_COLUMNS, "spend AS s" + joined)
            ]
            missed = [
                rows.shortfall_of(row, accounts[row[0]])
                for row in await ask(rows.SHORTFALL_COLUMNS, "shortfall AS f" + joined)
            ]
            outcomes = [rows.outcome_of(row) for row in await ask(rows.OUTCOME_COLUMNS, "posting AS p" + joined)]
            entries = await ask("e.account_id, e.seq, e.kind, e.at, e.hash", "entry AS e" + joined)
            parked = await ask("p.shop, p.source, p.key", "parked AS p" + joined)
        return {
            "entries": {(accounts[row[0]].key, row[1]): tuple(row)[2:] for row in entries},
            "accounts": {account.key: facts_of(account) for account in accounts.values()},
            "lots": {(lot.account.key, lot.number): facts_of(lot) for lot in lots},
            "holds": {hold.id: facts_of(hold) for hold in holds},
            "spends": {spend.id: facts_of(spend) for spend in spends},
            "shortfalls": {(row.account.key, row.source, row.key): facts_of(row) for row in missed},
            "outcomes": {outcome.id: facts_of(outcome) for outcome in outcomes},
            "parked": sorted(tuple(row) for row in parked),
        }

    async def audit(self) -> None:
        """The ledger's own check finds nothing, and of any past instant it tells what was then."""
        async with self.database.begin() as tx:
            off, by_asset = await checking.sums(tx.driver, self.shop)
            found = await checking.replay(tx.driver, self.shop, limit=1_000, chains=True)
        system = by_asset[self.asset].system if self.asset in by_asset else {}
        assert (off, {name: sum_ for name, sum_ in system.items() if sum_}) == (
            0,
            {name: sum_ for name, sum_ in self.system.items() if sum_},
        )
        assert found.members == []
        lanes = await self.database.lane_count()
        for member in ("m", "n"):
            entries = self.entries(member)
            lane = lane_of(f"{self.shop}/{member}", lanes)
            told = {entry.at: tuple(getattr(entry, f"{bucket}_after") for bucket in BUCKETS) for entry in entries}
            told[self.now] = self.buckets(member)
            for at, buckets in sorted(told.items()):
                async with self.database.look() as driver:
                    standings = await past.balances_as_of(driver, self.shop, member, at, lane=lane)
                accounts = [one.account for one in standings if one.account.key.asset == self.asset]
                seen = [tuple(getattr(one, bucket) for bucket in BUCKETS) for one in accounts] or [(0, 0, 0, 0)]
                assert seen == [buckets], at

    async def ask_rows(self, driver: Any, columns: str, of: str) -> Any:
        return await driver.fetch(f"SELECT {columns} FROM {of} WHERE a.shop = $1", self.shop)


def facts_of(record: Any) -> dict[str, Any]:
    """What a record says, without how it was come by."""
    told = {field.name: getattr(record, field.name) for field in fields(record) if field.name not in ASSIGNED}
    if isinstance(record, Outcome):
        told["error"] = None if record.error is None else (record.error.code, dict(record.error.facts))
    if isinstance(record, Account):
        told = {name: value for name, value in told.items() if name not in ("lots", "holds", "shortfalls", "spends")}
    else:
        owner = record.account
        told["account"] = owner if isinstance(owner, AccountKey) else owner.key
    return told


@pytest.mark.hypothesis
@pytest.mark.parametrize(
    ("steps", "usual", "asset"),
    [(12, 60, "points"), (40, 20, "points"), (12, 20, "stored_value"), (12, 20, "passes")],
)
async def test_what_is_stored_is_what_was_decided(
    ledger: Ledger,
    service_database: Callable[[str], Awaitable[ServiceDatabase]],
    tokens: Tokens,
    steps: int,
    usual: int,
    asset: str,
) -> None:
    """Each story is a shop of its own, its postings one by one in one database and in batches in another."""
    async with ledger_of(await service_database("ledger"), tokens) as other:
        sides = cycle([ledger.runtime.database, other.runtime.database])
        loop, made = asyncio.get_running_loop(), count()

        def books(policy: str) -> Stored:
            return Stored(policy, shop=f"shop-{next(made) // 2}", asset=asset, database=next(sides), loop=loop)

        class Machine(SideBySide):
            shelves = staticmethod(books)

        story = settings(max_examples=examples(usual), stateful_step_count=steps)
        await asyncio.to_thread(run_state_machine_as_test, Machine, settings=story)
        async with ledger_of(await service_database("ledger"), tokens) as elsewhere:
            told = await ledger.sql("SELECT DISTINCT shop FROM entry AS e JOIN account AS a ON a.id = e.account_id")
            for row in told[::9]:
                await moves(row["shop"], ledger, elsewhere)


async def test_what_a_take_back_forgets_when_its_award_goes_is_stored(ledger: Ledger) -> None:
    stored = Stored(
        "forgive", shop="shop", asset="points", database=ledger.runtime.database, loop=asyncio.get_running_loop()
    )

    def tell() -> None:
        """Each step is compared with the database."""
        stored.award(5, expires_at="06-01")
        stored.award(5, member="n", key="a")
        stored.merge()
        stored.hold("h", 10)
        stored.revoke("a", 2)
        stored.undo(stored.last_merge)
        stored.release("h")
        stored.at("06-01").job()
        assert stored.available == 5

    await asyncio.to_thread(tell)


async def moves(shop: str, ledger: Ledger, elsewhere: Ledger) -> None:
    """A story's shop is proved by its export, and is the same shop in another ledger."""
    content = await export_of(ledger, shop)
    assert verifier.verify(content.splitlines(keepends=True)).good
    await import_shop(elsewhere.database.url, content.splitlines(keepends=True))
    again = await export_of(elsewhere, shop)
    assert living(again) == living(content)
    assert history(again) == history(content)


async def export_of(ledger: Ledger, shop: str) -> bytes:
    response = await ledger.http.get(f"/v1/shops/{shop}/ledger/export?complete=true")
    assert response.status_code == 200, response.text
    return response.content
