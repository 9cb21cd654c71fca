"""What events ask of redemption: {event type: command}."""

from typing import Final

from chassis import Consumer, Poison, Received
from chassis.messages import Raw
from contracts import decode, topics
from contracts.ledger import PointsChanged, PostingRefused
from contracts.orders import Order, OrderChanged
from contracts.programmes import ProgrammeChanged
from redemption.domain.checkout import AFTER_ENTRY
from redemption.glimpse import ORDERS, OrderGlimpse
from redemption.store.terms import Programme, known_shops
from redemption.usecases import entries, orders, terms
from redemption.usecases.entries import FollowEntry, FollowRefusal
from redemption.usecases.orders import SOURCE
from redemption.usecases.states import SettleOrder

POINTS: Final = "points"
"""The asset that checkouts hold; what happens to others is none of redemption's business."""

OF_INTEREST: Final = frozenset({*AFTER_ENTRY, "give_back"})
"""Kinds of entries that holds and spends live by; awards and the like are none of redemption's business."""


def settle_order(glimpse: OrderGlimpse, received: Received) -> SettleOrder | None:
    """Every order event carries the whole order; its type only says why it was sent. Test orders move nothing."""
    if glimpse.test:
        return None
    body = received.raw.value or b""
    if not glimpse.matters:
        return SettleOrder((glimpse.shop, glimpse.order), glimpse.revision, False, body, received.traceparent)  # noqa: FBT003 – it does not matter
    order: Order = decode(OrderChanged, body)
    if any(refund.currency not in (None, order.currency) for refund in order.refunds):
        raise Poison("foreign_refund", "a refund is in another currency than its order")
    return SettleOrder.of(order, received.traceparent)


def follow_programme(event: ProgrammeChanged, _received: Received) -> Programme:
    """A shop's programme as it now is."""
    return Programme(event.shop, event.revision, event.on, event.currency, event.hold_minutes)


def follow_entry(event: PointsChanged, _received: Received) -> FollowEntry | None:
    """An entry about a hold of points, or about a spend of ours."""
    if event.asset != POINTS or event.kind not in OF_INTEREST or (event.hold is None and event.source != SOURCE):
        return None
    return FollowEntry(
        shop=event.shop,
        kind=event.kind,
        posting=event.posting if event.source == SOURCE else "",
        hold=event.hold,
        epoch=event.epoch,
        seq=event.seq,
        # What a hold frees beyond its capture is no part of it, even where it repays a debt at once.
        debited=-(event.changes.available + event.changes.held + max(0, event.changes.debt)),
        shortfall=event.shortfall,
    )


def follow_refusal(event: PostingRefused, _received: Received) -> FollowRefusal | None:
    """A refusal of something that we asked for over Kafka; those of HTTP calls were answered there."""
    if event.asset != POINTS or event.source != SOURCE or event.kind not in ("spend", "give_back"):
        return None
    return FollowRefusal(event.shop, event.posting, event.code, event.detail)


def concerns_us(raw: Raw) -> bool:
    """Whether an entry may be about a hold or a spend, by its kind in the header; awards are not even decoded."""
    kind = raw.header("ce_subject")
    return kind is None or kind in OF_INTEREST


GATHER_MS: Final = 100
"""A checkout is held over HTTP; that its order was paid, or called off, makes nobody wait."""

CONSUMERS: Final = (
    Consumer(
        name="programmes",
        topic=topics.PROGRAMMES,
        commands={ProgrammeChanged: follow_programme},
        usecase=terms.follow_programmes,
    ),
    Consumer(
        name="orders",
        topic=ORDERS,
        commands=dict.fromkeys(ORDERS.events, settle_order),
        usecase=orders.settle,
        known=known_shops,
        gather_ms=GATHER_MS,
    ),
    Consumer(
        name="ledger",
        topic=topics.LEDGER,
        commands={PointsChanged: follow_entry, PostingRefused: follow_refusal},
        usecase=entries.follow,
        wants=concerns_us,
        gather_ms=GATHER_MS,
    ),
)
