"""A second person over HTTP: who may decide what, once, and what stands in the books afterwards."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from chassis.messages import Raw, Received
from contracts import decode, encode
from contracts.ledger import PointsChanged
from contracts.postings import Cause, Credit, PostingRequested
from contracts.programmes import ApprovalAbove, ProgrammeChanged
from ledger import consumers, jobs, schemas
from ledger.store.log import LedgerLog

from .conftest import SHOP, Ledger

M = "m-1"
BASE = f"/v1/shops/{SHOP}"
RECEIVED = Received(Raw("postings", 0, 0, None, (), b""), None)
CAUSE = {"operator": "ana", "reason": "goodwill"}


class Desk:
    """Ana asks, Ben decides, each with a token of their own."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.ana = self._as("desk-ana")
        self.ben = self._as("desk-ben")

    def _as(self, subject: str) -> dict[str, str]:
        return self.ledger.tokens.headers("ledger:read ledger:write ledger:approve", shop=SHOP, sub=subject)

    async def ask(self, kind: str, amount: int, *, key: str = "k", **more: Any) -> httpx.Response:
        """A manual posting of Ana's."""
        effect = {"kind": kind, "amount": amount, **more.pop("effect", {})}
        posting = {"key": key, "member": M, "cause": CAUSE, "effect": effect, **more}
        return await self.ledger.http.post(f"{BASE}/postings", json={"postings": [posting]}, headers=self.ana)

    async def proposed(self, kind: str, amount: int, **more: Any) -> str:
        """The proposal that a posting of Ana's is."""
        answer = await self.ask(kind, amount, **more)
        assert answer.status_code == 202, answer.text
        (outcome,) = answer.json()["outcomes"]
        assert (outcome["outcome"], outcome["entries"], outcome["refusal"]) == ("pending_approval", [], None)
        return str(outcome["proposal"])

    async def decide(
        self, proposal: str, how: str, *, headers: dict[str, str] | None = None, key: str = "d", **body: Any
    ) -> httpx.Response:
        """A decision, Ben's unless somebody else's."""
        sent = {**(headers or self.ben), "idempotency-key": key}
        return await self.ledger.http.post(f"{BASE}/ledger/proposals/{proposal}/{how}", json=body, headers=sent)

    async def proposal(self, proposal: str) -> dict[str, Any]:
        """As it stands."""
        answer = await self.ledger.http.get(f"{BASE}/ledger/proposals/{proposal}", headers=self.ben)
        assert answer.status_code == 200, answer.text
        schemas.Proposal.model_validate_json(answer.content)
        return dict(answer.json())


@pytest.fixture
async def desk(ledger: Ledger) -> AsyncIterator[Desk]:
    await ledger.learn(revision=2, approval_above={"points": 100, "stored_value": 0})
    yield Desk(ledger)
    await ledger.check()


async def test_an_approved_posting_stands_in_the_books_under_its_key_with_both_people(desk: Desk) -> None:
    proposal = await desk.proposed("credit", 500, effect={"memo": "sorry for the delay"}, order="o-1")
    assert await desk.ledger.buckets(M) == (0, 0, 0, 0)
    seen = await desk.proposal(proposal)
    assert (seen["state"], seen["proposed_by"], seen["cause"], seen["memo"]) == (
        "open",
        "desk-ana",
        CAUSE,
        "sorry for the delay",
    )
    answer = await desk.decide(proposal, "approve", reason="checked")
    assert answer.status_code == 200, answer.text
    decided = answer.json()
    assert (decided["state"], decided["decided_by"], decided["reason"]) == ("approved", "desk-ben", "checked")
    assert (decided["outcome"], decided["seq"], decided["refusal"]) == ("posted", 1, None)
    assert decided["decided_at"] >= decided["proposed_at"]
    (line,) = await desk.ledger.entries(M)
    assert (line["kind"], line["source"], line["posting"], line["order"], line["memo"]) == (
        "credit",
        "desk-ana",
        "k",
        "o-1",
        "sorry for the delay",
    )
    assert line["cause"] == {**CAUSE, "approver": "desk-ben", "proposer": "desk-ana"}
    again = (await desk.ask("credit", 500, effect={"memo": "sorry for the delay"}, order="o-1")).json()["outcomes"][0]
    assert (again["outcome"], again["repeated"], again["proposal"]) == ("posted", True, None)
    assert again["entries"][0]["hash"] == line["hash"]
    async with desk.ledger.runtime.database.begin() as tx:
        lanes = dict.fromkeys(range(tx.lane_count), 0)
        (told,) = await LedgerLog().read(tx.driver, lanes, 10)
    event = decode(PointsChanged, told.body)
    assert (event.cause.proposer, event.cause.approver) == ("desk-ana", "desk-ben")


