"""What is hashed, byte by byte, so that others can verify: a posting's content, and an account's chain of entries."""
