"""What is counted here; docs/operating.md says what each alarm means."""

from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter("accrual_notifications_messages_total", "Messages recorded, each with at least one delivery.")
SILENCES = Counter("accrual_notifications_silences_total", "Channels over which nothing was due.", ["reason"])
REPEATS = Counter("accrual_notifications_repeats_total", "Entries of the ledger that had been told before.")
GAPS = Counter("accrual_notifications_gaps_total", "Entries of the ledger that were missed on the topic.")
UNANSWERED = Counter("accrual_notifications_ledger_unanswered_total", "Calls to the ledger without a usable answer.")
FORKS = Counter("accrual_notifications_forks_total", "Entries told before with another content: an alarm.")
READ_AGAIN = Counter(
    "accrual_notifications_read_again_total", "Accounts read again after the ledger was restored from a backup."
)
DELIVERIES = Counter("accrual_notifications_deliveries_total", "Attempts.", ["channel", "result"])
SECONDS = Histogram("accrual_notifications_attempt_seconds", "Seconds per attempt.", ["channel"])
AGE_SECONDS = Histogram(
    "accrual_notifications_age_seconds", "Seconds from recording to delivery.", ["channel"],
    buckets=(0.5, 1, 2, 5, 15, 60, 300, 3600, 86400),
)  # fmt: skip
WAITING = Gauge("accrual_notifications_waiting", "Deliveries that wait.", ["channel"])
OLDEST = Gauge("accrual_notifications_oldest_seconds", "Age of the oldest delivery that waits.", ["channel"])
DEAD = Gauge("accrual_notifications_dead", "Deliveries given up, to be replayed by a person.", ["channel"])
