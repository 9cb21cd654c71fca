"""Redemption over HTTP: settings, the one-click stop, quotes and checkouts."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response

from chassis.auth import Caller, requires
from chassis.http import database
from chassis.idempotency import content_hash, idempotent, key_of
from chassis.outcome import answer_or_raise
from contracts.event import OpaqueId
from redemption.domain import errors
from redemption.domain.quote import Quote
from redemption.holding import Desk, answer_of
from redemption.schemas import (
    AskedCheckout,
    AskedQuote,
    CheckoutAnswer,
    QuoteAnswer,
    Releasing,
    Switch,
    Using,
    UsingStored,
    using_of,
)
from redemption.store.terms import Terms
from redemption.usecases import checkouts, terms
from redemption.usecases.checkouts import Find
from redemption.usecases.terms import SaveSettings
from redemption.usecases.terms import Switch as SwitchUsing

PROBLEMS: Final[dict[type[Exception], int]] = {
    errors.ShopNotFound: 404,
    errors.SettingsNotFound: 404,
    errors.CheckoutNotFound: 404,
    errors.CheckoutExists: 409,
    errors.CheckoutCaptured: 409,
    errors.IdempotencyConflict: 409,
    errors.PointsNotUsable: 409,
    errors.TooManyPoints: 409,
    errors.InsufficientPoints: 409,
    errors.HoldRefused: 409,
    errors.NotWholeSteps: 422,
    errors.WorthNothing: 422,
    errors.RateMissing: 422,
    errors.LedgerUnavailable: 503,
}
"""The status of every refusal of the domain."""

ROUTES = APIRouter(prefix="/v1/shops/{shop}")

Shop = Annotated[OpaqueId, Path(description="The shop's id.")]
CheckoutId = Annotated[OpaqueId, Path(description="The checkout's id.")]


def desk(request: Request) -> Desk:
    """Where checkouts are served in this process."""
    served: Desk = request.app.state.runtime.extras["desk"]
    return served


async def _one(request: Request, usecase: Any, command: Any) -> Any:
    (answer,) = await database(request).execute(usecase, [command])
    return answer_or_raise(answer)


# -- settings


@ROUTES.get(
    "/redemption/settings", tags=["settings"], summary="How points can be used", dependencies=[requires("rules:read")]
)
async def get_settings(request: Request, shop: Shop) -> UsingStored:
    return _stored(await _one(request, terms.look_up_settings, shop))


@ROUTES.put(
    "/redemption/settings",
    tags=["settings"],
    summary="Set how points can be used",
    dependencies=[requires("rules:write")],
)
async def put_settings(request: Request, shop: Shop, using: Using) -> UsingStored:
    """The whole document; what is left out takes its default. The one-click stop is not touched."""
    return _stored(await _one(request, terms.save, SaveSettings(shop, using.model_dump(mode="json"))))


@ROUTES.put(
    "/redemption/switch",
    tags=["settings"],
    summary="Stop or start using points with one click",
    dependencies=[requires("rules:write")],
)
async def put_switch(request: Request, shop: Shop, switch: Switch) -> UsingStored:
    """Earning goes on, and so do holds that exist and whatever paid, refunded and cancelled orders bring."""
    return _stored(await _one(request, terms.switch, SwitchUsing(shop, switch.on)))


def _stored(found: Terms) -> UsingStored:
    using = using_of(found.document)
    return UsingStored(
        online=using.online,
        pos=using.pos,
        on=not found.is_stopped,
        revision=found.revision,
        changed_at=found.changed_at,
    )


# -- quotes and checkouts


@ROUTES.post(
    "/checkouts/quote",
    tags=["checkouts"],
    summary="How many points may be used for a cart",
    dependencies=[requires("checkouts:read")],
)
async def post_quote(request: Request, shop: Shop, asked: AskedQuote) -> QuoteAnswer:
    """The most points that the member may use for this cart and what they are worth, or every reason why none."""
    found = await _one(request, terms.look_up, shop)
    offer = await desk(request).offer(shop, asked.member, asked.cart, found)
    return _quoted(asked.member, offer)


@ROUTES.post(
    "/checkouts",
    tags=["checkouts"],
    summary="Hold points for a cart",
    status_code=201,
    response_model=CheckoutAnswer,
)
async def post_checkout(
    request: Request, shop: Shop, asked: AskedCheckout, caller: Annotated[Caller, requires("checkouts:write")]
) -> Response:
    """Points stay reserved until the order is paid, called off, or the time limit passes.

    More than the quote allows is refused with the maximum; `points: null` takes as many as possible. Needs an
    `Idempotency-Key`; a refusal changes nothing and leaves its key unused.
    """
    key = key_of(request)
    answer = await desk(request).place(shop, caller.client, key, await content_hash(request), asked)
    return Response(answer, 201, media_type="application/json")


@ROUTES.get(
    "/checkouts/{checkout}",
    tags=["checkouts"],
    summary="How a checkout's points stand",
    dependencies=[requires("checkouts:read")],
)
async def get_checkout(request: Request, shop: Shop, checkout: CheckoutId) -> CheckoutAnswer:
    return answer_of(await _one(request, checkouts.find, Find(shop, checkout)))


@ROUTES.post(
    "/checkouts/{checkout}/release",
    tags=["checkouts"],
    summary="Free a checkout's points",
)
async def post_release(
    request: Request, shop: Shop, checkout: CheckoutId, caller: Annotated[Caller, requires("checkouts:write")]
) -> CheckoutAnswer:
    """Releasing what is free changes nothing; what a paid order has used comes back by refund or cancellation."""
    remembered = await idempotent(
        request,
        caller,
        checkouts.find,
        Find(shop, checkout),
        respond=lambda seen: Releasing(attempt=seen.checkout.id),
    )
    find = Find(shop, checkout, Releasing.model_validate_json(bytes(remembered.body)).attempt)
    await desk(request).release(find)
    return answer_of(await _one(request, checkouts.find, find))


def _quoted(member: str, offer: Quote) -> QuoteAnswer:
    return QuoteAnswer.model_validate(
        {
            "member": member,
            "points": offer.points,
            "worth": offer.worth,
            "currency": offer.currency,
            "available": offer.available,
            "step": offer.step,
            "limited_by": offer.limited_by or None,
            "automatic": offer.automatic,
            "reasons": [reason.told() for reason in offer.reasons],
        }
    )
