"""Routes: parse → use case → respond. One table gives the domain's errors their statuses."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response as HttpResponse

from chassis import Database, UseCase, answer_or_raise
from chassis.auth import Caller, requires
from chassis.idempotency import idempotent
from chassis.problems import Problem
from contracts.event import OpaqueId
from contracts.orders import Line, OrderPlaced, Tender
from rules import store
from rules.documents import RuleDocument
from rules.domain.errors import (
    CurrencyFixed,
    NothingToRollBackTo,
    OrderNotFound,
    RateMissing,
    RuleNotFound,
    RuleSetInvalid,
    RuleSetNotFound,
    ShopNotFound,
)
from rules.orders import fault_of
from rules.results import RuleSetView, view_of
from rules.schemas import (
    ActivateBody,
    AwardView,
    Differences,
    EarningsView,
    PreviewAward,
    PreviewBody,
    PreviewView,
    ProgrammeBody,
    ProgrammeView,
    RuleOutcomeView,
    RuleSetBody,
    RuleSets,
    RuleSetSummary,
    RuleSetWhole,
    RulesView,
    RuleView,
)
from rules.usecases.configuring import (
    Activate,
    Compare,
    MakeRuleSet,
    PutRule,
    RollBack,
    SetProgramme,
    activate,
    compare,
    make_rule_sets,
    put_rules,
    roll_back,
    set_programme,
)
from rules.usecases.reading import (
    AskEarnings,
    AskPreview,
    Earnings,
    Preview,
    RuleOutcome,
    earnings,
    preview,
    stage_name,
)

PROBLEMS: Final = {
    ShopNotFound: 404,
    RuleNotFound: 404,
    RuleSetNotFound: 404,
    OrderNotFound: 404,
    RuleSetInvalid: 422,
    RateMissing: 422,
    CurrencyFixed: 409,
    NothingToRollBackTo: 409,
}

READ, WRITE = "rules:read", "rules:write"

Reader = Annotated[Caller, requires(READ)]
Writer = Annotated[Caller, requires(WRITE)]
VersionNumber = Annotated[int, Path(ge=1, le=2**53)]

router = APIRouter(prefix="/v1/shops/{shop}", tags=["rules"])


# -- programme


@router.get("/programme")
async def get_programme(request: Request, shop: OpaqueId, _caller: Reader) -> ProgrammeView:
    """The shop's settings."""
    database: Database = request.app.state.database
    async with database.begin() as tx:
        found = await store.required_programme(tx, shop)
    return _programme_view(found)


@router.put("/programme")
async def put_programme(request: Request, shop: OpaqueId, body: ProgrammeBody, _caller: Writer) -> ProgrammeView:
    """Set the shop's settings, whole; all services are told."""
    wanted = store.Programme(shop, 0, **body.model_dump())
    return _programme_view(await _run(request, set_programme, SetProgramme(wanted)))


# -- drafts


@router.get("/rules")
async def list_rules(request: Request, shop: OpaqueId, _caller: Reader) -> RulesView:
    """All drafts."""
    database: Database = request.app.state.database
    async with database.begin() as tx:
        await store.required_programme(tx, shop)
        drafts = await store.drafts(tx, shop)
    return RulesView(rules=[RuleView(rule=rule, document=document) for rule, document in drafts.items()])


@router.get("/rules/{rule}")
async def get_rule(request: Request, shop: OpaqueId, rule: OpaqueId, _caller: Reader) -> RuleView:
    """One draft."""
    database: Database = request.app.state.database
    async with database.begin() as tx:
        await store.required_programme(tx, shop)
        drafts = await store.drafts(tx, shop)
    if rule not in drafts:
        raise RuleNotFound(rule)
    return RuleView(rule=rule, document=drafts[rule])


@router.put("/rules/{rule}")
async def put_rule(request: Request, shop: OpaqueId, rule: OpaqueId, body: RuleDocument, _caller: Writer) -> RuleView:
    """Write a draft. It decides nothing until drafts are made into a version and that is activated."""
    await _run(request, put_rules, PutRule(shop, rule, body))
    return RuleView(rule=rule, document=body.canonical())


