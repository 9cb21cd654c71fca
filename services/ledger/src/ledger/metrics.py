"""What the ledger measures of itself, beside what every service does."""

from typing import Final

from prometheus_client import Counter, Gauge

SUM_OF_ACCOUNTS: Final = Gauge(
    "accrual_ledger_sum_of_accounts",
    "All members' buckets and all system accounts together, asset by asset; anything but 0 is an alarm.",
)
REPLAY_MISMATCHES: Final = Gauge(
    "accrual_ledger_replay_mismatches", "Accounts whose stored balances are not the sums of their entries; must be 0."
)
SEQ_GAPS: Final = Gauge("accrual_ledger_seq_gaps", "Accounts with a missing entry; must be 0.")
BOOK_MISMATCHES: Final = Gauge(
    "accrual_ledger_book_mismatches",
    "Accounts whose lots, holds or shortfalls do not add up to their buckets; must be 0.",
)
CHAIN_BREAKS: Final = Gauge("accrual_ledger_chain_breaks", "Accounts whose hash chain is broken; must be 0.")
SYSTEM_POINTS: Final = Gauge("accrual_ledger_system_points", "Points on a system account, over all shops.", ["account"])
SYSTEM_AMOUNTS: Final = Gauge(
    "accrual_ledger_system_amounts",
    "What stands on a system account, over all shops, by asset; stored value in minor units of all currencies.",
    ["asset", "account"],
)
PARKED: Final = Gauge("accrual_ledger_parked", "Postings that wait for their award or spend.")
PARKED_AGE: Final = Gauge("accrual_ledger_parked_age_seconds", "Age of the oldest posting that waits.")
OVERDUE: Final = Gauge(
    "accrual_ledger_overdue_accounts", "Accounts found with something due in the last run of the job."
)
POSTINGS: Final = Counter("accrual_ledger_postings_total", "Postings by kind and result.", ["kind", "result"])
PROPOSALS: Final = Counter(
    "accrual_ledger_proposals_total", "Proposals that were approved, rejected or have expired.", ["state"]
)
SHORT_SPENDS: Final = Counter(
    "accrual_ledger_short_spends_total", "Paid orders whose points were not all there any more: written off or owed."
)
START_UNCHECKED: Final = Gauge(
    "accrual_ledger_start_unchecked",
    "1 while the log could not be held against the topic, because Kafka gives no answer; nothing is told then.",
)
LOG_BEHIND: Final = Gauge(
    "accrual_ledger_log_behind", "1 when the log was found to be behind what was told; the process ends."
)
SEAL_LAG: Final = Gauge(
    "accrual_ledger_seal_lag_seconds", "Age of the oldest entry or refusal that no seal holds; a few seconds."
)
UNSEALED: Final = Gauge("accrual_ledger_unsealed_rows", "Entries and refusals that no seal holds yet.")
SEALS_UNTOLD: Final = Gauge(
    "accrual_ledger_untold_seals", "Seals that the files outside the database lack, of 500 a lane at most; must be 0."
)
SEAL_MISMATCHES: Final = Gauge(
    "accrual_ledger_seal_mismatches",
    "Seals that are not what the log holds, or do not follow the one before; must be 0.",
)
SEALS: Final = Counter("accrual_ledger_seals_total", "Seals made.")
SEALED_ROWS: Final = Counter("accrual_ledger_sealed_rows_total", "Entries and refusals sealed.")