async def test_up_to_the_threshold_and_of_other_assets_one_person_is_enough(desk: Desk) -> None:
    assert (await desk.ask("credit", 100)).status_code == 200
    assert (await desk.ask("credit", 9_999, key="passes", asset="passes")).status_code == 200
    await desk.proposed("credit", 1, key="money", asset="stored_value")
    await desk.proposed("debit", 101, key="debit")


async def test_asked_again_it_is_the_same_proposal_and_other_content_is_a_conflict(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.ask("credit", 500) for _ in range(5)))
    outcomes = [answer.json()["outcomes"][0] for answer in answers]
    assert {answer.status_code for answer in answers} == {202}
    assert len({outcome["proposal"] for outcome in outcomes}) == 1
    assert sorted(outcome["repeated"] for outcome in outcomes) == [False] + [True] * 4
    conflict = await desk.ask("credit", 501)
    assert (conflict.status_code, conflict.json()["code"]) == (409, "idempotency_conflict")
    assert len(await desk.ledger.sql("SELECT FROM proposal")) == 1


async def test_who_proposes_does_not_approve_by_token_or_by_name(desk: Desk) -> None:
    proposal = await desk.proposed("credit", 500)
    named = desk.ledger.tokens.headers("ledger:approve", shop=SHOP, sub="ana")
    for headers in (desk.ana, named):
        answer = await desk.decide(proposal, "approve", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "own_proposal")
    assert (await desk.proposal(proposal))["state"] == "open"
    assert await desk.ledger.buckets(M) == (0, 0, 0, 0)
    withdrawn = await desk.decide(proposal, "reject", headers=desk.ana)
    assert (withdrawn.status_code, withdrawn.json()["decided_by"]) == (200, "desk-ana")


async def test_approved_by_many_at_once_it_is_posted_once(desk: Desk) -> None:
    proposal = await desk.proposed("credit", 500)
    others = [desk._as(f"desk-{number}") for number in range(6)]
    answers = await asyncio.gather(
        *(desk.decide(proposal, "approve", headers=one) for one in others),
        *(desk.decide(proposal, "reject", headers=one, key="r") for one in others),
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 11
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"proposal_not_open"}
    approved = (await desk.proposal(proposal))["state"] == "approved"
    assert await desk.ledger.buckets(M) == ((500 if approved else 0), 0, 0, 0)
    assert len(await desk.ledger.entries(M)) == 1


