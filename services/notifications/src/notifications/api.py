"""Routes: parse → use case → respond."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from chassis import answer_or_raise
from chassis.auth import Caller, requires
from chassis.http import database
from chassis.idempotency import idempotent, key_of
from contracts.event import MemberId, OpaqueId
from contracts.programmes import Language
from notifications import domain, rendering, schemas, usecases
from notifications.domain import Channel, Scenario
from notifications.results import Sent
from notifications.settings import NotificationsSettings
from notifications.smtp import Mail, Mailer, message_id
from notifications.store import Contact, TemplateRow
from notifications.webhooks import check_url

PROBLEMS: Final[Mapping[type[Exception], int]] = {
    domain.ShopNotFound: 404,
    domain.ContactNotFound: 404,
    domain.TemplateNotFound: 404,
    domain.TemplateInvalid: 422,
    domain.EndpointNotFound: 404,
    domain.TargetRefused: 422,
    domain.TooManyEndpoints: 409,
    domain.MessageNotFound: 404,
    domain.DeliveryNotFound: 404,
    domain.DeliveryNotReplayable: 409,
}

REPLAYED_AT_ONCE = 1_000

router = APIRouter(prefix="/v1/shops/{shop}")

READS = [requires("messages:read")]
WRITES = [requires("messages:write")]
"""The right to; for routes that need to know the caller, `Writer` is the same."""

Writer = Annotated[Caller, *WRITES]
Limit = Annotated[int, Query(ge=1, le=200)]
Shop = Annotated[OpaqueId, Path()]
Member = Annotated[MemberId, Path()]
Name = Annotated[OpaqueId, Path()]

MEMBER_PATH: Final = "/members/{member}"
TEMPLATE_PATH: Final = "/notifications/templates/{scenario}/{language}"
ENDPOINT_PATH: Final = "/webhooks/{endpoint}"


async def _ask(request: Request, usecase: Any, command: Any) -> Any:
    (answer,) = await database(request).execute(usecase, [command])
    return answer_or_raise(answer)


# --- members -----------------------------------------------------------------------------------------------------


@router.put(f"{MEMBER_PATH}/contact", tags=["members"], dependencies=WRITES)
async def put_contact(request: Request, shop: Shop, member: Member, body: schemas.PutContact) -> schemas.Contact:
    """Keep where a member is reached, in place of any address before."""
    contact = Contact(body.email, body.name, body.language)
    return schemas.Contact.of(await _ask(request, usecases.put_contact, usecases.PutContact(shop, member, contact)))


@router.get(f"{MEMBER_PATH}/contact", tags=["members"], dependencies=READS)
async def get_contact(request: Request, shop: Shop, member: Member) -> schemas.Contact:
    """Where a member is reached."""
    return schemas.Contact.of(await _ask(request, usecases.get_contact, usecases.OfMember(shop, member)))


@router.delete(
    f"{MEMBER_PATH}/contact", status_code=204, response_class=Response, tags=["members"], dependencies=WRITES
)
async def erase_contact(request: Request, shop: Shop, member: Member) -> None:
    """Erase a member's personal data here. E-mails that still wait are dropped. Repeating it changes nothing."""
    await _ask(request, usecases.erase_contact, usecases.OfMember(shop, member))


@router.get(f"{MEMBER_PATH}/messages", tags=["members"], dependencies=READS)
async def list_messages(
    request: Request, shop: Shop, member: Member, after: UUID | None = None, limit: Limit = 50
) -> schemas.Messages:
    """What a member has been told, newest first."""
    command = usecases.ListMessages(shop, member, str(after) if after else None, limit + 1)
    found = [schemas.Message.of(each) for each in await _ask(request, usecases.list_messages, command)]
    return schemas.Messages(messages=found[:limit], next=found[limit - 1].message if len(found) > limit else None)


