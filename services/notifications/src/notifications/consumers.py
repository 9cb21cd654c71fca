"""What events ask of this service."""

from typing import Final

from chassis import Consumer, Received
from contracts import topics
from contracts.ledger import Buckets as ToldBuckets
from contracts.ledger import PointsChanged
from contracts.programmes import ProgrammeChanged
from notifications import store, usecases
from notifications.domain import Buckets, Entry, LotChange
from notifications.usecases import LearnProgramme, Tell


def learn(event: ProgrammeChanged, _: Received) -> LearnProgramme:
    """A programme, as far as messages depend on it."""
    return LearnProgramme(
        shop=event.shop,
        revision=event.revision,
        on=event.on,
        zone=event.zone,
        language=event.language,
        points_name=event.points_name,
    )


def tell(event: PointsChanged, received: Received) -> Tell:
    """An entry of the ledger, with the trace that led to it."""
    return Tell(
        Entry(
            shop=event.shop,
            member=event.member,
            account=event.account,
            epoch=event.epoch,
            seq=event.seq,
            entry=event.entry,
            kind=event.kind,
            at=event.at,
            changes=_buckets(event.changes),
            balances=_buckets(event.balances),
            hash=event.hash,
            lots=tuple(
                LotChange(each.lot, each.change, each.remaining, each.activates_at, each.expires_at)
                for each in event.lots
            ),
            order=event.order,
            checkout=event.checkout,
            reason=event.cause.reason,
            rule=event.cause.rule,
            shortfall=event.shortfall,
        ),
        traceparent=received.traceparent,
    )


def _buckets(told: ToldBuckets) -> Buckets:
    return Buckets(told.available, told.pending, told.held, told.debt)


CONSUMERS: Final = (
    Consumer(
        name="programmes",
        topic=topics.PROGRAMMES,
        commands={ProgrammeChanged: learn},
        usecase=usecases.learn_programmes,
    ),
    Consumer(
        name="ledger",
        topic=topics.LEDGER,
        commands={PointsChanged: tell},
        usecase=usecases.tell,
        known=store.known,  # a shop's first entries wait for its programme, which has the zone and the words
    ),
)
