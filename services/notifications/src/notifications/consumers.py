"""What events ask of this service."""

from typing import Final

from chassis import Consumer, Received, UseCase
from contracts import topics
from contracts.ledger import EpochStarted, PointsChanged
from contracts.programmes import ProgrammeChanged
from notifications import store, usecases
from notifications.usecases import BeginEpoch, LearnProgramme, Tell


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


POINTS: Final = "points"
"""The asset whose movements members are told of: the words of all scenarios speak of points."""


def tell(event: PointsChanged, received: Received) -> Tell | None:
    """An entry of points, as it is, with the trace that led to it; those of other assets are nobody's message."""
    return Tell(event, received.traceparent) if event.asset == POINTS else None


def begin_epoch(event: EpochStarted, _: Received) -> BeginEpoch:
    """The ledger was restored from a backup: what it told of a lane behind a position is given up."""
    return BeginEpoch(event.epoch, event.lane, event.lanes, event.position)


GATHER_MS: Final = 100
"""A message is read minutes later."""


def consumers(telling: UseCase = usecases.tell) -> tuple[Consumer, ...]:
    """All of them. `telling`: the use case for entries, with what it needs when some are missing."""
    return (
        Consumer(
            name="programmes",
            topic=topics.PROGRAMMES,
            commands={ProgrammeChanged: learn},
            usecase=usecases.learn_programmes,
        ),
        Consumer(
            name="ledger",
            topic=topics.LEDGER,
            commands={PointsChanged: tell, EpochStarted: begin_epoch},
            usecase=telling,
            gather_ms=GATHER_MS,
            known=store.known,  # a shop's first entries wait for its programme, which has the zone and the words
        ),
    )