@router.put(f"{MEMBER_PATH}/preferences", tags=["members"], dependencies=WRITES)
async def put_preferences(
    request: Request, shop: Shop, member: Member, body: schemas.Preferences
) -> schemas.Preferences:
    """Keep what a member wants to be told by e-mail. It holds at once, also for what waits."""
    wanted = usecases.Preferences(body.email, frozenset(body.muted))
    kept = await _ask(request, usecases.put_preferences, usecases.PutPreferences(shop, member, wanted))
    return schemas.Preferences(email=kept.email_on, muted=sorted(kept.muted))


@router.get(f"{MEMBER_PATH}/preferences", tags=["members"], dependencies=READS)
async def get_preferences(request: Request, shop: Shop, member: Member) -> schemas.Preferences:
    """What a member wants to be told by e-mail."""
    kept = await _ask(request, usecases.get_preferences, usecases.OfMember(shop, member))
    return schemas.Preferences(email=kept.email_on, muted=sorted(kept.muted))


# --- settings and words ------------------------------------------------------------------------------------------


@router.get("/notifications/settings", tags=["settings"], dependencies=READS)
async def get_settings(request: Request, shop: Shop) -> schemas.Settings:
    """What holds for the shop."""
    return schemas.Settings.of(await _ask(request, usecases.get_settings, usecases.OfShop(shop)))


@router.put("/notifications/settings", tags=["settings"], dependencies=WRITES)
async def put_settings(request: Request, shop: Shop, body: schemas.Settings) -> schemas.Settings:
    """Replace the shop's settings as a whole."""
    command = usecases.PutSettings(shop, body.model_dump(mode="json", exclude_none=True))
    return schemas.Settings.of(await _ask(request, usecases.put_settings, command))


@router.get("/notifications/templates", tags=["templates"], dependencies=READS)
async def list_templates(request: Request, shop: Shop) -> schemas.Templates:
    """All words that there are for the shop: its own, and ours where it has none."""
    rows = await _ask(request, usecases.list_templates, usecases.OfShop(shop))
    own = {(row.scenario, row.language): _template(row, row.scenario, row.language) for row in rows}
    ours = {key: _template(words, *key) for key, words in rendering.builtin().items()}
    templates = [each for _, each in sorted({**ours, **own}.items())]
    return schemas.Templates(templates=templates, variables=sorted(rendering.VARIABLES))


@router.get(TEMPLATE_PATH, tags=["templates"], dependencies=READS)
async def get_template(
    request: Request, shop: Shop, scenario: Scenario, language: Annotated[Language, Path()]
) -> schemas.TemplateOf:
    """The words that hold for a scenario in a language."""
    found = await _ask(request, usecases.get_template, usecases.OfTemplate(shop, scenario, language))
    return _template(found, scenario, language)


@router.put(TEMPLATE_PATH, tags=["templates"], dependencies=WRITES)
async def put_template(
    request: Request,
    shop: Shop,
    scenario: Scenario,
    language: Annotated[Language, Path()],
    body: schemas.PutTemplate,
) -> schemas.TemplateOf:
    """Keep the shop's own words. They are tried on the fullest and the barest facts first."""
    command = usecases.PutTemplate(shop, scenario, language, body.words())
    return _template(await _ask(request, usecases.put_template, command), scenario, language)


@router.delete(TEMPLATE_PATH, status_code=204, response_class=Response, tags=["templates"], dependencies=WRITES)
async def delete_template(
    request: Request, shop: Shop, scenario: Scenario, language: Annotated[Language, Path()]
) -> None:
    """Go back to the words that come with the service."""
    await _ask(request, usecases.delete_template, usecases.OfTemplate(shop, scenario, language))


@router.post(f"{TEMPLATE_PATH}/preview", tags=["templates"], dependencies=READS)
async def preview(
    request: Request,
    shop: Shop,
    scenario: Scenario,
    language: Annotated[Language, Path()],
    body: schemas.PreviewTemplate,
) -> schemas.Preview:
    """What words would look like, with a real message's facts where there is one. Nothing is kept or sent."""
    found = await _ask(request, usecases.preview, _preview(shop, scenario, language, body))
    return schemas.Preview.of(found.words, found.message)


