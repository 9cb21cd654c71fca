"""Chaos of the ledger alone: two replicas of everything, callers and Kafka, faults everywhere, and one true history."""
