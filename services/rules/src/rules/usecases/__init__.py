"""One function per verb: `(tx, commands) → Outcome`."""