@router.post(f"{TEMPLATE_PATH}/test-send", tags=["templates"])
async def test_send(
    request: Request,
    shop: Shop,
    scenario: Scenario,
    language: Annotated[Language, Path()],
    caller: Writer,
    body: schemas.TestSend,
    key: Annotated[str, Depends(key_of)],
) -> schemas.TestSent:
    """Send words to an address once, now. The address is not kept; repeating the key repeats the same Message-ID."""
    found = await _ask(request, usecases.preview, _preview(shop, scenario, language, body))
    settings: NotificationsSettings = request.app.state.settings
    mailer: Mailer = request.app.state.runtime.extras["mailer"]
    delivery = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{shop}/{caller.client}/{key}"))
    result = await mailer.send(
        Mail(
            delivery=delivery,
            sender=settings.smtp_sender,
            sender_name=found.shop.sender.name,
            reply_to=found.shop.sender.reply_to,
            to=body.to,
            to_name=None,
            language=language,
            words=found.words,
            date=datetime.now(UTC),
        )
    )
    return schemas.TestSent(
        message_id=message_id(delivery, settings.smtp_sender),
        sent=isinstance(result, Sent),
        reason=None if isinstance(result, Sent) else result.reason,
    )


def _preview(shop: str, scenario: Scenario, language: str, body: schemas.PreviewTemplate) -> usecases.Preview:
    return usecases.Preview(
        shop,
        scenario,
        language,
        body.template.words() if body.template else None,
        body.member,
        str(body.message) if body.message else None,
    )


def _template(found: TemplateRow | rendering.Template, scenario: Scenario, language: str) -> schemas.TemplateOf:
    return schemas.TemplateOf(
        scenario=scenario,
        language=language,
        own=isinstance(found, TemplateRow),
        subject=found.subject,
        text=found.text,
        html=found.html,
        updated_at=found.updated_at if isinstance(found, TemplateRow) else None,
    )


# --- webhooks ----------------------------------------------------------------------------------------------------


@router.get("/webhooks", tags=["webhooks"], dependencies=READS)
async def list_endpoints(request: Request, shop: Shop) -> schemas.Endpoints:
    """Where the shop listens."""
    rows = await _ask(request, usecases.list_endpoints, usecases.OfShop(shop))
    return schemas.Endpoints(endpoints=[schemas.Endpoint.of(row) for row in rows])


@router.put(ENDPOINT_PATH, tags=["webhooks"], dependencies=WRITES)
async def put_endpoint(request: Request, shop: Shop, endpoint: Name, body: schemas.PutEndpoint) -> schemas.Endpoint:
    """Listen at a URL, under a name of the shop's choice. A new one gets a secret; saving again forgives failures."""
    settings: NotificationsSettings = request.app.state.settings
    check_url(body.url, private_targets=settings.webhook_private_targets)
    command = usecases.PutEndpoint(
        shop=shop,
        endpoint=endpoint,
        url=body.url,
        scenarios=None if body.scenarios is None else frozenset(body.scenarios),
        enabled=body.enabled,
        most=settings.webhook_endpoints,
    )
    return schemas.Endpoint.of(await _ask(request, usecases.put_endpoint, command))


@router.get(ENDPOINT_PATH, tags=["webhooks"], dependencies=READS)
async def get_endpoint(request: Request, shop: Shop, endpoint: Name) -> schemas.Endpoint:
    """One of them."""
    return schemas.Endpoint.of(await _ask(request, usecases.get_endpoint, usecases.OfEndpoint(shop, endpoint)))


