"""Real baskets as order events, delivered as badly as one likes, and a slow model of what they must earn.

    year = workload.load()                                     # two seconds, once
    plan = workload.Plan(shop="demo", ends_at=now)
    lives = workload.lives(year.take(20_000), plan)            # one Life per basket, made as it is asked for
    events = workload.deliveries(lives, repeats=0.02, late=0.02)
    await workload.publish(bootstrap_servers, events, rate=None)

The same arguments give the same events, byte for byte. `workload.model` says what each order must have earned.
"""

from workload.baskets import Basket, Selection, Year, load
from workload.deliveries import deliveries
from workload.lives import Kind, Life, OrderEvent, Plan, PointsTender, lives
from workload.publisher import Published, Publisher, headers_of, publish

__all__ = [
    "Basket",
    "Kind",
    "Life",
    "OrderEvent",
    "Plan",
    "PointsTender",
    "Published",
    "Publisher",
    "Selection",
    "Year",
    "deliveries",
    "headers_of",
    "lives",
    "load",
    "publish",
]
