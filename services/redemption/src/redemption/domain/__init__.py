"""The heart of redemption: values and decisions, without clock, database or network."""
