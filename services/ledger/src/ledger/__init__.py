"""The ledger: accounts, lots, holds, and the append-only history of every movement of points."""
