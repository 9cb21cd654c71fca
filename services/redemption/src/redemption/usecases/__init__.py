"""What redemption does, one function per verb: `(tx, commands in order of arrival) → Outcome`."""
