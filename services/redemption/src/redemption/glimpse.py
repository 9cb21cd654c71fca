"""The first look at an order: whether points are in it at all. Of the others nothing but the revision is read."""

from dataclasses import replace
from typing import Final

from pydantic import Field, create_model

from contracts import Event, Model, topics
from contracts.event import MemberId, OpaqueId


class TenderGlimpse(Model):
    """A means of payment, by its kind."""

    kind: str


class OrderGlimpse(Event):
    """The few fields of an order that say whether the whole of it must be read. Rules read and check all of it."""

    order: OpaqueId
    revision: int = Field(ge=0, le=2**53)
    test: bool = False
    member: MemberId | None = None
    tenders: tuple[TenderGlimpse, ...] = ()
    cancellations: tuple[Model, ...] = ()

    @property
    def matters(self) -> bool:
        """Whether the order names points, or is called off and may leave a hold behind."""
        return bool(self.cancellations) or any(tender.kind == "points" for tender in self.tenders)


def _glimpse_of(event: type[Event]) -> type[OrderGlimpse]:
    glimpse = create_model(f"{event.__name__}Glimpse", __base__=OrderGlimpse, __doc__=event.__doc__)
    glimpse.type = event.type
    return glimpse


ORDERS: Final = replace(topics.ORDERS, events=tuple(_glimpse_of(event) for event in topics.ORDERS.events))
"""The topic `orders`, as redemption reads it."""
