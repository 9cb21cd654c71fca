"""All topics, by name."""

from typing import Final

from contracts import activities, ledger, orders, postings, programmes, seals
from contracts.topic import Topic

ORDERS: Final = orders.TOPIC
ACTIVITIES: Final = activities.TOPIC
PROGRAMMES: Final = programmes.TOPIC
POSTINGS: Final = postings.TOPIC
LEDGER: Final = ledger.TOPIC
SEALS: Final = seals.TOPIC

ALL: Final[tuple[Topic, ...]] = (ORDERS, ACTIVITIES, PROGRAMMES, POSTINGS, LEDGER, SEALS)
