"""Holding and freeing points: intent recorded, ledger called, outcome recorded; no transaction open across the call."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from chassis import Database, answer_or_raise
from chassis.ids import new_id, new_uuid
from redemption.domain.checkout import Checkout, State, Usage
from redemption.domain.errors import HoldRefused, InsufficientPoints, RedemptionError
from redemption.domain.quote import Quote, choose, quote
from redemption.ledger_client import HoldAnswer, LedgerClient
from redemption.schemas import AskedCart, AskedCheckout, CheckoutAnswer, settings_of
from redemption.store.terms import Terms
from redemption.usecases import checkouts
from redemption.usecases.checkouts import Begin, Find, Intend, Record, Seen

TRIES = 3
"""Of a hold whose points went elsewhere between the quote and the ledger's answer."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where checkouts are served: our own database, and the ledger over HTTP."""

    database: Database
    ledger: LedgerClient

    async def offer(self, shop: str, member: str, cart: AskedCart, terms: Terms) -> Quote:
        """How many points the member may use for the cart now; the quote and every hold ask this."""
        programme = terms.programme
        channels = settings_of(terms.document, programme.currency)
        settings = replace(channels, stopped=terms.is_stopped, programme_on=programme.is_on)
        basket = cart.to_domain(programme.currency)
        return quote(settings, basket, await self.ledger.balance(shop, member))

    async def place(self, shop: str, client: str, key: str, content_hash: bytes, asked: AskedCheckout) -> str:
        """Hold points for a cart and give the answer, as JSON; the same key and content gets the first answer again."""
        begin = Begin(shop, client, key, content_hash, asked.checkout or new_id())
        for attempt in range(TRIES):
            found = await self._one(checkouts.begin, begin)
            if isinstance(found, Terms):
                found = await self._intend(begin, asked, found)
            settled = found if found.answer else await self.finish(found)
            if settled.answer:
                return settled.answer
            refusal = _refusal(settled)
            if not isinstance(refusal, InsufficientPoints) or attempt == TRIES - 1:
                raise refusal
        raise AssertionError("unreachable: the last try returns or raises")

    async def release(self, find: Find) -> Checkout:
        """Free a checkout's points; what is free already stays so."""
        found: Checkout = await self._one(checkouts.begin_release, find)
        if found.state is State.INTENDED:  # the hold itself is still under way: end that first
            await self.finish(found)
            found = await self._one(checkouts.begin_release, find)
        return await self.finish(found)

    async def finish(self, checkout: Checkout) -> Checkout:
        """Do what a checkout's state says is under way, and record the ledger's answer; safe to repeat at any time."""
        if checkout.state is State.INTENDED:
            answer = await self.ledger.hold(checkout)
        elif checkout.state is State.RELEASING:
            answer = await self.ledger.release(checkout)
        else:
            answer = HoldAnswer(checkout.state)
        recorded: Checkout = await self._one(checkouts.record, Record(checkout, answer.state, _say, answer.problem))
        return recorded

    async def _intend(self, begin: Begin, asked: AskedCheckout, terms: Terms) -> Checkout:
        offered = await self.offer(begin.shop, asked.member, asked.cart, terms)
        use = choose(offered, asked.points, at_most=asked.at_most)
        draft = partial(
            Checkout,
            id=new_uuid(),
            shop=begin.shop,
            checkout=begin.checkout,
            client=begin.client,
            idempotency_key=begin.idempotency_key,
            content_hash=begin.content_hash,
            member=asked.member,
            channel=asked.cart.channel,
            currency=asked.cart.currency,
            points=use.points,
            worth=use.worth,
            settings_revision=terms.revision,
            cart=asked.cart.model_dump(mode="json", exclude_defaults=True),
            state=State.INTENDED,
            hold=new_uuid(),
            order_id=asked.order,
        )
        recorded: Checkout = await self._one(checkouts.intend, Intend(begin, draft, terms.programme.hold_minutes))
        return recorded

    async def _one(self, usecase: Any, command: Any) -> Any:
        (answer,) = await self.database.execute(usecase, [command])
        return answer_or_raise(answer)


def answer_of(seen: Seen) -> CheckoutAnswer:
    """A checkout as the API tells it."""
    checkout, usage = seen.checkout, seen.usage
    return CheckoutAnswer.model_validate(
        {
            "checkout": checkout.checkout,
            "member": checkout.member,
            "state": checkout.state.value,
            "points": checkout.points,
            "worth": checkout.worth,
            "currency": checkout.currency,
            "channel": checkout.channel,
            "order": checkout.order_id,
            "expires_at": checkout.expires_at,
            "captured": usage.captured,
            "returned": usage.returned,
            "shortfall": usage.shortfall,
            "difference": usage.difference,
            "late": checkout.is_late,
            "refusal": checkout.problem.get("code") if checkout.problem else None,
            "created_at": checkout.created_at,
            "changed_at": checkout.changed_at,
        }
    )


def _say(checkout: Checkout) -> str:
    """The first answer for a checkout, before any order has used it."""
    return answer_of(Seen(checkout, Usage())).model_dump_json()


def _refusal(checkout: Checkout) -> RedemptionError:
    """The ledger's refusal, in our own words where we have them."""
    problem: Mapping[str, Any] = checkout.problem or {}
    code = str(problem.get("code", "unknown"))
    if code == "insufficient_points":
        return InsufficientPoints(asked=checkout.points, available=int(problem.get("available", 0)))
    about_http = ("type", "title", "status", "detail", "code")
    return HoldRefused(reason=code, facts={name: fact for name, fact in problem.items() if name not in about_http})
