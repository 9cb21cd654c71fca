"""What tests need: real Postgres and Kafka, tokens, conditions to wait for, and the whole system with its faults."""

from testkit.waiting import wait_until

__all__ = ["wait_until"]