@router.delete(ENDPOINT_PATH, status_code=204, response_class=Response, tags=["webhooks"], dependencies=WRITES)
async def delete_endpoint(request: Request, shop: Shop, endpoint: Name) -> None:
    """Listen there no more; what waits for it is dropped. Repeating it changes nothing."""
    await _ask(request, usecases.delete_endpoint, usecases.OfEndpoint(shop, endpoint))


@router.get(f"{ENDPOINT_PATH}/secret", tags=["webhooks"], dependencies=WRITES)
async def get_secret(request: Request, shop: Shop, endpoint: Name, response: Response) -> schemas.Secret:
    """The secret that verifies its webhooks. Needs the right to write: whoever knows it could have made it."""
    row = await _ask(request, usecases.get_endpoint, usecases.OfEndpoint(shop, endpoint))
    response.headers["Cache-Control"] = "no-store"
    return schemas.Secret(secret=row.secret)


@router.post(f"{ENDPOINT_PATH}/rotate-secret", tags=["webhooks"], response_model=schemas.Endpoint)
async def rotate_secret(
    request: Request, shop: Shop, endpoint: Name, caller: Writer, body: schemas.RotateSecret
) -> Response:
    """Make a new secret; the old one signs beside it for a while. Read the new one at `…/secret`."""
    command = usecases.RotateSecret(shop, endpoint, timedelta(hours=body.keep_hours))
    return await idempotent(request, caller, usecases.rotate_secret, command, respond=schemas.Endpoint.of)


# --- deliveries --------------------------------------------------------------------------------------------------


@router.get("/notifications/deliveries", tags=["deliveries"], dependencies=READS)
async def list_deliveries(
    request: Request,
    shop: Shop,
    state: Annotated[str | None, Query(pattern="^(waiting|sent|dead|dropped)$")] = None,
    channel: Channel | None = None,
    endpoint: Annotated[OpaqueId | None, Query()] = None,
    member: Annotated[OpaqueId | None, Query()] = None,
    after: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
    limit: Limit = 50,
) -> schemas.Deliveries:
    """The shop's deliveries, newest first; `state=dead` are those that were given up."""
    command = usecases.ListDeliveries(
        shop, state=state, channel=channel, endpoint=endpoint, member=member, before=after, limit=limit + 1
    )
    rows = await _ask(request, usecases.list_deliveries, command)
    return schemas.Deliveries(
        deliveries=[schemas.Delivery.of(row) for row in rows[:limit]],
        next=rows[limit - 1].number if len(rows) > limit else None,
    )


@router.get("/notifications/deliveries/{delivery}", tags=["deliveries"], dependencies=READS)
async def get_delivery(request: Request, shop: Shop, delivery: UUID) -> schemas.Delivery:
    """One delivery."""
    command = usecases.ListDeliveries(shop, delivery=str(delivery), limit=1)
    rows = await _ask(request, usecases.list_deliveries, command)
    if not rows:
        raise domain.DeliveryNotFound(str(delivery))
    return schemas.Delivery.of(rows[0])


@router.post("/notifications/deliveries/{delivery}/replay", tags=["deliveries"], response_model=schemas.ReplayedOne)
async def replay_delivery(request: Request, shop: Shop, delivery: UUID, caller: Writer) -> Response:
    """Make a delivery again, with its old id, whatever became of it before."""
    command = usecases.ReplayDelivery(shop, str(delivery))
    return await idempotent(
        request,
        caller,
        usecases.replay_delivery,
        command,
        respond=lambda answer: schemas.ReplayedOne(delivery=UUID(answer)),
    )


@router.post("/notifications/deliveries/replay-dead", tags=["deliveries"], response_model=schemas.Replayed)
async def replay_dead(request: Request, shop: Shop, caller: Writer, body: schemas.Replay) -> Response:
    """Make dead deliveries again, oldest first, with their old ids."""
    command = usecases.ReplayDead(shop, body.channel, body.endpoint, REPLAYED_AT_ONCE)
    return await idempotent(
        request, caller, usecases.replay_dead, command, respond=lambda count: schemas.Replayed(replayed=count)
    )
