"""What somebody should look at: counted for the alarm, and logged with the facts."""

from typing import Any

import structlog
from prometheus_client import Counter, Gauge

ALARMS = Counter("accrual_redemption_alarms_total", "Things that somebody should look at, by reason.", ["reason"])
UNFINISHED_AGE = Gauge(
    "accrual_redemption_unfinished_age_seconds", "Age of the oldest checkout that waits for the ledger's answer."
)


def alarm(reason: str, *, shop: str, **facts: Any) -> None:
    """Count it and say it."""
    ALARMS.labels(reason).inc()
    structlog.get_logger().warning(reason, shop=shop, **facts)
