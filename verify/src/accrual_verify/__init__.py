"""Verifies exports and proofs of Accrual's ledger offline. It imports nothing of the ledger, so it shares no bug.

`layout` is what is hashed, byte by byte; `seals` what was signed; `export` and `proof` follow the two kinds of files.
"""