@router.delete("/rules/{rule}", status_code=204, response_class=HttpResponse)
async def delete_rule(request: Request, shop: OpaqueId, rule: OpaqueId, _caller: Writer) -> None:
    """Delete a draft; versions that have the rule keep it."""
    await _run(request, put_rules, PutRule(shop, rule, None))


# -- versions


@router.get("/rule-sets")
async def list_rule_sets(
    request: Request,
    shop: OpaqueId,
    _caller: Reader,
    after: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> RuleSets:
    """Versions, newest first."""
    database: Database = request.app.state.database
    async with database.begin() as tx:
        await store.required_programme(tx, shop)
        found = await store.versions(tx, shop, before=after, limit=limit + 1)
        activations = await store.activations(tx, shop)
        page = [_summary(view_of(version, activations, tx.now)) for version in found[:limit]]
    return RuleSets(rule_sets=page, next=page[-1].version if len(found) > limit else None)


@router.post("/rule-sets", response_model=RuleSetWhole)
async def make_rule_set(request: Request, shop: OpaqueId, body: RuleSetBody, caller: Writer) -> HttpResponse:
    """Make a version of the rules given, or of the drafts. Saying what the newest says gives the newest."""
    command = MakeRuleSet(shop, body.document(), body.combine, body.note, caller.client)
    return await idempotent(request, caller, make_rule_sets, command, respond=_whole)


@router.post("/rule-sets/rollback", response_model=RuleSetWhole)
async def roll_back_rules(request: Request, shop: OpaqueId, caller: Writer) -> HttpResponse:
    """Activate the version that was active before the present one."""
    return await idempotent(request, caller, roll_back, RollBack(shop, caller.client), respond=_whole)


@router.get("/rule-sets/active")
async def get_active_rule_set(
    request: Request,
    shop: OpaqueId,
    _caller: Reader,
    at: Annotated[datetime | None, Query(description="Of orders placed then; absent: now.")] = None,
) -> RuleSetWhole:
    """The version that decides orders placed at a time."""
    database: Database = request.app.state.database
    async with database.begin() as tx:
        await store.required_programme(tx, shop)
        deciding = (await store.deciding(tx, [shop]))[shop]
        number = deciding.version_at(_instant(at, tx.now))
        found = None if number is None else await store.version(tx, shop, number)
        if found is None:
            raise RuleSetNotFound(None)
        return _whole(view_of(found, deciding.timeline, tx.now))


@router.get("/rule-sets/{version}")
async def get_rule_set(request: Request, shop: OpaqueId, version: VersionNumber, _caller: Reader) -> RuleSetWhole:
    """One version with its rules."""
    database: Database = request.app.state.database
    async with database.begin() as tx:
        await store.required_programme(tx, shop)
        found = await store.version(tx, shop, version)
        if found is None:
            raise RuleSetNotFound(version)
        return _whole(view_of(found, await store.activations(tx, shop), tx.now))


@router.post("/rule-sets/{version}/activate", response_model=RuleSetWhole)
async def activate_rule_set(
    request: Request, shop: OpaqueId, version: VersionNumber, caller: Writer, body: ActivateBody | None = None
) -> HttpResponse:
    """Let a version decide orders placed from now on, or from an instant on."""
    command = Activate(shop, version, body.since if body else None, caller.client)
    return await idempotent(request, caller, activate, command, respond=_whole)


@router.get("/rule-sets/{version}/diff")
async def diff_rule_sets(
    request: Request,
    shop: OpaqueId,
    version: VersionNumber,
    _caller: Reader,
    against: Annotated[int | None, Query(ge=1, le=2**53, description="Absent: the active version.")] = None,
) -> Differences:
    """How a version differs from another, rule by rule."""
    answer = await _run(request, compare, Compare(shop, version, against))
    return Differences(version=answer.version, against=answer.against, changes=answer.changes)


# -- orders


@router.get("/orders/{order}/earnings")
async def get_earnings(request: Request, shop: OpaqueId, order: OpaqueId, _caller: Reader) -> EarningsView:
    """What an order has earned: awards as booked, every rule of its version, and why."""
    found: Earnings = await _run(request, earnings, AskEarnings(shop, order))
    book = found.book
    return EarningsView(
        order=book.order,
        revision=book.revision,
        stage=stage_name(book),
        generation=book.generation,
        member=book.member,
        test=book.test,
        placed_at=book.placed_at,
        rule_set_version=book.version,
        earning_off=found.earning_off,
        points=sum(booked.left for booked in book.booked),
        awards=[
            AwardView(
                award=booked.key,
                rule=booked.rule,
                rule_version=booked.version,
                promotions=list(booked.promotions),
                generation=booked.generation,
                member=booked.member,
                points=booked.points,
                taken_back=booked.taken,
                left=booked.left,
                activates_at=booked.activates_at,
                expires_at=booked.expires_at,
            )
            for booked in book.booked
        ],
        rules=[_outcome(outcome) for outcome in found.rules],
    )


@router.post("/earnings/preview")
async def preview_earnings(request: Request, shop: OpaqueId, body: PreviewBody, _caller: Reader) -> PreviewView:
    """What a cart or a product would earn. Nothing is stored, so no key is needed."""
    database: Database = request.app.state.database
    async with database.begin() as tx:
        currency = body.currency or (await store.required_programme(tx, shop)).currency
    order = OrderPlaced(
        shop=shop,
        order="preview",
        revision=0,
        member=body.member,
        channel=body.channel,
        currency=currency,
        rate=body.rate,
        prices_include_tax=body.prices_include_tax,
        lines=tuple(Line(line=str(n), **line.model_dump()) for n, line in enumerate(body.lines, start=1)),
        discount=body.discount,
        shipping=body.shipping,
        shipping_tax=body.shipping_tax,
        coupons=body.coupons,
        tenders=tuple(Tender(**tender.model_dump()) for tender in body.tenders),
        placed_at=body.at or datetime.now(UTC),
    )
    fault = fault_of(order)
    if fault is not None:
        raise Problem(422, *fault)
    found: Preview = await _run(request, preview, AskPreview(order, body.at, body.version, body.first_order))
    return PreviewView(
        points=found.points,
        earning_off=found.earning_off,
        rule_set_version=found.version,
        awards=[
            PreviewAward(
                rule=outcome.rule,
                title=outcome.title,
                points=outcome.points or 0,
                arithmetic=outcome.arithmetic,
                promotions=list(outcome.promotions),
                granted_on=found.grants[outcome.rule][0],
                usable_after_days=found.grants[outcome.rule][1],
            )
            for outcome in found.rules
            if outcome.arithmetic is not None
        ],
        rules=[_outcome(outcome) for outcome in found.rules],
    )


async def _run(request: Request, usecase: UseCase, command: object) -> Any:
    database: Database = request.app.state.database
    (answer,) = await database.execute(usecase, [command])
    return answer_or_raise(answer)


def _instant(at: datetime | None, now: datetime) -> datetime:
    if at is None:
        return now
    if at.tzinfo is None or not 1970 <= at.year <= 2200:
        raise Problem(422, "invalid_request", "`at` needs an offset and lies between 1970 and 2200")
    return at


def _programme_view(programme: store.Programme) -> ProgrammeView:
    return ProgrammeView(**{name: getattr(programme, name) for name in ProgrammeView.model_fields})


def _summary(view: RuleSetView) -> RuleSetSummary:
    return RuleSetSummary(**{name: getattr(view, name) for name in RuleSetSummary.model_fields})


def _whole(view: RuleSetView) -> RuleSetWhole:
    return RuleSetWhole(**{name: getattr(view, name) for name in RuleSetWhole.model_fields})


def _outcome(outcome: RuleOutcome) -> RuleOutcomeView:
    return RuleOutcomeView(
        rule=outcome.rule,
        title=outcome.title,
        fired=outcome.fired,
        reason=outcome.reason,
        points=outcome.points,
        arithmetic=outcome.arithmetic,
        promotions=list(outcome.promotions),
    )
