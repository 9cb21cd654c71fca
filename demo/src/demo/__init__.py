"""The whole system at work: real baskets through Kafka, what came of them, and one member's story."""
