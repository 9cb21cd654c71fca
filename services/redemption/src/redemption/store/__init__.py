"""The only SQL of redemption: load, lock, save, query."""
