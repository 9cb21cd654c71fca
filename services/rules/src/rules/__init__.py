"""Rules: what orders earn, by which rule and which version of it."""
