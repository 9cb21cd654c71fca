"""What redemption asks of the ledger over HTTP: what a member has, to hold points, and to free them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import structlog

from chassis.client import Client, Unreachable
from redemption.domain.checkout import Checkout, State
from redemption.domain.errors import LedgerUnavailable
from redemption.domain.quote import Balance

STATE_OF: Final[Mapping[str, State]] = {
    "open": State.HELD,
    "captured": State.CAPTURED,
    "released": State.RELEASED,
    "expired": State.EXPIRED,
}
"""The ledger's words for a hold, in ours."""

ALREADY_THERE: Final = frozenset({200, 201})
MOST_MERGES: Final = 100
"""Members that one was merged into, each of them the next one's: a card that is replaced twice a year takes half of a
century. Merges have no circles, but one may be undone and others made while they are followed."""

FORBIDDEN: Final = 403
NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class HoldAnswer:
    """How a hold stands, or the problem with which the ledger refused it."""

    state: State
    problem: Mapping[str, Any] | None = None

    @property
    def code(self) -> str | None:
        return self.problem.get("code") if self.problem else None


class LedgerClient:
    """Calls the ledger. Writes carry keys derived from the checkout, so each may be repeated."""

    def __init__(self, url: str, token_file: Path) -> None:
        self._client = Client(url, token_file)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def balance(self, shop: str, member: str) -> Balance:
        """What a member may use now; of one that was merged what the other has, since a hold in its name finds that."""
        frozen = False
        for _ in range(MOST_MERGES):
            answer = await self._call("GET", f"/v1/shops/{_part(shop)}/members/{_part(member)}/balances")
            if answer.status == NOT_FOUND:
                return Balance(available=0)  # the ledger has not heard of the shop yet, so nobody has points there
            frozen = frozen or answer.body["frozen"]
            merged_into = answer.body["merged_into"]
            if merged_into is None:
                balances = answer.body["balances"]
                available = sum(balance["available"] for balance in balances if balance["asset"] == "points")
                return Balance(available, frozen)
            member = merged_into
        structlog.get_logger().error("too_many_merges", shop=shop, member=member)
        raise LedgerUnavailable

    async def hold(self, checkout: Checkout) -> HoldAnswer:
        """Reserve the checkout's points, exactly as many as intended."""
        answer = await self._call(
            "POST",
            f"/v1/shops/{_part(checkout.shop)}/holds",
            key=f"{checkout.hold}/hold",
            json={
                "hold": str(checkout.hold),
                "member": checkout.member,
                "amount": checkout.points,
                "expires_at": checkout.expires_at.isoformat(),
            },
        )
        if answer.status in ALREADY_THERE:
            return HoldAnswer(STATE_OF[answer.body["state"]])
        return HoldAnswer(State.REFUSED, answer.body)

    async def release(self, checkout: Checkout) -> HoldAnswer:
        """Free the checkout's points. A hold that has ended already is an answer, not a fault."""
        answer = await self._call(
            "POST",
            f"/v1/shops/{_part(checkout.shop)}/holds/{checkout.hold}/release",
            key=f"{checkout.hold}/release",
            json={},
        )
        if answer.status in ALREADY_THERE or answer.body.get("code") == "hold_not_open":
            return HoldAnswer(STATE_OF.get(answer.body.get("state", ""), State.RELEASED))
        if answer.body.get("code") == "hold_not_found":
            return HoldAnswer(State.RELEASED, answer.body)  # the ledger knows no such hold: nothing is reserved
        structlog.get_logger().error("ledger_refuses_release", hold=str(checkout.hold), problem=answer.body)
        raise LedgerUnavailable

    async def _call(self, method: str, path: str, *, key: str | None = None, json: Any = None) -> "_Answer":
        """The ledger's answer, a refusal with a code of its own included; anything else is no answer."""
        headers = {"Idempotency-Key": key} if key else None
        try:
            answer = await self._client.call(method, path, json=json, headers=headers)
            body = answer.json()
        except (Unreachable, ValueError) as error:
            structlog.get_logger().warning("ledger_unavailable", error=str(error))
            raise LedgerUnavailable from error
        if answer.status_code == FORBIDDEN or not isinstance(body, dict):
            structlog.get_logger().error("ledger_refuses_our_token", path=path, status=answer.status_code)
            raise LedgerUnavailable
        if answer.is_error and "code" not in body:
            structlog.get_logger().error("no_answer_of_the_ledger", path=path, status=answer.status_code)
            raise LedgerUnavailable
        return _Answer(answer.status_code, body)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: dict[str, Any]


def _part(value: str) -> str:
    """A path segment."""
    return quote(value, safe="")