async def test_a_decision_again_is_its_first_answer_and_its_key_is_for_nothing_else(desk: Desk) -> None:
    proposal = await desk.proposed("credit", 500)
    answers = await asyncio.gather(*(desk.decide(proposal, "approve") for _ in range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.content for answer in answers}) == 1
    other = await desk.proposed("credit", 500, key="k-2")
    for answer in (
        await desk.decide(other, "approve"),
        await desk.decide(proposal, "reject"),
        await desk.decide(proposal, "approve", reason="other"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert (await desk.proposal(other))["state"] == "open"
    assert await desk.ledger.buckets(M) == (500, 0, 0, 0)


async def test_what_is_rejected_is_refused_for_good(desk: Desk) -> None:
    proposal = await desk.proposed("credit", 500)
    decided = (await desk.decide(proposal, "reject", reason="too_much")).json()
    assert (decided["state"], decided["outcome"], decided["refusal"]["code"]) == (
        "rejected",
        "refused",
        "proposal_rejected",
    )
    again = await desk.ask("credit", 500)
    assert (again.status_code, again.json()["code"], again.json()["rejected_by"]) == (
        409,
        "proposal_rejected",
        "desk-ben",
    )
    late = await desk.decide(proposal, "approve", key="late")
    assert (late.status_code, late.json()["code"], late.json()["state"]) == (409, "proposal_not_open", "rejected")
    (line,) = await desk.ledger.entries(M)
    assert (line["type"], line["code"]) == ("refusal", "proposal_rejected")


async def test_a_debit_of_more_than_there_is_by_then_is_refused_and_stays_so(desk: Desk) -> None:
    await desk.ledger.award(M, 500)
    proposal = await desk.proposed("debit", 400)
    await desk.ledger.hold(M, 200, hold="h-1")
    decided = (await desk.decide(proposal, "approve")).json()
    assert (decided["state"], decided["outcome"], decided["refusal"]["code"]) == (
        "approved",
        "refused",
        "insufficient_points",
    )
    assert await desk.ledger.buckets(M) == (300, 0, 200, 0)
    again = await desk.ask("debit", 400)
    assert (again.status_code, again.json()["code"]) == (409, "insufficient_points")


async def test_what_nobody_decides_on_expires_whether_or_not_a_job_has_run(desk: Desk) -> None:
    proposal = await desk.proposed("credit", 500)
    await desk.ledger.age(days=31)
    seen = await desk.proposal(proposal)
    assert (seen["state"], seen["decided_at"], seen["decided_by"]) == ("expired", seen["open_until"], None)
    late = await desk.decide(proposal, "approve")
    assert (late.status_code, late.json()["code"], late.json()["state"]) == (409, "proposal_not_open", "expired")
    for _ in range(2):
        await jobs.expire_proposals(desk.ledger.runtime.database, asyncio.Event())
    again = await desk.ask("credit", 500)
    assert (again.status_code, again.json()["code"]) == (409, "proposal_expired")
    assert (await desk.proposal(proposal))["outcome"] == "refused"
    assert await desk.ledger.buckets(M) == (0, 0, 0, 0)
    assert len(await desk.ledger.entries(M)) == 1


async def test_in_a_longer_list_each_posting_has_its_own_outcome(desk: Desk) -> None:
    postings = [
        {"key": f"k-{amount}", "member": M, "cause": CAUSE, "effect": {"kind": "credit", "amount": amount}}
        for amount in (100, 101, 50)
    ]
    answer = await desk.ledger.http.post(f"{BASE}/postings", json={"postings": postings}, headers=desk.ana)
    outcomes = answer.json()["outcomes"]
    assert (answer.status_code, [outcome["outcome"] for outcome in outcomes]) == (
        202,
        ["posted", "pending_approval", "posted"],
    )
    schemas.SettledPostings.model_validate_json(answer.content)
    assert await desk.ledger.buckets(M) == (150, 0, 0, 0)


async def test_proposals_are_listed_newest_first_by_state_in_pages(desk: Desk) -> None:
    made = [await desk.proposed("credit", 200, key=f"k-{number}") for number in range(5)]
    await desk.decide(made[1], "reject")
    url = f"{BASE}/ledger/proposals"
    whole = (await desk.ledger.http.get(url, headers=desk.ben)).json()
    assert [one["proposal"] for one in whole["proposals"]] == made[::-1]
    assert whole["next"] is None
    found: list[str] = []
    query: dict[str, Any] = {"state": "open", "limit": 2}
    while True:
        page = await desk.ledger.http.get(url, params=query, headers=desk.ben)
        schemas.Proposals.model_validate_json(page.content)
        found += [one["proposal"] for one in page.json()["proposals"]]
        if page.json()["next"] is None:
            break
        query["after"] = page.json()["next"]
    assert found == [made[4], made[3], made[2], made[0]]
    for bad in ({"state": "done"}, {"limit": "0"}, {"after": "x"}, {"after": "0"}):
        assert (await desk.ledger.http.get(url, params=bad, headers=desk.ben)).status_code == 422


async def test_an_erased_memo_is_gone_from_the_proposal_too(desk: Desk) -> None:
    proposal = await desk.proposed("credit", 500, effect={"memo": "private words"})
    gone = await desk.ledger.http.delete(f"{BASE}/postings/memo", params={"posting": "k"}, headers=desk.ana)
    assert gone.status_code == 204
    assert (await desk.proposal(proposal))["memo"] is None
    assert await desk.ledger.sql("SELECT FROM proposal WHERE posting::text LIKE '%private%'") == []
    assert (await desk.decide(proposal, "approve")).json()["outcome"] == "posted"


@pytest.mark.parametrize("how", ["approve", "reject"])
async def test_who_may_decide_and_on_what(desk: Desk, how: str) -> None:
    proposal = await desk.proposed("credit", 500)
    unknown = "00000000-0000-8000-8000-000000000000"
    tokens = desk.ledger.tokens
    sent = {"idempotency-key": "x"}
    for path, headers, body, status, code in (
        (proposal, {"authorization": "", **sent}, {}, 401, "unauthorized"),
        (proposal, {**tokens.headers("ledger:write", shop=SHOP), **sent}, {}, 403, "scope_missing"),
        (proposal, {**tokens.headers("ledger:approve", shop="another"), **sent}, {}, 404, "shop_not_found"),
        (proposal, desk.ben, {}, 400, "idempotency_key_missing"),
        (unknown, {**desk.ben, **sent}, {}, 404, "proposal_not_found"),
        ("nonsense", {**desk.ben, **sent}, {}, 422, "invalid_request"),
        (proposal, {**desk.ben, **sent}, {"note": "x"}, 422, "invalid_request"),
        (proposal, {**desk.ben, **sent}, {"reason": "no spaces"}, 422, "invalid_request"),
    ):
        url = f"{BASE}/ledger/proposals/{path}/{how}"
        answer = await desk.ledger.http.post(url, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert (await desk.proposal(proposal))["state"] == "open"
    await desk.ledger.learn("elsewhere")
    elsewhere = f"/v1/shops/elsewhere/ledger/proposals/{proposal}"
    assert (await desk.ledger.http.get(elsewhere)).json()["code"] == "proposal_not_found"


@pytest.mark.parametrize("name", ["approver", "proposer"])
async def test_nobody_claims_an_approval_in_a_cause(desk: Desk, name: str) -> None:
    posting = {"key": "k", "member": M, "cause": {**CAUSE, name: "ben"}, "effect": {"kind": "credit", "amount": 1}}
    answer = await desk.ledger.http.post(f"{BASE}/postings", json={"postings": [posting]}, headers=desk.ana)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert await desk.ledger.sql("SELECT FROM account") == []


async def test_an_activation_waits_until_its_credit_is_approved(desk: Desk) -> None:
    proposal = await desk.proposed("credit", 500, effect={"activates_on": "signed"})
    posting = {"key": "e", "member": M, "effect": {"kind": "activate", "award": "k", "award_source": "desk-ana"}}
    waits = await desk.ledger.http.post(f"{BASE}/postings", json={"postings": [posting]}, headers=desk.ben)
    assert waits.json()["outcomes"][0]["outcome"] == "parked"
    await desk.decide(proposal, "approve")
    assert await desk.ledger.buckets(M) == (500, 0, 0, 0)
    assert await desk.ledger.sql("SELECT FROM parked") == []


async def test_services_over_kafka_need_nobodys_approval(desk: Desk) -> None:
    event = PostingRequested.example().model_copy(
        update={"shop": SHOP, "member": M, "effect": Credit(amount=500), "cause": Cause(reason="migration")}
    )
    asked = consumers.POSTINGS.commands[PostingRequested](decode(PostingRequested, encode(event)), RECEIVED)
    assert asked is not None
    (settled,) = await desk.ledger.settle([asked])
    assert (settled.outcome.result, await desk.ledger.buckets(M)) == ("posted", (500, 0, 0, 0))


def test_the_thresholds_are_those_of_the_programme() -> None:
    event = ProgrammeChanged.example().model_copy(update={"approval_above": ApprovalAbove(points=100, growth=0)})
    learn = consumers.PROGRAMMES.commands[ProgrammeChanged]
    told = learn(decode(ProgrammeChanged, encode(event)), RECEIVED)
    assert told is not None
    assert (told.approval_above, told.currency) == ({"points": 100, "growth": 0}, "EUR")
    before = learn(decode(ProgrammeChanged, encode(ProgrammeChanged.example())), RECEIVED)
    assert before is not None
    assert before.approval_above == {}
