"""All topics, by name."""

from typing import Final

from contracts import activities, ledger, orders, postings, programmes
from contracts.topic import Topic

ORDERS: Final = orders.TOPIC
ACTIVITIES: Final = activities.TOPIC
PROGRAMMES: Final = programmes.TOPIC
POSTINGS: Final = postings.TOPIC
LEDGER: Final = ledger.TOPIC

ALL: Final[tuple[Topic, ...]] = (ORDERS, ACTIVITIES, PROGRAMMES, POSTINGS, LEDGER)
