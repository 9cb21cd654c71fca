"""The ledger over HTTP, a file for each noun: parse, use case, answer."""

from ledger.api import (
    balances,
    checks,
    export,
    holds,
    imports,
    memos,
    movements,
    postings,
    proofs,
    proposals,
    statement,
)
from ledger.api.desk import Desk
from ledger.api.statuses import STATUSES

ROUTERS = [
    room.router
    for room in (postings, holds, balances, statement, movements, proofs, memos, proposals, checks, export, imports)
]

__all__ = ["ROUTERS", "STATUSES", "Desk"]
