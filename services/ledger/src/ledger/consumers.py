"""What the ledger listens to: postings asked of it, and shops' programmes."""

from collections.abc import Sequence
from typing import Final

from chassis import Consumer, Outcome, Poison, Received, Transaction
from contracts import topics
from contracts.postings import PostingRequested
from contracts.programmes import ProgrammeChanged
from ledger import usecases
from ledger.asking import InstantOutOfRange, asked_of
from ledger.domain import ASSETS, Result
from ledger.store import reading
from ledger.usecases import Asked, LearnProgramme


def _asked(event: PostingRequested, received: Received) -> Asked:
    try:
        return asked_of(
            event.effect,
            shop=event.shop,
            member=event.member,
            source=event.source,
            key=event.posting,
            order=event.order,
            cause=event.cause,
            asset=event.asset,
            trace=received.traceparent,
        )
    except InstantOutOfRange as error:
        raise Poison("instant_out_of_range", "an instant is outside the years 1 to 9999") from error


async def obey(tx: Transaction, asked: Sequence[Asked]) -> Outcome:
    """Settle postings; a key that was used for other content is its publisher's mistake, and kept as a dead letter."""
    outcome = await usecases.obey(tx, asked)
    return Outcome(
        answers=[
            Poison("idempotency_conflict", "the posting's key was used before with other content")
            if answer.result is Result.CONFLICT
            else answer
            for answer in outcome.answers
        ]
    )


async def _known(tx: Transaction, shops: set[str]) -> set[str]:
    return await reading.known_shops(tx.driver, shops)


def _programme(event: ProgrammeChanged, received: Received) -> LearnProgramme:  # noqa: ARG001
    return LearnProgramme(
        shop=event.shop,
        revision=event.revision,
        shortfall=event.shortfall,
        zone=event.zone,
        currency=event.currency,
        approval_above={
            asset: above for asset in ASSETS if (above := getattr(event.approval_above, asset, None)) is not None
        },
        gifts_per_day=event.gifts_per_day,
        gift_points_per_day=event.gift_points_per_day,
    )


POSTINGS: Final = Consumer(
    name="postings",
    topic=topics.POSTINGS,
    commands={PostingRequested: _asked},
    usecase=obey,
    lane_key=usecases.lane_key,
    known=_known,
)

PROGRAMMES: Final = Consumer(
    name="programmes",
    topic=topics.PROGRAMMES,
    commands={ProgrammeChanged: _programme},
    usecase=usecases.learn_programmes,
)
